"""Turns a table of impressions, or of creatives with their counts, into the section on creatives of abtest.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import DataError
from evaluation.elements import element_effects
from evaluation.fatigue import fatigue_curve
from evaluation.sections import absent, span
from evaluation.shrinkage import click_rates

Section = dict[str, Any]
RELIABILITIES = (0.5, 0.8, 0.9)
_SHOWN = 200
_RESAMPLES = 500


def creatives(
    table: pl.DataFrame, elements: Sequence[str], *, confidence: float, seed: int, where: str
) -> tuple[Section, pl.DataFrame]:
    """What the creatives are worth: rates, elements, fatigue, and impressions needed; and one row a creative.

    Args:
        table: creative_id and either clicked, one row an impression (with user_id and at for the fatigue curve), or
            clicks and impressions, one row a creative, or click_rate alone.
        elements: columns of what a creative is made of.
        confidence: of the intervals.
        seed: of the run.
        where: the file, for errors.

    Raises:
        DataError: columns are missing, counts cannot be, or a creative's elements differ between rows.
    """
    by_creative = _by_creative(table, elements, where)
    rates, noise = absent("Impressions are not given, so click rates cannot be told from chance."), None
    rate = by_creative["click_rate"].to_numpy()
    if "impressions" in by_creative.columns:
        k, n = by_creative["clicks"].to_numpy(), by_creative["impressions"].to_numpy()
        found = click_rates(k, n, confidence=confidence)
        by_creative = by_creative.with_columns(
            shrunk=found.rate, low=found.low, high=found.high, reliability=found.reliability
        )
        noise = found.prior[0] * (1 - found.prior[0]) / n
        rates = {
            "mean": found.prior[0],
            "strength": found.prior[1],
            "spread": found.spread,
            "p": found.p,
            "impressions": int(n.sum()),
            "median_impressions": float(np.median(n)),
            "median_reliability": float(np.median(found.reliability)),
            "needed": [{"reliability": r, "impressions": found.impressions_for(r)} for r in RELIABILITIES],
            "rows": by_creative.sort("shrunk", descending=True).head(_SHOWN).select(
                "creative_id", "clicks", "impressions", "click_rate", "shrunk", "low", "high", "reliability").to_dicts(),
        }  # fmt: skip
    section = {
        "count": by_creative.height,
        "mean": float(rate.mean()),
        "best": float(rate.max()),
        "rates": rates,
        "elements": _elements(by_creative, elements, rate, noise, confidence),
        "fatigue": _fatigue(table, confidence, seed),
    }
    return section, by_creative


def _by_creative(table: pl.DataFrame, elements: Sequence[str], where: str) -> pl.DataFrame:
    """One row a creative: creative_id, click_rate, the elements, and clicks and impressions where they are known."""
    counted = {"clicks", "impressions"} <= set(table.columns)
    need = ["creative_id", *elements]
    missing = [name for name in need if name not in table.columns]
    if missing or not (counted or {"clicked", "click_rate"} & set(table.columns)):
        what = f"has no column {', '.join(missing)}" if missing else "has neither clicked, nor clicks and impressions, nor click_rate"  # fmt: skip
        raise DataError(what, where=where, fix="Give creative_id with clicked, or with clicks and impressions.")
    known = table.filter(pl.col("creative_id").is_not_null())
    if counted:
        sums = [pl.col("clicks").sum(), pl.col("impressions").sum()]
    elif "clicked" in table.columns:
        sums = [
            pl.col("clicked").cast(pl.Float64).sum().alias("clicks"),
            pl.col("clicked").count().alias("impressions"),
        ]
    else:
        sums = [pl.col("click_rate").cast(pl.Float64).mean()]
    kinds = [pl.col(name).n_unique().alias(f"_kinds {name}") for name in elements]
    made = (
        known.group_by("creative_id")
        .agg(*sums, *(pl.col(name).first() for name in elements), *kinds)
        .sort("creative_id")
    )
    differ = [name for name in elements if made.filter(pl.col(f"_kinds {name}") > 1).height]
    if differ:
        raise DataError(
            f"{', '.join(differ)} differs within a creative", where=where, fix="A creative has one of each."
        )
    if made.is_empty():
        raise DataError("holds no creative", where=where, fix="Give rows with a creative_id.")
    if "clicks" in made.columns:
        made = made.filter(pl.col("impressions") > 0).with_columns(click_rate=pl.col("clicks") / pl.col("impressions"))
    bad = made.filter(
        ~pl.col("click_rate").is_between(0, 1) | pl.col("click_rate").is_null() | pl.col("click_rate").is_nan()
    )
    if bad.height:
        what = f"{bad.height} creatives have a click rate that is unknown or not between 0 and 1"
        raise DataError(what, where=where, fix=f"Mend their rows; the first is {bad['creative_id'][0]}.")
    return made.drop(f"_kinds {name}" for name in elements)


def _elements(
    by_creative: pl.DataFrame, elements: Sequence[str], rate: np.ndarray[Any, Any], noise: Any, confidence: float
) -> Section:
    if not elements:
        return absent("No elements were named.")
    factors = {name: by_creative[name].cast(pl.String).fill_null("(none)").to_list() for name in elements}
    try:
        found = element_effects(rate, factors, noise=noise, confidence=confidence)
    except DataError as error:
        return absent(f"Not fitted: {error.what}.")
    section = asdict(found)
    section["effects"] = [{key: value for key, value in row.items() if key not in ("low", "high")}
                          | {"interval": {"low": row["low"], "high": row["high"]}} for row in section["effects"]]  # fmt: skip
    return section | {
        "sentence": _element_sentence(found.r2, found.p, max(found.held_out_additive, found.held_out_pairs))
    }


def _element_sentence(r2: float, p: float, held_out: float) -> str:
    fit = f"An additive model of the elements explains R\u00b2 = {r2:.2f} of these click rates (p = {p:.2g})"
    if held_out < 0.05:
        share = "nothing" if held_out <= 0 else f"{100 * held_out:.1f} %"
        return f"{fit}, and of a creative left out elements with their pairs predict {share}: do not choose by element."
    return f"{fit}; of a creative left out elements predict {100 * held_out:.0f} % of the difference."


def _fatigue(table: pl.DataFrame, confidence: float, seed: int) -> Section:
    needed = ("user_id", "creative_id", "at", "clicked")
    if not set(needed) <= set(table.columns):
        return absent("Needs one row an impression, with user_id, creative_id, at and clicked.")
    used = table.select(needed).drop_nulls()
    found = fatigue_curve(used, confidence=confidence, resamples=_RESAMPLES, seed=seed)
    if isinstance(found, str):
        return absent(f"{found[:1].upper()}{found[1:]}.")
    arrays = ("rate", "low", "high", "impressions", "within", "within_half_width")
    section = {name: getattr(found, name).tolist() for name in arrays}
    return section | {"change": found.change, "change_interval": span(found.change_interval)}
