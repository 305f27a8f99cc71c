"""Decayed sums and grouped look-ups against plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import SettingsError
from contracts.seeds import stream
from features.decay import decay_over, decayed_sums
from features.history import MICROS_PER_DAY, Groups, at_place, ragged, seen, weights_of

YEAR = 365 * MICROS_PER_DAY


def plain_sums(times: list[int], weights: list[float], groups: list[int], half_life: float) -> list[float]:
    return [
        math.fsum(
            weights[j] * 2.0 ** (-(times[i] - times[j]) / (half_life * MICROS_PER_DAY))
            for j in range(i + 1)
            if groups[j] == groups[i]
        )
        for i in range(len(times))
    ]


rows = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.one_of(st.integers(0, 20 * YEAR), st.integers(0, 3), st.sampled_from([0, YEAR, 20 * YEAR])),
        st.floats(0.01, 100.0),
    ),
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(rows, st.sampled_from([0.01, 1.0, 7.0, 365.0]))
def test_decayed_sums_equal_plain_python_over_twenty_years(
    data: list[tuple[int, int, float]], half_life: float
) -> None:
    data = sorted(data)
    groups, times, weights = ([row[k] for row in data] for k in range(3))
    code = np.array(groups, dtype=np.int64)
    first = np.ones(len(code), dtype=np.bool_)
    first[1:] = code[1:] != code[:-1]
    sums = decayed_sums(np.array(times, dtype=np.int64), np.array(weights), first, half_life)
    np.testing.assert_allclose(sums, plain_sums(times, weights, groups, half_life), rtol=1e-12)


def test_a_small_group_beside_a_heavy_one_keeps_all_its_digits() -> None:
    # a single global running sum of w * 2^(t / half_life) loses the second group entirely
    heavy = np.sort(stream(1, "heavy").integers(0, 20 * YEAR, size=50_000))
    light = np.array([5, 6, 2 * MICROS_PER_DAY])
    first = np.zeros(len(heavy) + 3, dtype=np.bool_)
    first[[0, len(heavy)]] = True
    weights = np.concatenate([np.full(len(heavy), 1e6), [1e-3, 2e-3, 3e-3]])
    sums = decayed_sums(np.concatenate([heavy, light]), weights, first, 1.0)
    np.testing.assert_allclose(
        sums[-3:], plain_sums([5, 6, 2 * MICROS_PER_DAY], [1e-3, 2e-3, 3e-3], [0, 0, 0], 1.0), 1e-14
    )
    last = math.fsum(1e6 * 2.0 ** (-(int(heavy[-1]) - int(t)) / MICROS_PER_DAY) for t in heavy)
    assert sums[len(heavy) - 1] == pytest.approx(last, rel=1e-12)


def test_a_sum_depends_on_the_earlier_rows_of_its_own_group_to_the_bit() -> None:
    draw = stream(2, "bits")
    times, weights = np.sort(draw.integers(0, 90 * MICROS_PER_DAY, size=1000)), draw.random(1000)
    first = np.zeros(1000, dtype=np.bool_)
    first[0] = True
    whole = decayed_sums(times, weights, first, 7.0)
    assert np.array_equal(decayed_sums(times[:700], weights[:700], first[:700], 7.0), whole[:700])
    shifted = np.concatenate([[True], first])
    beside = decayed_sums(np.concatenate([[9], times]), np.concatenate([[1e9], weights]), shifted, 7.0)
    assert np.array_equal(beside[1:], whole)


def test_arguments_are_not_changed() -> None:
    weights = np.ones(3)
    decayed_sums(np.array([1, 2, 3]), weights, np.array([True, False, False]), 1.0)
    assert weights.tolist() == [1.0, 1.0, 1.0]


def test_one_half_life_halves() -> None:
    assert decay_over(np.array([0, 7 * MICROS_PER_DAY]), 7.0).tolist() == [1.0, 0.5]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 9)), max_size=30),
    st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 11)), min_size=1, max_size=10),
    st.sampled_from([1, 2**58 - 1]),
)
def test_spans_hold_exactly_the_rows_strictly_before(
    log: list[tuple[int, int]], queries: list[tuple[int, int]], stretch: int
) -> None:
    # stretched codes do not fit beside the row numbers and take the renumbered road
    log = sorted(log, key=lambda row: row[1])
    code, times = (np.array([row[k] for row in log], dtype=np.int64) for k in range(2))
    code = np.where(code >= 0, code * stretch, -1)
    groups = Groups.of(code, np.arange(len(log), dtype=np.int64), len(log))
    asked, at = (np.array([query[k] for query in queries], dtype=np.int64) for k in range(2))
    asked = np.where(asked >= 0, asked * stretch, -1)
    start, stop = groups.span(asked, seen(times, at))
    for k in range(len(queries)):
        expected = [i for i in range(len(log)) if code[i] == asked[k] >= 0 and times[i] < at[k]]
        assert groups.rows[start[k] : stop[k]].tolist() == expected
        assert groups.last_row(start, stop)[k] == (expected[-1] if expected else -1)
    assert (groups.known is not None) == (len(log) > 0 and int(code.max()).bit_length() + len(log).bit_length() > 63)


def test_a_delay_and_a_window_shift_what_is_seen_to_the_microsecond() -> None:
    times = np.array([0, 1_000_000, 2_000_000])
    assert seen(times, np.array([2_000_000, 2_000_001])).tolist() == [2, 3]
    assert seen(times, np.array([2_000_000, 2_000_001]), 1.0).tolist() == [1, 2]
    assert seen(times + MICROS_PER_DAY, np.array([2_000_000 + 2 * MICROS_PER_DAY]), 1.0, days_before=1.0).tolist() == [
        1
    ]


def test_ragged_ranges_are_flattened_in_order() -> None:
    owner, index = ragged(np.array([5, 9, 2]), np.array([2, 0, 3]))
    assert owner.tolist() == [0, 0, 2, 2, 2]
    assert index.tolist() == [5, 6, 2, 3, 4]


def test_a_place_of_minus_one_is_not_known() -> None:
    assert np.isnan(at_place(np.array([4, 5]), np.array([-1, 1]))).tolist() == [True, False]
    assert np.isnan(at_place(np.array([], dtype=np.int64), np.array([-1]))).all()


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_no_weight_is_refused(weight: float) -> None:
    import polars as pl

    with pytest.raises(SettingsError, match="cart"):
        weights_of(pl.Series(["view"]), {"view": 1.0, "cart": weight})


def test_an_action_without_a_weight_counts_nothing() -> None:
    import polars as pl

    assert weights_of(pl.Series(["view", "like"]), {"view": 2.0}).tolist() == [2.0, 0.0]
