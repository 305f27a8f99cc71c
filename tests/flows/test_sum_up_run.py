"""What a run leaves for the morning: a summary, metrics by the OpenMetrics specification, a table."""

from __future__ import annotations

import io
import json
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rich.console import Console

from contracts.errors import DataError
from contracts.settings import NightSettings
from contracts.store import StageResult
from flows.job import Job, Stage
from flows.run_batch import STAGES, run_batch
from flows.sum_up_run import METRICS, SUMMARY, Record, days_to_look_at, summary_table
from flows.write_metrics import metrics_of


def quiet(number: int, stage: Stage, result: StageResult | None) -> None:
    pass


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Samples by family and values of labels; raises ValueError where the specification is broken."""
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_a_finished_run_tells_rows_seconds_and_memory_of_every_stage(job: Job) -> None:
    results = run_batch(job, quiet)
    summary = json.loads((job.run / SUMMARY).read_text())
    assert summary["result"] == "finished"
    assert [row["stage"] for row in summary["stages"]] == [stage.name for stage in STAGES]
    for row, result in zip(summary["stages"], results, strict=True):
        assert row["result"] == "up to date"
        assert (row["rows"], row["seconds"], row["peak_bytes"]) == (result.rows, result.seconds, result.peak_bytes)
        assert result.peak_bytes > 50_000_000
    text = (job.run / METRICS).read_text()
    assert text.endswith("# EOF\n")
    found = parsed(text)
    assert found["adloom_run"] == {(job.run_id,): 1.0}
    assert found["adloom_run_success"] == {(): 1.0}
    assert found["adloom_stage_peak_memory_bytes"][("features",)] == results[1].peak_bytes
    assert found["adloom_stage_duration_seconds"][("generators",)] == results[4].seconds
    assert found["adloom_table_rows_read"][("events",)] == summary["intake"]["events"]["read"] > 0
    assert sum(found["adloom_creatives"].values()) > 0
    for line in text.splitlines():
        if line.startswith("# UNIT"):
            _, _, name, unit = line.split()
            assert name.endswith(f"_{unit}")
    families = set(found)
    for kind in ("TYPE", "HELP"):
        assert {line.split()[2] for line in text.splitlines() if line.startswith(f"# {kind}")} == families


def test_a_failed_run_tells_where_and_why_and_keeps_what_was_done(job: Job) -> None:
    fault = DataError("is empty", where='a "b" \\ c', fix="Write it again.")
    with pytest.raises(DataError), Record(job, STAGES, quiet) as record:  # noqa: PT012
        first = job.store.current(STAGES[0].key(job))
        record.tell(0, STAGES[0], first)
        record.tell(1, STAGES[1], None)
        raise fault
    summary = json.loads((job.run / SUMMARY).read_text())
    assert summary["result"] == "failed"
    assert summary["why"] == str(fault)
    assert [row["result"] for row in summary["stages"]] == ["up to date", "failed", *["not reached"] * 4]
    found = parsed((job.run / METRICS).read_text())
    assert found["adloom_run_success"] == {(): 0.0}
    assert found["adloom_stage_failed"] == {("sources",): 0.0, ("features",): 1.0}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary_table(summary))
    lines = console.export_text().splitlines()
    assert lines[0].split() == ["stage", "rows", "seconds", "peak", "memory", "result"]
    assert lines[2].split() == ["features", "failed"]


def test_labels_are_escaped_and_the_parser_would_have_seen_a_fault() -> None:
    name = 'a "b"\n\\ c'
    summary = {
        "run": name, "result": "finished", "look": ["moved"], "ended": 1.5, "stages": [], "intake": {}, "creatives": {},
        "psi": {name: 0.25},
    }  # fmt: skip
    text = metrics_of(summary)
    assert parsed(text)["adloom_drift_psi"] == {(name,): 0.25}
    assert parsed(text)["adloom_run_look"] == {(): 1.0}
    with pytest.raises(ValueError, match="EOF"):
        parsed(text.removesuffix("# EOF\n"))
    with pytest.raises(ValueError, match=r"[Uu]nit"):
        parsed(
            text.replace(
                "# UNIT adloom_run_end_timestamp_seconds seconds", "# UNIT adloom_run_end_timestamp_seconds bytes"
            )
        )


def test_a_late_and_a_thin_last_day_are_told_by_the_settings(job: Job, tmp_path: Path) -> None:
    days = [date(2024, 5, 1) + timedelta(days=number) for number in range(9)]
    settings = job.settings.model_copy(update={"nights": NightSettings(late_days=2)})
    here = Job(job.data, settings, tmp_path / "late", job.models)
    (here.run / "sources").mkdir(parents=True)

    def told(last: int, today: date, at: Job = here) -> list[str]:
        rows = pl.DataFrame({"day": days, "events": [100] * 8 + [last], "impressions": [50] * 9})
        rows.write_parquet(here.run / "sources" / "days.parquet")
        return days_to_look_at(at, today)

    assert told(100, date(2024, 5, 11)) == []
    assert told(100, date(2024, 5, 12)) == ["the last day with rows is 2024-05-09, 3 days ago"]
    assert told(100, date(2024, 5, 1)) == [], "a clock that is set back makes nothing late"
    pl.DataFrame({"day": days, "events": [100] * 8 + [4], "impressions": [50] * 8 + [0]}).write_parquet(
        here.run / "sources" / "days.parquet"
    )
    assert days_to_look_at(here, date(2024, 5, 9)) == ["the last day, 2024-05-09, has 4 rows, where 150 are usual"]
    careless = Job(job.data, job.settings, tmp_path / "late", job.models)
    assert told(100, date(2999, 1, 1), careless) == []
