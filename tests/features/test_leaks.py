"""No feature looks ahead: whatever happens at or after t, the features of t stay the same to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import features.table
from contracts.settings import FeatureSettings, Settings
from contracts.tables import ACTIONS
from features.embeddings import embeddings_at
from features.glossary import FEATURES, features_of
from features.interests import interests
from features.log import Pairs, code_pairs, sealed
from features.table import ranking_table

CLOCK = {"hour", "weekday"}
DAY_SECONDS = 86_400.0
OTHER = {"affinity_half_lives_days": (0.5, 90.0), "half_life_days": 3.0, "session_gap_minutes": 200.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "an hour late": {"delay_seconds": 3_600.0},
    "a day late": {"delay_seconds": 100_000.5},
    "others": OTHER,
}
"""Settings under which no feature may look ahead; whatever features they make are tested, each by name."""

EVERY = [
    pytest.param(variant, feature.name, id=f"{variant}: {feature.name}")
    for variant, update in VARIANTS.items()
    for feature in features_of(Settings().features.model_copy(update=update))
]
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
    loud = future.with_columns(
        action=pl.lit("purchase"), item_id=pl.lit("i0"), topics=pl.lit(["brand new"]), dwell_seconds=pl.lit(9e4)
    )
    twice = coming.with_columns(clicked=pl.lit(True), slot=pl.lit(9, dtype=pl.Int32))
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
    """The first and the last moments at which a slate's user also has an event: where < and <= part ways."""
    both = log.impressions.join(log.events, on=["user_id", "at"], how="semi")["at"].unique().sort().to_list()
    return [*both[:3], *both[-5:]]


@pytest.fixture(scope="module")
def tied(make: dict[str, Callable[..., Any]]) -> Any:
    """A log in which every slate's user also has events at that very moment, and at those where a delay ends."""
    log = make["log"](seed=11)
    echo = log.impressions.unique(["user_id", "at"], maintain_order=True).select("user_id", "at")
    delays = sorted({float(update.get("delay_seconds", 0.0)) for update in VARIANTS.values()} | {DAY_SECONDS})
    echoes = [
        echo.with_columns(
            pl.col("at") - timedelta(seconds=delay, minutes=minutes),
            action=pl.lit(ACTIONS[(k + 2 * n) % len(ACTIONS)]),
            item_id=pl.format("i{}", (pl.int_range(pl.len()) + n) % 3),
            topics=pl.lit([["coffee", "music"], ["hiking"], ["travel", "coffee"]][n]),
            dwell_seconds=pl.lit(33.0 + n),
            device=pl.lit(["tablet", "phone", None][n], dtype=pl.String),
        )
        for delay in delays
        for n, minutes in enumerate((0, 7, 30))
        for k in range(len(ACTIONS))
    ]
    return replace(log, events=pl.concat([log.events, *echoes]))


@pytest.fixture(scope="module")
def leaks(tied: Any, settings: FeatureSettings) -> Callable[[str], set[str]]:
    """Columns that change with the future, under a variant of the settings."""
    checked = moments(tied)
    assert len(checked) >= 5

    @cache
    def found(variant: str) -> set[str]:
        changed = settings.model_copy(update=VARIANTS[variant])
        return set().union(*(leaking_columns(table, tied, changed, moment) for moment in checked))

    return found


@pytest.fixture(scope="module")
def follows(tied: Any, settings: FeatureSettings) -> Callable[[str], set[str]]:
    """Columns that change with the past, under a variant of the settings."""

    @cache
    def found(variant: str) -> set[str]:
        changed = settings.model_copy(update=VARIANTS[variant])
        moment = moments(tied)[-1]
        horizon = moment - timedelta(seconds=changed.delay_seconds)
        now = tied.impressions.filter(pl.col("at") == moment)
        empty = replace(tied, events=split(tied.events, horizon)[1], impressions=split(tied.impressions, horizon)[1])
        before = table(tied, changed, now)
        others = [table(other, changed, now) for other in (another_past(tied, horizon, now), empty)]
        return {
            name
            for name in before.columns
            if any(not before[name].equals(after[name], null_equal=True) for after in others)
        }

    return found


