"""Turns noisy latents, the ground (product and sketch) and a condition (look, concept) into the velocity towards the scene.

Letters: B scenes, L side of the latent grid, Z latent channels (generators/painting/codec.py), F numbers of a look, D dimensions of the
space, T tokens, W width of a token, E width of the time embedding. Latents are float32 with mean 0 and variance 1.

Rectified flow (Liu et al. 2023, arXiv 2209.03003): x_t = (1 - t) x_0 + t eps, t from 0 (scene) to 1 (noise), and
the velocity v = eps - x_0 = (x_t - x_0) / t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional

from generators.painting.sketches import CHANNELS

TIME_FLOOR = 0.05  # 1 / t is clamped here, as in JiT (Li and He 2025, arXiv 2511.13720)
HIDDEN_WEIGHT = 0.15  # in the loss, of a cell that the product covers whole
LOOK_TOKENS = 2
CONCEPT_TOKENS = 2


@dataclass(frozen=True)
class Condition:
    """What B scenes are to look like, and what they are for.

    Attributes:
        look: (B, F) float32 as `LookPrior.tell` gives it, or None where no scene has one.
        concept: (B, D) float32, or None where no scene has a concept.
        has_look: (B,) bool; a row without gets the learned null look. None: every row has one, if `look` is given.
        has_concept: (B,) bool, likewise.
    """

    look: Tensor | None
    concept: Tensor | None
    has_look: Tensor | None = None
    has_concept: Tensor | None = None

    def rows(self, part: slice) -> Condition:
        """The condition of some of the rows."""
        return self._each(lambda tensor: tensor[part])

    def to(self, device: torch.device | str) -> Condition:
        """The condition on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Condition:
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            changed[field.name] = None if value is None else change(value)
        return Condition(**changed)

    def any_look(self) -> Condition:
        """The same concepts with no look in particular: the start of guidance."""
        return replace(self, look=None, has_look=None)


class VectorTokens(nn.Module):
    """A vector of the embedding space into tokens; a row that has none gets the learned null tokens."""

    def __init__(self, dimensions: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens, self.width = tokens, width
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(()))
        self.projection = nn.Linear(dimensions, 2 * width)
        self.output = nn.Linear(2 * width, tokens * width)
        self.null = nn.Parameter(torch.randn(tokens, width) / width**0.5)

    def fit(self, vectors: Tensor) -> None:
        """Remember the centre and overall scale of `vectors` (N, D), so that inputs have mean 0 and unit variance."""
        with torch.no_grad():
            self.get_buffer("centre").copy_(vectors.mean(0))
            self.get_buffer("scale").copy_(1 / (vectors - vectors.mean(0)).square().mean().sqrt().clamp(min=1e-6))

    def forward(self, vectors: Tensor | None, present: Tensor | None, rows: int) -> Tensor:
        """(B, D) or None, and (B,) bool or None, into (B, T, W)."""
        null = self.null.expand(rows, -1, -1)
        if vectors is None:
            return null
        hidden = functional.silu(self.projection((vectors - self.get_buffer("centre")) * self.get_buffer("scale")))
        tokens = self.output(hidden).view(rows, self.tokens, self.width)
        return tokens if present is None else torch.where(present[:, None, None], tokens, null)


class ConditionEncoder(nn.Module):
    """A condition into tokens for cross-attention and one vector for the adaptive norms."""

    def __init__(self, looks: int, dimensions: int, width: int, embedding: int) -> None:
        super().__init__()
        self.look = VectorTokens(looks, LOOK_TOKENS, width)
        self.concept = VectorTokens(dimensions, CONCEPT_TOKENS, width)
        self.join = nn.Linear((LOOK_TOKENS + CONCEPT_TOKENS) * width, embedding)
        self.pooled = nn.Linear(embedding, embedding)

    def forward(self, condition: Condition, rows: int) -> tuple[Tensor, Tensor]:
        """Into tokens (B, T, W) and pooled (B, E)."""
        look = self.look(condition.look, condition.has_look, rows)
        concept = self.concept(condition.concept, condition.has_concept, rows)
        tokens = torch.cat([look, concept], dim=1)
        return tokens, self.pooled(functional.silu(self.join(tokens.flatten(1))))


