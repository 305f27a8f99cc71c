"""Turns a data folder into checked tables of consenting users, and a table of the rows set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from contracts.store import write_json
from flows.job import Job, Stage
from sources.intake import Intake, read_folder


def withheld_users(users: pl.DataFrame | None) -> pl.Series:
    """Users who did not consent, or are known to be minors."""
    if users is None:
        return pl.Series("user_id", [], pl.String)
    return users.filter(~pl.col("personalise") | (pl.col("adult") == False).fill_null(False))["user_id"]  # noqa: E712


def work(job: Job, folder: Path) -> None:
    """Writes the accepted rows of every table, rejected_rows and counts.json."""
    intake = read_folder(job.data, max_rejected_share=job.settings.sources.max_rejected_share)
    withheld = withheld_users(intake.tables.get("users"))
    held_back: dict[str, int] = {}
    for name, table in intake.tables.items():
        kept = table
        if "user_id" in table.columns:
            kept = table.filter(~pl.col("user_id").is_in(withheld.implode()))
            held_back[name] = len(table) - len(kept)
        kept.write_parquet(folder / f"{name}.parquet")
    intake.rejected.write_parquet(folder / "rejected_rows.parquet")
    write_json(folder / "counts.json", counts(intake, held_back))


def counts(intake: Intake, withheld: dict[str, int]) -> list[dict[str, Any]]:
    """Per table: rows read, accepted, rejected, and accepted rows withheld for want of consent."""
    return [
        {
            "table": count.table,
            "file": count.file,
            "read": count.read,
            "accepted": count.accepted,
            "rejected": count.rejected,
            "withheld": withheld.get(count.table, 0),
        }
        for count in intake.counts
    ]


def read_counts(folder: Path) -> list[dict[str, Any]]:
    """The rows of counts.json."""
    found: list[dict[str, Any]] = json.loads((folder / "counts.json").read_text())
    return found


def say(folder: Path) -> str:
    """Rows read and set aside."""
    rows = read_counts(folder)
    read, rejected, withheld = (sum(row[name] for row in rows) for name in ("read", "rejected", "withheld"))
    return f"{read:,} rows read, {rejected:,} set aside, {withheld:,} withheld for want of consent"


STAGE = Stage(
    name="sources",
    reads=(),
    settings=lambda settings: settings.sources.model_dump(mode="json"),
    packages=("sources",),
    libraries=("polars", "dataframely"),
    work=work,
    say=say,
)
