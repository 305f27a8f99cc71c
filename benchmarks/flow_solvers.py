"""Turns diffusers' schedulers into samplers of our rectified flow, by the signature of `sampling.draw`: peers on the same network.

x_t = (1 - t) x_0 + t eps. A variance-preserving scheduler wants z = a x_0 + s eps with a^2 + s^2 = 1, which is the same picture times a number:

    t = s / (a + s),     x_t = z / (a + s),     so     x_0 = x_t - t v     and     eps = x_t + (1 - t) v     are those of z

exactly. Told x_0, DDIM (Song et al. 2021, arXiv 2010.02502, eta 0) steps z' = a' x_0 + s' eps, which is Euler's step of the flow.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor

from generators.painting.network import Condition, SceneNetwork, shift_time, time_shift
from generators.painting.sampling import Guidance, guided_velocity, time_grid

_TRAIN = 1000
_PLAIN = Guidance()


def euler(network: SceneNetwork, condition: Condition, ground: Tensor, noise: Tensor, *, steps: int, guidance: Guidance = _PLAIN) -> Tensor:  # fmt: skip
    """Plain Euler on our own grid: what DDIM has to equal."""
    state = noise
    for time, following in pairwise(time_grid(steps, shift=time_shift(network.side))):
        state = state - (time - following) * guided_velocity(network, state, time, ground, condition, guidance)
    return state


def ddim(network: SceneNetwork, condition: Condition, ground: Tensor, noise: Tensor, *, steps: int, guidance: Guidance = _PLAIN) -> Tensor:  # fmt: skip
    """diffusers' DDIM, its noise levels those of our grid."""
    scheduler: Any = DDIMScheduler(
        num_train_timesteps=_TRAIN, clip_sample=False, set_alpha_to_one=True, prediction_type="sample", timestep_spacing="trailing",
    )  # fmt: skip
    times = shift_time(torch.arange(1, _TRAIN + 1, dtype=torch.float64) / _TRAIN, time_shift(network.side))
    scheduler.alphas_cumprod = (1 - times) ** 2 / ((1 - times) ** 2 + times**2)
    scheduler.set_timesteps(steps)
    state = noise  # at t = 1: a = 0, s = 1
    for step in scheduler.timesteps:
        alpha = scheduler.alphas_cumprod[step]
        scale = float(alpha.sqrt() + (1 - alpha).sqrt())
        time, flowing = float((1 - alpha).sqrt()) / scale, state / scale
        velocity = guided_velocity(network, flowing, time, ground, condition, guidance)
        state = scheduler.step(flowing - time * velocity, step, state, return_dict=False)[0].to(noise.dtype)
    return state


def dpm_solver(network: SceneNetwork, condition: Condition, ground: Tensor, noise: Tensor, *, steps: int, guidance: Guidance = _PLAIN) -> Tensor:  # fmt: skip
    """diffusers' DPM-Solver++ (2M; Lu et al. 2022, arXiv 2211.01095) on flow sigmas."""
    scheduler: Any = DPMSolverMultistepScheduler(
        num_train_timesteps=_TRAIN, prediction_type="flow_prediction", use_flow_sigmas=True,
        flow_shift=time_shift(network.side), algorithm_type="dpmsolver++", solver_order=2,
    )  # fmt: skip
    scheduler.set_timesteps(steps)
    state = noise
    for step, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        velocity = guided_velocity(network, state, float(sigma), ground, condition, guidance)
        state = scheduler.step(velocity, step, state, return_dict=False)[0].to(noise.dtype)
    return state
