"""What the intake leaves: accepted rows on disk, rows set aside with their reason, counts, findings, days."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from contracts.errors import DataError

FINDINGS = {
    "table": pl.String(), "check": pl.String(), "severity": pl.String(), "column": pl.String(), "reason": pl.String(),
    "rows": pl.Int64(), "sources": pl.List(pl.String()), "examples": pl.List(pl.Int64()),
}  # fmt: skip
_TOP_REASONS = 3


@dataclass(frozen=True, slots=True)
class TableCount:
    """What became of one table: accepted + rejected = read.

    Of those accepted, `withheld` are left out for want of consent and `sensitive` for their topics. `file` is the name
    of its file, or says how many there are; `files` names them. `notes` are remarks in words, such as ignored columns.
    """

    table: str
    file: str
    read: int
    accepted: int
    rejected: int
    notes: tuple[str, ...] = ()
    withheld: int = 0
    sensitive: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Intake:
    """A data folder after its check.

    Attributes:
        folder: the data folder; paths in the tables are relative to it.
        out: where the accepted rows are: <table>.parquet, a folder of Parquet files for tables that may be large.
        rejected: rows set aside, one line each, by the `RejectedRows` contract, in order of file and row; raw rows that may
            name who gave no consent are left out.
        counts: one for each table that is there.
        findings: what the checks found, with the columns of `FINDINGS`: errors were set aside, warnings only counted.
        days: day, events, impressions, clicks, rejected; in order of day; null: rows without a day.
    """

    folder: Path
    out: Path
    rejected: pl.DataFrame
    counts: tuple[TableCount, ...]
    findings: pl.DataFrame
    days: pl.DataFrame

    def reasons(self) -> pl.DataFrame:
        """Why rows were set aside: table, column, reason, rows, first_row; the most frequent of each table first."""
        order = {name: place for place, name in enumerate(file for count in self.counts for file in count.files)}
        names = {file: count.table for count in self.counts for file in count.files}
        place = pl.col("source").replace_strict(order, return_dtype=pl.Int64)
        table = pl.col("source").replace_strict(names, return_dtype=pl.String).alias("table")
        tables = {count.table: place for place, count in enumerate(self.counts)}
        rows = self.rejected.select(table, "column", "reason", "row", place=place)
        grouped = rows.sort("place", "row").group_by("table", "column", "reason", maintain_order=True).agg(
            rows=pl.len().cast(pl.Int64), first_row=pl.col("row").first()
        )  # fmt: skip
        number = pl.col("table").replace_strict(tables, return_dtype=pl.Int64)
        return grouped.sort(number, -pl.col("rows"), "first_row", "column", "reason")

    def require(self, *, max_rejected_share: float) -> None:
        """Raises DataError, naming the top reasons, when a table lost a larger share of its rows or has none left."""
        reasons = self.reasons()
        faults: list[str] = []
        for count in self.counts:
            if count.accepted and count.rejected <= max_rejected_share * count.read:
                continue
            if not count.read:
                faults.append(f"{count.file} has no rows")
                continue
            top = reasons.filter(pl.col("table") == count.table).head(_TOP_REASONS)
            listed = "; ".join(
                f"{column} {reason} ({rows} rows, first row {first})".lstrip()
                for _, column, reason, rows, first in top.iter_rows()
            )
            share = f"{count.file}: {count.rejected} of {count.read} rows ({count.rejected / count.read:.1%}) set aside"
            limit = f", more than {max_rejected_share:.1%}" if count.accepted else ", none is left"
            faults.append(f"{share}{limit}: {listed}")
        if faults:
            raise DataError(
                " | ".join(faults),
                where=str(self.folder),
                fix="`adloom check` on this folder lists every rejected row with its reason; "
                "mend those rows, or raise sources.max_rejected_share if you can do without them.",
            )


def read_table(out: Path, table: str) -> pl.DataFrame:
    """The accepted rows of a table."""
    path = out / f"{table}.parquet"
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        return pl.concat([pl.read_parquet(file, glob=False, memory_map=False) for file in files])
    return pl.read_parquet(path, glob=False, memory_map=False)


def file_words(names: tuple[str, ...]) -> str:
    """The name of a table's only file, or how many there are."""
    return names[0] if len(names) == 1 else f"{len(names)} files"
