"""Before training: shapes, conditions that reach the scene, losses that mean what they say, a set learned by heart."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from generators.painting.network import (
    HIDDEN_WEIGHT,
    Condition,
    SceneNetwork,
    VectorTokens,
    add_noise,
    draw_times,
    lay_ground,
    scene_loss,
    time_shift,
)
from generators.painting.sketches import CHANNELS
from generators.taste.look import LOOK

D, Z, L, F = 5, 4, 4, len(LOOK)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def cover(rows: int = 3) -> torch.Tensor:
    covers = torch.zeros(rows, 1, L, L)
    covers[:, :, 1:3, 1:3] = 1
    covers[:, :, 3, 1:3] = 0.5
    return covers


def inputs(rows: int = 3, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """noisy, time, ground."""
    ground = lay_ground(normal(seed, rows, Z, L, L), cover(rows), normal(seed + 1, rows, CHANNELS, L, L))
    return normal(seed + 2, rows, Z, L, L), torch.rand(rows, generator=torch.Generator().manual_seed(seed)), ground


def condition(rows: int = 3, seed: int = 5) -> Condition:
    return Condition(normal(seed, rows, F), normal(seed + 1, rows, D))


@pytest.mark.parametrize(("side", "channels"), [(4, (32, 32)), (8, (32, 64)), (16, (32, 32, 64)), (4, (32,))])
def test_the_velocity_has_the_shape_of_the_latents(
    tiny_network: Callable[..., SceneNetwork], side: int, channels: tuple[int, ...]
) -> None:
    network = tiny_network(side=side, channels=channels)
    ground = torch.zeros(2, Z + 1 + CHANNELS, side, side)
    out = network(normal(0, 2, Z, side, side), torch.tensor([0.2, 0.9]), ground, condition(2))
    assert out.shape == (2, Z, side, side)
    assert out.isfinite().all()


def test_a_side_that_the_levels_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        SceneNetwork(side=9, channels=(32, 32))


def test_scene_prediction_is_turned_into_the_velocity_that_leads_to_it(
    tiny_network: Callable[..., SceneNetwork],
) -> None:
    network = tiny_network()
    nn.init.zeros_(network.unet.conv_out.weight)  # the predicted latents are 0 everywhere
    noisy, _, ground = inputs()
    time = torch.tensor([0.2, 0.5, 1.0])
    out = network(noisy, time, ground, condition())
    assert torch.allclose(noisy - time[:, None, None, None] * out, torch.zeros_like(noisy), atol=1e-5)


def test_no_look_in_particular_is_one_place_however_it_is_reached(tiny_network: Callable[..., SceneNetwork]) -> None:
    network, given, concept = tiny_network(), inputs(), normal(6, 3, D)
    nothing = torch.zeros(3, dtype=torch.bool)
    without = network(*given, Condition(None, concept))
    flagged = network(*given, Condition(normal(5, 3, F), concept, has_look=nothing))
    derived = network(*given, Condition(normal(4, 3, F), concept).any_look())
    assert torch.equal(without, flagged)
    assert torch.equal(without, derived)
    assert not torch.allclose(without, network(*given, Condition(normal(5, 3, F), concept)), atol=1e-4)


@pytest.mark.parametrize("what", ["look", "concept", "product", "sketch"])
def test_everything_given_changes_the_velocity_of_its_own_row_only(
    tiny_network: Callable[..., SceneNetwork], what: str
) -> None:
    network, (noisy, time, ground), told = tiny_network(), inputs(), condition()
    before = network(noisy, time, ground, told)
    look, concept, ground2 = (part.clone() for part in (told.look, told.concept, ground) if part is not None)
    if what == "look":
        look[1] += 1
    elif what == "concept":
        concept[1] += 1
    elif what == "product":
        ground2[1, :Z] += cover(1)[0] > 0
    else:
        ground2[1, Z + 1 :] += 1
    after = network(noisy, time, ground2, Condition(look, concept))
    changed = (after - before).abs().flatten(1).amax(1)
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() < 1e-5


def test_gradients_reach_every_weight_of_the_condition(tiny_network: Callable[..., SceneNetwork]) -> None:
    network = tiny_network()
    half = torch.tensor([True, False, True])
    told = Condition(normal(5, 3, F), normal(6, 3, D), has_look=half, has_concept=~half)
    network(*inputs(), told).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        if name.startswith("condition."):
            assert weight.grad.abs().sum() > 0, name


def test_latents_of_cells_without_product_are_not_seen() -> None:
    product = normal(1, 3, Z, L, L)
    hidden = torch.where(cover() > 0, product, product + 5)
    cells = torch.zeros(3, CHANNELS, L, L)
    assert torch.equal(lay_ground(product, cover(), cells), lay_ground(hidden, cover(), cells))


def test_tokens_do_not_depend_on_the_scale_or_origin_of_the_space() -> None:
    raw = normal(4, 50, D)
    one, other = (VectorTokens(D, 2, 8) for _ in range(2))
    other.load_state_dict(one.state_dict())
    one.fit(raw)
    other.fit(raw * 0.03 + 2)
    assert torch.allclose(one(raw, None, 50), other(raw * 0.03 + 2, None, 50), atol=1e-4)


def test_noise_is_all_at_time_one_and_none_at_time_zero() -> None:
    latents, noise = normal(1, 3, Z, L, L), normal(2, 3, Z, L, L)
    assert torch.equal(add_noise(latents, noise, torch.zeros(3)), latents)
    assert torch.equal(add_noise(latents, noise, torch.ones(3)), noise)
    half = add_noise(latents, noise, torch.full((3,), 0.5))
    assert torch.allclose(half - 0.5 * (noise - latents), latents, atol=1e-6)


def test_the_loss_is_zero_for_the_true_velocity_and_counts_hidden_cells_less() -> None:
    latents, noise = normal(1, 3, Z, L, L), normal(2, 3, Z, L, L)
    truth = noise - latents
    assert scene_loss(truth, latents, noise, cover()) == 0
    assert scene_loss(truth + 2, latents, noise, cover()).item() == pytest.approx(4, rel=1e-5)
    whole = (cover() == 1).float()
    seen, hidden = (scene_loss(truth + 2 * part, latents, noise, whole).item() for part in (1 - whole, whole))
    share = float(whole.mean())
    assert hidden / share == pytest.approx(HIDDEN_WEIGHT * seen / (1 - share), rel=1e-4)


def test_a_scene_counts_alike_however_large_its_product() -> None:
    latents, noise = normal(1, 2, Z, L, L), normal(2, 2, Z, L, L)
    covers = torch.zeros(2, 1, L, L)
    covers[1, :, :3] = 1
    off = torch.stack([torch.ones(Z, L, L), torch.zeros(Z, L, L)])
    for wrong in (off, off.flip(0)):
        assert scene_loss(noise - latents + wrong, latents, noise, covers).item() == pytest.approx(0.5, rel=1e-5)


def test_times_are_logit_normal_and_lean_towards_noise_on_large_grids() -> None:
    logits = torch.logit(draw_times(20000, torch.Generator().manual_seed(0), shift=time_shift(32), spread=0.5))
    assert logits.mean().item() == pytest.approx(math.log(4), abs=0.02)
    assert logits.std().item() == pytest.approx(0.5, abs=0.02)
    assert time_shift(8) == time_shift(4) == 1


def test_four_scenes_are_learned_by_heart(tiny_network: Callable[..., SceneNetwork]) -> None:
    network = tiny_network()
    generator = torch.Generator().manual_seed(3)
    latents, ground = normal(9, 4, Z, L, L), torch.zeros(4, Z + 1 + CHANNELS, L, L)
    told = Condition(normal(7, 4, F), None)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for step in range(250):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, (250 - step) / 100)
        noise, time = torch.randn(latents.shape, generator=generator), draw_times(4, generator, shift=2)
        velocity = network(add_noise(latents, noise, time), time, ground, told)
        loss = scene_loss(velocity, latents, noise, torch.zeros(4, 1, L, L))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) / 20 < 0.05 < losses[0] / 20
