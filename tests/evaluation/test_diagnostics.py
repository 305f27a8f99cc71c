"""Effective sizes, overlap and the noise floor on weights whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from evaluation import diagnostics
from evaluation.logs import logged_slates


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40), st.floats(0.01, 100))
def test_the_effective_size_lies_between_one_and_all_and_ignores_scale(weights: list[float], scale: float) -> None:
    w = np.array(weights)
    size = diagnostics.effective_sample_size(w)
    assert 1 - 1e-9 <= size <= w.size + 1e-9
    assert diagnostics.effective_sample_size(w * scale) == pytest.approx(size)


def test_equal_weights_count_fully_one_weight_counts_once_and_none_count_nothing() -> None:
    assert diagnostics.effective_sample_size(np.full(9, 0.3)) == pytest.approx(9)
    assert diagnostics.effective_sample_size(np.array([5.0, 0.0, 0.0])) == pytest.approx(1)
    assert diagnostics.effective_sample_size(np.zeros(4)) == 0


def test_effective_sizes_fall_down_the_slate_and_the_mean_weight_is_near_one(impressions: pl.DataFrame) -> None:
    found = diagnostics.overlap(logged_slates(impressions))
    sizes = found.effective_size_by_slot
    assert sizes[0] > sizes[1] > sizes[2]
    assert found.effective_size == pytest.approx(sizes[2])
    assert found.mean_weight == pytest.approx(1, abs=0.5)
    assert 0 < found.largest_weight_share < 1


def test_every_weight_is_in_the_histogram() -> None:
    weights = np.array([0.0, 0.1, 1.0, 10.0, 10.0])
    found = diagnostics.weight_histogram(weights, bins=3)
    assert found.zeros == 1
    assert found.counts.sum() == 4
    assert found.edges[[0, -1]].tolist() == pytest.approx([0.1, 10.0])
    assert diagnostics.weight_histogram(np.ones(5)).counts.tolist() == [5]
    assert diagnostics.weight_histogram(np.zeros(5)).zeros == 5


def test_the_share_on_concepts_never_logged_is_counted() -> None:
    shares = pl.DataFrame({"concept_id": ["a", "b", "c"], "target_share": [2.0, 1.0, 1.0], "logged": [9, 0, 4]})
    assert diagnostics.unlogged_share(shares) == pytest.approx(0.25)
    with pytest.raises(DataError):
        diagnostics.unlogged_share(shares.with_columns(target_share=pl.lit(0.0)))


def test_the_noise_floor_is_that_of_two_halves_of_the_users() -> None:
    rng = np.random.default_rng(4)
    users = np.repeat(np.arange(400), 3)
    values = rng.normal(size=400)[users]  # a user's slates are all alike: 400 independent values, sd 1
    floor = diagnostics.noise_floor(values, users, confidence=0.95, resamples=2000, seed=1)
    assert floor == pytest.approx(1.96 * 2 / np.sqrt(400) * values.std(), rel=0.1)
    assert diagnostics.noise_floor(values[:9], users[:9], confidence=0.95, resamples=50, seed=1) is None


def test_a_model_of_another_policy_is_out_of_balance(log_of: Callable[..., pl.DataFrame]) -> None:
    log = logged_slates(log_of(users=400, gain=0.7))
    assert log.expected is not None
    gap = diagnostics.model_balance(log)
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(gap.size)
    wrong = diagnostics.model_balance(replace(log, expected=log.expected * 1.3))
    assert abs(wrong.mean()) > 4 * wrong.std() / np.sqrt(wrong.size)
