"""Turns products, conditions and seeds into pictures: guided rectified flow around a product that stays as it is.

Letters: B pictures, S side in pixels, D dimensions of the space. Time t runs from 1 (noise) to 0 (picture).

Guidance (Ho and Salimans 2022, arXiv 2207.12598), on velocities:

    guided = null + weight * (cond - null)          null: no user, click unknown; cond: this user, clicked

Both have the same concept, so weight 0 is the general picture, 1 the plain conditional one, and a picture x comes
with density p(x | concept) * [p(x | concept, user, clicked) / p(x | concept)]^weight: by Bayes' rule that bracket is
P(clicked | user, x) up to a factor that does not depend on x, where users saw pictures at random given the concept.

Two guards against burnt colours at large weights. The interval (Kynkäänniemi et al. 2024, arXiv 2404.07724): weight
applies for low <= t <= high, and 1 outside. The rescale (Lin et al. 2023, arXiv 2305.08891, eq. 15-16): the guided
estimate of the picture is pulled towards the spread of the conditional one,

    rescaled = mean + (guided - mean) * (share * sd(cond) / sd(guided) + 1 - share)

with mean and sd over all scene values of one picture, only where guidance has widened it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from generators.examples import to_bytes
from generators.network import Condition, Precision, SceneNetwork, mixed_precision, time_shift

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Guidance:
    """How hard to steer towards what this user clicks; the formulas are at the top of this file.

    Attributes:
        weight: 0 ignores the user, 1 is plain, larger is stronger.
        low: t below which the weight is 1.
        high: t above which the weight is 1.
        rescale: share of the rescale, in [0, 1].
    """

    weight: float = 4.0
    low: float = 0.0
    high: float = 1.0
    rescale: float = 0.0


def time_grid(steps: int, *, shift: float) -> list[float]:
    """steps + 1 times from 1 to 0: t = shift * u / (1 + (shift - 1) * u), u evenly spaced (Esser et al. 2024, eq. 23).

    With shift 1 they are even; larger shifts spend more steps near the noise, where colours and layout are decided
    (see `network.time_shift`).
    """
    if steps < 1:
        raise ValueError("at least one step")
    even = [1 - index / steps for index in range(steps + 1)]
    return [shift * u / (1 + (shift - 1) * u) for u in even]


def denoise(
    network: SceneNetwork,
    condition: Condition,
    product: Tensor,
    mask: Tensor,
    noise: Tensor,
    *,
    times: list[float],
    guidance: Guidance,
    start: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the estimate of the finished picture (B, 3, S, S) after each step; the last one is the picture.

    Adams-Bashforth of second order on the velocity (Euler in the first step and the last): one evaluation a step, or
    two where guidance is at work. With h the length of this step and g of the one before,

        x <- x - h * ((1 + h / 2g) * v - h / 2g * v_before)

    Before each step the product's pixels are set to what they are at this time, (1 - t) product + t eps.

    Args:
        network: which paints.
        condition: whom and what for.
        product: (B, 3, S, S) in [-1, 1].
        mask: (B, 1, S, S) in {0, 1}.
        noise: eps (B, 3, S, S), standard normal.
        times: falling to 0; from 1 unless `start` is given.
        guidance: how hard to steer.
        start: a finished picture to set out from, noised to times[0]; None: pure noise.
    """
    first = times[0]
    state = noise if start is None else (1 - first) * start + first * noise
    before: Tensor | None = None
    length_before = 0.0
    for index, (time, following) in enumerate(pairwise(times)):
        state = torch.where(mask > 0, (1 - time) * product + time * noise, state)
        velocity = guided_velocity(network, state, time, product, mask, condition, guidance)
        length = time - following
        slope = velocity
        if before is not None and index < len(times) - 2:
            ratio = length / (2 * length_before)
            slope = (1 + ratio) * velocity - ratio * before
        picture = torch.where(mask > 0, product, state - time * velocity)
        state = state - length * slope
        before, length_before = velocity, length
        yield torch.where(mask > 0, product, state) if following == 0 else picture


