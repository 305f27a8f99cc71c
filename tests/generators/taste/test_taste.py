"""Taste and cohorts: a planted taste is found, cohorts are large enough, the budget goes where it pays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ModelError
from generators.taste.cohorts import group_users, rank_renders
from generators.taste.look import picture_looks
from generators.taste.taste import Taste, fit_taste


def planted(seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Users whose first coordinate says how light they like pictures, and clicks that follow."""
    rng = np.random.default_rng(seed)
    shades = rng.integers(20, 235, 200)
    pictures = np.clip(shades[:, None, None, None] + rng.normal(0, 8, (200, 16, 16, 3)), 0, 255).astype(np.uint8)
    users = rng.normal(size=(400, 6)).astype(np.float32)
    impression_user = rng.integers(0, 400, 12_000).astype(np.int32)
    impression_picture = rng.integers(0, 200, 12_000).astype(np.int32)
    light = (shades - shades.mean()) / shades.std()
    odds = -2 + 1.5 * users[impression_user, 0] * light[impression_picture] - 0.3 * light[impression_picture] ** 2
    clicked = (rng.random(12_000) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    return {
        "user_vectors": users, "concept_vectors": np.eye(6, dtype=np.float32)[:3],
        "impression_user": impression_user, "impression_picture": impression_picture, "clicked": clicked,
        "picture_concept": rng.integers(0, 3, 200).astype(np.int32),
    }, pictures  # fmt: skip


@pytest.fixture(scope="module")
def taste() -> tuple[Taste, dict[str, np.ndarray], np.ndarray]:
    log, pictures = planted()
    return fit_taste(picture_looks(pictures), **log, space_hash="s"), log, pictures  # type: ignore[arg-type]


def test_a_planted_taste_is_found(taste: tuple[Taste, dict[str, np.ndarray], np.ndarray]) -> None:
    fitted, _, _ = taste
    fresh = np.random.default_rng(9).normal(size=(500, 6)).astype(np.float32)
    pictures = np.stack([np.full((16, 16, 3), 40), np.full((16, 16, 3), 215)]).astype(np.uint8)
    pictures = np.clip(pictures + np.random.default_rng(1).normal(0, 8, pictures.shape), 0, 255).astype(np.uint8)
    appeal = fitted.appeal(fresh, picture_looks(pictures))
    assert np.corrcoef(appeal[:, 1] - appeal[:, 0], fresh[:, 0])[0, 1] > 0.9


def test_clicks_that_follow_nothing_teach_no_taste() -> None:
    log, pictures = planted()
    log["clicked"] = np.random.default_rng(3).permutation(log["clicked"])
    noise = fit_taste(picture_looks(pictures), **log, space_hash="s")  # type: ignore[arg-type]
    log, _ = planted()
    real = fit_taste(picture_looks(pictures), **log, space_hash="s")  # type: ignore[arg-type]
    users = log["user_vectors"]
    assert noise.leanings(users).std() < 0.4 * real.leanings(users).std()


def test_save_and_load_round_trip_and_another_space_is_refused(
    tmp_path: Path, taste: tuple[Taste, dict[str, np.ndarray], np.ndarray]
) -> None:
    fitted, log, _ = taste
    fitted.save(tmp_path)
    back = Taste.load(tmp_path, "s")
    assert np.array_equal(back.leanings(log["user_vectors"]), fitted.leanings(log["user_vectors"]))
    with pytest.raises(ModelError, match="belongs to space s, not other"):
        Taste.load(tmp_path, "other")
    (tmp_path / "taste.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError, match="missing or damaged"):
        Taste.load(tmp_path, "s")


def test_the_expected_gain_is_the_closed_form_of_the_best_look(
    taste: tuple[Taste, dict[str, np.ndarray], np.ndarray],
) -> None:
    fitted, log, _ = taste
    stiff = np.maximum(fitted.curvature, 0.05)
    group = fitted.leanings(log["user_vectors"][:20]).mean(axis=0)
    lean = fitted.leanings(log["user_vectors"][:5])

    def utility(look: np.ndarray) -> np.ndarray:
        return np.asarray((fitted.common + lean) @ look - 0.5 * (look**2) @ stiff)

    expected = utility((fitted.common + group) / stiff) - utility(fitted.common / stiff)
    assert np.allclose(fitted.gain(lean, group), expected, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 120), st.integers(1, 10), st.integers(1, 40), st.integers(0, 5))
def test_no_cohort_is_too_small_and_everyone_has_one(users: int, most: int, least: int, seed: int) -> None:
    points = np.random.default_rng(seed).normal(size=(users, 3)).astype(np.float32)
    cohort = group_users(points, most=most, least_users=least, seed=seed)
    sizes = np.bincount(cohort)
    assert len(cohort) == users
    assert len(sizes) <= most
    assert sizes.min() >= min(least, users)
    assert (np.diff(sizes) <= 0).all()


def test_separate_groups_are_found() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    points = (rng.normal(size=(4, 2)) * 20)[truth] + rng.normal(size=(200, 2))
    cohort = group_users(points.astype(np.float32), most=4, least_users=10, seed=1)
    assert all(len(set(cohort[truth == group])) == 1 for group in range(4))


def test_the_budget_buys_the_pairs_that_pay_most() -> None:
    cohort = np.array([0, 0, 0, 1, 1, 1])
    rows = {"slate_user": np.arange(6), "slate_concept": np.array([0, 0, 1, 1, 1, 1]),
            "click_chance": np.array([0.1, 0.1, 0.1, 0.2, 0.2, 0.2])}  # fmt: skip
    ranked = rank_renders(cohort, np.zeros((6, 2), np.float32), None, **rows)
    assert [(render.cohort, render.concept, render.users) for render in ranked] == [(1, 1, 3), (0, 0, 2), (0, 1, 1)]
    assert ranked[0].expected_extra_clicks == pytest.approx(3 * 0.2 * 0.8)
