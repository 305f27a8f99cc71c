"""No feature looks ahead: whatever happens at or after t, the features of t stay the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.settings import FeatureSettings
from features import browsing, embeddings, exposure
from features.embeddings import embeddings_at
from features.interests import interests
from features.table import FEATURES, ranking_table

NAMES = [feature.name for feature in FEATURES]
CLOCK = {"hour", "weekday"}
Maker = Callable[..., pl.DataFrame]


def table(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
    return ranking_table(
        pairs,
        events=log.events,
        impressions=log.impressions,
        concepts=log.concepts,
        space=log.space,
        settings=settings,
    )


def split(frame: pl.DataFrame, moment: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    return frame.filter(pl.col("at") < moment), frame.filter(pl.col("at") >= moment)


def other_futures(log: Any, moment: Any) -> Iterator[Any]:
    """The same log up to the moment, and something else from then on."""
    past, future = split(log.events, moment)
    shown, coming = split(log.impressions, moment)
    yield replace(log, events=past, impressions=shown)
    shuffled = future.select(pl.col(name).shuffle(seed=k) for k, name in enumerate(future.columns))
    yield replace(
        log,
        events=pl.concat([past, shuffled]),
        impressions=pl.concat([shown, coming.with_columns(~pl.col("clicked"), pl.col("concept_id").shuffle(seed=1))]),
    )
    loud = future.with_columns(action=pl.lit("purchase"), item_id=pl.lit("i0"), topics=pl.lit(["brand new"]))
    twice = coming.with_columns(clicked=pl.lit(True))
    yield replace(log, events=pl.concat([past, loud, loud]), impressions=pl.concat([shown, twice, twice]))


def leaking_columns(make_table: Maker, log: Any, settings: FeatureSettings, moment: Any) -> set[str]:
    """Columns that change for pairs up to the moment when only the future changes."""
    pairs = log.impressions.filter(pl.col("at") <= moment)
    horizon = moment - timedelta(seconds=settings.delay_seconds)
    now = pairs.filter(pl.col("at") == moment)
    assert not now.is_empty()
    before = make_table(log, settings, now)
    leaks: set[str] = set()
    for other in other_futures(log, horizon):
        after = make_table(other, settings, now)
        leaks |= {name for name in before.columns if not before[name].equals(after[name], null_equal=True)}
    return leaks


def moments(log: Any) -> list[Any]:
    """Moments of slates that coincide with an event of the same user: where < and <= part ways."""
    both = log.impressions.join(log.events, on=["user_id", "at"], how="semi")["at"].unique().sort()
    return both.gather(range(len(both) // 2, len(both))).to_list()[:6]


@pytest.fixture(scope="module")
def tied(make: dict[str, Callable[..., Any]]) -> Any:
    """A log in which every slate's user also has an event at that very moment."""
    log = make["log"](seed=11)
    echo = log.impressions.unique(["user_id", "at"], maintain_order=True)
    extra = echo.select(
        "user_id",
        "at",
        action=pl.lit("cart"),
        item_id=pl.lit("i1"),
        topics=pl.lit(["coffee", "music"]),
    )
    return replace(log, events=pl.concat([log.events, extra]))


@pytest.mark.parametrize("delay", [0.0, 3_600.0, 100_000.5])
def test_no_feature_changes_when_only_the_future_changes(tied: Any, settings: FeatureSettings, delay: float) -> None:
    delayed = settings.model_copy(update={"delay_seconds": delay})
    checked = moments(tied)
    assert len(checked) >= 5
    for moment in checked:
        assert leaking_columns(table, tied, delayed, moment) == set()


