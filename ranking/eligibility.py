"""Turns concepts, budgets and past impressions into which concepts may be shown to whom, at any moment."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import SettingsError
from contracts.settings import SlateSettings
from ranking.frames import Floats, Ints

Bools = npt.NDArray[np.bool_]

_MICROS_PER_DAY = 86_400_000_000
_BLOCK_CELLS = 1_000_000


def eligible(concepts: pl.DataFrame, at: datetime, *, personal: bool = True) -> pl.DataFrame:
    """Concepts that may be shown at one moment, in their own order: active_from <= at < active_until, null is open.

    Sensitive concepts are never personalised: with `personal` they are left out; the general slate
    (`personal=False`) may hold them.
    """
    moment = pl.lit(at, dtype=pl.Datetime("us", "UTC"))
    started = pl.col("active_from").is_null() | (pl.col("active_from") <= moment)
    running = pl.col("active_until").is_null() | (moment < pl.col("active_until"))
    return concepts.filter(started & running & (~pl.col("sensitive") if personal else pl.lit(True)))


@dataclass(frozen=True, eq=False)
class Eligibility:
    """Personal concepts, and what keeps them from being shown.

    Users without consent have no rows in any table, so they come to no moment.

    Attributes:
        concepts: those that are not sensitive, C rows, by concept_id.
        often: user_id, column, at: impressions of (user, concept) that may have reached the frequency cap.
        spent: advertiser's columns, sorted times of its impressions, and its budget, of each advertiser with one.
        settings: frequency_cap, frequency_days, budget_days.
        delay: microseconds; younger impressions are not yet known.
    """

    concepts: pl.DataFrame
    often: pl.DataFrame
    spent: tuple[tuple[Bools, Ints, int], ...]
    settings: SlateSettings
    delay: int

    @classmethod
    def of(
        cls, concepts: pl.DataFrame, impressions: pl.DataFrame, settings: SlateSettings, *, delay_seconds: float = 0.0
    ) -> Eligibility:
        """From a Concepts table and the log, which may run on after the moments that will be asked for.

        Raises:
            SettingsError: a budget for an advertiser that has no concept.
        """
        check_advertisers(settings.advertiser_budgets, concepts, where="ranking.advertiser_budgets")
        allowed = concepts.filter(~pl.col("sensitive")).sort("concept_id")
        columns = allowed.select("concept_id").with_row_index("column")
        log = impressions.select("user_id", "concept_id", "at")
        often = columns.clear().with_columns(user_id=pl.lit("u"), at=pl.lit(None, pl.Datetime("us", "UTC")))
        if settings.frequency_cap:
            often = log.filter(pl.len().over("user_id", "concept_id") >= settings.frequency_cap)
            often = often.join(columns, on="concept_id")
        spent = []
        for advertiser, budget in sorted(settings.advertiser_budgets.items()):
            own = concepts.filter(pl.col("advertiser") == advertiser)
            times = log.join(own, on="concept_id", how="semi")["at"].sort()
            spent.append(((allowed["advertiser"] == advertiser).to_numpy(), _micros(times), budget))
        return cls(
            allowed,
            often.select("user_id", "column", "at"),
            tuple(spent),
            settings,
            round(delay_seconds * 1e6),
        )

    def mask(self, moments: pl.DataFrame) -> Bools:
        """(n, C) whether a concept may be shown at a moment (user_id, at), n rows.

        It is active, its advertiser's impressions to anybody in the `budget_days` before have not reached its budget,
        and its own to this user in the `frequency_days` before have not reached the cap.
        """
        known = _micros(moments["at"]) - self.delay
        at = _open(moments["at"])[:, None]
        mask = np.ones((len(moments), len(self.concepts)), dtype=np.bool_)
        bounds = [_open(self.concepts[name]) for name in ("active_from", "active_until")]
        dated = np.flatnonzero(~np.isnan(bounds).all(axis=0))
        mask[:, dated] = ~((at < bounds[0][dated]) | (at >= bounds[1][dated]))
        for columns, times, budget in self.spent:
            since = known - round(self.settings.budget_days * _MICROS_PER_DAY)
            shown = np.searchsorted(times, known) - np.searchsorted(times, since)
            mask &= ~(columns & (shown >= budget)[:, None])
        if len(self.often):
            window = pl.col("known") - round(self.settings.frequency_days * _MICROS_PER_DAY)
            at_log = pl.col("at").dt.epoch("us")
            worn = (
                moments.select("user_id", known=pl.Series(known))
                .with_row_index("row")
                .join(self.often, on="user_id")
                .filter((at_log < pl.col("known")) & (at_log >= window))
                .group_by("row", "column")
                .len()
                .filter(pl.col("len") >= self.settings.frequency_cap)
            )
            mask[worn["row"].to_numpy(), worn["column"].to_numpy()] = False
        return mask

    def budgets_left(self, at: datetime) -> dict[str, int]:
        """Impressions that each advertiser with a budget may still have at one moment, 0 or more."""
        known = round(at.timestamp() * 1e6) - self.delay
        since = known - round(self.settings.budget_days * _MICROS_PER_DAY)
        left = {}
        for name, (_, times, budget) in zip(sorted(self.settings.advertiser_budgets), self.spent, strict=True):
            left[name] = max(0, budget - int(np.searchsorted(times, known) - np.searchsorted(times, since)))
        return left

    def allows(self, pairs: pl.DataFrame) -> Bools:
        """(P,) whether each pair (user_id, at, concept_id) might be shown."""
        places = self.concepts.select("concept_id").with_row_index("column")
        column = pairs.join(places, on="concept_id", how="left", maintain_order="left")["column"]
        known = column.cast(pl.Int64).fill_null(-1).to_numpy()
        size = max(1, _BLOCK_CELLS // max(len(self.concepts), 1))
        found = np.zeros(len(pairs), dtype=np.bool_)
        for start in range(0, len(pairs) if len(self.concepts) else 0, size):
            mask, own = self.mask(pairs[start : start + size]), known[start : start + size]
            found[start : start + size] = mask[np.arange(len(mask)), own] & (own >= 0)
        return found


def check_advertisers(names: Iterable[str], concepts: pl.DataFrame, *, where: str) -> None:
    """Raises SettingsError for advertisers without a concept, with the nearest known name."""
    known = concepts["advertiser"].unique().sort().to_list()
    near = {
        name: difflib.get_close_matches(name, known, n=1, cutoff=0.0) for name in sorted(names) if name not in known
    }
    if near:
        raise SettingsError(
            "no concept is of "
            + ", ".join(f"{name} (the nearest is {', '.join(like)})" for name, like in near.items()),
            where=where,
            fix="Name advertisers of the concepts table.",
        )


def _micros(moments: pl.Series) -> Ints:
    return moments.cast(pl.Datetime("us", "UTC")).dt.epoch("us").to_numpy().astype(np.int64)


def _open(moments: pl.Series) -> Floats:
    """Microseconds as float64, exact until the year 2255; null becomes NaN, with which no comparison is true."""
    return moments.cast(pl.Datetime("us", "UTC")).cast(pl.Int64).cast(pl.Float64).to_numpy()
