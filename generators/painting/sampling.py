"""Turns grounds, conditions and seeds into latents of scenes: guided rectified flow, and leaps of what was distilled from it.

Letters: B scenes, L side of the latent grid, Z latent channels. Time t runs from 1 (noise) to 0 (scene).

Guidance towards the look (Ho and Salimans 2022, arXiv 2207.12598), on velocities:

    guided = null + weight * (cond - null)          null: no look in particular; cond: this look; both: this concept

weight 0 ignores the look, 1 is plain. Whom a scene is for is decided before, by the look (generators/taste/prior.py); the
weight here says how closely the look is kept. Two guards against burnt colours at large weights. The interval
(Kynkäänniemi et al. 2024, arXiv 2404.07724): weight applies for low <= t <= high, and 1 outside. The rescale (Lin et al.
2023, arXiv 2305.08891, eq. 15-16): the guided estimate is pulled towards the spread of the conditional one,

    rescaled = mean + (guided - mean) * (share * sd(cond) / sd(guided) + 1 - share)

with mean and sd over all latents of one scene, only where guidance has widened it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from generators.painting.network import Condition, SceneNetwork, add_noise, time_shift

Way = Callable[[SceneNetwork, Condition, Tensor, Tensor], Tensor]
"""(network, condition, ground, noise) into latents: `draw` or `leap`, with their further arguments given."""


@dataclass(frozen=True)
class Guidance:
    """How closely to keep the look; the formulas are at the top of this file.

    Attributes:
        weight: 0 ignores the look, 1 is plain, larger is stronger.
        low: t below which the weight is 1.
        high: t above which the weight is 1.
        rescale: share of the rescale, in [0, 1].
    """

    weight: float = 1.0
    low: float = 0.0
    high: float = 1.0
    rescale: float = 0.0


def time_grid(steps: int, *, shift: float, first: float = 1.0) -> list[float]:
    """steps + 1 times from `first` to 0: t = shift * u / (1 + (shift - 1) * u), u evenly spaced (Esser et al. 2024, eq. 23).

    With shift 1 they are even; larger shifts spend more steps near the noise, where colours and layout are decided
    (see `network.time_shift`).
    """
    if steps < 1:
        raise ValueError("at least one step")
    start = first / (shift - (shift - 1) * first)  # u of the first time
    even = [start * (1 - index / steps) for index in range(steps + 1)]
    return [shift * u / (1 + (shift - 1) * u) for u in even]


def denoise(
    network: SceneNetwork,
    condition: Condition,
    ground: Tensor,
    noise: Tensor,
    *,
    times: list[float],
    guidance: Guidance,
) -> Iterator[Tensor]:
    """Yield the estimate of the finished latents (B, Z, L, L) after each step; the last one is the scene's.

    Adams-Bashforth of second order on the velocity (Euler in the first step and the last): one evaluation a step, or
    two where guidance is at work. With h the length of this step and g of the one before,

        x <- x - h * ((1 + h / 2g) * v - h / 2g * v_before)

    Args:
        network: which paints.
        condition: what to look like and what for.
        ground: see `SceneNetwork.forward`.
        noise: eps (B, Z, L, L), standard normal.
        times: falling from 1 to 0.
        guidance: how closely to keep the look.
    """
    state = noise
    before: Tensor | None = None
    length_before = 0.0
    for index, (time, following) in enumerate(pairwise(times)):
        velocity = guided_velocity(network, state, time, ground, condition, guidance)
        length = time - following
        slope = velocity
        if before is not None and index < len(times) - 2:
            ratio = length / (2 * length_before)
            slope = (1 + ratio) * velocity - ratio * before
        estimate = state - time * velocity
        state = state - length * slope
        before, length_before = velocity, length
        yield state if following == 0 else estimate


def guided_velocity(
    network: SceneNetwork,
    state: Tensor,
    time: float,
    ground: Tensor,
    condition: Condition,
    guidance: Guidance,
) -> Tensor:
    """The velocity (B, Z, L, L) at one time, guided as at the top of this file."""
    weight = guidance.weight if guidance.low <= time <= guidance.high else 1.0
    times = torch.full((len(state),), time, dtype=state.dtype, device=state.device)

    def velocity(of: Condition) -> Tensor:
        found: Tensor = network(state, times, ground, of)
        return found

    if weight == 1.0:
        return velocity(condition)
    null = velocity(condition.any_look())
    if weight == 0.0:
        return null
    cond = velocity(condition)
    guided = null + weight * (cond - null)
    if not guidance.rescale:
        return guided
    return (state - rescale(state - time * guided, state - time * cond, share=guidance.rescale)) / time


def rescale(guided: Tensor, cond: Tensor, *, share: float) -> Tensor:
    """`guided` (B, Z, L, L) with its spread over the values of a scene pulled towards that of `cond`, if it is wider."""
    dims = (1, 2, 3)
    mean = guided.mean(dims, keepdim=True)
    factor = (cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True).clamp(min=1e-6)).clamp(max=1.0)
    return mean + (guided - mean) * (share * factor + 1 - share)


def noise_of(seeds: Tensor, latent: int, side: int) -> Tensor:
    """Standard normal eps (B, Z, L, L), row i from a generator of its own seeded with seeds[i], on the CPU."""
    rows = [torch.randn(latent, side, side, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows)


def draw(
    network: SceneNetwork,
    condition: Condition,
    ground: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: Guidance = Guidance(),
    shift: float | None = None,
) -> Tensor:
    """Latents (B, Z, L, L) of one scene per row.

    Args:
        network: which paints; the other tensors are on its device.
        condition: what to look like and what for.
        ground: see `SceneNetwork.forward`.
        noise: see `noise_of`.
        steps: evaluations of the network per scene (twice that where guidance is at work).
        guidance: how closely to keep the look.
        shift: of the time grid; None: `network.time_shift` of the side, as in training.

    Raises:
        ValueError: shapes do not fit the network.
    """
    _check(network, ground, noise)
    times = time_grid(steps, shift=time_shift(network.side) if shift is None else shift)
    *_, latents = denoise(network, condition, ground, noise, times=times, guidance=guidance)
    return latents


def leap(network: SceneNetwork, condition: Condition, ground: Tensor, noise: Tensor, *, steps: int) -> Tensor:
    """Latents (B, Z, L, L) of one scene per row, by a network that was taught to see the finished scene at once.

    Multistep consistency sampling (Song et al. 2023, arXiv 2303.01469, algorithm 1), with x_t as in `network`: each step
    takes the scene it sees, x_0 = x_t - t v, back to the next time of the grid with other noise. That is the first noise
    moved along the grid, as good as new to a network that sees a part of it at a time. One step is one of Euler's.

    Args:
        network: of `adloom train student` or `adloom train gan`; the other tensors are on its device.
        condition, ground, noise: as of `draw`.
        steps: evaluations of the network per scene; those it was taught (1, 2 or 4; a GAN: 1).

    Raises:
        ValueError: shapes do not fit the network.
    """
    _check(network, ground, noise)
    scene = noise
    for index, time in enumerate(time_grid(steps, shift=time_shift(network.side))[:-1]):
        move = index * network.side // steps
        state = add_noise(scene, noise.roll((move, move), (2, 3)), noise.new_full((len(noise),), time))
        scene = state - time * network(state, noise.new_full((len(noise),), time), ground, condition)
    return scene


def _check(network: SceneNetwork, ground: Tensor, noise: Tensor) -> None:
    """Raises ValueError where shapes do not fit the network."""
    side = network.side
    if noise.shape[1:] != (network.latent, side, side) or ground.shape[2:] != noise.shape[2:]:
        raise ValueError(f"noise {tuple(noise.shape)} and ground {tuple(ground.shape)} do not fit side {side}")
