"""How far an estimate hangs on what it assumes, where the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest

from evaluation import diagnostics, sensitivity
from evaluation.estimators import clipped_ips, doubly_robust, ips, snips
from evaluation.logs import logged_slates


def test_clipping_takes_weight_away_and_only_lowers(impressions: pl.DataFrame) -> None:
    log = logged_slates(impressions)
    curve = sensitivity.clip_curve(log, np.array([np.inf, 10.0, 3.0, 1.0]))
    assert curve[0].weight_removed == 0
    assert curve[0].slates == 0
    assert [one.value for one in curve] == sorted((one.value for one in curve), reverse=True)
    assert all(one.value == clipped_ips(log, one.clip).value for one in curve)
    assert curve[-1].weight_removed > curve[1].weight_removed > 0


def test_honest_estimators_agree_and_a_broken_one_is_named(impressions: pl.DataFrame) -> None:
    log = logged_slates(impressions)
    sound = {"ips": ips(log), "snips": snips(log), "dr": doubly_robust(log)}
    found = sensitivity.disagreement(sound, log.users, "snips")
    assert found is not None
    assert found[1] < 4
    assert log.expected is not None
    broken = sensitivity.disagreement(
        sound | {"dr": doubly_robust(replace(log, expected=log.expected + 0.3))}, log.users, "snips"
    )
    assert broken is not None
    assert broken[0] == "dr"
    assert broken[1] > 4
    assert sensitivity.disagreement({"snips": snips(log)}, log.users, "snips") is None


def test_confounding_bounds_are_those_of_trying_every_corner() -> None:
    rows = [
        ("a", 0, 0, True, 0.5, 0.4),
        ("b", 0, 0, False, 0.2, 0.4),
        ("c", 0, 0, True, 0.8, 0.3),
        ("d", 0, 0, False, 0.6, 0.9),
    ]
    names = ["user_id", "at", "slot", "clicked", "propensity", "target_propensity"]
    log = logged_slates(pl.DataFrame(rows, schema=names, orient="row"))
    assert log.propensity is not None
    assert log.target_propensity is not None
    gamma, p, t, r = 1.7, log.propensity[:, 0], log.target_propensity[:, 0], log.clicked[:, 0]
    ends = [(1 + (1 / p - 1) / gamma, 1 + (1 / p - 1) * gamma)[corner] for corner in (0, 1)]
    values = []
    for corner in product((0, 1), repeat=4):
        w = t * np.where(np.array(corner) == 1, ends[1], ends[0])
        values.append((w * r).sum() / w.sum())
    found = sensitivity.confounding(log, gamma)
    assert (found.low, found.high) == pytest.approx((min(values), max(values)))
    same = sensitivity.confounding(log, 1.0)
    assert same.low == pytest.approx(same.high) == pytest.approx(snips(log).value)


def test_the_tipping_gamma_is_where_the_bounds_reach_the_logged_value(impressions: pl.DataFrame) -> None:
    log = logged_slates(impressions)
    logged = float(log.clicked.sum(axis=1).mean())
    gamma = sensitivity.tipping_gamma(log, logged)
    assert gamma is not None
    inside, outside = sensitivity.confounding(log, gamma), sensitivity.confounding(log, gamma / 1.02)
    assert inside.low <= logged <= inside.high
    assert not outside.low <= logged <= outside.high
    assert sensitivity.tipping_gamma(log, snips(log).value) == 1.0


def test_chances_of_a_slot_alone_drift_from_the_second_slot_on(log_of: Callable[..., pl.DataFrame]) -> None:
    frame = log_of(users=400, gain=0.5)
    assert np.abs(diagnostics.slot_drift(logged_slates(frame))).max() < 4
    marginal = frame.with_columns(
        propensity=pl.lit(1 / 6)
    )  # uniform over 6 concepts: 1/6 at a slot, but 1/(6 - k) in sequence
    errors = diagnostics.slot_drift(logged_slates(marginal))
    assert abs(errors[0]) < 4
    assert min(abs(errors[1]), abs(errors[2])) > 4


def test_one_click_in_all_is_worth_one() -> None:
    rows = [(f"u{n}", 0, 0, n == 3, 0.5, 0.5) for n in range(50)]
    names = ["user_id", "at", "slot", "clicked", "propensity", "target_propensity"]
    log = logged_slates(pl.DataFrame(rows, schema=names, orient="row"))
    assert diagnostics.effective_clicks(log) == pytest.approx(1)
