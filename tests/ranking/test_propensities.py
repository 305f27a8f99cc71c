"""Estimated propensities: near the planted ones where the features say what the policy knew, and honest chances always."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from ranking.propensities import estimable, estimated_propensities

AT = datetime(2026, 1, 1, tzinfo=UTC)


def planted(users: int = 900, slots: int = 2, concepts: int = 8) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A log of a Plackett-Luce policy on one feature, with its true chances, and all candidates."""
    rng = np.random.default_rng(0)
    shown, every = [], []
    for user in range(users):
        name, feature = f"u{user:04d}", rng.normal(size=concepts)
        left = list(range(concepts))
        every += [(name, AT, f"c{c}", feature[c]) for c in left]
        for slot in range(slots):
            chance = np.exp(1.2 * feature[left])
            chance /= chance.sum()
            pick = int(rng.choice(len(left), p=chance))
            shown.append((f"{name}-{slot}", name, AT, slot, f"c{left[pick]}", feature[left[pick]], chance[pick]))
            left.pop(pick)
    log = pl.DataFrame(
        shown, schema=["impression_id", *["user_id", "at", "slot", "concept_id", "x", "truth"]], orient="row"
    )
    return log, pl.DataFrame(every, schema=["user_id", "at", "concept_id", "x"], orient="row")


def test_planted_chances_are_found_from_what_was_shown() -> None:
    log, candidates = planted()
    found = estimated_propensities(log, candidates, log.select("concept_id"), ["x"], seed=1).to_numpy()
    truth = log["truth"].to_numpy()
    assert np.corrcoef(np.log(found), np.log(truth))[0, 1] > 0.9
    assert np.median(np.abs(np.log(found / truth))) < 0.35
    uniform = np.where(log["slot"].to_numpy() == 0, 1 / 8, 1 / 7)
    assert np.abs(np.log(found / truth)).mean() < 0.5 * np.abs(np.log(uniform / truth)).mean()


def test_they_are_chances_in_the_order_of_the_log_and_the_order_of_rows_is_nothing() -> None:
    log, candidates = planted(users=120)
    found = estimated_propensities(log, candidates, log.select("concept_id"), ["x"], seed=1)
    assert found.is_between(0, 1, closed="right").all()
    mixed = log.sample(fraction=1, shuffle=True, seed=2)
    again = estimated_propensities(mixed, candidates.reverse(), log.select("concept_id"), ["x"], seed=1)
    by_id = dict(zip(mixed["impression_id"], again, strict=True))
    assert [by_id[name] for name in log["impression_id"]] == pytest.approx(found.to_list())


def test_a_logged_concept_that_is_no_candidate_is_added() -> None:
    log, candidates = planted(users=120)
    found = estimated_propensities(
        log, candidates.filter(pl.col("concept_id") != "c0"), log.select("concept_id"), ["x"], seed=1
    )
    assert found.null_count() == 0


def test_slates_with_a_gap_a_double_or_nothing_are_not_estimable() -> None:
    log, _ = planted(users=5)
    assert estimable(log)
    assert not estimable(log.filter(pl.col("slot") != 0))
    assert not estimable(log.with_columns(concept_id=pl.lit("c1")))
    assert not estimable(log.clear())
