"""Before training: shapes, conditions that reach the picture, losses that mean what they say, a set learned by heart."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from generators.network import (
    Click,
    Condition,
    SceneNetwork,
    VectorTokens,
    add_noise,
    clicked_by,
    draw_times,
    scene_loss,
)

D, S = 5, 16


def tiny(seed: int = 0, **changes: object) -> SceneNetwork:
    """A network with 16-pixel pictures whose output convolution is not zero, so that conditions show at once."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        arguments: dict[str, object] = {"dimensions": D, "side": S, "patch": 2, "channels": (32, 32), "token_width": 32}
        arguments |= {"refine": 4, "coarse": True, "even": True}
        network = SceneNetwork(**{**arguments, **changes})
        nn.init.normal_(network.unet.conv_out.weight, std=0.05)
    return network


def inputs(rows: int = 3, seed: int = 1, side: int = S) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    noisy, product = (torch.randn(rows, 3, side, side, generator=generator) for _ in range(2))
    mask = torch.zeros(rows, 1, side, side)
    mask[:, :, 4:9, 5:10] = 1
    return noisy, torch.rand(rows, generator=generator), product, mask


def vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("side", "patch", "channels"), [(16, 2, (32, 32)), (32, 4, (32, 64)), (128, 4, (32, 32, 64)), (16, 1, (32,))]
)
def test_the_velocity_has_the_shape_of_the_picture(side: int, patch: int, channels: tuple[int, ...]) -> None:
    network = tiny(side=side, patch=patch, channels=channels)
    out = network(*inputs(side=side), clicked_by(vectors(3, 0), vectors(3, 1)))
    assert out.shape == (3, 3, side, side)
    assert out.isfinite().all()


def test_a_side_that_patches_do_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="no multiple"):
        SceneNetwork(side=18, patch=4)
    with pytest.raises(ValueError, match="prediction is one of"):
        SceneNetwork(prediction="noise")


def test_picture_prediction_is_turned_into_the_velocity_that_leads_to_it() -> None:
    network = tiny(refine=0)
    nn.init.zeros_(network.unet.conv_out.weight)  # the predicted picture is 0 everywhere
    noisy, _, product, mask = inputs()
    time = torch.tensor([0.2, 0.5, 1.0])
    out = network(noisy, time, product, mask, clicked_by(None, vectors(3, 1)))
    assert torch.allclose(noisy - time[:, None, None, None] * out, torch.zeros_like(noisy), atol=1e-5)


def test_the_null_condition_is_one_place_however_it_is_reached() -> None:
    network, given, concept = tiny(), inputs(), vectors(3, 1)
    unknown, nobody = torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.bool)
    without = network(*given, Condition(None, concept, unknown))
    flagged = network(*given, Condition(vectors(3, 2), concept, unknown, has_user=nobody))
    derived = network(*given, clicked_by(vectors(3, 3), concept).nobody())
    assert torch.equal(without, flagged)
    assert torch.equal(without, derived)
    assert not torch.allclose(without, network(*given, Condition(vectors(3, 2), concept, unknown)), atol=1e-4)


@pytest.mark.parametrize("what", ["user", "concept", "click"])
def test_every_condition_changes_the_velocity_of_its_own_row_only(what: str) -> None:
    network, given = tiny(), inputs()
    user, concept = vectors(3, 1), vectors(3, 2)
    before = network(*given, clicked_by(user, concept))
    user2, concept2 = user.clone(), concept.clone()
    click = torch.full((3,), int(Click.CLICKED))
    if what == "user":
        user2[1] += 1
    elif what == "concept":
        concept2[1] += 1
    else:
        click[1] = int(Click.NOT_CLICKED)
    after = network(*given, Condition(user2, concept2, click))
    changed = (after - before).abs().flatten(1).amax(1)
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() < 1e-5


def test_gradients_reach_every_weight_of_the_condition() -> None:
    network = tiny()
    half = torch.tensor([True, False, True])
    condition = Condition(vectors(3, 1), vectors(3, 2), torch.tensor([0, 1, 2]), has_user=half, has_concept=~half)
    network(*inputs(), condition).square().mean().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        if name.startswith("condition."):
            assert weight.grad.abs().sum() > 0, name
    rows = network.condition.click.weight.grad
    assert rows is not None
    assert (rows.abs().sum(1) > 0).all()


def test_pixels_outside_the_mask_of_the_product_are_not_seen() -> None:
    network, (noisy, time, product, mask) = tiny(), inputs()
    condition = clicked_by(vectors(3, 1), vectors(3, 2))
    other = torch.where(mask > 0, product, product + 5)
    assert torch.equal(network(noisy, time, product, mask, condition), network(noisy, time, other, mask, condition))


def test_tokens_do_not_depend_on_the_scale_or_origin_of_the_space() -> None:
    raw = vectors(50, 4)
    one, other = (VectorTokens(D, 2, 8) for _ in range(2))
    other.load_state_dict(one.state_dict())
    one.fit(raw)
    other.fit(raw * 0.03 + 2)
    assert torch.allclose(one(raw, None, 50), other(raw * 0.03 + 2, None, 50), atol=1e-4)


def test_noise_is_all_at_time_one_and_none_at_time_zero() -> None:
    picture, _, noise, _ = inputs()
    assert torch.equal(add_noise(picture, noise, torch.zeros(3)), picture)
    assert torch.equal(add_noise(picture, noise, torch.ones(3)), noise)
    half = add_noise(picture, noise, torch.full((3,), 0.5))
    assert torch.allclose(half - 0.5 * (noise - picture), picture, atol=1e-6)


def test_the_loss_is_zero_for_the_true_velocity_whatever_happens_on_the_product() -> None:
    picture, _, noise, mask = inputs()
    truth = noise - picture
    wrong_on_product = truth + 7 * mask
    assert scene_loss(wrong_on_product, picture, noise, mask) == 0
    assert scene_loss(truth + 2 * (1 - mask), picture, noise, mask).item() == pytest.approx(4, rel=1e-5)


def test_a_picture_counts_alike_however_large_its_product() -> None:
    picture, _, noise, mask = inputs(rows=2)
    mask[1] = 0
    mask[1, :, :15] = 1
    off = torch.stack([torch.ones(3, S, S), torch.zeros(3, S, S)])
    one = scene_loss(noise - picture + off, picture, noise, mask)
    two = scene_loss(noise - picture + off.flip(0), picture, noise, mask)
    assert one.item() == pytest.approx(two.item(), rel=1e-5) == pytest.approx(0.5, rel=1e-5)


def test_times_are_logit_normal() -> None:
    times = draw_times(20000, torch.Generator().manual_seed(0), shift=4, spread=0.5)
    logits = torch.logit(times)
    assert logits.mean().item() == pytest.approx(math.log(4), abs=0.02)
    assert logits.std().item() == pytest.approx(0.5, abs=0.02)


def test_four_pictures_are_learned_by_heart() -> None:
    network = tiny()
    generator = torch.Generator().manual_seed(3)
    coarse = torch.randn(4, 3, 4, 4, generator=generator).clamp(-1, 1)
    picture = nn.functional.interpolate(coarse, size=(S, S), mode="bilinear")
    mask = torch.zeros(4, 1, S, S)
    condition = clicked_by(None, vectors(4, 7))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for step in range(180):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, (180 - step) / 90)
        noise, time = torch.randn(picture.shape, generator=generator), draw_times(4, generator, shift=2)
        loss = scene_loss(
            network(add_noise(picture, noise, time), time, picture, mask, condition), picture, noise, mask
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) / 20 < 0.02 < losses[0] / 50
