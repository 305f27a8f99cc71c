"""Turns a data folder and the space in use into how well the one still explains the other."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl

from contracts.errors import ModelError
from contracts.settings import FeatureSettings
from features.drift import RECENT_DAYS, drift
from features.space import Space
from flows.admit_rows import admitted_for_now
from flows.job import Job
from flows.refit_space import space_in_use
from sources.outcome import read_table


def measure_drift(job: Job) -> dict[str, Any]:
    """The drift of the space in use on all events that may be learned from, as JSON values; see `features.drift`.

    Raises:
        ModelError: no space of the settings' kind and dimensions is known.
    """
    settings = job.settings.features
    space = space_in_use(job.models, settings)
    if space is None:
        raise ModelError(
            f"there is no space of {settings.space} in {settings.dimensions} dimensions",
            where=str(job.models / "space"),
            fix="Fit one: adloom train space DATA.",
        )
    with admitted_for_now(job) as tables:
        events = read_table(tables, "events")
    return drift_of(space, events, settings)


def drift_of(space: Space, events: pl.DataFrame | pl.LazyFrame, settings: FeatureSettings) -> dict[str, Any]:
    """Drift as JSON values, as in report.json under `space`; `space` may have guests, which are counted."""
    found = drift(space, events, window=settings.covisit_window, action_weights=settings.action_weights)
    days = [{**row, "day": row["day"].isoformat()} for row in found.days.iter_rows(named=True)]
    about = {"version": space.hash[:12], "kind": space.kind, "items": len(space.fitted_ids), "guests": space.guests}
    return asdict(found) | about | {"recent_days": RECENT_DAYS, "reasons": list(found.reasons), "days": days}
