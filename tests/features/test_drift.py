"""Drift of the frozen space: planted changes are found, and the lack of one too."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.seeds import stream
from contracts.settings import Settings
from features.covisits import fit_space
from features.drift import RECENT_DAYS, drift, spectrum_kept
from features.space import Space

EVENTS = Path(__file__).resolve().parents[2] / "data" / "sample" / "events.parquet"
KNOBS: dict[str, Any] = {"window": 10, "action_weights": Settings().features.action_weights}


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return pl.read_parquet(EVENTS)


@pytest.fixture(scope="module")
def past(events: pl.DataFrame) -> pl.DataFrame:
    return events.filter(pl.col("at") < events["at"].max() - timedelta(days=RECENT_DAYS + 1))


@pytest.fixture(scope="module")
def space(past: pl.DataFrame) -> Space:
    return fit_space(past, dimensions=32, **KNOBS)


def test_a_log_that_goes_on_as_before_needs_no_refit(events: pl.DataFrame, space: Space) -> None:
    found = drift(space, events, **KNOBS)
    assert found.advice == "keep"
    assert found.reasons == ()
    assert found.events_explained > 0.99
    assert found.spectrum_kept is not None
    assert found.spectrum_kept > 1.05
    assert found.mean_shift is not None
    assert found.mean_shift < 0.1


@pytest.mark.parametrize("size", [1, 30_000])
def test_days_may_be_looked_at_some_at_a_time(
    events: pl.DataFrame, space: Space, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    whole = drift(space, events, **KNOBS)
    monkeypatch.setattr("features.drift.PART_EVENTS", size)
    found = drift(space, events.lazy(), **KNOBS)
    assert found.days.equals(whole.days)
    assert (found.spectrum_kept, found.mean_shift) == (whole.spectrum_kept, whole.mean_shift)


def test_the_spectrum_of_some_users_is_near_that_of_all(
    events: pl.DataFrame, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = spectrum_kept(space, events, **KNOBS)
    monkeypatch.setattr("features.drift.SPECTRUM_USERS", events["user_id"].n_unique() // 2)
    some = spectrum_kept(space, events, **KNOBS)
    assert some != whole
    assert some == pytest.approx(whole, rel=0.1)


@pytest.mark.parametrize(("share", "advice"), [(0.1, "keep"), (0.3, "refit"), (0.6, "unusable")])
def test_items_that_the_space_does_not_know_are_counted(events: pl.DataFrame, past: pl.DataFrame, share: float, advice: str) -> None:  # fmt: skip
    items = events["item_id"].unique().sort()
    new = items.gather(stream(1, "new").permutation(len(items))[: int(share * len(items))])
    space = fit_space(past.filter(~pl.col("item_id").is_in(new.implode())), dimensions=32, **KNOBS)
    found = drift(space, events, **KNOBS)
    assert found.items_explained == pytest.approx(1 - share, abs=0.01)
    assert found.events_explained == pytest.approx(1 - share, abs=0.05)
    assert found.advice == advice
    assert (advice == "keep") == (not found.reasons)


def test_items_that_change_their_meaning_ask_for_a_refit_though_all_are_known(
    events: pl.DataFrame, past: pl.DataFrame, space: Space
) -> None:
    items = events["item_id"].unique().sort()
    swapped = dict(zip(items, items.gather(stream(2, "swap").permutation(len(items))), strict=True))
    late = events.join(past, on=["user_id", "at", "item_id"], how="anti").with_columns(
        pl.col("item_id").replace(swapped)
    )
    found = drift(space, pl.concat([past, late]), **KNOBS)
    assert found.events_explained > 0.99
    assert found.spectrum_kept is not None
    assert found.spectrum_kept < 0.9
    assert found.advice == "refit"
    assert "of what a new one would" in found.reasons[0]


def test_people_who_go_elsewhere_move_the_mean(events: pl.DataFrame, past: pl.DataFrame, space: Space) -> None:
    topics = events["topics"].explode().unique().sort()[:2]
    late = events.join(past, on=["user_id", "at", "item_id"], how="anti")
    late = late.filter(pl.col("topics").list.set_intersection(topics.to_list()).list.len() > 0)
    found = drift(space, pl.concat([past, late]), **KNOBS)
    assert found.mean_shift is not None
    assert found.mean_shift > 0.25
    assert found.advice == "refit"


def test_shares_of_a_day_are_those_of_a_plain_count(make: Any) -> None:
    day = 86_400_000_000
    rows = [
        ("a", 0, "view", "i0", []), ("a", 1, "view", "x", []), ("b", 2, "view", "x", []), ("c", 3, "view", "y", ["coffee"]),
        ("a", day, "view", "i1", []), ("a", day + 1, "view", "i2", []),
    ]  # fmt: skip
    found = drift(make["space"](), make["events"](rows), **KNOBS)
    columns = ("events", "users", "items", "events_explained", "users_explained", "items_explained")
    assert found.days.select(columns).rows() == [(4, 3, 3, 0.25, 1 / 3, 1 / 3), (2, 1, 2, 1.0, 1.0, 1.0)]
    assert found.events_explained == 0.5
    assert found.spectrum_kept is None
    assert found.days["mean_shift"].null_count() == 0


def test_days_without_anything_that_is_placed_are_no_fault(make: Any) -> None:
    found = drift(make["space"](), make["events"]([("a", 0, "view", "x", [])]), **KNOBS)
    assert found.days["mean_shift"].to_list() == [None]
    assert found.advice == "unusable"


def test_a_space_of_texts_is_not_held_against_covisits(events: pl.DataFrame, space: Space) -> None:
    from dataclasses import replace

    assert spectrum_kept(replace(space, text_map=space.vectors[:4]), events, **KNOBS) is None
