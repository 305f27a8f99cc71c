"""The sampler against closed forms and diffusers' scheduler; guidance by its formula; rows that leave each other alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from generators.painting.network import Condition, SceneNetwork
from generators.painting.sampling import Guidance, denoise, draw, guided_velocity, leap, noise_of, rescale, time_grid
from generators.painting.sketches import CHANNELS
from generators.taste.look import LOOK

D, Z, L = 5, 4, 4
Networks = Callable[..., SceneNetwork]


def order(rows: int = 4, seed: int = 0) -> tuple[Condition, Tensor, Tensor]:
    """condition, ground, seeds."""
    generator = torch.Generator().manual_seed(seed)
    look, concept = (torch.randn(rows, size, generator=generator) for size in (len(LOOK), D))
    ground = torch.randn(rows, Z + 1 + CHANNELS, L, L, generator=generator)
    return Condition(look, concept), ground, torch.arange(rows) + 100


def noise_for(seeds: Tensor) -> Tensor:
    return noise_of(seeds, Z, L)


class Gaussian:
    """The exact velocity of a flow from N(0, 1) noise to N(0, spread^2) latents: v = E[eps - x_0 | x_t]."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def __call__(self, noisy: Tensor, time: Tensor, ground: Tensor, condition: Condition) -> Tensor:
        t = time[:, None, None, None]
        variance = (1 - t) ** 2 * self.spread**2 + t**2
        return (t - (1 - t) * self.spread**2) / variance * noisy


def solve(spread: float, steps: int) -> float:
    """Largest error of the sampler against the exact end of the flow, x_0 = spread * eps."""
    noise = noise_for(torch.arange(2))
    condition, ground, _ = order(2)
    network, times = cast(SceneNetwork, Gaussian(spread)), time_grid(steps, shift=1)
    *_, latents = denoise(network, condition, ground, noise, times=times, guidance=Guidance())
    return float((latents - spread * noise).abs().max())


def euler_by_diffusers(spread: float, steps: int) -> float:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=time_grid(steps, shift=1)[:-1])
    noise = noise_for(torch.arange(2))
    condition, ground, _ = order(2)
    state = noise
    for timestep in scheduler.timesteps:
        velocity = Gaussian(spread)(state, (timestep / 1000).expand(2), ground, condition)
        state = scheduler.step(velocity, timestep, state, return_dict=False)[0]
    return float((state - spread * noise).abs().max())


def test_the_sampler_lands_nearer_to_the_exact_flow_than_diffusers_euler() -> None:
    assert solve(0.3, 20) < euler_by_diffusers(0.3, 20) / 2
    assert solve(0.3, 160) < 0.01


def test_one_step_is_diffusers_euler_step() -> None:
    assert solve(0.3, 1) == pytest.approx(euler_by_diffusers(0.3, 1), rel=1e-5)


@pytest.mark.parametrize(("steps", "shift"), [(1, 1.0), (7, 2.5), (20, 3.0)])
def test_the_time_grid_is_that_of_diffusers(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1].tolist())
    assert np.allclose(time_grid(steps, shift=shift), scheduler.sigmas.numpy(), atol=1e-6)


def test_a_grid_that_begins_later_is_the_rest_of_the_whole_one() -> None:
    whole = time_grid(8, shift=2)
    assert time_grid(5, shift=2, first=whole[3]) == pytest.approx(whole[3:])


class Finished:
    """Sees the finished scene at once, whatever it is given; notes what that was."""

    latent, side = Z, L

    def __init__(self, scene: Tensor) -> None:
        self.scene, self.given = scene, list[tuple[float, Tensor]]()

    def __call__(self, noisy: Tensor, time: Tensor, ground: Tensor, condition: Condition) -> Tensor:
        self.given.append((float(time[0]), noisy))
        return (noisy - self.scene) / time[:, None, None, None]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_leap_lands_on_the_scene_and_goes_back_with_other_noise_each_time(steps: int) -> None:
    condition, ground, seeds = order()
    noise, scene = noise_for(seeds), torch.full((4, Z, L, L), 3.0)
    network = Finished(scene)
    found = leap(cast(SceneNetwork, network), condition, ground, noise, steps=steps)
    assert torch.allclose(found, scene, atol=1e-5)
    times = [time for time, _ in network.given]
    assert times == pytest.approx(time_grid(steps, shift=1)[:-1])
    noises = [(noisy - (1 - time) * scene) / time for time, noisy in network.given]
    assert torch.allclose(noises[0], noise)
    for index, one in enumerate(noises[1:], start=1):
        assert one.flatten(1).std(1).tolist() == pytest.approx(noise.flatten(1).std(1).tolist(), rel=1e-4)
        for before in noises[:index]:
            assert float(torch.corrcoef(torch.stack([one.flatten(), before.flatten()]))[0, 1]) < 0.3


