"""Turns a log into a new space that stands where the one in use stands, and says what the refit broke."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from contracts.settings import FeatureSettings
from contracts.store import write_json
from features.alignment import NEIGHBOURS, Alignment, align
from features.covisits import fit_space
from features.newcomers import welcome
from features.space import Space
from features.text_space import fit_text_space
from flows.choose_models import LEAST_COVERAGE, generator_space, keep_version, made_here, versions

REFIT, RESIDUALS = "refit.json", "residuals.parquet"
"""Beside a version of the space: what it broke, and the residual of every shared item."""
_NAMED = 10


@dataclass(frozen=True)
class Refit:
    """A version of the space, and how it relates to the one that was in use.

    Attributes:
        space: the new one, turned; the old one itself where nothing changed.
        told: JSON values, as in refit.json.
    """

    space: Space
    told: dict[str, Any]


def choose_space(
    models: Path,
    events: pl.DataFrame | pl.LazyFrame,
    past: pl.DataFrame | pl.LazyFrame,
    concepts: pl.DataFrame,
    settings: FeatureSettings,
    *,
    made_by: str,
) -> tuple[Space, str]:
    """The first known space that explains the events, or a new one.

    Args:
        models: the user's models.
        events: all events; a scan of files is not held with all its columns.
        past: the events that a new space may be fitted on: those before the test period.
        concepts: table `concepts`.
        settings: of the features.
        made_by: name of the run.

    Returns:
        The space, and where it is from, in words.
    """
    for folder in versions(models, "space"):
        space = Space.load(folder)
        share = space.coverage(events.lazy().select("item_id").collect())
        if share >= LEAST_COVERAGE and _fits(space, settings):
            return space, "fitted here" if made_here(folder, made_by) else f"known, places {share:.0%} of the events"
    return refit_space(models, _narrow(past), concepts, settings, made_by=made_by).space, "fitted here"


def refit_space(
    models: Path, events: pl.DataFrame, concepts: pl.DataFrame, settings: FeatureSettings, *, made_by: str
) -> Refit:
    """Fits a space, aligns it to the one in use, keeps it as a version and puts it in use.

    The one in use is the first known space of the same kind and dimensions. A fit that differs from it by rounding alone
    is not kept: the old version stays in use.
    """
    if settings.space == "text":
        new = fit_text_space(events, concepts, dimensions=settings.dimensions)
    else:
        new = fit_space(
            events,
            dimensions=settings.dimensions,
            window=settings.covisit_window,
            action_weights=settings.action_weights,
        )
    old = space_in_use(models, settings)
    told: dict[str, Any] = {"kind": new.kind, "items": len(new.item_ids), "dimensions": new.dimensions, "from": None}
    alignment = None
    if old is not None:
        new, alignment = align(new, old)
        told |= _told(alignment, old, models)
    told["space_hash"] = new.hash

    def save(folder: Path) -> None:
        new.save(folder)
        write_json(folder / REFIT, told)
        if alignment is not None:
            alignment.items.write_parquet(folder / RESIDUALS)

    keep_version(models, "space", new.hash[:12], save, made_by=made_by)
    return Refit(new, told)


def space_in_use(models: Path, settings: FeatureSettings) -> Space | None:
    """The first known space of the settings' kind and dimensions."""
    known = (Space.load(folder) for folder in versions(models, "space"))
    return next((space for space in known if _fits(space, settings)), None)


def welcomed(
    space: Space, events: pl.DataFrame | pl.LazyFrame, concepts: pl.DataFrame, settings: FeatureSettings
) -> Space:
    """The space with the new items of the events as guests, see `features.newcomers`."""
    items = events.lazy().select(pl.col("item_id").unique()).collect()["item_id"]
    if space.kind == "covisits" and items.is_in(list(space.fitted_ids)).all():
        return space.with_guests()
    return welcome(
        space, _narrow(events), concepts, window=settings.covisit_window, action_weights=settings.action_weights
    )


def _narrow(events: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """The columns that a space is made of."""
    return events.lazy().select("user_id", "at", "action", "item_id", "topics").collect()


def _fits(space: Space, settings: FeatureSettings) -> bool:
    return space.dimensions == settings.dimensions and space.kind == settings.space


def _told(found: Alignment, old: Space, models: Path) -> dict[str, Any]:
    """What a refit kept and broke, as JSON values."""
    trained = [folder.name for folder in versions(models, "generator") if generator_space(folder) == old.hash]
    return {
        "from": old.hash[:12],
        "same": found.same,
        "turned": found.turned,
        "shared": found.shared,
        "gained": len(found.gained),
        "lost": len(found.lost),
        "lost_items": list(found.lost[:_NAMED]),
        "cosine": found.cosine,
        "neighbours": NEIGHBOURS,
        "neighbours_kept": found.neighbours_kept,
        "moved_most": found.items.head(_NAMED).to_dicts(),
        "generators_that_no_longer_fit": [] if found.same else sorted(set(trained)),
    }
