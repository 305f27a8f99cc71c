"""Turns a data folder into checked tables and the rows that were set aside, each with its reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES, OPTIONAL_INPUTS, RejectedRows, polars_schema
from sources.checks import Checked, check_rows, column_faults
from sources.faults import POSITION, unknown
from sources.files import read_raw
from sources.raw import RawTable

_TOP_REASONS = 3


@dataclass(frozen=True, slots=True)
class TableCount:
    """What became of one file: accepted + rejected = read. `notes` are remarks in words, such as ignored columns."""

    table: str
    file: str
    read: int
    accepted: int
    rejected: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Intake:
    """A data folder after its check.

    Attributes:
        folder: the data folder; paths in the tables are relative to it.
        tables: accepted rows by table name, in file order, with the columns of the contract. A missing optional table
            is there with no rows.
        rejected: rows set aside, one line each, by the `RejectedRows` contract, in order of file and row.
        counts: one for each file.
        withheld: column user_id: users of any table who gave no consent, sorted; see `consented`.
    """

    folder: Path
    tables: dict[str, pl.DataFrame]
    rejected: pl.DataFrame
    counts: tuple[TableCount, ...]
    withheld: pl.DataFrame

    def reasons(self) -> pl.DataFrame:
        """Why rows were set aside: table, column, reason, rows, first_row; the most frequent of each table first."""
        order = {count.file: place for place, count in enumerate(self.counts)}
        names = {count.file: count.table for count in self.counts}
        grouped = self.rejected.group_by("source", "column", "reason").agg(
            rows=pl.len().cast(pl.Int64), first_row=pl.col("row").min()
        )
        place = pl.col("source").replace_strict(order, return_dtype=pl.Int64)
        ordered = grouped.sort(place, -pl.col("rows"), "first_row", "column", "reason")
        table = pl.col("source").replace_strict(names, return_dtype=pl.String).alias("table")
        return ordered.select(table, "column", "reason", "rows", "first_row")

    def consented(self) -> dict[str, pl.DataFrame]:
        """The tables without the rows of users who gave no consent."""
        return {
            name: frame.join(self.withheld, on="user_id", how="anti", maintain_order="left")
            if "user_id" in frame.columns
            else frame
            for name, frame in self.tables.items()
        }

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


def read_folder(folder: Path, *, max_rejected_share: float) -> Intake:
    """Checked tables of a data folder. The folder is only read.

    Args:
        folder: holds <table>.parquet or <table>.csv of events, concepts, impressions, and if known of users, pictures.
        max_rejected_share: largest share of a table that may be set aside, 0 to 1.

    Raises:
        DataError: a file cannot be read at all (all such faults of all files in one line), a table lost more than
            `max_rejected_share` of its rows, or a file has no row that can be used.
    """
    intake = inspect_folder(folder)
    intake.require(max_rejected_share=max_rejected_share)
    return intake


def inspect_folder(folder: Path) -> Intake:
    """As `read_folder`, without a limit on what is set aside: for listing the reasons.

    Raises:
        DataError: a file cannot be read at all.
    """
    raws = _read_all(folder)
    checked = {table: check_rows(table, raw, folder) for table, raw in raws.items()}
    checked = _check_references(checked)
    tables = {
        table: checked[table].good().drop(POSITION) if table in checked else pl.DataFrame(schema=polars_schema(schema))
        for table, schema in INPUT_TABLES.items()
    }
    rejected = {table: one.rejected() for table, one in checked.items()}
    counts = tuple(
        TableCount(
            table, one.raw.source, one.raw.read, tables[table].height, rejected[table].height, _notes(table, one.raw)
        )
        for table, one in checked.items()
    )
    for count in counts:
        assert count.accepted + count.rejected == count.read, count
    all_rejected = RejectedRows.validate(pl.concat(list(rejected.values())), cast=False)
    return Intake(folder, tables, pl.DataFrame(all_rejected), counts, _withheld(tables, checked.get("users")))


def _read_all(folder: Path) -> dict[str, RawTable]:
    if not folder.is_dir():
        raise DataError("is no folder", where=str(folder), fix="Give a folder with events, concepts and impressions.")
    raws: dict[str, RawTable] = {}
    faults: list[DataError] = []
    for table in INPUT_TABLES:
        try:
            path = _find(folder, table)
            if path is not None:
                raw = read_raw(path, may_hold_line_break=partial(_is_free_text, table))
                faults.extend(column_faults(table, raw))
                raws[table] = raw
        except DataError as fault:
            faults.append(fault)
    if len(faults) == 1:
        raise DataError(faults[0].what, where=str(folder / faults[0].where), fix=faults[0].fix)
    if faults:
        what = "; ".join(f"{fault.where}: {fault.what}" for fault in faults)
        raise DataError(what, where=str(folder), fix=" ".join(dict.fromkeys(fault.fix for fault in faults)))
    return raws


def _find(folder: Path, table: str) -> Path | None:
    present = [path for path in (folder / f"{table}.parquet", folder / f"{table}.csv") if path.exists()]
    if len(present) == 2:
        raise DataError(
            f"stands beside {table}.parquet",
            where=f"{table}.csv",
            fix=f"Remove {table}.csv, or {table}.parquet if it is older.",
        )
    if present:
        return present[0]
    if table in OPTIONAL_INPUTS:
        return None
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    near = difflib.get_close_matches(f"{table}.csv", names, n=1, cutoff=0.7)
    hint = f" (is it {near[0]!r}?)" if near else ""
    raise DataError(
        f"is missing, as .parquet and as .csv{hint}", where=table, fix=f"Add {table}.parquet or {table}.csv."
    )


def _is_free_text(table: str, column: str) -> bool:
    """Whether a cell may hold a line break: text and lists may, keys, times and numbers may not."""
    dtype = polars_schema(INPUT_TABLES[table]).get(column, pl.String())
    return dtype in (pl.String, pl.List(pl.String)) and not column.endswith("_id")


def _check_references(checked: dict[str, Checked]) -> dict[str, Checked]:
    """Concepts that are not among the accepted concepts; users who are in neither events nor users."""
    result = dict(checked)
    good = {table: one.good() for table, one in checked.items()}
    people = pl.concat([good[table]["user_id"] for table in ("events", "users") if table in good])
    no_concept, no_user = "is not among the concepts", "is in neither events nor users"
    for table in ("impressions", "pictures"):
        if table in good:
            lost = unknown(
                good[table], "concept_id", good["concepts"]["concept_id"], no_concept, check="unknown_concept"
            )
            result[table] = result[table].with_faults(lost)
    lost = unknown(good["impressions"], "user_id", people, no_user, check="unknown_user")
    return {**result, "impressions": result["impressions"].with_faults(lost)}


def _notes(table: str, raw: RawTable) -> tuple[str, ...]:
    extra = [name for name in raw.frame.columns if name not in INPUT_TABLES[table].columns()]
    return (f"ignores the unknown column(s) {', '.join(map(repr, extra))}",) if extra else ()


def _withheld(tables: dict[str, pl.DataFrame], users: Checked | None) -> pl.DataFrame:
    """Users without consent. With a users table, whoever it does not list as consenting in every row has given none."""
    if users is None:
        return pl.DataFrame(schema={"user_id": pl.String})
    consenting = tables["users"].filter(pl.col("personalise") & pl.col("adult").fill_null(True)).select("user_id")
    consenting = consenting.join(users.bad(), on="user_id", how="anti")
    everyone = pl.concat([tables[name].select("user_id") for name in ("events", "impressions", "users")]).unique()
    return everyone.join(consenting, on="user_id", how="anti").sort("user_id")
