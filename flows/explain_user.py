"""Turns a user id and a finished run into what was known of that user, from which events, and what they get for it."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import DataError
from contracts.tables import EVERYONE
from features.explanations import explain_embedding, explain_interests
from features.space import Space
from flows.find_key import find_key
from flows.job import Job
from flows.place_users import browsing_settings
from flows.refit_space import welcomed
from sources.pseudonyms import Pseudonyms

TOP = 5


def explain_user(job: Job, user: str, key_file: Path | None = None, *, top: int = TOP) -> dict[str, Any]:
    """Interests and embedding of a user as of the run, each with its `top` events, and the user's slate.

    Args:
        job: whose run is finished up to ranking.
        user: the id as it stands in the logs, or its pseudonym.
        key_file: of the pseudonyms, when it is neither in the environment, the settings, nor beside the runs.
        top: contributions listed for each interest, and for the embedding; the rest are counted.

    Returns:
        JSON values: user_id (as in the tables), events, interests, embedding, slate (that of everyone for a user of whom
        nothing is known: new, without consent, erased, or misspelt).

    Raises:
        DataError: the batch has not run.
        SettingsError: the key cannot be read.
    """
    if job.store.manifest("ranking") is None:
        raise DataError("its batch has not run", where=str(job.data), fix=f"Run first: adloom run {job.data}")
    names = [user]
    if job.pseudonyms is not None:
        given = key_file or job.settings.sources.key_file
        names.append(Pseudonyms(find_key(job.runs.parent, given)).of(user))
    sources, settings = job.run / "sources", job.settings.features
    as_of = dt.datetime.fromisoformat(json.loads((job.run / "features" / "facts.json").read_text())["as_of"])
    mine = pl.scan_parquet(sources / "events.parquet").filter(pl.col("user_id").is_in(names)).collect()
    slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
    own = slates.filter(pl.col("user_id").is_in(names))
    slate = own if len(own) else slates.filter(pl.col("user_id") == EVERYONE)
    told: dict[str, Any] = {
        "user_id": names[-1],
        "as_of": as_of.isoformat(),
        "events": len(mine),
        "interests": [],
        "embedding": None,
        "slate": {"personal": bool(len(own)), "concepts": slate.sort("position")["concept_id"].to_list()},
    }
    if mine.is_empty():
        return told
    events, concepts = (pl.read_parquet(sources / f"{name}.parquet") for name in ("events", "concepts"))
    space = welcomed(Space.load(job.run / "features" / "space"), events, concepts, settings)
    knobs = {"as_of": as_of, **browsing_settings(settings)}
    found = explain_interests(mine, **knobs)
    told["interests"] = [
        {"topic": topic, "weight": rows[0]["weight"], **_top(rows, top)} for topic, rows in _by_topic(found).items()
    ]
    placed = explain_embedding(mine, space, **knobs).to_dicts()
    told["embedding"] = _top(placed, top) if placed else None
    return told


def _by_topic(found: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in found.iter_rows(named=True):
        groups[row["topic"]].append(row)
    return groups


def _top(rows: list[dict[str, Any]], top: int) -> dict[str, Any]:
    """The first contributions, how many more there are, and their share."""
    fields = ("share", "pull", "standing", "at", "action", "item_id")
    listed = [{name: row[name] for name in fields if name in row} for row in rows[:top]]
    for row in listed:
        row["at"] = row["at"].isoformat()
    return {"events": len(rows), "top": listed, "rest": sum(row["share"] for row in rows[top:])}