def test_every_feature_changes_when_the_past_changes(tied: Any, settings: FeatureSettings) -> None:
    # otherwise the test above could not fail
    moment = moments(tied)[-1]
    now = tied.impressions.filter(pl.col("at") > moment)
    past, future = split(tied.events, moment)
    shown, coming = split(tied.impressions, moment)
    past = past.with_columns(
        pl.col("at") - pl.duration(minutes=50),
        action=pl.lit("like"),
        item_id=pl.lit("i2"),
        topics=pl.lit(["coffee"]),
    )
    rewritten = shown.with_columns(pl.col("at") - pl.duration(hours=7), concept_id=pl.lit("c1"), clicked=pl.lit(True))
    other = replace(
        tied,
        events=pl.concat([past.gather_every(2), future]),
        impressions=pl.concat([rewritten.gather_every(2), coming]),
    )
    before, after = table(tied, settings, now), table(other, settings, now)
    same = {name for name in NAMES if before[name].equals(after[name], null_equal=True)}
    assert same == CLOCK


def test_the_rows_of_a_slate_do_not_see_each_other(tied: Any, settings: FeatureSettings) -> None:
    moment = moments(tied)[0]
    now = tied.impressions.filter(pl.col("at") == moment)
    clicked = tied.impressions.with_columns(
        clicked=pl.when(pl.col("at") == moment).then(~pl.col("clicked")).otherwise("clicked")
    )
    other = replace(tied, impressions=clicked)
    assert table(tied, settings, now).select(NAMES).equals(table(other, settings, now).select(NAMES))


def lenient_seen(times: Any, at: Any, delay_seconds: float = 0.0, *, days_before: float = 0.0) -> Any:
    """The classic slip: <= in place of <."""
    return np.searchsorted(times, at - round(delay_seconds * 1e6) - round(days_before * 8.64e10), side="right")


@pytest.mark.parametrize(
    ("module", "caught"),
    [
        (browsing, {"affinity_1d", "affinity_share_30d", "topic_events_7d", "hours_since_event", "interest_entropy"}),
        (embeddings, {"embedding_cosine", "embedding_mass"}),
        (exposure, {"concept_click_rate", "user_concept_shown", "user_concept_clicked", "user_click_rate"}),
    ],
)
def test_a_planted_leak_of_the_present_is_caught(
    tied: Any, settings: FeatureSettings, monkeypatch: pytest.MonkeyPatch, module: Any, caught: set[str]
) -> None:
    monkeypatch.setattr(module, "seen", lenient_seen)
    found = set().union(*(leaking_columns(table, tied, settings, moment) for moment in moments(tied)))
    assert caught <= found


def test_a_planted_click_rate_of_the_whole_log_is_caught(tied: Any, settings: FeatureSettings) -> None:
    def careless(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
        rate = log.impressions.group_by("concept_id").agg(pl.col("clicked").mean().alias("whole_log_rate"))
        return table(log, settings, pairs).join(rate, on="concept_id", how="left", maintain_order="left")

    assert leaking_columns(careless, tied, settings, moments(tied)[0]) == {"whole_log_rate"}


def test_a_feature_that_ignores_the_delay_is_caught(tied: Any, settings: FeatureSettings) -> None:
    delayed = settings.model_copy(update={"delay_seconds": 86_400.0})

    def hasty(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
        return table(log, settings.model_copy(update={"delay_seconds": 0.0}), pairs)

    found = set().union(*(leaking_columns(hasty, tied, delayed, moment) for moment in moments(tied)))
    assert {"events_1d", "affinity_7d", "embedding_mass", "concept_shown"} <= found


def test_interests_and_embeddings_do_not_look_ahead(tied: Any, settings: FeatureSettings) -> None:
    moment = moments(tied)[0]
    knobs = {"half_life_days": 7.0, "delay_seconds": 0.0, "action_weights": settings.action_weights}
    asked = tied.impressions.filter(pl.col("at") == moment)
    for other in other_futures(tied, moment):
        ours, theirs = (interests(log.events, as_of=moment, **knobs) for log in (tied, other))
        assert ours.equals(theirs)
        before, after = (embeddings_at(log.events, log.space, asked, **knobs) for log in (tied, other))
        assert np.array_equal(before, after)
