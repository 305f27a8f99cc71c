"""Turns a noisy picture, its product and a condition (user, concept, clicked?) into the velocity towards the scene.

Letters: B pictures, S side in pixels, D dimensions of the space, T tokens, W width of a token, E width of the time
embedding. Pictures are float32 in [-1, 1], RGB; a mask is 1 on product pixels, which are given and never drawn.

Rectified flow (Liu et al. 2023, arXiv 2209.03003): x_t = (1 - t) x_0 + t eps, t from 0 (picture) to 1 (noise), and
the velocity v = eps - x_0 = (x_t - x_0) / t.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, Literal

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional

COARSE = 4  # side of the coarse picture
TIME_WAVES = 8
TIME_FLOOR = 0.05  # 1 / t is clamped here, as in JiT (Li and He 2025, arXiv 2511.13720)
USER_TOKENS = 4
CONCEPT_TOKENS = 4
PREDICTIONS = ("picture", "velocity")
Precision = Literal["fp32", "bf16"]


class Click(IntEnum):
    """What is known about the click on a picture."""

    UNKNOWN = 0
    NOT_CLICKED = 1
    CLICKED = 2


@dataclass(frozen=True)
class Condition:
    """Whom and what B pictures are for.

    Attributes:
        user: (B, D) float32, or None where no picture has a user.
        concept: (B, D) float32, or None where no picture has a concept.
        click: (B,) int64, values of `Click`.
        has_user: (B,) bool; a row without gets the learned null user. None: every row has one, if `user` is given.
        has_concept: (B,) bool, likewise.
    """

    user: Tensor | None
    concept: Tensor | None
    click: Tensor
    has_user: Tensor | None = None
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

    def nobody(self) -> Condition:
        """The same concepts for no user in particular, the click unknown: the start of guidance."""
        return replace(self, user=None, has_user=None, click=torch.zeros_like(self.click))

    def undecided(self) -> Condition:
        """The same concepts and users, the click unknown."""
        return replace(self, click=torch.zeros_like(self.click))


def clicked_by(user: Tensor | None, concept: Tensor) -> Condition:
    """Pictures of these concepts (B, D) that these users (B, D) click; with no users, that anybody clicks."""
    return Condition(user, concept, torch.full((len(concept),), int(Click.CLICKED), device=concept.device))


def mixed_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """The context in which a network runs: "bf16" halves the time on GPUs and on CPUs with AMX; "fp32" elsewhere."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


def fastest_precision(device: str) -> Precision:
    """What to compute in on a device: bf16 on CUDA and on CPUs with AMX tiles, else fp32 (where bf16 is emulated)."""
    has_tiles = device == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16" if has_tiles else "fp32"


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
    """A condition into tokens for cross-attention and one vector for the adaptive norms.

    Taste is an interaction (this user AND clicked), so the vector is a joint MLP of user, concept, click and
    user times click, rather than a sum of one embedding each.
    """

    def __init__(self, dimensions: int, width: int, embedding: int, *, even: bool) -> None:
        super().__init__()
        self.even = even
        self.user = VectorTokens(dimensions, USER_TOKENS, width)
        self.concept = VectorTokens(dimensions, CONCEPT_TOKENS, width)
        self.click = nn.Embedding(len(Click), width)
        self.join = nn.Linear(4 * width, embedding)
        self.pooled = nn.Linear(embedding, embedding)

    def forward(self, condition: Condition) -> tuple[Tensor, Tensor]:
        """Into tokens (B, T, W) and pooled (B, E)."""
        rows = len(condition.click)
        user = self.user(condition.user, condition.has_user, rows)
        concept = self.concept(condition.concept, condition.has_concept, rows)
        click = self.click(condition.click)
        who, what = user.mean(1), concept.mean(1)
        if self.even:
            user, concept, click, who, what = (_even(part) for part in (user, concept, click, who, what))
        joint = torch.cat([who, what, click, who * click], dim=1)
        pooled = self.pooled(functional.silu(self.join(joint)))
        return torch.cat([user, concept, click[:, None]], dim=1), pooled


def _even(vectors: Tensor) -> Tensor:
    """Each vector (..., W) with mean 0 and variance 1, so that no part of a condition starts out whispering."""
    return functional.layer_norm(vectors, vectors.shape[-1:])


class CoarseHead(nn.Module):
    """The coarse picture, COARSE x COARSE, guessed from the coarse noisy picture, the time and the condition.

    What a user's taste decides first is colour and light over large areas. White noise hides these least and a UNet
    learns to speak of them last; a small residual MLP learns them within some hundred steps. Starts as zero.
    """

    def __init__(self, embedding: int, hidden: int) -> None:
        super().__init__()
        self.read = nn.Linear(3 * COARSE**2 * 2 + COARSE**2, hidden)
        self.condition = nn.Linear(embedding, hidden)
        self.time = nn.Linear(TIME_WAVES * 2, hidden)
        self.blocks = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(2)])
        self.write = nn.Linear(hidden, 3 * COARSE**2)
        nn.init.zeros_(self.write.weight)
        nn.init.zeros_(self.write.bias)

    def forward(self, pixels: Tensor, time: Tensor, pooled: Tensor) -> Tensor:
        """Noisy picture, product and mask (B, 7, S, S), t (B,) and condition (B, E) into (B, 3, S, S)."""
        side = pixels.shape[-1]
        coarse = functional.adaptive_avg_pool2d(pixels, COARSE).flatten(1)
        logit = torch.logit(time, eps=1e-4)[:, None] * torch.arange(1, TIME_WAVES + 1, device=time.device) * 0.25
        waves = torch.cat([logit.sin(), logit.cos()], dim=1)
        hidden = self.read(coarse) + self.condition(pooled) + self.time(waves)
        for block in self.blocks:
            hidden = hidden + block(functional.silu(hidden))
        grid = self.write(functional.silu(hidden)).view(-1, 3, COARSE, COARSE)
        return functional.interpolate(grid, size=(side, side), mode="bilinear", align_corners=False)


