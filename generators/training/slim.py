"""Turns a codec into one whose decoder does a third of the work: the student's second lesson.

Letters: B scenes, S side in pixels, L side of the latent grid, Z latent channels.

Around one step of a network the decoder is the dearest part. A slimmer one (`codec.slim_decoder`) learns to show latents as the full
one does: those of logged scenes, and those that the flow paints in one step, half of a batch each.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from generators.painting.codec import SceneCodec, codec_loss, slim_decoder
from generators.painting.devices import Precision, mixed_precision
from generators.painting.network import SceneNetwork
from generators.painting.sampling import leap
from generators.painting.weights import module_config
from generators.pixels import to_bytes
from generators.training.lessons import LATENT_NOISE, FlowLesson, Studies, seeded

_COLUMNS = 8


class DecoderLesson(FlowLesson):
    """Show latents as the full decoder does (`codec_loss` beside it).

    Args:
        studies, seed, source: as of `FlowLesson`.
        codec: whose decoder to learn from.
        flow: paints half of the latents.
        slim: channels, as of `SceneCodec`.
        precision: in which the two are asked.
    """

    name = "decoder"

    def __init__(
        self,
        studies: Studies,
        codec: SceneCodec,
        flow: SceneNetwork,
        slim: tuple[int, int, int],
        *,
        seed: int,
        source: str,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(studies, codec, seed=seed, source=source, channels=tuple(flow.config["channels"]), start=flow)
        self.slim, self.precision = slim, precision
        self.flow = copy.deepcopy(flow).requires_grad_(False).eval()
        self.codec = copy.deepcopy(codec).requires_grad_(False).eval()
        self.identity = f"{self.identity} {slim}"

    def student(self) -> nn.Sequential:  # type: ignore[override]
        """A decoder with weights that depend on the seed alone."""
        decoder: nn.Sequential = seeded(lambda: slim_decoder(self.codec.latent, *self.slim), self.seed, "first decoder")
        return decoder

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """See the class; a little noise on logged latents, as the codec was taught with."""
        latents, ground, _, condition, lot = self.rows(step, rows)
        noise = torch.randn(latents.shape, generator=lot)
        device = next(module.parameters()).device
        flow, codec = self.flow.to(device), self.codec.to(device)
        latents, ground, noise, condition = (x.to(device) for x in (latents, ground, noise, condition))  # type: ignore[assignment]
        half = rows // 2
        with torch.no_grad(), mixed_precision(device.type, self.precision):
            painted = leap(flow, condition.rows(slice(half)), ground[:half], noise[:half], steps=1)
            shown = torch.cat([painted.float(), latents[half:] + LATENT_NOISE * noise[half:]])
            raw = shown * codec.get_buffer("scale") + codec.get_buffer("centre")
            target = codec.decoder(raw)
        return codec_loss(module(raw).float(), target.float())

    def sheet(self, module: nn.Module) -> Tensor:
        """Logged scenes as the full decoder shows them, and as this one does."""
        device = next(module.parameters()).device
        latents = self.studies.latents[:_COLUMNS].float().to(device)
        codec = self.codec.to(device)
        with torch.inference_mode():
            raw = latents * codec.get_buffer("scale") + codec.get_buffer("centre")
            return torch.stack([to_bytes(one(raw)).permute(0, 2, 3, 1).cpu() for one in (codec.decoder, module)])


def with_decoder(codec: SceneCodec, slim: tuple[int, int, int], decoder: nn.Module) -> SceneCodec:
    """The codec with its encoder and scale, and a slim decoder of these channels."""
    changed: SceneCodec = SceneCodec(**module_config(codec) | {"slim": slim})
    kept = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith("decoder.")}
    changed.load_state_dict(kept | {f"decoder.{name}": tensor for name, tensor in decoder.state_dict().items()})
    return changed.eval()
