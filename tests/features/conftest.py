"""Small logs for the feature tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.seeds import stream
from contracts.settings import FeatureSettings, Settings
from features.space import Space

TOPICS = ("coffee", "hiking", "music", "travel")
INSTANT = pl.Datetime("us", "UTC")
START = 1_700_000_000_000_000  # microseconds
HOUR = 3_600_000_000


@dataclass(frozen=True)
class Log:
    events: pl.DataFrame
    impressions: pl.DataFrame
    concepts: pl.DataFrame
    space: Space


def event_frame(rows: Sequence[tuple[str, int, str, str, list[str]]]) -> pl.DataFrame:
    schema = {
        "user_id": pl.String,
        "at": pl.Int64,
        "action": pl.String,
        "item_id": pl.String,
        "topics": pl.List(pl.String),
    }
    return pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(pl.col("at").cast(INSTANT))


def impression_frame(rows: Sequence[tuple[str, int, str, bool]]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "at": pl.Int64, "concept_id": pl.String, "clicked": pl.Boolean}
    return pl.DataFrame(list(rows), schema=schema, orient="row").with_columns(pl.col("at").cast(INSTANT))


def tiny_space() -> Space:
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0.6, 0.8, 0]], dtype=np.float32)
    topic_vectors = np.array([[0, 0, 1], [0, 0.6, 0.8], [0.8, 0, -0.6]], dtype=np.float32)
    return Space(("i0", "i1", "i2"), vectors, ("coffee", "hiking", "music"), topic_vectors)


def concept_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "concept_id": ["c0", "c1", "c2", "i1"],
            "advertiser": ["north", "north", "south", "south"],
            "topics": [["coffee"], ["hiking", "music", "hiking"], ["travel"], ["music"]],
        }
    )


def random_log(seed: int = 3, *, users: int = 12, events: int = 900, slates: int = 150, hours: int = 24 * 40) -> Log:
    draw = stream(seed, "log")
    rows = [
        (
            f"u{draw.integers(users)}",
            START + int(draw.integers(hours)) * HOUR,  # whole hours: many ties
            ("view", "click", "cart", "purchase")[draw.integers(4)],
            f"i{draw.integers(6)}",
            [TOPICS[k] for k in draw.integers(len(TOPICS), size=draw.integers(3))],
        )
        for _ in range(events)
    ]
    shown = [
        (f"u{user}", START + int(hour) * HOUR, f"c{k}", bool(draw.random() < 0.3))
        for user, hour in zip(draw.integers(users, size=slates), draw.integers(hours, size=slates), strict=True)
        for k in draw.permutation(3)[:2]
    ]
    seconds, named = draw.exponential(20.0, events), draw.integers(5, size=events)
    frame = event_frame(rows).with_columns(
        dwell_seconds=pl.Series(np.where(named < 1, np.nan, seconds), dtype=pl.Float64).fill_nan(None),
        device=pl.Series([("phone", "desktop", "tablet", "fridge", None)[k] for k in named], dtype=pl.String),
    )
    impressions = impression_frame(shown).with_columns(slot=pl.int_range(pl.len(), dtype=pl.Int32) % 2)
    return Log(frame, impressions, concept_frame(), tiny_space())


@pytest.fixture(scope="session")
def settings() -> FeatureSettings:
    return Settings().features


@pytest.fixture(scope="session")
def log() -> Log:
    return random_log()


@pytest.fixture(scope="session")
def make() -> dict[str, Callable[..., Any]]:
    """Builders of frames, by name."""
    return {
        "events": event_frame,
        "impressions": impression_frame,
        "concepts": concept_frame,
        "space": tiny_space,
        "log": random_log,
    }
