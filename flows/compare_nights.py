"""Turns a run and the one before it on the same data folder into what has moved, and whether somebody should look."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from contracts.decisions import Kind
from contracts.errors import AdloomError
from contracts.settings import DriftSettings
from contracts.store import write_json
from evaluation.stability import Profile, Ratio, calibration_ratio, profile, rate_moved, ratio_moved, shift
from features.glossary import features_of
from flows.gather_verdicts import counting
from flows.job import Job, database_of
from flows.open_reviews import open_log
from flows.part_users import files_of

PROFILE = "profile.json"
"""In the evaluation of a run: how its numbers are distributed, for the run after it."""
SCORE_PARTS = 8
"""Parts of the scores that are looked at, at most."""
_BEFORE = "before.json"
"""In a run: the profile of the run before it, and what reviewers had said by then; it is not looked up again, so that the
report is the same whenever it is made, and when that run is gone."""
_KEYS = ("user_id", "concept_id", "at")
_LEAST_DECISIONS = 20


def before_of(job: Job) -> dict[str, Any]:
    """The run before, found once: run, profile, approvals; run null: there is none.

    It is the one of the same data folder whose last event is the latest, but not later than this run's; no clock is asked.
    """
    path = job.run / _BEFORE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        pass
    as_of = _as_of(job.run)
    stem = job.run_id.rpartition("-")[0]
    runs = [path.parents[1] for path in job.runs.glob(f"{stem}-*/evaluation/{PROFILE}") if path.parents[1] != job.run]
    runs = [run for run in runs if run.name.rpartition("-")[0] == stem]
    dated = sorted((known["as_of"], run.name) for run in runs if (known := _read(run))["as_of"] <= as_of)
    found: dict[str, Any] = {"run": None, "profile": None, "approvals": []}
    if dated:
        name = dated[-1][1]
        told = [_approvals(job.runs / run) for _, run in dated[-10:]]
        found = {"run": name, "profile": _read(job.runs / name), "approvals": [one for one in told if one["decided"]]}
    write_json(path, found)
    return found


def describe(job: Job, edges: dict[str, Any] | None = None) -> dict[str, Any]:
    """How the run's numbers are distributed: as_of, values by name, calibration; values by the edges given, or their own."""
    known = edges or {}
    values: dict[str, Any] = {}
    for kind, table in (("feature", _features(job)), ("score", _scores(job))):
        users, concepts = table["user_id"].n_unique(), table["concept_id"].n_unique()
        names = [name for name in table.columns if name not in _KEYS]
        within = table.group_by("concept_id").agg(pl.col(names).n_unique())
        for name in names:
            units = concepts if within[name].max() == 1 else users
            found = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            bins = tuple(known[name]["edges"]) if name in known else None
            if edges is None or bins is not None:
                values[name] = {"kind": kind, **asdict(profile(found, units, bins))}
    tested = pl.read_parquet(job.run / "ranking" / "tested.parquet").drop_nulls("predicted_chance")
    calibration = None
    if tested["clicked"].any():
        calibration = asdict(
            calibration_ratio(
                tested["clicked"].cast(pl.Float64).to_numpy(),
                tested["predicted_chance"].to_numpy(),
                tested["user_id"].rank("dense").cast(pl.Int64).to_numpy() - 1,
            )
        )
    return {"as_of": _as_of(job.run), "values": values, "calibration": calibration}


def compare(job: Job) -> dict[str, Any]:
    """What has moved since the run before, as `nights` in report.json; {"absent": why} when there is none."""
    before = before_of(job)
    if before["run"] is None:
        return {"absent": "There is no finished run of this data folder before this one."}
    settings, past = job.settings.drift, before["profile"]
    now = describe(job, past["values"])
    confidence = 1 - (1 - settings.confidence) / max(len(now["values"]), 1)
    rows = []
    for name, told in now["values"].items():
        was = past["values"][name]
        moved = shift(_profile(was), _profile(told), threshold=settings.psi, confidence=confidence)
        rows.append({"name": name, "kind": told["kind"], **asdict(moved)})
    rows.sort(key=lambda row: (not row["moved"], -row["psi"], row["name"]))
    calibration = _calibration(past["calibration"], now["calibration"], settings)
    approval = _approval(before["approvals"], settings)
    look = [f"{row['kind']} {row['name']} has moved (PSI {row['psi']:.2f})" for row in rows if row["moved"]]
    if calibration and calibration["moved"]:
        look.append(f"clicks over predicted clicks went from {calibration['before']:.2f} to {calibration['now']:.2f}")
    if approval and approval["moved"]:
        look.append(f"reviewers approve {approval['now']:.0%}, not {approval['before']:.0%} as before")
    told = {"before": before["run"], "look": look, "psi_threshold": settings.psi, "values": rows}
    return told | {"calibration": calibration, "approval": approval}


