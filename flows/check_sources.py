"""Turns a data folder into checked tables of consenting users, and a table of the rows set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.store import write_json
from flows.job import Job, Stage
from sources.intake import Intake, read_folder


def work(job: Job, folder: Path) -> None:
    """Writes the accepted rows of consenting users, rejected_rows, reasons.json and counts.json."""
    intake = read_folder(job.data, max_rejected_share=job.settings.sources.max_rejected_share)
    kept = intake.consented()
    for name, table in kept.items():
        table.write_parquet(folder / f"{name}.parquet")
    intake.rejected.write_parquet(folder / "rejected_rows.parquet")
    write_json(folder / "reasons.json", intake.reasons().to_dicts())
    write_json(
        folder / "counts.json", counts(intake, {name: len(intake.tables[name]) - len(kept[name]) for name in kept})
    )


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
