"""The table of an experiment: bad input is named or refused, and never averaged over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from contracts.settings import ExperimentSettings
from evaluation.effects import arm_means, contrast
from evaluation.experiment import Experiment, experiment

START = datetime(2026, 3, 1, tzinfo=UTC)


def users(count: int = 400, *, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    before = rng.normal(size=count)
    arm = np.where(np.arange(count) % 2, "b", "a")
    outcome = before + 0.5 * (arm == "b") + rng.normal(size=count)
    return pl.DataFrame({"user_id": [f"u{n:04d}" for n in range(count)], "arm": arm, "y": outcome, "before": before})


def read(table: pl.DataFrame, **changes: Any) -> Experiment:
    plan = ExperimentSettings(**({"control": "a", "outcomes": ("y",), "covariates": ("before",)} | changes))
    return experiment(table, plan, where="users.csv")


def found(data: Experiment) -> dict[str, int]:
    return {finding.check: finding.count for finding in data.findings}


def test_a_sound_table_has_no_findings_and_every_user() -> None:
    data = read(users())
    assert data.findings == ()
    assert data.counts.tolist() == [200, 200]
    assert data.arms == ("a", "b")


def test_users_in_both_arms_are_in_none_and_are_counted() -> None:
    table = users()
    twice = table.head(6).with_columns(arm=pl.lit("b"), y=pl.lit(1e9))
    data = read(pl.concat([table, twice]))
    assert found(data)["in several arms"] == 3  # three of the first six were in a
    assert found(data)["several rows a user"] == 3
    assert data.crossovers == 3
    assert not {"u0000", "u0002", "u0004"} & set(data.users)


def test_outcomes_before_assignment_are_set_aside_by_row_and_arm() -> None:
    table = users().with_columns(
        since=pl.lit(START), at=pl.Series([START + timedelta(hours=1 if n >= 10 else -1) for n in range(400)])
    )
    data = read(table, assigned_at="since", at="at")
    early = next(one for one in data.findings if one.check == "outcome before assignment")
    assert (early.count, dict(early.by_arm)) == (10, {"a": 5, "b": 5})
    assert len(data.users) == 390
    assert data.left_out == {"a": 5, "b": 5}


def test_days_are_compared_with_days_so_that_the_day_of_assignment_counts() -> None:
    table = users().with_columns(since=pl.lit(START + timedelta(hours=15)), at=pl.lit(START.date()))
    assert read(table, assigned_at="since", at="at").findings == ()


@pytest.mark.parametrize(("value", "check"), [(None, "missing outcome"), (float("inf"), "infinite outcome"), (float("nan"), "missing outcome")])  # fmt: skip
def test_an_unknown_outcome_leaves_its_user_out_of_the_metric(value: float | None, check: str) -> None:
    table = users()
    damaged = table.with_columns(y=pl.when(pl.int_range(pl.len()) < 7).then(value).otherwise("y"))
    data = read(damaged)
    assert found(data) == {check: 7}
    metric = data.metrics[0]
    assert metric.known.sum() == 393
    whole = read(table.slice(7)).metrics[0]
    assert metric.above[metric.known].sum() == pytest.approx(whole.above.sum())


@pytest.mark.parametrize("value", [None, float("inf"), float("-inf")])
def test_what_stands_for_an_unknown_covariate_does_not_change_the_estimate(value: float | None) -> None:
    table = users()
    data = read(table.with_columns(before=pl.when(pl.int_range(pl.len()) % 5 == 0).then(value).otherwise("before")))
    assert data.covariates.names == ("before", "before unknown")
    assert sum(found(data).values()) == 80

    def estimate(filled: float) -> float:
        values = data.covariates.values.copy()
        values[values[:, 1] == 1, 0] = filled
        return contrast(arm_means(data.metrics[0].above, data.arm, 2, values), 1).difference

    assert estimate(0.0) == pytest.approx(estimate(37.0), rel=1e-6)


def test_text_covariates_become_levels_and_constant_ones_go() -> None:
    table = users().with_columns(device=pl.Series(["phone", "desktop", "phone", None] * 100), one=pl.lit(1.0))
    data = read(table, covariates=("device", "one"))
    assert set(data.covariates.names) == {"device = desktop", "device = (unknown)"}
    assert found(data) == {"missing covariate": 100}


def test_one_class_of_outcome_is_told_and_not_compared() -> None:
    data = read(users().with_columns(y=pl.lit(0)))
    assert "only one class" in str(data.metrics[0].absent)


def test_rows_of_a_user_are_summed_and_ratios_keep_their_parts() -> None:
    table = pl.DataFrame(
        {"user_id": ["u", "u", "v", "w"], "arm": ["a", "a", "b", "b"], "k": [1, 2, 0, 4], "n": [2, 4, 1, 0]}
    )
    data = read(table, outcomes=("k/n",), covariates=())
    metric = data.metrics[0]
    assert metric.above.tolist() == [3, 0, 4]
    assert metric.below is not None
    assert metric.below.tolist() == [6, 1, 0]


REFUSED: dict[str, tuple[pl.DataFrame, dict[str, Any], str]] = {
    "one arm": (users().with_columns(arm=pl.lit("a")), {}, "all users are in arm 'a'"),
    "a planned arm without users": (users(), {"shares": {"a": 1, "b": 1, "c": 1}}, "arm c is empty"),
    "an arm nobody planned": (users(), {"shares": {"a": 1.0}}, "no planned share"),
    "no control": (users(), {"control": None}, "which arm is control (a, b)"),
    "another control": (users(), {"control": "z"}, "no users in control 'z'"),
    "no outcome": (users(), {"outcomes": ()}, "no outcome"),
    "columns that are not there": (users(), {"outcomes": ("y", "z"), "covariates": ("q",)}, "z, q"),
    "a guardrail that is no outcome": (users(), {"guardrails": {"z": 0.1}}, "z is no outcome"),
    "text for an outcome": (users(), {"outcomes": ("arm",)}, "holds no numbers"),
    "numbers for a time": (users(), {"assigned_at": "y"}, "holds no times"),
    "an id for an arm": (users(), {"arm": "user_id", "control": "u0000"}, "400 arms"),
    "an id for a segment": (users(), {"segments": ("user_id",)}, "400 levels"),
    "no rows": (users().clear(), {}, "no users in control"),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(REFUSED))
def test_what_cannot_be_analysed_is_refused_in_one_line(fault: str) -> None:
    table, changes, words = REFUSED[fault]
    with pytest.raises(DataError) as error:
        read(table, **changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
