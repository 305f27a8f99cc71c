"""Turns a run as it goes on into log lines, and at its end, good or bad, into summary.json, metrics.txt and a table."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any

import polars as pl
from rich.table import Table

from contracts.disk import size
from contracts.errors import AdloomError
from contracts.store import StageResult, write_atomically, write_json
from flows.check_sources import read_counts
from flows.job import Job, Stage
from flows.keep_log import log
from flows.write_metrics import metrics_of

SUMMARY, METRICS = "summary.json", "metrics.txt"
Tell = Callable[[int, Stage, StageResult | None], None]


class Record:
    """`with Record(job, stages, tell) as record: ...`; stages tell `record.tell`, which passes it on to `tell`."""

    def __init__(self, job: Job, stages: Sequence[Stage], tell: Tell) -> None:
        self._job, self._stages, self._tell = job, stages, tell
        self._results: dict[str, StageResult] = {}

    def tell(self, number: int, stage: Stage, result: StageResult | None) -> None:
        """Logs and keeps that a stage begins (`result` None) or has ended."""
        if result is None:
            log.debug("%s begins", stage.name, extra={"fields": {"run": self._job.run_id, "stage": stage.name}})
        else:
            self._results[stage.name] = result
            fields = {"run": self._job.run_id, **_row(stage.name, result)}
            log.info("%s: %s", stage.name, stage.say(result.folder), extra={"fields": fields})
        self._tell(number, stage, result)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told = self._summary(error)
        with contextlib.suppress(*((OSError, AdloomError) if error else ())):
            write_json(self._job.run / SUMMARY, told)
            write_atomically(self._job.run / METRICS, metrics_of(told).encode())
        for reason in told["look"]:
            log.warning("look at %s: %s", self._job.run, reason, extra={"fields": {"run": self._job.run_id}})

    def _summary(self, error: BaseException | None) -> dict[str, Any]:
        rows, reached = [], True
        for stage in self._stages:
            result = self._results.get(stage.name)
            if result is not None:
                rows.append(_row(stage.name, result))
            else:
                rows.append({"stage": stage.name, "result": "failed" if reached and error else "not reached"})
                reached = False
        done = set(self._results)
        report = self._report() if "evaluation" in done else {}
        nights = report.get("nights", {})
        return {
            "run": self._job.run_id,
            "result": "finished" if error is None else "failed",
            "why": None if error is None else str(error) or type(error).__name__,
            "ended": round(time.time(), 3),
            "stages": rows,
            "intake": {one["table"]: one for one in read_counts(self._job.run / "sources")}
            if "sources" in done
            else {},
            "creatives": self._creatives() if "generators" in done else {},
            "psi": {row["name"]: row["psi"] for row in nights.get("values", ())},
            "look": [*(days_to_look_at(self._job) if "sources" in done else ()), *nights.get("look", ())],
        }

    def _report(self) -> dict[str, Any]:
        return dict(json.loads((self._job.run / "evaluation" / "report.json").read_text(encoding="utf-8")))

    def _creatives(self) -> dict[str, int]:
        checks = pl.read_parquet(self._job.run / "generators" / "creatives.parquet")["checks"].list.len()
        passed = int((checks == 0).sum())
        return {"yes": passed, "no": len(checks) - passed}


def days_to_look_at(job: Job, today: date | None = None) -> list[str]:
    """What is amiss with the last day of the log, in sentences: it is too old, or has hardly any rows."""
    settings = job.settings.nights
    days = pl.read_parquet(job.run / "sources" / "days.parquet").drop_nulls("day").sort("day")
    days = days.select("day", rows=pl.col("events") + pl.col("impressions")).filter(pl.col("rows") > 0)
    if days.is_empty():
        return []
    found: list[str] = []
    last, rows = days.row(-1)
    age = ((today or datetime.now(UTC).date()) - last).days
    if settings.late_days is not None and age > settings.late_days:
        found.append(f"the last day with rows is {last}, {age} days ago")
    usual = days.head(-1).tail(7)["rows"].median()
    if isinstance(usual, float) and rows < settings.least_day_share * usual:
        found.append(f"the last day, {last}, has {rows:,} rows, where {usual:,.0f} are usual")
    return found


def _row(name: str, result: StageResult) -> dict[str, Any]:
    return {
        "stage": name,
        "result": "up to date" if result.skipped else "done",
        "rows": result.rows,
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
    }


def summary_table(summary: dict[str, Any]) -> Table:
    """The table at the end of a run: stage, rows, seconds, peak memory, result."""
    table = Table("stage", box=None, pad_edge=False)
    for name in ("rows", "seconds", "peak memory"):
        table.add_column(name, justify="right")
    table.add_column("result")
    for row in summary["stages"]:
        known = "rows" in row
        cells = (f"{row['rows']:,}", f"{row['seconds']:.1f}", size(row["peak_bytes"])) if known else ("", "", "")
        table.add_row(row["stage"], *cells, row["result"])
    return table
