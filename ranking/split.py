"""Turns logged impressions into parts by time: train, then validation, then calibration, then test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from contracts.errors import DataError, SettingsError
from contracts.settings import RankingSettings

SLATE = ("user_id", "at")
"""Impressions that agree in these are one slate."""

PARTS = ("train", "validation", "calibration", "test")
MIN_SLATES = 20
"""Fewer slates than this are not split."""

_FIX = "Give a longer log, or change validation_share, calibration_share and test_share under [ranking]."


@dataclass(frozen=True)
class Boundaries:
    """First moment of each part after train; a part ends where the next begins."""

    validation_from: datetime
    calibration_from: datetime
    test_from: datetime


def boundaries(impressions: pl.DataFrame, settings: RankingSettings) -> Boundaries:
    """The moments that cut the slates (distinct user_id, at) into shares, by quantiles of their `at`.

    A boundary is a moment, so slates of one moment are always in the same part and no slate is cut; parts
    can therefore differ from their share by the slates of one moment.

    Raises:
        SettingsError: the shares leave nothing for training.
        DataError: fewer than MIN_SLATES slates, or so many of one moment that a part is empty.
    """
    held_out = settings.validation_share + settings.calibration_share + settings.test_share
    if held_out >= 1.0:
        raise SettingsError(
            f"the shares add up to {held_out:.2f}, nothing is left for training",
            where="ranking.validation_share, calibration_share, test_share",
            fix="Let them add up to less than 1, e.g. 0.4.",
        )
    moments = impressions.select(SLATE).unique().get_column("at").sort()
    slates = len(moments)
    if slates < MIN_SLATES:
        raise DataError(f"only {slates} slates, at least {MIN_SLATES} are needed", where="impressions", fix=_FIX)
    # rounded, so that 0.1 + 0.1 + 0.2 cuts where a person expects it
    shares = [
        held_out,
        settings.calibration_share + settings.test_share,
        settings.test_share,
    ]
    validation, calibration, test = (moments[min(slates - 1, round((1.0 - share) * slates))] for share in shares)
    starts = [moments[0], validation, calibration, test]
    empty = [part for part, start, end in zip(PARTS, starts, starts[1:], strict=False) if start == end]
    if empty:
        raise DataError(
            f"no slate falls in the {' and the '.join(empty)} part: too many slates of one moment",
            where="impressions.at",
            fix=_FIX,
        )
    return Boundaries(validation, calibration, test)


def split(impressions: pl.DataFrame, settings: RankingSettings) -> pl.DataFrame:
    """The impressions in their own order with a column `part`, one of PARTS.

    Args:
        impressions: user_id, at and any other columns.
        settings: the shares.

    Raises:
        DataError, SettingsError: see `boundaries`.
    """
    cut = boundaries(impressions, settings)
    at = pl.col("at")
    return impressions.with_columns(
        pl.when(at < cut.validation_from)
        .then(pl.lit("train"))
        .when(at < cut.calibration_from)
        .then(pl.lit("validation"))
        .when(at < cut.test_from)
        .then(pl.lit("calibration"))
        .otherwise(pl.lit("test"))
        .alias("part")
    )
