"""What a log must not hold is refused or named, never averaged over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.settings import EvaluationSettings
from evaluation.report import build_report
from evaluation.report_data import ReportData


@pytest.fixture(scope="module")
def frame(log_of: Callable[..., pl.DataFrame]) -> pl.DataFrame:
    return log_of(users=300, gain=0.5)


def report(impressions: pl.DataFrame, **more: Any) -> dict[str, Any]:
    settings = EvaluationSettings(bootstraps=100)
    return build_report(ReportData(name="log", run="r", settings=settings, impressions=impressions, **more))


@pytest.mark.parametrize(("column", "value"), [("propensity", 0.0), ("propensity", 1.2), ("target_propensity", -0.1)])
def test_chances_that_cannot_be_are_refused_with_their_column(frame: pl.DataFrame, column: str, value: float) -> None:
    first = pl.int_range(pl.len()) == 0
    spoilt = frame.with_columns(pl.when(first).then(value).otherwise(column).alias(column))
    with pytest.raises(DataError, match=rf"column {column}: 1 values not in"):
        report(spoilt)


def test_a_log_that_is_sound_gets_an_answer(frame: pl.DataFrame) -> None:
    assert report(frame)["verdict"]["outcome"] in ("ship", "hold")


def test_propensities_missing_for_some_rows_are_counted_and_nothing_is_reweighted(frame: pl.DataFrame) -> None:
    some = frame.with_columns(propensity=pl.when(pl.int_range(pl.len()) < 40).then(None).otherwise("propensity"))
    found = report(some)
    assert found["verdict"]["outcome"] == "the data cannot say"
    assert "40 of 2,700 logged impressions carry no propensity" in found["verdict"]["sentence"]
    assert [row["name"] for row in found["estimates"]["rows"] if row["value"] is not None] == ["on_policy", "dm"]


def test_chances_of_a_slot_alone_are_called_so(frame: pl.DataFrame) -> None:
    found = report(frame.with_columns(propensity=pl.lit(1 / 6)))  # of 6 concepts; the third slot had 4 left
    assert "from slot 1 on" in found["verdict"]["sentence"]
    assert "chances of a slot alone" in found["verdict"]["sentence"]


def test_a_policy_that_never_overlaps_the_log_gets_no_value(frame: pl.DataFrame) -> None:
    found = report(frame.with_columns(target_propensity=pl.lit(0.0)))
    assert found["verdict"]["outcome"] == "the data cannot say"
    snips = next(row for row in found["estimates"]["rows"] if row["name"] == "snips")
    assert snips["value"] is None
    assert snips["absent"] == "no logged slate could have come from the new policy"


def test_one_click_in_all_is_not_enough(frame: pl.DataFrame) -> None:
    found = report(frame.with_columns(clicked=pl.int_range(pl.len()) == 5))
    assert "the log holds 1 click" in found["verdict"]["sentence"]


def test_concepts_never_logged_are_beyond_an_answer(frame: pl.DataFrame) -> None:
    shares = pl.DataFrame({"concept_id": ["a", "b"], "target_share": [0.8, 0.2], "logged": [900, 0]})
    assert (
        "20 % of the new policy's choices are concepts that were never logged"
        in report(frame, concept_shares=shares)["verdict"]["sentence"]
    )


def test_estimated_propensities_never_ship_and_say_how_little_would_undo_them(frame: pl.DataFrame) -> None:
    found = report(frame, propensities_estimated=True)
    assert found["verdict"]["outcome"] == "the data cannot say"
    assert "estimated from the log" in found["verdict"]["sentence"]
    bounds = found["trust"]["confounding"]["bounds"]
    assert [one["gamma"] for one in bounds] == sorted(one["gamma"] for one in bounds)
    assert all(one["low"] <= one["high"] for one in bounds)
    widths = [one["high"] - one["low"] for one in bounds]
    assert widths == sorted(widths)