def guided_velocity(
    network: SceneNetwork,
    state: Tensor,
    time: float,
    product: Tensor,
    mask: Tensor,
    condition: Condition,
    guidance: Guidance,
) -> Tensor:
    """The velocity (B, 3, S, S) at one time, guided as at the top of this file."""
    rows = len(state)
    weight = guidance.weight if guidance.low <= time <= guidance.high else 1.0
    times = torch.full((rows,), time, dtype=state.dtype, device=state.device)
    if weight == 1.0:
        return _velocity(network, state, times, product, mask, condition)
    null = _velocity(network, state, times, product, mask, condition.nobody())
    if weight == 0.0:
        return null
    cond = _velocity(network, state, times, product, mask, condition)
    guided = null + weight * (cond - null)
    if not guidance.rescale:
        return guided
    picture = rescale(state - time * guided, state - time * cond, mask, share=guidance.rescale)
    return (state - picture) / time


def rescale(guided: Tensor, cond: Tensor, mask: Tensor, *, share: float) -> Tensor:
    """`guided` (B, 3, S, S) with its spread over scene values pulled towards that of `cond`, if it is wider."""
    scene = (1 - mask).expand_as(guided)
    count = scene.flatten(1).sum(1).clamp(min=1)[:, None, None, None]

    def moments(picture: Tensor) -> tuple[Tensor, Tensor]:
        mean = (picture * scene).flatten(1).sum(1)[:, None, None, None] / count
        squares = ((picture - mean).square() * scene).flatten(1).sum(1)[:, None, None, None] / count
        return mean, squares.sqrt().clamp(min=1e-6)

    mean, spread = moments(guided)
    factor = (moments(cond)[1] / spread).clamp(max=1.0)
    return mean + (guided - mean) * (share * factor + 1 - share)


def _velocity(
    network: SceneNetwork, state: Tensor, time: Tensor, product: Tensor, mask: Tensor, condition: Condition
) -> Tensor:
    velocity: Tensor = network.forward(state, time, product, mask, condition)
    return velocity


def noise_of(seeds: Tensor, side: int) -> Tensor:
    """Standard normal eps (B, 3, S, S), row i from a generator of its own seeded with seeds[i], on the CPU."""
    rows = [torch.randn(3, side, side, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows)


def draw(
    network: SceneNetwork,
    condition: Condition,
    product: Tensor,
    mask: Tensor,
    seeds: Tensor,
    *,
    steps: int = 20,
    guidance: Guidance = Guidance(),
    rows_at_once: int = ROWS_AT_ONCE,
    precision: Precision = "fp32",
    shift: float | None = None,
) -> Tensor:
    """Paint a scene around each product.

    Args:
        network: which paints, on any device.
        condition: whom and what for; `click` is normally CLICKED (see `network.clicked_by`).
        product: (B, 3, S, S) in [-1, 1]; only pixels under the mask are read.
        mask: (B, 1, S, S); above 0.5 is product, returned as given to the byte.
        seeds: (B,) int64; each row draws its noise from a generator of its own.
        steps: evaluations of the network per picture (twice that where guidance is at work).
        guidance: how hard to steer.
        rows_at_once: pictures denoised together. A row does not depend on the others, up to the last bits of float
            sums, which may differ with the number of rows: keep it fixed where bytes must repeat.
        precision: "bf16" halves the time on CPUs with AMX and on GPUs; "fp32" elsewhere.

        shift: of the time grid; None: `network.time_shift` of the side, as in training.

    Returns:
        uint8 (B, S, S, 3) on the CPU.

    Raises:
        ValueError: shapes do not fit the network, or the mask and product do not fit each other.
    """
    side, rows = network.side, len(seeds)
    if tuple(product.shape) != (rows, 3, side, side) or tuple(mask.shape) != (rows, 1, side, side):
        raise ValueError(
            f"product {tuple(product.shape)} and mask {tuple(mask.shape)} do not fit {rows} seeds, side {side}"
        )
    device = next(network.parameters()).device
    times = time_grid(steps, shift=time_shift(side) if shift is None else shift)
    pictures = []
    with torch.inference_mode(), mixed_precision(device.type, precision):
        for first in range(0, rows, rows_at_once):
            part = slice(first, min(first + rows_at_once, rows))
            some = condition.rows(part).to(device)
            held = (mask[part] > 0.5).float().to(device)
            given, noise = product[part].to(device), noise_of(seeds[part], side).to(device)
            *_, picture = denoise(network, some, given, held, noise, times=times, guidance=guidance)
            pictures.append(to_bytes(picture.float()).permute(0, 2, 3, 1).cpu())
    return torch.cat(pictures)
