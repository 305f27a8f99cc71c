"""Turns a training file into what a codec, a flow and its few-step student are taught with, one lesson each.

Letters: P pictures, S side, Z, L latents, F looks, B rows. A lesson's batch depends on (seed, step) alone.

Mirroring left and right is the one augmentation that leaves a click its meaning: no number of a look changes, and the
product itself is never painted. Colours and crops would change what was clicked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from contracts.errors import ModelError
from contracts.seeds import seed_of
from generators.examples import Examples
from generators.painting.codec import LATENT, REDUCTION, SceneCodec, codec_loss
from generators.painting.holes import fill_holes
from generators.painting.network import (
    Condition,
    SceneNetwork,
    add_noise,
    draw_times,
    lay_ground,
    scene_loss,
    time_shift,
)
from generators.painting.painters import MID_GREY
from generators.painting.sampling import Way, draw, noise_of
from generators.painting.sketches import Sketchbook, from_levels, holes_around, sketch_cells, sketch_scenes, to_levels
from generators.pixels import to_bytes, to_float
from generators.taste.look import LOOK, picture_looks
from generators.taste.prior import LookPrior, product_numbers

SPACE_BOUND = "condition.concept."
"""Prefix of the parameters that read vectors of the space."""

SKETCHES = 384
"""Pages of a generator's sketchbook."""

LATENT_NOISE = 0.05
"""Standard deviations of a latent that a decoder must forgive."""

_RIM = 7  # pixels; a logged product is taken out with this much around it, its soft edge included
_CROP = 64
_AT_ONCE = 64
_COLUMNS = 8