def _calibration(before: Any, now: Any, settings: DriftSettings) -> dict[str, Any] | None:
    if before is None or now is None:
        return None
    limits = {"threshold": settings.calibration, "confidence": settings.confidence}
    moved = ratio_moved(Ratio(**before), Ratio(**now), **limits)
    return {"before": before["value"], "now": now["value"], "moved": moved}


def _approval(told: list[dict[str, Any]], settings: DriftSettings) -> dict[str, Any] | None:
    """The last run with enough decisions, beside those before it."""
    enough = [number for number, one in enumerate(told) if one["decided"] >= _LEAST_DECISIONS]
    if not enough or enough[-1] == 0:
        return None
    last, earlier = told[enough[-1]], told[: enough[-1]]
    approved, decided = sum(one["approved"] for one in earlier), sum(one["decided"] for one in earlier)
    limits = {"threshold": settings.approval, "confidence": settings.confidence}
    moved = rate_moved((approved, decided), (last["approved"], last["decided"]), **limits)
    return {"run": last["run"], "before": approved / decided, "now": last["approved"] / last["decided"], "moved": moved}


def _profile(told: dict[str, Any]) -> Profile:
    return Profile(tuple(told["edges"]), tuple(told["shares"]), told["units"])


def _features(job: Job) -> pl.DataFrame:
    """Today's rows of the ranker; of a large day, which is not kept, the last ones of the log."""
    wanted = [one.name for one in features_of(job.settings.features) if one.name not in job.settings.drift.ignore]
    table = job.run / "features" / "daily.parquet"
    if set(wanted) <= set(pl.read_parquet_schema(files_of(table)[0])):
        daily = pl.read_parquet(table)
    else:
        logged = job.run / "features" / "logged.parquet"
        order = pl.read_parquet(logged, columns=["at"])["at"].arg_sort()
        last = order.tail(max(len(order) // 5, 1)).sort()
        daily = pl.read_parquet(logged, columns=["user_id", "concept_id", *wanted])[last]
    return daily.select("user_id", "concept_id", *(name for name in wanted if name in daily.columns))


def _scores(job: Job) -> pl.DataFrame:
    """Today's scores; of many parts of users some, evenly spaced: ids are keyed pseudonyms, so they are a random sample."""
    files = files_of(job.run / "ranking" / "scores.parquet")
    some = sorted({len(files) * place // SCORE_PARTS for place in range(SCORE_PARTS)})
    columns = ["user_id", "concept_id", "score", "click_chance"]
    return pl.concat([pl.read_parquet(files[place], columns=columns, glob=False) for place in some])


def _approvals(run: Path) -> dict[str, Any]:
    """What people decided on a run's pictures so far, each with the last word on each; none where nobody can be asked."""
    nothing = {"run": run.name, "approved": 0, "decided": 0}
    if not (run.resolve().parents[1] / "review.db").exists():
        return nothing
    try:
        with open_log(run, database_of(run.parent)) as log:
            said = counting(log.table(run.name)).filter(pl.col("kind").is_in([Kind.APPROVE, Kind.REJECT]))
    except AdloomError:
        return nothing
    last = said.sort("decision_id").unique(["reviewer", "creative_id", "file_hash"], keep="last")
    return {"run": run.name, "approved": int((last["kind"] == Kind.APPROVE).sum()), "decided": len(last)}


def _as_of(run: Path) -> str:
    return str(json.loads((run / "features" / "facts.json").read_text(encoding="utf-8"))["as_of"])


def _read(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "evaluation" / PROFILE).read_text(encoding="utf-8")))