def test_one_leap_is_one_step_of_euler(tiny_network: Networks) -> None:
    condition, ground, seeds = order()
    network = tiny_network()
    with torch.inference_mode():
        once = leap(network, condition, ground, noise_for(seeds), steps=1)
        assert torch.allclose(once, draw(network, condition, ground, noise_for(seeds), steps=1), atol=1e-5)


def test_a_scene_needs_at_least_one_step() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        time_grid(0, shift=1)


def test_a_row_does_not_depend_on_its_batch_mates(tiny_network: Networks) -> None:
    condition, ground, seeds = order()
    network, noise = tiny_network(), noise_for(seeds)
    with torch.inference_mode():
        together = draw(network, condition, ground, noise, steps=4)
        for row in range(4):
            part = slice(row, row + 1)
            alone = draw(network, condition.rows(part), ground[part], noise[part], steps=4)
            assert torch.allclose(alone, together[part], atol=1e-4)  # sums differ in the last bits with the rows
        backwards = Condition(*(x.flip(0) for x in (condition.look, condition.concept) if x is not None))
        turned = draw(network, backwards, ground.flip(0), noise.flip(0), steps=4)
        assert torch.equal(turned.flip(0), together)  # the same number of rows: the same bytes


def test_noise_is_of_the_seed_of_its_row_alone_and_not_of_the_global_stream() -> None:
    state = torch.random.get_rng_state()
    together = noise_for(torch.tensor([7, 8, 9]))
    assert torch.equal(together[1], noise_for(torch.tensor([8]))[0])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(state, torch.random.get_rng_state())


def test_another_look_changes_the_scene_and_weight_zero_ignores_it(tiny_network: Networks) -> None:
    condition, ground, seeds = order()
    network = tiny_network()
    assert condition.look is not None
    other = Condition(condition.look.flip(0), condition.concept)

    def by(what: Condition, weight: float) -> Tensor:
        with torch.inference_mode():
            return draw(network, what, ground, noise_for(seeds), steps=3, guidance=Guidance(weight))

    assert torch.equal(by(condition, 0), by(other, 0))
    change = [float((by(condition, w) - by(condition, 0)).abs().mean()) for w in (1.0, 4.0)]
    assert change[1] > change[0] > 1e-3


def test_guidance_follows_its_formula_and_its_interval(tiny_network: Networks) -> None:
    condition, ground, seeds = order()
    network, state, time = tiny_network(), noise_for(seeds), torch.full((4,), 0.5)
    with torch.inference_mode():
        cond = network(state, time, ground, condition)
        null = network(state, time, ground, condition.any_look())
        for guidance, expected in (
            (Guidance(3), null + 3 * (cond - null)),
            (Guidance(1), cond),
            (Guidance(0), null),
            (Guidance(3, low=0.6), cond),
            (Guidance(3, high=0.4), cond),
            (Guidance(3, low=0.4, high=0.6), null + 3 * (cond - null)),
        ):
            found = guided_velocity(network, state, 0.5, ground, condition, guidance)
            assert torch.allclose(found, expected, atol=1e-5), guidance


def test_the_rescale_gives_back_the_spread_of_the_plain_scene_and_keeps_the_mean() -> None:
    plain = noise_for(torch.arange(2))
    wide = 3 * plain + 0.2
    done, half = rescale(wide, plain, share=1), rescale(wide, plain, share=0.5)
    assert done[0].std().item() == pytest.approx(plain[0].std().item(), rel=1e-4)
    assert done[0].mean().item() == pytest.approx(wide[0].mean().item(), abs=1e-5)
    assert half[0].std().item() == pytest.approx((plain[0].std().item() + wide[0].std().item()) / 2, rel=1e-4)
    assert torch.allclose(rescale(plain, wide, share=1), plain, atol=1e-5)  # it never widens


def test_shapes_that_do_not_fit_are_refused(tiny_network: Networks) -> None:
    condition, ground, seeds = order()
    with pytest.raises(ValueError, match="do not fit side 4"):
        draw(tiny_network(), condition, ground[..., :3], noise_for(seeds), steps=2)
    with pytest.raises(ValueError, match="do not fit side 4"):
        leap(tiny_network(), condition, ground[..., :3], noise_for(seeds), steps=2)
