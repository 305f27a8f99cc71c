"""Claims about the time split."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from contracts.settings import RankingSettings
from ranking.split import MIN_SLATES, PARTS, boundaries, split

START = datetime(2025, 1, 1, tzinfo=UTC)


def log(minutes: list[int], sizes: list[int]) -> pl.DataFrame:
    rows = [
        (f"u{index}", START + timedelta(minutes=minute))
        for index, (minute, size) in enumerate(zip(minutes, sizes, strict=True))
        for _ in range(size)
    ]
    return pl.DataFrame(rows, schema={"user_id": pl.String, "at": pl.Datetime("us", "UTC")}, orient="row")


@effort(max_examples=50, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 10_000), min_size=MIN_SLATES, max_size=80, unique=True),
    shares=st.tuples(*[st.floats(0.1, 0.3)] * 3),
    data=st.data(),
)
def test_parts_follow_each_other_hold_their_share_and_never_cut_a_slate(
    minutes: list[int], shares: tuple[float, float, float], data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=len(minutes), max_size=len(minutes)))
    validation, calibration, test = shares
    settings = RankingSettings(validation_share=validation, calibration_share=calibration, test_share=test)
    impressions = log(minutes, sizes)
    parts = split(impressions, settings)
    assert parts.drop("part").equals(impressions)
    slates = parts.unique()
    assert slates.height == len(minutes)  # one part a slate
    spans = [slates.filter(pl.col("part") == part)["at"] for part in PARTS]
    assert all(earlier.max() < later.min() for earlier, later in pairwise(spans))
    expected = [1 - sum(shares), *shares]
    assert all(abs(len(span) - share * len(minutes)) <= 1.0 for span, share in zip(spans, expected, strict=True))


def test_slates_of_one_moment_stay_together() -> None:
    impressions = log(sorted(list(range(10)) * 4), [1] * 40)
    assert split(impressions, RankingSettings()).group_by("at").agg(pl.col("part").n_unique())["part"].max() == 1


def test_a_short_log_and_an_empty_part_are_refused_with_a_way_out() -> None:
    with pytest.raises(DataError, match=r"only 19 slates.*longer log"):
        split(log(list(range(19)), [4] * 19), RankingSettings())
    with pytest.raises(DataError, match=r"validation.*one moment"):
        split(log([0] * 10 + [5] * 30, [1] * 40), RankingSettings(validation_share=0.2))


def test_shares_that_leave_no_training_are_refused() -> None:
    greedy = RankingSettings(validation_share=0.4, calibration_share=0.4, test_share=0.4)
    with pytest.raises(SettingsError, match=r"1\.20"):
        boundaries(log(list(range(40)), [1] * 40), greedy)