def scenes_behind(pictures: Tensor, masks: Tensor) -> Tensor:
    """Logged pictures (B, 3, S, S) in [-1, 1] with their products (B, 1, S, S) taken out and the gap filled."""
    return fill_holes(pictures, functional.max_pool2d(masks, _RIM, 1, _RIM // 2))


def products_on_grey(pictures: Tensor, masks: Tensor) -> Tensor:
    """The products alone (B, 3, S, S), as painters frame them."""
    return pictures * masks + (MID_GREY / 127.5 - 1) * (1 - masks)


def some_scenes(examples: Examples, most: int = 600) -> Tensor:
    """Evenly chosen scenes (B, 3, S, S) to fit the scale of latents on."""
    every = max(1, len(examples.pictures) // most)
    return torch.cat(
        [
            scenes_behind(*pixels_of(examples, part))
            for part in np.array_split(np.arange(0, len(examples.pictures), every), 16)
            if len(part)
        ]
    )


def pixels_of(examples: Examples, part: slice | np.ndarray) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, S, S) in [-1, 1] and masks (B, 1, S, S) in {0, 1} of some of the pictures."""
    pictures = to_float(torch.from_numpy(examples.pictures[part]).permute(0, 3, 1, 2))
    return pictures, torch.from_numpy(examples.masks[part] >= 128).float()[:, None]


def _generator(seed: int, *what: object) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(seed, *map(str, what)))


class CodecLesson:
    """Code scenes small and get them back, on crops.

    Args:
        examples: where scenes come from.
        seed: of first weights and crops.
        start: a codec to set out from.
    """

    name = "codec"

    def __init__(self, examples: Examples, *, seed: int, source: str, start: SceneCodec | None = None) -> None:
        self.examples, self.seed, self.start = examples, seed, start
        self.identity = f"{source} {'' if start is None else digest_of_module(start)}"

    def student(self) -> SceneCodec:
        """A codec with weights that depend on the seed alone, or those to set out from."""
        codec: SceneCodec = seeded(SceneCodec, self.seed, "first codec")
        if self.start is not None:
            codec.load_state_dict(self.start.state_dict())
        return codec

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """See `codec_loss`; a little noise on the latents, so that near latents mean near scenes."""
        lot = _generator(self.seed, "codec", step)
        chosen = torch.randint(len(self.examples.pictures), (rows,), generator=lot).numpy()
        scenes = scenes_behind(*pixels_of(self.examples, chosen))
        room = (self.examples.side - min(_CROP, self.examples.side)) // REDUCTION + 1
        top, left = (int(place) * REDUCTION for place in torch.randint(room, (2,), generator=lot))
        crop = scenes[:, :, top : top + _CROP, left : left + _CROP]
        noise = torch.randn((rows, LATENT, crop.shape[2] // REDUCTION, crop.shape[3] // REDUCTION), generator=lot)
        device = next(module.parameters()).device
        crop = crop.to(device)
        rebuilt, raw = module(crop, LATENT_NOISE * noise.to(device))
        loss: Tensor = codec_loss(rebuilt, crop) + 1e-4 * raw.square().mean()
        return loss

    def sheet(self, module: nn.Module) -> Tensor:
        """Scenes, and what the codec makes of them."""
        assert isinstance(module, SceneCodec)
        scenes = scenes_behind(*pixels_of(self.examples, slice(0, _COLUMNS)))
        device = next(module.parameters()).device
        with torch.inference_mode():
            rebuilt = module.decode(module.encode(scenes.to(device))).cpu()
        return torch.stack([to_bytes(row).permute(0, 2, 3, 1) for row in (scenes, rebuilt)])


@dataclass(frozen=True, eq=False)
class Studies:
    """What flows learn from: every picture twice, as logged and mirrored; N = 2 P rows.

    Attributes:
        latents: (N, Z, L, L) float16 of the scenes. products: (N, Z, L, L) float16 of the products on grey.
        covers: (N, 1, L, L).
        sketches: uint8 (N, 1, S, S) as `sketches.to_levels` makes them. holes: bool (N, 1, S, S). looks: (N, F) as told to a network. concept: (N,) row of `concept_vectors` (C, D).
        weight: (N,) how often each was shown, in impressions.
    """

    latents: Tensor
    products: Tensor
    covers: Tensor
    sketches: Tensor
    holes: Tensor
    looks: Tensor
    concept: Tensor
    concept_vectors: Tensor
    weight: Tensor

    @classmethod
    def prepare(cls, examples: Examples, codec: SceneCodec, prior: LookPrior) -> Studies:
        """All pictures through the codec, on its device, kept on the CPU."""
        device = next(codec.parameters()).device
        looks = torch.from_numpy(prior.tell(picture_looks(examples.pictures, examples.masks)))
        parts: dict[str, list[Tensor]] = {"latents": [], "products": [], "covers": [], "sketches": [], "holes": []}
        with torch.inference_mode():
            for mirrored in (False, True):
                for start in range(0, len(examples.pictures), _AT_ONCE):
                    pictures, masks = pixels_of(examples, slice(start, start + _AT_ONCE))
                    if mirrored:
                        pictures, masks = pictures.flip(3), masks.flip(3)
                    scenes, holes = scenes_behind(pictures, masks), holes_around(masks)
                    parts["sketches"].append(to_levels(sketch_scenes(scenes, holes)))
                    parts["holes"].append(holes > 0)
                    for name, pixels in (("latents", scenes), ("products", products_on_grey(pictures, masks))):
                        parts[name].append(codec.encode(pixels.to(device)).half().cpu())
                    parts["covers"].append(functional.avg_pool2d(masks, REDUCTION))
        concept = torch.from_numpy(examples.picture_concept.astype(np.int64))
        shown = np.bincount(examples.impression_picture, minlength=len(examples.pictures)).astype(np.float32)
        return cls(
            **{name: torch.cat(tensors).clone() for name, tensors in parts.items()},
            looks=torch.cat([looks, looks]),
            concept=torch.cat([concept, concept]),
            concept_vectors=torch.from_numpy(examples.concept_vectors),
            weight=torch.from_numpy(np.concatenate([shown, shown])),
        )

    def sketchbook(self, pages: int = SKETCHES) -> Sketchbook:
        """Sketches of evenly chosen pictures, as logged."""
        count = len(self.latents) // 2
        chosen = np.unique(np.linspace(0, count - 1, min(pages, count)).astype(np.int64))
        return Sketchbook(np.where(self.holes[chosen, 0].numpy(), np.uint8(0), self.sketches[chosen, 0].numpy()))


def fit_prior(examples: Examples) -> LookPrior:
    """How the logged pictures look, given their products."""
    looks = picture_looks(examples.pictures, examples.masks)
    return LookPrior.fit(looks, product_numbers(examples.pictures, examples.masks))


class FlowLesson:
    """Paint logged scenes, given product, look and concept, from noise (`network.scene_loss`).

    Args:
        studies: what to learn from.
        codec: to look at what was painted.
        seed: of first weights and all draws.
        drop_look, drop_concept, drop_product, drop_sketch: shares of rows that forget each, so that one network learns all
            the distributions that guidance needs, and scenes without a product. Half of the sketches have a second
            hole, of another picture, as a borrowed one will have.
        start: weights to set out from. same_space: whether they read concepts of this space; else that part starts afresh.

    Raises:
        ModelError: `start` is of another architecture.
    """

    name = "flow"

    def __init__(
        self,
        studies: Studies,
        codec: SceneCodec,
        *,
        seed: int,
        source: str,
        channels: tuple[int, ...] = (96, 128),
        time_spread: float = 1.2,
        drop_look: float = 0.1,
        drop_concept: float = 0.15,
        drop_product: float = 0.08,
        drop_sketch: float = 0.1,
        start: SceneNetwork | None = None,
        same_space: bool = True,
    ) -> None:
        self.studies, self.codec, self.seed = studies, codec, seed
        self.start, self.same_space = start, same_space
        self.channels, self.time_spread = channels, time_spread
        self.drops = drop_look, drop_concept, drop_product, drop_sketch
        told = f"{channels} {time_spread} {self.drops} {digest_of_module(codec)}"
        self.identity = f"{source} {told} {'' if start is None else digest_of_module(start)}"
        self.side = int(studies.latents.shape[-1])

    def student(self) -> SceneNetwork:
        """A network with weights that depend on the seed alone, or those to set out from where they fit the space."""
        network: SceneNetwork = seeded(self._new, self.seed, "first flow")
        network.condition.concept.fit(self.studies.concept_vectors)
        if self.start is not None:
            kept = {
                n: t for n, t in self.start.state_dict().items() if self.same_space or not n.startswith(SPACE_BOUND)
            }
            own = network.state_dict()
            wrong = [name for name, tensor in kept.items() if name not in own or own[name].shape != tensor.shape]
            wrong += [name for name in own if name not in kept and not name.startswith(SPACE_BOUND)]
            if wrong:
                what = f"another architecture: {len(wrong)} tensors do not fit, the first is {wrong[0]}"
                raise ModelError(
                    what, where="weights to start from", fix="Train with the settings in their config.json"
                )
            network.load_state_dict(kept, strict=False)
        return network

    def _new(self) -> SceneNetwork:
        studies = self.studies
        network: SceneNetwork = SceneNetwork(
            dimensions=int(studies.concept_vectors.shape[1]),
            looks=len(LOOK),
            latent=int(studies.latents.shape[1]),
            side=self.side,
            channels=self.channels,
        )
        return network

    def rows(self, step: int, rows: int) -> tuple[Tensor, Tensor, Tensor, Condition, torch.Generator]:
        """Latents, grounds, covers (B, ...), conditions with parts forgotten, and the lot for further draws."""
        lot, studies = _generator(self.seed, self.name, step), self.studies
        chosen = torch.multinomial(studies.weight, rows, replacement=True, generator=lot)
        look, concept, product, sketch = (torch.rand(rows, generator=lot) >= share for share in self.drops)
        condition = Condition(
            studies.looks[chosen], studies.concept_vectors[studies.concept[chosen]], has_look=look, has_concept=concept
        )
        covers = studies.covers[chosen] * product[:, None, None, None]
        others = torch.multinomial(studies.weight, rows, replacement=True, generator=lot)
        second = (torch.rand(rows, generator=lot) < 0.5)[:, None, None, None]
        holes = (studies.holes[chosen] | (studies.holes[others] & second) | ~sketch[:, None, None, None]).float()
        cells = sketch_cells(from_levels(studies.sketches[chosen]), holes)
        ground = lay_ground(studies.products[chosen].float(), covers, cells)
        return studies.latents[chosen].float(), ground, covers, condition, lot

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """See `network.scene_loss`."""
        latents, ground, covers, condition, lot = self.rows(step, rows)
        noise = torch.randn(latents.shape, generator=lot)
        times = draw_times(rows, lot, shift=time_shift(self.side), spread=self.time_spread)
        device = next(module.parameters()).device
        latents, ground, covers, noise, times = (x.to(device) for x in (latents, ground, covers, noise, times))
        velocity = module(add_noise(latents, noise, times), times, ground, condition.to(device))
        return scene_loss(velocity.float(), latents, noise, covers)

    def sheet(self, module: nn.Module) -> Tensor:
        """In three rows: as logged; painted for the same look; painted for the look of the next column."""
        assert isinstance(module, SceneNetwork)
        return scene_sheet(module, self.codec, self.studies, seed=self.seed, way=partial(draw, steps=16))


def scene_sheet(network: SceneNetwork, codec: SceneCodec, studies: Studies, *, seed: int, way: Way) -> Tensor:
    """uint8 (3, columns, S, S, 3): scenes as logged, painted for their look, and painted for their neighbour's."""
    lot = _generator(seed, "sheet")
    chosen = torch.multinomial(studies.weight, _COLUMNS, replacement=True, generator=lot)
    device = next(network.parameters()).device
    codec = codec.to(device)
    seeds = torch.tensor([seed_of(seed, "sheet", column) for column in range(_COLUMNS)])
    noise = noise_of(seeds, network.latent, network.side).to(device)
    cells = sketch_cells(from_levels(studies.sketches[chosen]), studies.holes[chosen].float())
    ground = lay_ground(studies.products[chosen].float(), studies.covers[chosen], cells).to(device)
    rows = [studies.latents[chosen].float().to(device)]
    with torch.inference_mode():
        for looks in (studies.looks[chosen], studies.looks[chosen].roll(1, 0)):
            condition = Condition(looks, studies.concept_vectors[studies.concept[chosen]]).to(device)
            rows.append(way(network, condition, ground, noise))
        return torch.stack([to_bytes(codec.decode(row)).permute(0, 2, 3, 1).cpu() for row in rows])


def digest_of_module(module: nn.Module) -> str:
    """SHA-256 of a module's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def seeded(build, seed: int, what: str):  # type: ignore[no-untyped-def]
    """Build a module whose random first weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(seed, what))
        return build()
