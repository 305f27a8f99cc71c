"""Turns logged clicks into one smoothed, slot-fair click rate per concept."""

from __future__ import annotations

import polars as pl

PRIOR_IMPRESSIONS = 20.0
"""A concept starts as if it had been shown this often with the average rate."""


def popularity(impressions: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """Click rate of every concept, comparable across slots: clicks over expected clicks, shrunk to the average.

    rate(c) = average * (clicks(c) + m * average) / (expected(c) + m * average), where expected(c) sums, over the
    impressions of c, the click rate of their slot, and m = PRIOR_IMPRESSIONS (COEC; Zhang and Jones 2007).
    A concept never shown has the average rate.

    Args:
        impressions: concept_id, slot, clicked. Only those known at the moment of use: the caller cuts the log.
        concepts: concept_id.

    Returns:
        concept_id (in the order of `concepts`), impressions, clicks, click_rate in (0, 1).
    """
    clicks = int(impressions["clicked"].sum()) if impressions.height else 0
    average = (clicks + 0.5) / (impressions.height + 1.0)
    slot_rates = impressions.group_by("slot").agg(pl.col("clicked").mean().alias("slot_rate"))
    shown = (
        impressions.select("concept_id", "slot", "clicked")
        .join(slot_rates, on="slot", how="left")
        .sort("concept_id", "slot", "clicked")  # a fixed order of addition, so that sums are equal to the byte
        .group_by("concept_id", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("impressions"),
            pl.col("clicked").sum().cast(pl.Int64).alias("clicks"),
            pl.col("slot_rate").sum().alias("expected"),
        )
    )
    prior = PRIOR_IMPRESSIONS * average
    return (
        concepts.select("concept_id")
        .join(shown, on="concept_id", how="left", maintain_order="left")
        .with_columns(pl.col("impressions", "clicks", "expected").fill_null(0))
        .select(
            "concept_id",
            "impressions",
            "clicks",
            (average * (pl.col("clicks") + prior) / (pl.col("expected") + prior))
            .clip(1e-6, 1 - 1e-6)
            .alias("click_rate"),
        )
    )