class SceneNetwork(ModelMixin, ConfigMixin):
    """A UNet over pixel-unshuffled pictures that paints a scene around a product.

    `patch` x `patch` pixels become channels (PixelUnshuffle), so a 64-pixel picture is a 16 x 16 grid: about ten times
    cheaper than the same UNet on pixels. The picture with only its product, and the mask, are further input channels.

    Args:
        dimensions: D of the embedding space.
        side: S, a multiple of patch * 2 ** (len(channels) - 1).
        patch: side of a patch in pixels.
        channels: width of each level, finest first, multiples of 32; cross-attention at the coarsest.
        layers: residual blocks per level.
        token_width: W.
        prediction: what the UNet puts out: "picture" (x_0, JiT) or "velocity".
        refine: width of a residual block of convolutions on full-size pixels after the UNet; 0 for none.
        coarse: whether a `CoarseHead` adds the colour and light of large areas.
        even: whether user, concept and click start out equally loud (layer norm on their tokens).
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        dimensions: int = 32,
        side: int = 64,
        patch: int = 4,
        channels: tuple[int, ...] = (128, 160),
        layers: int = 1,
        token_width: int = 128,
        prediction: str = "picture",
        refine: int = 0,
        coarse: bool = False,
        even: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is one of {PREDICTIONS}, not {prediction!r}")
        if side % (patch * 2 ** (len(channels) - 1)):
            raise ValueError(f"side {side} is no multiple of patch {patch} * 2 ** {len(channels) - 1}")
        self.side, self.patch, self.prediction = side, patch, prediction
        self.condition = ConditionEncoder(dimensions, token_width, 4 * channels[0], even=even)
        self.unet = _unet(
            side // patch, pixels=patch**2, channels=tuple(channels), layers=layers, token_width=token_width
        )
        self.coarse_head = CoarseHead(4 * channels[0], 2 * token_width) if coarse else None
        self.refiner = _refiner(refine) if refine else None

    def forward(self, noisy: Tensor, time: Tensor, product: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        """The velocity (B, 3, S, S).

        Args:
            noisy: x_t (B, 3, S, S).
            time: t (B,) in [0, 1].
            product: (B, 3, S, S) in [-1, 1]; only pixels under the mask are read.
            mask: (B, 1, S, S), 1 on the product.
            condition: whom and what for.
        """
        tokens, pooled = self.condition(condition)
        pixels = torch.cat([noisy, product * mask, mask], dim=1)
        grid = functional.pixel_unshuffle(pixels, self.patch)
        out: Tensor = self.unet(grid, time * 1000, tokens, class_labels=pooled, return_dict=False)[0]
        out = functional.pixel_shuffle(out, self.patch)
        if self.coarse_head is not None:
            out = out + self.coarse_head(pixels, time, pooled)
        if self.refiner is not None:
            out = out + self.refiner(torch.cat([out, pixels], dim=1))
        if self.prediction == "velocity":
            return out
        return (noisy - out) / time.clamp(min=TIME_FLOOR)[:, None, None, None]


def _unet(grid: int, *, pixels: int, channels: tuple[int, ...], layers: int, token_width: int) -> Any:
    """The UNet over a grid x grid picture of patches of so many pixels; it starts by putting out zero."""
    fine = len(channels) - 1
    build: Any = UNet2DConditionModel
    unet = build(
        sample_size=grid,
        in_channels=7 * pixels,
        out_channels=3 * pixels,
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


def _refiner(width: int) -> nn.Sequential:
    """Convolutions on full-size pixels, starting as the zero function: they mend the seams between patches."""
    last = nn.Conv2d(width, 3, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(
        nn.Conv2d(10, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), last
    )


def add_noise(picture: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """x_t = (1 - t) x_0 + t eps. Shapes (B, 3, S, S), (B, 3, S, S), (B,)."""
    weight = time[:, None, None, None]
    return (1 - weight) * picture + weight * noise


def time_shift(side: int) -> float:
    """How far times lean towards the noise for pictures of this side: side / 8, at least 1.

    White noise averages out over pixels: in a 64-pixel picture at t = 0.9 the colours and the layout still show, so all
    that a user's taste decides is decided between t = 0.9 and 1, where plain schedules hardly look. The noise level
    at which a pattern drowns grows with the side (Hoogeboom et al. 2023, arXiv 2301.11093; Esser et al. 2024, eq. 23);
    8 x 8 is the picture that needs no shift.
    """
    return max(side / 8, 1.0)


def shift_time(even: Tensor, shift: float) -> Tensor:
    """t = shift * u / (1 + (shift - 1) * u): adds log(shift) to the logit of u."""
    return shift * even / (1 + (shift - 1) * even)


def draw_times(rows: int, generator: torch.Generator, *, shift: float = 1.0, spread: float = 1.2) -> Tensor:
    """Logit-normal t in (0, 1), (B,): sigmoid(log(shift) + spread * N(0, 1)) (Esser et al. 2024, arXiv 2403.03206)."""
    return shift_time(torch.sigmoid(spread * torch.randn(rows, generator=generator)), shift)


def scene_loss(velocity: Tensor, picture: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the velocity over scene pixels (mask 0) of each picture, averaged over pictures: a scalar.

    Each picture counts alike, however large its product. A picture that is all product adds nothing.
    """
    scene = 1 - mask
    error = (velocity - (noise - picture)).square().mean(1, keepdim=True)
    per_picture = (error * scene).flatten(1).sum(1) / scene.flatten(1).sum(1).clamp(min=1)
    return per_picture.mean()
