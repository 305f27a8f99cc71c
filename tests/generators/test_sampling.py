"""The sampler against closed forms and diffusers' scheduler; products to the byte; rows that leave each other alone."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from generators.examples import to_bytes, to_float
from generators.network import Condition, SceneNetwork, clicked_by
from generators.sampling import Guidance, denoise, draw, guided_velocity, noise_of, rescale, time_grid

D, S = 5, 16


def tiny() -> SceneNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        shape = {"patch": 2, "channels": (32, 32), "token_width": 32, "refine": 4, "coarse": True, "even": True}
        network = SceneNetwork(dimensions=D, side=S, **shape).eval()
        nn.init.normal_(network.unet.conv_out.weight, std=0.1)
    return network


def order(rows: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """user, concept, product, mask, seeds."""
    generator = torch.Generator().manual_seed(seed)
    user, concept = (torch.randn(rows, D, generator=generator) for _ in range(2))
    product = to_float(torch.randint(0, 256, (rows, 3, S, S), generator=generator).to(torch.uint8))
    mask = torch.zeros(rows, 1, S, S)
    mask[:, :, 5:12, 6:11] = 1
    return user, concept, product, mask, torch.arange(rows) + 100


class Gaussian:
    """The exact velocity of a flow from N(0, 1) noise to N(0, spread^2) pictures: v = E[eps - x_0 | x_t]."""

    def __init__(self, spread: float) -> None:
        self.spread = spread

    def forward(self, noisy: Tensor, time: Tensor, product: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        t = time[:, None, None, None]
        variance = (1 - t) ** 2 * self.spread**2 + t**2
        return (t - (1 - t) * self.spread**2) / variance * noisy


def solve(spread: float, steps: int) -> float:
    """Largest error of the sampler against the exact end of the flow, x_0 = spread * eps."""
    noise = noise_of(torch.arange(2), S)
    nothing = torch.zeros(2, 1, S, S)
    network = cast(SceneNetwork, Gaussian(spread))
    condition = clicked_by(None, torch.zeros(2, D))
    guidance = Guidance(weight=1)
    *_, picture = denoise(network, condition, noise, nothing, noise, times=time_grid(steps, shift=1), guidance=guidance)
    return float((picture - spread * noise).abs().max())


def euler_by_diffusers(spread: float, steps: int) -> float:
    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=time_grid(steps, shift=1)[:-1])
    noise = noise_of(torch.arange(2), S)
    state = noise
    for timestep in scheduler.timesteps:
        time = (timestep / 1000).expand(2)
        velocity = Gaussian(spread).forward(state, time, noise, noise, clicked_by(None, torch.zeros(2, D)))
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


def test_a_picture_needs_at_least_one_step() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        time_grid(0, shift=1)


def test_the_product_comes_back_to_the_byte() -> None:
    user, concept, product, mask, seeds = order()
    drawn = draw(tiny(), clicked_by(user, concept), product, mask, seeds, steps=3)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (4, S, S, 3)
    held = mask[:, 0] > 0
    given = to_bytes(product).permute(0, 2, 3, 1)
    assert torch.equal(drawn[held], given[held])
    assert not torch.equal(drawn[~held], given[~held])


def test_what_lies_outside_the_mask_of_the_product_is_not_seen() -> None:
    user, concept, product, mask, seeds = order()
    network = tiny()
    one = draw(network, clicked_by(user, concept), product, mask, seeds, steps=3)
    other = draw(network, clicked_by(user, concept), torch.where(mask > 0, product, -product), mask, seeds, steps=3)
    assert torch.equal(one, other)


def test_a_row_does_not_depend_on_its_batch_mates() -> None:
    user, concept, product, mask, seeds = order()
    network = tiny()
    together = draw(network, clicked_by(user, concept), product, mask, seeds, steps=4)
    for row in range(4):
        part = slice(row, row + 1)
        alone = draw(network, clicked_by(user, concept).rows(part), product[part], mask[part], seeds[part], steps=4)
        gap = (alone.int() - together[part].int()).abs()
        assert gap.max() <= 1  # float sums may differ in the last bits with the number of rows
        assert (gap > 0).float().mean() < 0.01
    backwards = clicked_by(user.flip(0), concept.flip(0))
    turned = draw(network, backwards, product.flip(0), mask.flip(0), seeds.flip(0), steps=4)
    assert torch.equal(turned.flip(0), together)  # the same number of rows: the same bytes


def test_the_same_seed_draws_the_same_bytes_and_another_one_does_not() -> None:
    user, concept, product, mask, seeds = order()
    condition = clicked_by(user, concept)
    network = tiny()
    state = torch.random.get_rng_state()
    one, two, other = (draw(network, condition, product, mask, s, steps=3) for s in (seeds, seeds, seeds + 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())  # nothing was drawn from the global stream


def test_chunks_are_drawn_as_the_whole() -> None:
    user, concept, product, mask, seeds = order()
    network = tiny()
    whole = draw(network, clicked_by(user, concept), product, mask, seeds, steps=3)
    parts = draw(network, clicked_by(user, concept), product, mask, seeds, steps=3, rows_at_once=3)
    assert (whole.int() - parts.int()).abs().max() <= 1


def test_another_user_changes_the_picture_and_weight_zero_ignores_the_user() -> None:
    user, concept, product, mask, seeds = order()
    network = tiny()

    def by(who: Tensor | None, weight: float) -> Tensor:
        return draw(network, clicked_by(who, concept), product, mask, seeds, steps=3, guidance=Guidance(weight))

    assert not torch.equal(by(user, 4), by(user.flip(0), 4))
    assert torch.equal(by(user, 0), by(user.flip(0), 0))
    change = [(by(user, w).float() - by(user, 0).float()).abs().mean() for w in (1.0, 4.0)]
    assert change[1] > change[0] > 0


def test_guidance_follows_its_formula_and_its_interval() -> None:
    user, concept, product, mask, seeds = order()
    network, state, condition = tiny(), noise_of(seeds, S), clicked_by(user, concept)
    time = torch.full((4,), 0.5)
    with torch.inference_mode():
        cond = network(state, time, product, mask, condition)
        null = network(state, time, product, mask, Condition(None, concept, torch.zeros(4, dtype=torch.long)))
        for guidance, expected in (
            (Guidance(3), null + 3 * (cond - null)),
            (Guidance(1), cond),
            (Guidance(0), null),
            (Guidance(3, low=0.6), cond),
            (Guidance(3, high=0.4), cond),
            (Guidance(3, low=0.4, high=0.6), null + 3 * (cond - null)),
        ):
            found = guided_velocity(network, state, 0.5, product, mask, condition, guidance)
            assert torch.allclose(found, expected, atol=1e-5), guidance


def test_the_rescale_gives_back_the_spread_of_the_plain_picture_and_keeps_the_mean() -> None:
    plain = noise_of(torch.arange(2), S)
    mask = order(2)[3]
    wide = 3 * plain + 0.2
    scene = (mask == 0).expand_as(plain)

    def facts(picture: Tensor) -> tuple[float, float]:
        values = picture[0][scene[0]]
        return float(values.mean()), float(values.std(correction=0))

    done, half = rescale(wide, plain, mask, share=1), rescale(wide, plain, mask, share=0.5)
    assert facts(done)[1] == pytest.approx(facts(plain)[1], rel=1e-4)
    assert facts(done)[0] == pytest.approx(facts(wide)[0], abs=1e-5)
    assert facts(half)[1] == pytest.approx((facts(plain)[1] + facts(wide)[1]) / 2, rel=1e-4)
    assert torch.allclose(rescale(plain, wide, mask, share=1), plain, atol=1e-5)  # it never widens


def test_shapes_that_do_not_fit_are_refused() -> None:
    user, concept, product, mask, seeds = order()
    with pytest.raises(ValueError, match="do not fit 3 seeds"):
        draw(tiny(), clicked_by(user, concept), product, mask, seeds[:3])
    with pytest.raises(ValueError, match="side 16"):
        draw(tiny(), clicked_by(user, concept), product[..., :8], mask, seeds)
