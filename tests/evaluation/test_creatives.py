"""What pictures are worth, on planted chances."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from evaluation.creatives import coverage, picture_truth


def _chances(users: int = 200, gain: float = 0.02) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    general = rng.uniform(0.04, 0.08, 2 * users)
    return pl.DataFrame(
        {
            "user_id": [f"u{i // 2:04d}" for i in range(2 * users)],
            "concept_id": [f"c{i % 2}" for i in range(2 * users)],
            "own": general + gain + rng.normal(0, 0.005, 2 * users).clip(-0.015, 0.015),
            "other": general - 0.01,
            "general": general,
            "logged": [None if i % 2 else value for i, value in enumerate(general)],
        }
    )


def test_a_planted_gain_is_found_with_an_interval_around_it() -> None:
    found = picture_truth(_chances(), confidence=0.95, resamples=300, seed=1)
    gain = found.gains["general"]
    assert gain.value == pytest.approx(0.02, abs=0.002)
    assert gain.interval is not None
    assert 0.02 in gain.interval
    assert found.gains["other"].value == pytest.approx(0.03, abs=0.002)
    assert found.users_own_beats["other"].value == 1.0
    assert found.users == 200


def test_no_gain_is_not_called_one() -> None:
    found = picture_truth(_chances(gain=0.0), confidence=0.95, resamples=300, seed=1)
    assert found.gains["general"].interval is not None
    assert 0.0 in found.gains["general"].interval
    assert found.users_own_beats["general"].value == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(200))


def test_a_tie_counts_half_and_rows_without_a_picture_are_left_out() -> None:
    frame = _chances(users=10).with_columns(own=pl.col("general"))
    found = picture_truth(frame, confidence=0.9, resamples=50, seed=1)
    assert found.users_own_beats["general"].value == 0.5
    assert found.chances["logged"].rows == 10
    assert found.gains["logged"].rows == 10
    none = picture_truth(frame.with_columns(logged=pl.lit(None, pl.Float64)), confidence=0.9, resamples=50, seed=1)
    assert none.chances["logged"].value is None
    assert none.users_own_beats["logged"].value is None


def test_the_order_of_rows_does_not_matter() -> None:
    frame = _chances()
    first, second = (
        picture_truth(rows, confidence=0.9, resamples=50, seed=1)
        for rows in (frame, frame.sample(fraction=1, shuffle=True, seed=3))
    )
    assert first == second


def test_impossible_chances_and_missing_columns_are_refused() -> None:
    with pytest.raises(DataError, match="own"):
        picture_truth(_chances().with_columns(own=pl.lit(1.2)), confidence=0.9, resamples=50, seed=1)
    with pytest.raises(DataError, match="other"):
        picture_truth(_chances().drop("other"), confidence=0.9, resamples=50, seed=1)


def test_coverage_counts_what_passed_and_names_what_failed() -> None:
    creatives = pl.DataFrame(
        {
            "concept_id": ["a", "a", "b", "b"],
            "cohort": [-1, 0, 1, 1],
            "checks": [[], ["contrast"], [], ["contrast", "product moved"]],
        },
        schema_overrides={"checks": pl.List(pl.String)},
    )
    found = coverage(creatives)
    assert (found.drawn, found.personal, found.general, found.passed) == (4, 3, 1, 2)
    assert found.failed_checks == {"contrast": 2, "product moved": 1}
    assert (found.concepts, found.cohorts) == (2, 1)
    assert coverage(creatives.clear()).failed_checks == {}
