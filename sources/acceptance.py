"""Turns sifted files and the faults found across them into a table's accepted rows on disk, and what was set aside."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from contracts.tables import INPUT_TABLES, RejectedRows, polars_schema
from sources.catalogue import CHECKS
from sources.faults import POSITION
from sources.held import Held
from sources.outcome import TableCount, file_words
from sources.raw import raw_json
from sources.sifted import Sifted

_REJECTED = polars_schema(RejectedRows)


@dataclass
class Acceptance:
    """What became of a large table.

    Attributes:
        rejected: frames by the `RejectedRows` contract.
        warnings: frames of source, column, reason, check, row.
        days: corrections to the sums by day: day and any of <table>_rows, clicks, rejected.
        count: of its rows.
    """

    rejected: list[pl.DataFrame] = field(default_factory=list)
    warnings: list[pl.DataFrame] = field(default_factory=list)
    days: list[pl.DataFrame] = field(default_factory=list)
    count: TableCount | None = None


def accept(held: Held, names: tuple[str, ...], found: pl.DataFrame, clicked: pl.DataFrame, tolerated: frozenset[str],
           folder: Path) -> Acceptance:  # fmt: skip
    """Writes the accepted rows to a new folder; a file without a fault is linked, not copied.

    Args:
        held: the table's sifted files.
        names: of its files, for the record.
        found: faults across rows, with the columns of `sources.cross_checks.FOUND`.
        clicked: (file, position) of impressions that the clicks table says were clicked.
        tolerated: checks that are counted and set nothing aside.
        folder: to make.
    """
    made = Acceptance()
    counted = pl.Series(
        [CHECKS[name].severity == "warning" or name in tolerated for name in found["check"].to_list()], dtype=pl.Boolean
    )
    folder.mkdir()
    errors, notes = found.filter(~counted), found.filter(counted)
    rejected = 0
    for number, part, place in held.files():
        here, said = errors.filter(pl.col("file") == number), notes.filter(pl.col("file") == number)
        path = folder / f"{number:05}.parquet"
        if said.height:
            rows = part.keys(place)["row"].gather(said["position"])
            made.warnings.append(_warned(part, said.select("column", "reason", "check", row=rows)))
        mine = clicked.filter(pl.col("file") == number)["position"]
        if here.height or len(mine):
            rejected += _rewrite(made, held.table, part, place, path, here, mine)
        else:
            _link(part.rows()[place], path)
    if not any(folder.iterdir()):
        pl.DataFrame(schema=polars_schema(INPUT_TABLES[held.table])).write_parquet(folder / "00000.parquet")
    for part in held.parts:
        made.rejected.append(part.frame("rejected"))
        made.warnings.append(_warned(part, part.frame("warnings")))
    tallies = [part.tally for part in held.parts]
    made.count = TableCount(
        held.table, file_words(names), sum(one.read for one in tallies), sum(one.accepted for one in tallies) - rejected,
        sum(one.rejected for one in tallies) + rejected, tuple(dict.fromkeys(n for one in tallies for n in one.notes)),
        sum(one.withheld for one in tallies), sum(one.sensitive for one in tallies), names,
    )  # fmt: skip
    return made


def _warned(part: Sifted, warnings: pl.DataFrame) -> pl.DataFrame:
    return warnings.select(pl.lit(part.tally.source).alias("source"), "column", "reason", "check", "row")


def _rewrite(
    made: Acceptance, table: str, part: Sifted, place: int, path: Path, found: pl.DataFrame, clicked: pl.Series
) -> int:
    """Writes a file without the rows found at fault, clicks marked; returns how many rows were set aside."""
    frame = pl.read_parquet(part.rows()[place], glob=False).with_row_index(POSITION)
    if len(clicked):
        marked = pl.col(POSITION).is_in(clicked.implode())
        frame = frame.with_columns(clicked=pl.col("clicked") | marked)
        made.days.append(frame.filter(marked).group_by(day=pl.col("at").dt.date()).agg(clicks=pl.len().cast(pl.Int64)))
    at_fault = pl.col(POSITION).is_in(found["position"].unique().implode())
    bad = frame.filter(at_fault)
    if bad.height:
        rows = part.keys(place)["row"].gather(bad[POSITION])
        made.rejected.append(_told(part, found, bad, rows))
        if table != "clicks":
            clicks = pl.col("clicked").sum().cast(pl.Int64) if table == "impressions" else pl.lit(0, pl.Int64)
            lost = (-pl.len().cast(pl.Int64)).alias(f"{table}_rows"), (-clicks).alias("clicks")
            by_day = bad.group_by(day=pl.col("at").dt.date())
            made.days.append(by_day.agg(*lost, rejected=pl.len().cast(pl.Int64)))
    frame.filter(~at_fault).drop(POSITION).write_parquet(path, compression="lz4")
    return bad.height


def _told(part: Sifted, found: pl.DataFrame, bad: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """Bad rows, in order, each with all its reasons in one line, by the `RejectedRows` contract."""
    first = found.unique(["position", "column"], keep="first", maintain_order=True)
    reasons = first.group_by("position").agg(
        pl.col("column").first(), pl.col("check").first(),
        reason=pl.col("reason").first(), others=pl.format("{}: {}", "column", "reason").slice(1),
    ).sort("position")  # fmt: skip
    return reasons.with_columns(reason=pl.concat_list("reason", "others").list.join("; ")).select(
        source=pl.lit(part.tally.source), row=rows, column="column", reason="reason", check="check",
        raw=raw_json(bad.drop(POSITION)),
    ).select(list(_REJECTED))  # fmt: skip


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or links are not allowed
        shutil.copyfile(source, target)
