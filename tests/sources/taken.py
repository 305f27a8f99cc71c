"""The intake of a folder held in memory, for tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from contracts.settings import SourceSettings
from contracts.tables import INPUT_TABLES, RejectedRows, polars_schema
from sources.intake import take_in
from sources.outcome import Intake, TableCount, read_table


@dataclass(frozen=True)
class Taken:
    """What the intake said of a folder, and the accepted rows by table."""

    intake: Intake
    tables: dict[str, pl.DataFrame]

    @property
    def rejected(self) -> pl.DataFrame:
        return self.intake.rejected

    @property
    def counts(self) -> tuple[TableCount, ...]:
        return self.intake.counts

    def count(self, table: str) -> TableCount:
        return next(count for count in self.counts if count.table == table)


def taken(folder: Path, *, max_rejected_share: float | None = None) -> Taken:
    """Takes a folder in; with a limit, as a run would."""
    with TemporaryDirectory() as name:
        intake = take_in(folder, Path(name) / "out", Path(name) / "parts", SourceSettings())
        if max_rejected_share is not None:
            intake.require(max_rejected_share=max_rejected_share)
        return Taken(intake, {table: read_table(intake.out, table) for table in INPUT_TABLES})


def accounted(found: Taken) -> None:
    """Every row that was read was accepted or set aside, once; what was accepted keeps its contract."""
    RejectedRows.validate(found.rejected)
    for count in found.counts:
        (name,) = count.files
        aside = found.rejected.filter(pl.col("source") == name)
        assert count.accepted + count.rejected == count.read
        assert count.accepted == found.tables[count.table].height + count.withheld + count.sensitive
        assert count.rejected == aside.height
        assert aside["row"].is_unique().all()
        assert aside["row"].is_between(1, count.read).all()
    for table, schema in INPUT_TABLES.items():
        assert found.tables[table].schema == polars_schema(schema)
        schema.validate(found.tables[table])
    for raw in found.rejected["raw"]:
        json.loads(raw)
