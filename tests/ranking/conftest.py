"""Turns a planted utility, slot effect and logging policy into a click log for the ranking tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from contracts.settings import RankingSettings

START = datetime(2025, 1, 1, tzinfo=UTC)
SLOT_EFFECT = np.array([0.0, -1.0, -1.6, -2.0])
FEATURES = ("affinity", "pushed", "noise")


@dataclass(frozen=True)
class Log:
    """A click log with features, and the true log-odds of a click in slot 0."""

    table: pl.DataFrame
    utility: npt.NDArray[np.float64]


def planted_log(slates: int = 4000, *, pushed: float = -0.4, push: float = 0.0, size: int = 4, seed: int = 3) -> Log:
    """Utility 1.2 * affinity + pushed * x - 1; the logging policy puts concepts of high x on top, `push` strong."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(slates, 12, 3))
    shown = np.argsort(-(push * x[:, :, 1] + rng.gumbel(size=(slates, 12))), axis=1)[:, :size]
    features = np.take_along_axis(x, shown[:, :, None], axis=1)
    utility = 1.2 * features[:, :, 0] + pushed * features[:, :, 1] - 1.0
    clicked = rng.random(utility.shape) < 1.0 / (1.0 + np.exp(-(utility + SLOT_EFFECT[:size])))
    at = [START + timedelta(minutes=7 * index) for index in range(slates)]
    table = pl.DataFrame(
        {
            "impression_id": [f"i{index}" for index in range(slates * size)],
            "user_id": [f"u{index % 97}" for index in range(slates) for _ in range(size)],
            "at": pl.Series([moment for moment in at for _ in range(size)], dtype=pl.Datetime("us", "UTC")),
            "slot": pl.Series(np.tile(np.arange(size), slates), dtype=pl.Int32),
            "concept_id": [f"c{concept:02d}" for concept in shown.ravel()],
            "clicked": clicked.ravel(),
            **{name: features[:, :, index].ravel() for index, name in enumerate(FEATURES)},
        }
    )
    return Log(table, utility.ravel())


@pytest.fixture(scope="session")
def plant() -> Callable[..., Log]:
    return planted_log


@pytest.fixture(scope="session")
def settings() -> RankingSettings:
    return RankingSettings(
        rounds=60, leaves=8, learning_rate=0.1, min_rows_per_leaf=20, l2=0.0, feature_share=1.0, threads=1
    )


@pytest.fixture
def concepts() -> pl.DataFrame:
    """Five concepts: c is sensitive, d has ended, e begins later."""
    day = timedelta(days=1)
    return pl.DataFrame(
        {
            "concept_id": ["b", "a", "c", "d", "e"],
            "active_from": [None, START, None, None, START + day],
            "active_until": [None, START + 9 * day, None, START, None],
            "sensitive": [False, False, True, False, False],
        },
        schema_overrides={"active_from": pl.Datetime("us", "UTC"), "active_until": pl.Datetime("us", "UTC")},
    )
