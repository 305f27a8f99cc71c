"""Turns a run's creatives into the rows of pictures that a report shows side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from contracts.tables import GENERAL_COHORT
from evaluation.report_data import Kind, PictureCell, PictureRow
from flows.job import Job

ROWS = 6
"""Concepts shown side by side."""


def picture_rows(
    job: Job, creatives: pl.DataFrame, values: pl.DataFrame | None, judged: pl.DataFrame | None
) -> tuple[tuple[PictureRow, ...], dict[str, bytes]]:
    """Concepts to show side by side: the best renders of different concepts and cohorts, beside their twins.

    Args:
        job: the run.
        creatives: its creatives.
        values: true click chances, see `value_pictures`; None: not known.
        judged: those expected by the judge; None: there is no judge.
    """
    run = job.run
    passed = creatives.filter(pl.col("checks").list.len() == 0)
    about = {
        row["concept_id"]: row for row in pl.read_parquet(run / "sources" / "concepts.parquet").iter_rows(named=True)
    }
    cohorts = {row["cohort"]: row for row in json.loads((run / "generators" / "cohorts.json").read_text())}
    logged = (
        pl.read_parquet(run / "sources" / "pictures.parquet")
        .sort("creative_id")
        .unique("concept_id", keep="first", maintain_order=True)
    )
    logged_file = dict(logged.select("concept_id", "file").iter_rows())
    of = {(row["cohort"], row["concept_id"]): row for row in passed.iter_rows(named=True)}
    members = pl.read_parquet(run / "generators" / "cohorts.parquet")
    rows: list[PictureRow] = []
    pictures: dict[str, bytes] = {}
    for cohort, concept in _showpieces(run, of):
        others = [other for other, name in of if name == concept and other not in (cohort, GENERAL_COHORT)]
        cells: dict[Kind, PictureCell] = {}
        chances = _mean_chances(values if values is not None else judged, members, cohort, concept)

        def show(
            kind: Kind,
            key: str,
            file: Path,
            interests: list[str],
            cells: dict[Kind, PictureCell] = cells,
            chances: dict[str, float | None] = chances,
        ) -> None:
            pictures[key] = file.read_bytes()
            cells[kind] = PictureCell(picture=key, interests=tuple(interests), click_chance=chances.get(kind))

        own = of[cohort, concept]
        show("own", own["creative_id"], run / "generators" / own["file"], cohorts[cohort]["interests"])
        if others:
            twin = of[others[0], concept]
            show("other", twin["creative_id"], run / "generators" / twin["file"], cohorts[others[0]]["interests"])
        if (GENERAL_COHORT, concept) in of:
            general = of[GENERAL_COHORT, concept]
            show("general", general["creative_id"], run / "generators" / general["file"], [])
        if concept in logged_file:
            show("logged", f"logged-{concept}", job.data / logged_file[concept], [])
        rows.append(
            PictureRow(
                concept_id=concept,
                headline=about[concept]["headline"][0],
                advertiser=about[concept]["advertiser"],
                cohort=cohort,
                cohort_users=cohorts[cohort]["users"],
                interests=tuple(cohorts[cohort]["interests"]),
                cells=cells,
                chance_is="true" if values is not None else "predicted",
            )
        )
    return tuple(rows), pictures


def _showpieces(run: Path, of: dict[tuple[int, str], Any]) -> list[tuple[int, str]]:
    """Best renders first, concepts with several cohorts' pictures before others, no concept twice, cohorts varied."""
    renders = [
        (int(c), str(n))
        for c, n in pl.read_parquet(run / "generators" / "renders.parquet").select("cohort", "concept_id").iter_rows()
    ]
    renders = [pair for pair in renders if pair in of]
    shared = {name for _, name in renders if sum(other == name for _, other in renders) > 1}
    chosen: list[tuple[int, str]] = []
    for strict in (True, False):
        for cohort, name in sorted(renders, key=lambda pair: pair[1] not in shared):
            fresh = all(name != other for _, other in chosen) and not (strict and any(cohort == c for c, _ in chosen))
            if len(chosen) < ROWS and fresh:
                chosen.append((cohort, name))
    return chosen


def _mean_chances(
    values: pl.DataFrame | None, members: pl.DataFrame, cohort: int, concept: str
) -> dict[str, float | None]:
    if values is None:
        return {}
    rows = values.filter(pl.col("concept_id") == concept).join(
        members.filter(pl.col("cohort") == cohort), on="user_id", how="semi"
    )
    found: dict[str, float | None] = {}
    for kind in ("own", "other", "general", "logged"):
        mean = rows[kind].mean()
        found[kind] = float(mean) if isinstance(mean, float) else None
    return found
