"""The tilted looks against importance sampling from the untilted ones, and what weight and product do to them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generators.taste.look import LOOK
from generators.taste.prior import MOST_CONTRAST, PRODUCT, LookPrior, product_numbers
from generators.taste.taste import Taste

F, D = len(LOOK), 3
CONTRAST = LOOK.index("contrast")


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planted(count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Products, the slope of looks on them, and looks."""
    products = random(1).normal(0.5, 0.2, (count, len(PRODUCT))).astype(np.float32)
    slope = random(2).normal(0, 0.3, (F, len(PRODUCT)))
    noise = random(3).normal(size=(count, F)) @ np.diag(np.linspace(0.05, 0.2, F))
    return products, slope, (0.4 + products @ slope.T + noise).astype(np.float32)


def prior() -> LookPrior:
    products, _, looks = planted()
    return LookPrior.fit(looks, products)


def shifted(known: LookPrior, contrast: float) -> LookPrior:
    """The same with so much more contrast."""
    base = known.base.copy()
    base[CONTRAST] += contrast
    return replace(known, base=base)


def taste() -> Taste:
    lot = random(4)
    return Taste(
        centre=np.full(F, 0.45, np.float32),
        scale=np.linspace(0.1, 0.3, F).astype(np.float32),
        common=lot.normal(0, 0.4, F).astype(np.float32),
        bend=lot.normal(0, 0.4, (F, D)).astype(np.float32),
        curvature=lot.uniform(0.05, 0.4, F).astype(np.float32),
        user_centre=np.zeros(D, np.float32),
        space_hash="s",
    )


def test_the_prior_finds_how_looks_follow_products() -> None:
    products, slope, looks = planted()
    found = LookPrior.fit(looks, products)
    assert np.allclose(found.slope, slope, atol=0.05)
    assert np.allclose(np.sqrt(np.diag(found.covariance)), np.linspace(0.05, 0.2, F), rtol=0.06)
    told = found.tell(looks)
    assert np.allclose(told.mean(0), 0, atol=1e-4)
    assert np.allclose(told.std(0), 1, atol=1e-3)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_the_tilt_is_what_importance_sampling_says(weight: float) -> None:
    known, model = prior(), taste()
    products, user = planted()[0][:1], random(5).normal(size=(1, D)).astype(np.float32)
    mean, covariance = known.tilted(products, user, model, weight)
    plain, spread = known.tilted(products, user, model, 0)
    drawn = plain + random(6).normal(size=(200_000, F)) @ np.linalg.cholesky(spread).T
    odds = weight * model.appeal(user, drawn.astype(np.float32))[0].astype(np.float64)
    share = np.exp(odds - odds.max())
    share /= share.sum()
    expected = share @ drawn
    assert np.allclose(mean[0], expected, atol=0.01)
    assert np.allclose(np.diag(covariance), share @ (drawn - expected) ** 2, rtol=0.15)


def test_weight_zero_and_nobody_s_taste_leave_looks_as_logged() -> None:
    known, products = prior(), planted()[0][:2]
    user = random(5).normal(size=(2, D)).astype(np.float32)
    for mean, _ in (known.tilted(products, user, taste(), 0), known.tilted(products, user, None, 5)):
        assert np.array_equal(mean, known.mean(products))


def test_nobody_in_particular_gets_the_common_taste() -> None:
    known, products, model = prior(), planted()[0][:2], taste()
    nobody = np.full((2, D), np.nan, np.float32)
    common = known.tilted(products, None, model, 2)[0]
    assert np.array_equal(known.tilted(products, nobody, model, 2)[0], common)
    centre = np.tile(model.user_centre, (2, 1))  # the mean user leans to nothing beyond it
    assert np.allclose(known.tilted(products, centre, model, 2)[0], common)


def test_a_larger_weight_pleases_the_user_more_and_spreads_less() -> None:
    known, model, products = prior(), taste(), planted()[0][:1]
    user = random(5).normal(size=(1, D)).astype(np.float32)
    found = [known.tilted(products, user, model, weight) for weight in (0.0, 1.0, 8.0)]
    appeal = [float(model.appeal(user, mean.astype(np.float32))[0, 0]) for mean, _ in found]
    assert appeal[0] < appeal[1] < appeal[2]
    assert np.trace(found[0][1]) > np.trace(found[2][1])


def test_draws_have_the_mean_and_covariance_that_were_asked_for() -> None:
    known, model = shifted(prior(), -2.0), taste()
    products = np.repeat(planted()[0][:1], 50_000, axis=0)
    looks = known.draw(products, None, model, 2.0, random(7).normal(size=(50_000, F)))
    mean, covariance = known.tilted(products[:1], None, model, 2.0)
    assert np.allclose(looks.mean(0), mean[0], atol=0.003)
    assert np.allclose(np.cov(looks.T), covariance, atol=0.0006)


def test_a_wish_for_more_contrast_than_there_is_leaves_the_other_numbers_as_contrast_at_its_most_would_have_them() -> (
    None
):
    """By regression over unbounded draws of the same normal: what the others are where contrast is at its most."""
    known, products = prior(), np.repeat(planted()[0][:1], 200_000, axis=0)
    noise = random(8).normal(size=(200_000, F))
    free = known.mean(products) + noise @ np.linalg.cholesky(known.covariance).T
    drawn = known.draw(products, None, None, 0.0, noise)
    over = free[:, CONTRAST] > MOST_CONTRAST
    assert 0.05 < over.mean() < 0.95
    assert np.allclose(drawn[~over], free[~over], atol=1e-6)
    assert np.allclose(drawn[over, CONTRAST], MOST_CONTRAST, atol=1e-6)
    design = np.c_[np.ones(len(free)), free[:, CONTRAST]]
    at_most = np.array([1, MOST_CONTRAST]) @ np.linalg.lstsq(design, free, rcond=None)[0]
    assert np.allclose(drawn[over].mean(0), at_most, atol=0.004)


def test_a_product_is_known_by_the_colour_under_its_mask_and_how_much_it_covers() -> None:
    framed = np.full((2, 8, 8, 3), 128, np.uint8)
    masks = np.zeros((2, 8, 8), np.float32)
    masks[0, :4] = 1
    framed[0, :4] = (255, 255, 255)
    numbers = product_numbers(framed, masks)
    assert np.allclose(numbers[0], [1, 0, 0, 0.5], atol=1e-3)
    assert (numbers[1] == 0).all()


def test_one_picture_makes_no_prior() -> None:
    with pytest.raises(ValueError, match="two pictures"):
        LookPrior.fit(np.zeros((1, F), np.float32), np.zeros((1, len(PRODUCT)), np.float32))