def another_past(log: Any, horizon: Any, now: pl.DataFrame) -> Any:
    """Another log up to the horizon, and the same from then on."""
    past, future = split(log.events, horizon)
    shown, coming = split(log.impressions, horizon)
    rest = {
        "item_id": pl.lit("i2"),
        "topics": pl.lit(["coffee", "brand new"]),
        "dwell_seconds": pl.lit(77.0),
        "device": pl.lit("desktop"),
    }
    kinds = pl.Series(ACTIONS).gather(pl.int_range(len(past), eager=True) % len(ACTIONS))
    past = past.with_columns(pl.col("at") - pl.duration(minutes=50), action=kinds, **rest)
    late = [
        now.select("user_id", "at").with_columns(
            at=pl.lit(horizon - timedelta(minutes=minutes)).cast(past.schema["at"]), action=pl.lit("search"), **rest
        )
        for minutes in (1, 4, 6)
    ]
    rewritten = shown.with_columns(
        pl.col("at") - pl.duration(hours=7),
        concept_id=pl.lit("c1"),
        clicked=pl.lit(True),
        slot=pl.lit(3, dtype=pl.Int32),
    )
    again = now.select(past_impression(horizon)).select(shown.columns)
    return replace(
        log,
        events=pl.concat([past.gather_every(2), *late, future]),
        impressions=pl.concat([rewritten.gather_every(2), again, coming]),
    )


def past_impression(horizon: Any) -> list[pl.Expr]:
    """The same rows, two hours before the horizon, all clicked."""
    at = pl.lit(horizon - timedelta(hours=2)).cast(pl.Datetime("us", "UTC")).alias("at")
    return [pl.all().exclude("at", "clicked"), at, pl.lit(True).alias("clicked")]


@pytest.mark.parametrize(("variant", "name"), EVERY)
def test_a_feature_does_not_change_when_only_the_future_changes(
    leaks: Callable[[str], set[str]], variant: str, name: str
) -> None:
    assert name not in leaks(variant)


@pytest.mark.parametrize(("variant", "name"), EVERY)
def test_a_feature_changes_when_the_past_changes(follows: Callable[[str], set[str]], variant: str, name: str) -> None:
    # otherwise the test above could not fail
    assert (name in follows(variant)) == (name not in CLOCK)


def test_the_rows_of_a_slate_do_not_see_each_other(tied: Any, settings: FeatureSettings) -> None:
    moment = moments(tied)[0]
    now = tied.impressions.filter(pl.col("at") == moment)
    clicked = tied.impressions.with_columns(
        clicked=pl.when(pl.col("at") == moment).then(~pl.col("clicked")).otherwise("clicked")
    )
    other = replace(tied, impressions=clicked)
    assert (
        table(tied, settings, now)
        .select([feature.name for feature in FEATURES])
        .equals(table(other, settings, now).select([feature.name for feature in FEATURES]))
    )


def lenient_pairs(*args: Any) -> Pairs:
    """The classic slip: <= in place of <."""
    pairs = code_pairs(*args)
    return pairs._replace(horizon=sealed(pairs.horizon + 1))


@pytest.fixture(scope="module")
def caught(tied: Any, settings: FeatureSettings) -> set[str]:
    """Columns found out when the present leaks into them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features.table, "code_pairs", lenient_pairs)
        return set().union(*(leaking_columns(table, tied, settings, moment) for moment in moments(tied)))


@pytest.mark.parametrize("name", [feature.name for feature in FEATURES])
def test_a_planted_leak_of_the_present_is_caught(caught: set[str], name: str) -> None:
    assert (name in caught) == (name not in CLOCK)


def test_a_planted_click_rate_of_the_whole_log_is_caught(tied: Any, settings: FeatureSettings) -> None:
    def careless(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
        rate = log.impressions.group_by("concept_id").agg(pl.col("clicked").mean().alias("whole_log_rate"))
        return table(log, settings, pairs).join(rate, on="concept_id", how="left", maintain_order="left")

    assert leaking_columns(careless, tied, settings, moments(tied)[0]) == {"whole_log_rate"}


def test_a_feature_that_ignores_the_delay_is_caught(tied: Any, settings: FeatureSettings) -> None:
    delayed = settings.model_copy(update={"delay_seconds": DAY_SECONDS})

    def hasty(log: Any, settings: FeatureSettings, pairs: pl.DataFrame) -> pl.DataFrame:
        return table(log, settings.model_copy(update={"delay_seconds": 0.0}), pairs)

    found = set().union(*(leaking_columns(hasty, tied, delayed, moment) for moment in moments(tied)))
    assert {feature.name for feature in FEATURES} - CLOCK <= found


def test_interests_and_embeddings_do_not_look_ahead(tied: Any, settings: FeatureSettings) -> None:
    moment = moments(tied)[0]
    knobs = {"half_life_days": 7.0, "delay_seconds": 0.0, "action_weights": settings.action_weights}
    asked = tied.impressions.filter(pl.col("at") == moment)
    for other in other_futures(tied, moment):
        ours, theirs = (interests(log.events, as_of=moment, **knobs) for log in (tied, other))
        assert ours.equals(theirs)
        before, after = (embeddings_at(log.events, log.space, asked, **knobs) for log in (tied, other))
        assert np.array_equal(before, after)
