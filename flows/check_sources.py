"""Turns a data folder into checked tables of consenting users, and a table of the rows set aside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from contracts.store import write_json
from flows.admit_rows import admit
from flows.job import Job, Stage
from generators.typesetting.brand_kits import load_brands
from sources.outcome import Intake


def work(job: Job, folder: Path) -> None:
    """Writes the accepted rows of consenting users, rejected_rows, findings, days and counts."""
    load_brands(job.data)  # what is wrong with it is better known now than after an hour of training
    intake = admit(job, folder / "draft")
    for path in sorted((folder / "draft").iterdir()):
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.rename(target)
    (folder / "draft").rmdir()
    intake.rejected.write_parquet(folder / "rejected_rows.parquet")
    intake.days.write_parquet(folder / "days.parquet")
    write_json(folder / "reasons.json", intake.reasons().to_dicts())
    write_json(folder / "findings.json", intake.findings.to_dicts())
    write_json(folder / "counts.json", counts(intake))


def counts(intake: Intake) -> list[dict[str, Any]]:
    """Per table: rows read, accepted, rejected, and those accepted that are left out, by why."""
    names = ("table", "file", "read", "accepted", "rejected", "withheld", "sensitive")
    return [{name: getattr(count, name) for name in names} for count in intake.counts]


def read_counts(folder: Path) -> list[dict[str, Any]]:
    """The rows of counts.json."""
    found: list[dict[str, Any]] = json.loads((folder / "counts.json").read_text())
    return found


def say(folder: Path) -> str:
    """Rows read and set aside."""
    rows = read_counts(folder)
    read, rejected, withheld, sensitive = (
        sum(row[name] for row in rows) for name in ("read", "rejected", "withheld", "sensitive")
    )
    left_out = f", {sensitive:,} left out as sensitive" if sensitive else ""
    return f"{read:,} rows read, {rejected:,} set aside, {withheld:,} withheld for want of consent{left_out}"


STAGE = Stage(
    name="sources",
    reads=(),
    settings=lambda settings: settings.sources.model_dump(mode="json", exclude={"key_file"}),
    packages=("sources",),
    libraries=("polars", "dataframely"),
    work=work,
    say=say,
    models=lambda job: {"pseudonyms": job.pseudonyms.fingerprint} if job.pseudonyms else {},
)
