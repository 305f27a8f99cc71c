"""Turns the table of an experiment into abtest.json and abtest.html, and a table of creatives into creatives.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import DataError
from contracts.settings import ExperimentSettings
from contracts.store import write_atomically, write_json
from evaluation.ab_creatives import creatives as creative_results
from evaluation.ab_report import build_abtest, render_abtest
from evaluation.experiment import experiment
from evaluation.experiment_rows import Finding
from sources.casts import cast, impossible
from sources.files import read_raw

_TIME = pl.Datetime("us", "UTC")
_DAY = r"^\d{4}-\d{2}-\d{2}$"


def analyse(
    table: Path | None,
    plan: ExperimentSettings,
    out: Path,
    *,
    seed: int,
    creatives: Path | None,
    elements: Sequence[str],
) -> dict[str, Any]:
    """Writes the report into the folder `out` and returns it.

    Raises:
        DataError: a table cannot be read, or its experiment cannot be analysed at all.
    """
    section = None
    if creatives is not None:
        rows = _creative_rows(creatives, elements)
        section, by_creative = creative_results(
            rows, elements, confidence=plan.confidence, seed=seed, where=creatives.name
        )
    data = None
    if table is not None:
        frame, faults = _experiment_rows(table, plan)
        data = experiment(frame, plan, where=table.name)
        data = replace(data, findings=(*faults, *data.findings))
    named = table or creatives
    report = build_abtest(data, plan, name=named.stem if named else "", seed=seed, creatives=section)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "abtest.json", report)
    write_atomically(out / "abtest.html", render_abtest(report).encode())
    if section is not None:
        write_atomically(out / "creatives.csv", by_creative.write_csv().encode())
    return report


def _experiment_rows(path: Path, plan: ExperimentSettings) -> tuple[pl.DataFrame, list[Finding]]:
    """The table with its outcomes as numbers and its times as times, and what could not be read as such."""
    frame, faults = _read(path)
    outcomes = {
        part.strip() for name in plan.outcomes for part in ([name] if name in frame.columns else name.split("/"))
    }
    made = {name: _number(frame[name], faults) for name in sorted(outcomes & set(frame.columns))}
    for name in plan.covariates:
        if name in frame.columns and name not in made and _looks_numeric(frame[name]):
            made[name] = _number(frame[name], faults)
    times = {name for name in (plan.assigned_at, plan.at) if name is not None}
    made |= {name: _time(frame[name], path, faults) for name in sorted(times & set(frame.columns))}
    return frame.with_columns(**made), faults


def _creative_rows(path: Path, elements: Sequence[str]) -> pl.DataFrame:
    frame, faults = _read(path)
    numbers = {"clicked", "clicks", "impressions", "click_rate"} & set(frame.columns) - set(elements)
    made = {name: _number(frame[name], faults) for name in sorted(numbers)}
    if "at" in frame.columns:
        made["at"] = _time(frame["at"], path, faults)
    if faults:
        first = faults[0]
        what = f"{first.count:,} {first.unit} of {first.column} are wrong ({first.check})"
        raise DataError(what, where=path.name, fix="Mend them; a click that cannot be read is not counted as none.")
    return frame.with_columns(**made)


def _read(path: Path) -> tuple[pl.DataFrame, list[Finding]]:
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), fix="Give a table as Parquet, CSV, TSV or NDJSON.")
    raw = read_raw(path, may_hold_line_break=lambda _: True)
    faults = []
    if raw.broken.height:
        meaning = f"No row: {raw.broken['reason'][0]} (row {raw.broken['row'][0]:,}); set aside."
        faults.append(Finding("broken line", path.name, raw.broken.height, "rows", meaning, {}))
    if raw.frame.is_empty():
        raise DataError("holds no rows", where=path.name, fix="Give a table with a row for each user.")
    return raw.frame, faults


def _number(column: pl.Series, faults: list[Finding]) -> pl.Series:
    """Numbers, true and false as 1 and 0; what is neither is missing, and told."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return column.cast(pl.Float64)
    text = column.cast(pl.String).str.strip_chars()
    lower = text.str.to_lowercase()
    words = lower.replace_strict({"true": 1.0, "false": 0.0}, default=None, return_dtype=pl.Float64)
    values = pl.select(pl.coalesce(words, text.cast(pl.Float64, strict=False))).to_series()
    wrong = values.is_null() & text.is_not_null() & (text != "")
    if wrong.any():
        meaning = f"Read as missing; the first is {text.filter(wrong)[0]!r}."
        faults.append(Finding("no number", column.name, int(wrong.sum()), "rows", meaning, {}))
    return values.alias(column.name)


def _looks_numeric(column: pl.Series) -> bool:
    """Whether at least half of the text cells that hold anything are numbers."""
    if column.dtype != pl.String:
        return False
    text = column.str.strip_chars().drop_nulls()
    held = text.filter(text != "")
    return len(held) > 0 and 2 * held.cast(pl.Float64, strict=False).count() >= len(held)


def _time(column: pl.Series, path: Path, faults: list[Finding]) -> pl.Series:
    """Days where all cells are days, else UTC times; what is neither is missing, and told."""
    if column.dtype == pl.Date:
        return column
    if column.dtype == pl.String:
        held = column.drop_nulls().filter(column.drop_nulls() != "")
        if len(held) and held.str.contains(_DAY).all():
            return column.str.to_date(strict=False)
    why = impossible(column.name, column.dtype, _TIME)
    if why is not None:
        raise DataError(why.what, where=path.name, fix=why.fix)
    values, wrong = cast(column, _TIME)
    if wrong.height:
        meaning = f"Read as missing: {wrong['reason'][0]}."
        faults.append(Finding("no time", column.name, wrong.height, "rows", meaning, {}))
    return values
