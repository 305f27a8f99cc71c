"""Turns a data folder into what its check found: a summary for people and machines, a page, a proposed mapping."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import AdloomError, DataError
from contracts.settings import SourceSettings
from contracts.store import write_atomically
from evaluation.check_page import render_check
from generators.typesetting.brand_kits import load_brands
from sources.catalogue import CHECKS
from sources.files import read_batches
from sources.intake import take_in
from sources.outcome import Intake, read_table
from sources.places import find_any
from sources.suggestion import Suggestion, suggest

_SAMPLE_ROWS = 5_000


def inspect(
    data: Path, settings: SourceSettings, page: Path, *, tell: Callable[[str, int, int], None] | None = None
) -> dict[str, Any]:
    """Checks a data folder as a run would, keeps nothing of it, and writes the page; returns what the page shows.

    Raises:
        DataError: a file cannot be read at all, or the page cannot be written.
    """
    with tempfile.TemporaryDirectory() as name:
        intake = take_in(data, Path(name) / "out", Path(name) / "parts", settings, tell=tell)
        faults = brand_faults(data, intake)
    summary = summarise(intake, settings) | {"brands": faults}
    if faults:
        summary["verdict"] = f"A run would stop: {faults} {summary['verdict']}"
    try:
        write_atomically(page, render_check(summary).encode())
    except OSError as error:
        fix = "Give another file with --out."
        raise DataError(f"cannot be written ({error.strerror})", where=str(page), fix=fix) from error
    return summary


def brand_faults(data: Path, intake: Intake) -> str:
    """What is wrong with the brand kits of a data folder, in one line; empty: nothing."""
    advertisers = read_table(intake.out, "concepts")["advertiser"].unique().sort().to_list()
    try:
        load_brands(data, advertisers=advertisers)
    except AdloomError as error:
        return str(error)
    return ""


def summarise(intake: Intake, settings: SourceSettings) -> dict[str, Any]:
    """What was found, as JSON values; see `evaluation.check_page.render_check`."""
    tables = [
        {
            "table": count.table, "file": count.file, "read": count.read, "accepted": count.accepted,
            "rejected": count.rejected, "withheld": count.withheld, "sensitive": count.sensitive,
            "notes": list(count.notes),
        }
        for count in intake.counts
    ]  # fmt: skip
    findings = [
        {
            **{name: row[name] for name in ("check", "severity", "table", "column", "reason", "rows")},
            "meaning": CHECKS[row["check"]].meaning,
            "fix": CHECKS[row["check"]].fix,
            "examples": [{"source": source, "row": number} for source, number in zip(row["sources"], row["examples"], strict=True)],
        }
        for row in intake.findings.to_dicts()
    ]  # fmt: skip
    days = [{**row, "day": row["day"].isoformat()} for row in intake.days.drop_nulls("day").to_dicts()]
    return {
        "name": intake.folder.resolve().name,
        "tables": tables,
        "findings": findings,
        "days": days,
        "limit": settings.max_rejected_share,
        "verdict": verdict(intake, settings),
    }


def verdict(intake: Intake, settings: SourceSettings) -> str:
    """One sentence on whether a run would take the folder."""
    read, rejected = sum(one.read for one in intake.counts), sum(one.rejected for one in intake.counts)
    try:
        intake.require(max_rejected_share=settings.max_rejected_share)
    except DataError:
        lost = [one.table for one in intake.counts
                if not one.accepted or one.rejected > settings.max_rejected_share * one.read]  # fmt: skip
        limit = f"{settings.max_rejected_share:.0%}"
        return (
            f"A run would stop: of {' and '.join(lost)} more than {limit} of the rows were set aside, or none is left."
        )
    if rejected:
        return (
            f"A run would go on without {rejected:,} of {read:,} rows ({rejected / read:.2%}), each set aside by name."
        )
    warned = intake.findings.height
    return f"Every one of {read:,} rows keeps the contract{', with warnings to read' if warned else ''}."


def propose_mapping(data: Path) -> Suggestion:
    """A mapping file for whatever tables are in a folder. Raises DataError when it holds none."""
    samples: dict[str, pl.DataFrame] = {}
    for name, parts in find_any(data).items():
        batches = itertools.islice(read_batches(parts[0], may_hold_line_break=lambda _: True), 1)
        samples[name] = next(batches).frame.head(_SAMPLE_ROWS)
    if not samples:
        raise DataError("holds no table", where=str(data), fix="Give a folder with Parquet, CSV, TSV or NDJSON files.")
    return suggest(samples)