class SceneNetwork(nn.Module, ConfigMixin):
    """A UNet over latents that paints a scene for a product to stand in.

    The ground (see `lay_ground`) is further input channels: the network knows the product's place and colours and paints
    the scene behind it, over the sketch where there is one.

    Args:
        dimensions: D. looks: F. latent: Z.
        side: L, a multiple of 2 ** (len(channels) - 1).
        channels: width of each level, finest first, multiples of 32; cross-attention at the coarsest.
        layers: residual blocks per level.
        token_width: W.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        dimensions: int = 32,
        looks: int = 6,
        latent: int = 8,
        side: int = 16,
        channels: tuple[int, ...] = (96, 128),
        layers: int = 1,
        token_width: int = 128,
    ) -> None:
        super().__init__()
        if side % 2 ** (len(channels) - 1):
            raise ValueError(f"side {side} is no multiple of 2 ** {len(channels) - 1}")
        self.side, self.latent, self.channels = side, latent, tuple(channels)
        self.condition = ConditionEncoder(looks, dimensions, token_width, 4 * channels[0])
        self.unet = _unet(side, latent=latent, channels=self.channels, layers=layers, token_width=token_width)

    def forward(self, noisy: Tensor, time: Tensor, ground: Tensor, condition: Condition) -> Tensor:
        """The velocity (B, Z, L, L).

        Args:
            noisy: x_t (B, Z, L, L).
            time: t (B,) in [0, 1].
            ground: (B, G, L, L) of `lay_ground`.
            condition: what to look like and what for.
        """
        tokens, pooled = self.condition(condition, len(noisy))
        grid = torch.cat([noisy, ground], dim=1)
        out: Tensor = self.unet(grid, time * 1000, tokens, class_labels=pooled, return_dict=False)[0]
        return (noisy - out) / time.clamp(min=TIME_FLOOR)[:, None, None, None]


def _unet(grid: int, *, latent: int, channels: tuple[int, ...], layers: int, token_width: int) -> Any:
    """The UNet over a grid x grid of latents; it puts out the scene's latents, zero at first."""
    fine = len(channels) - 1
    build: Any = UNet2DConditionModel
    unet = build(
        sample_size=grid,
        in_channels=2 * latent + 1 + CHANNELS,
        out_channels=latent,
        block_out_channels=channels,
        layers_per_block=layers,
        down_block_types=("DownBlock2D",) * fine + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * fine,
        cross_attention_dim=token_width,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=32,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        use_linear_projection=True,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


def lay_ground(product: Tensor, cover: Tensor, cells: Tensor) -> Tensor:
    """What the network is given beside noise, (B, G, L, L), G = Z + 1 + CHANNELS.

    Args:
        product: (B, Z, L, L), latents of the product on grey.
        cover: (B, 1, L, L) in [0, 1], how much of each cell the product covers.
        cells: (B, CHANNELS, L, L) of `sketches.sketch_cells`.
    """
    return torch.cat([product * (cover > 0), cover, cells], dim=1)


def add_noise(latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t eps. Shapes (B, Z, L, L), (B, Z, L, L), (B,)."""
    weight = time[:, None, None, None]
    return (1 - weight) * latents + weight * noise


def time_shift(side: int) -> float:
    """How far times lean towards the noise for latents of this side: side / 8, at least 1.

    White noise averages out over cells: the colour and the layout of a large grid still show at t = 0.9, so what a look
    decides is decided near 1. The noise level at which a pattern drowns grows with the side (Hoogeboom et al. 2023,
    arXiv 2301.11093; Esser et al. 2024, eq. 23); an 8 x 8 grid needs no shift.
    """
    return max(side / 8, 1.0)


def shift_time(even: Tensor, shift: float) -> Tensor:
    """t = shift * u / (1 + (shift - 1) * u): adds log(shift) to the logit of u."""
    return shift * even / (1 + (shift - 1) * even)


def draw_times(rows: int, generator: torch.Generator, *, shift: float = 1.0, spread: float = 1.2) -> Tensor:
    """Logit-normal t in (0, 1), (B,): sigmoid(log(shift) + spread * N(0, 1)) (Esser et al. 2024, arXiv 2403.03206)."""
    return shift_time(torch.sigmoid(spread * torch.randn(rows, generator=generator)), shift)


def scene_loss(velocity: Tensor, latents: Tensor, noise: Tensor, cover: Tensor) -> Tensor:
    """Mean squared error of the velocity, a scalar; a cell counts as far as the product leaves it free, and a little more.

    What is behind the product is a smooth filling (generators/painting/holes.py), seen only where a layout moves the product.
    """
    weight = 1 - (1 - HIDDEN_WEIGHT) * cover
    error = (velocity - (noise - latents)).square().mean(1, keepdim=True)
    return ((error * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
