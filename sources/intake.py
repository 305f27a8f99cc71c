"""Turns a data folder into checked tables and the rows that were set aside, each with its reason."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.settings import SourceSettings
from contracts.store import digest_of
from contracts.tables import INPUT_TABLES, LARGE_INPUTS, RejectedRows, polars_schema
from sources import cross_checks as cross
from sources.catalogue import CHECKS, tolerable
from sources.checks import Checked, check_rows
from sources.cross_checks import Held
from sources.faults import POSITION, unknown
from sources.files import read_batches, whole
from sources.mapping import Mapping, load_mapping
from sources.places import Part, find_parts
from sources.pseudonyms import Pseudonyms
from sources.raw import RawTable, raw_json
from sources.sieve import DAYS, Rules, adapted, is_free_text, sift, unknown_columns
from sources.sifted import WITHHELD, Sifted, forget, unlisted

_TOP_REASONS = 3
_EXAMPLES = 5
_REJECTED = polars_schema(RejectedRows)
FINDINGS = {
    "table": pl.String(), "check": pl.String(), "severity": pl.String(), "column": pl.String(), "reason": pl.String(),
    "rows": pl.Int64(), "sources": pl.List(pl.String()), "examples": pl.List(pl.Int64()),
}  # fmt: skip


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
        rejected: rows set aside, one line each, by the `RejectedRows` contract, in order of file and row.
        counts: one for each table that is there.
        withheld: column user_id: users of any table who gave no consent, sorted. Empty when `out` leaves them out.
        findings: what the checks found, with the columns of `FINDINGS`: errors were set aside, warnings only counted.
        days: day, events, impressions, clicks, rejected; in order of day; null: rows without a day.
    """

    folder: Path
    out: Path
    rejected: pl.DataFrame
    counts: tuple[TableCount, ...]
    withheld: pl.DataFrame
    findings: pl.DataFrame
    days: pl.DataFrame
    tables: dict[str, pl.DataFrame] = field(default_factory=dict)

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
    """Checked tables of a data folder, in memory. The folder is only read.

    Args:
        folder: holds events, concepts and impressions, and if known users, pictures and clicks; see docs/sources.md.
        max_rejected_share: largest share of a table that may be set aside, 0 to 1.

    Raises:
        DataError: a file cannot be read at all (all such faults of all files in one line), a table lost more than
            `max_rejected_share` of its rows, or a file has no row that can be used.
    """
    intake = inspect_folder(folder)
    intake.require(max_rejected_share=max_rejected_share)
    return intake


def inspect_folder(folder: Path, settings: SourceSettings | None = None) -> Intake:
    """As `read_folder`, without a limit on what is set aside: for listing the reasons.

    Raises:
        DataError: a file cannot be read at all.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        found = take_in(folder, home / "out", home / "parts", settings or SourceSettings(), is_private=False)
        tables = {table: read_table(found.out, table) for table in INPUT_TABLES}
        return replace(found, tables=tables, withheld=_withheld(tables, found.withheld))


def read_table(out: Path, table: str) -> pl.DataFrame:
    """The accepted rows of a table."""
    path = out / f"{table}.parquet"
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        return pl.concat([pl.read_parquet(file, glob=False, memory_map=False) for file in files])
    return pl.read_parquet(path, glob=False, memory_map=False)


def take_in(
    folder: Path,
    out: Path,
    parts: Path,
    settings: SourceSettings,
    *,
    is_private: bool = True,
    pseudonyms: Pseudonyms | None = None,
    barred: frozenset[str] = frozenset(),
    code: str = "",
    tell: Callable[[str, int, int], None] | None = None,
) -> Intake:
    """Checks a data folder and writes its accepted rows to `out`, in memory that does not grow with the log.

    What was made of a file stays in `parts`, named by the file's bytes and all that decides the result: a day that is
    added later is the only one that is read.

    Args:
        folder: the data folder; it is only read.
        out: a folder to make; appears with <table>.parquet of every table.
        parts: where work on single files is kept.
        settings: how strict to be.
        is_private: leave out who gave no consent, and keep no raw row that may name a person.
        pseudonyms: of user ids; None: ids stay as they are.
        barred: users, as they are kept, whose rows are left out: they were erased.
        code: version of what decides the result beside settings.
        tell: told the file and how many of how many are done.

    Raises:
        DataError: a file cannot be read at all; all such faults in one line.
    """
    _require_folder(folder)
    mapping = load_mapping(folder)
    found, faults = _find_all(folder, mapping)
    unknown_checks = sorted(set(settings.tolerate) - set(tolerable()))
    if unknown_checks:
        raise DataError(
            f"{unknown_checks[0]} is no check that can be tolerated",
            where="sources.tolerate",
            fix=f"Name some of {', '.join(tolerable())}.",
        )
    rules = Rules(
        folder=folder, mapping=mapping, now=datetime.now(UTC), is_private=is_private, pseudonyms=pseudonyms,
        max_user_rows_per_minute=settings.max_user_rows_per_minute, late_days=settings.late_days,
        ahead_hours=settings.ahead_hours, tolerated=frozenset(settings.tolerate),
        sensitive_topics=frozenset(settings.sensitive_topics), has_clicks=bool(found["clicks"]), barred=barred,
    )  # fmt: skip
    _raise_all(folder, [*faults, *_peek(found, rules)])
    return _Work(folder, out, parts, rules, found, settings, code, tell or (lambda *_: None)).run()


def locate(folder: Path) -> dict[str, tuple[Part, ...]]:
    """The files of every table of a data folder. Raises DataError with all that is missing."""
    _require_folder(folder)
    found, faults = _find_all(folder, load_mapping(folder))
    _raise_all(folder, faults)
    return found


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise DataError("is no folder", where=str(folder), fix="Give a folder with events, concepts and impressions.")


def _find_all(folder: Path, mapping: Mapping) -> tuple[dict[str, tuple[Part, ...]], list[DataError]]:
    found: dict[str, tuple[Part, ...]] = {}
    faults: list[DataError] = []
    for table in INPUT_TABLES:
        try:
            found[table] = find_parts(folder, table, mapping.of(table).path)
        except DataError as fault:
            faults.append(fault)
            found[table] = ()
    return found, faults


def _peek(found: dict[str, tuple[Part, ...]], rules: Rules) -> list[DataError]:
    """Columns at fault in the first file of each table, before hours go into reading."""
    faults: list[DataError] = []
    for table, parts in found.items():
        try:
            for part in parts[:1]:
                breaks = partial(is_free_text, table, rules.mapping)
                adapted(table, next(read_batches(part, may_hold_line_break=breaks)), part, rules)
        except DataError as fault:
            faults.append(fault)
    return faults


def _raise_all(folder: Path, faults: list[DataError]) -> None:
    if len(faults) == 1:
        raise DataError(faults[0].what, where=str(folder / faults[0].where), fix=faults[0].fix)
    if faults:
        what = "; ".join(f"{fault.where}: {fault.what}" for fault in faults)
        raise DataError(what, where=str(folder), fix=" ".join(dict.fromkeys(fault.fix for fault in faults)))


@dataclass
class _Work:
    """One intake under way."""

    folder: Path
    out: Path
    parts: Path
    rules: Rules
    found: dict[str, tuple[Part, ...]]
    settings: SourceSettings
    code: str
    tell: Callable[[str, int, int], None]
    rejected: list[pl.DataFrame] = field(default_factory=list)
    warnings: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, TableCount] = field(default_factory=dict)
    small: dict[str, pl.DataFrame] = field(default_factory=dict)
    sources: dict[str, list[tuple[str, int, pl.DataFrame]]] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    day_losses: list[pl.DataFrame] = field(default_factory=list)
    doubtful_users: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"user_id": pl.String}))

    def run(self) -> Intake:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        faults: list[DataError] = []
        checked: dict[str, Checked] = {}
        for table in ("users", "concepts", "pictures"):
            try:
                if self.found[table]:
                    checked[table] = self._small(table)
            except DataError as fault:
                faults.append(fault)
        self._finish_small(checked)
        held: dict[str, Held] = {}
        for table in LARGE_INPUTS:
            try:
                held[table] = self._sift(table)
            except DataError as fault:
                faults.append(fault)
        _raise_all(self.folder, faults)
        self._cross(held)
        self._prune()
        frames = [frame for frame in self.rejected if frame.height]
        order = {
            part.name: place for place, part in enumerate(one for table in INPUT_TABLES for one in self.found[table])
        }
        rejected = pl.concat([pl.DataFrame(schema=_REJECTED), *frames])
        place = pl.col("source").replace_strict(order, return_dtype=pl.Int64)
        rejected = pl.DataFrame(RejectedRows.validate(rejected.sort(place, "row"), cast=False))
        counts = tuple(self.counts[table] for table in INPUT_TABLES if table in self.counts)
        for count in counts:
            assert count.accepted + count.rejected == count.read, count
        return Intake(self.folder, self.out, rejected, counts, self.doubtful_users, self._findings(rejected),
                      self._days(held))  # fmt: skip

    # small tables

    def _small(self, table: str) -> Checked:
        raws: list[RawTable] = []
        faults: list[pl.DataFrame] = []
        notes: list[str] = []
        for part in self.found[table]:
            breaks = partial(is_free_text, table, self.rules.mapping)
            raw = whole(list(read_batches(part, may_hold_line_break=breaks)))
            frame, wrong = adapted(table, raw, part, self.rules)
            shift = sum(one.frame.height for one in raws)
            faults.append(wrong.with_columns(pl.col("position") + shift))
            notes += unknown_columns(table, frame)
            raws.append(RawTable(raw.source, raw.is_text, frame, raw.rows, raw.broken))
        joined = whole(raws) if len(raws) > 1 else raws[0]
        checked = check_rows(table, joined, self.folder).with_faults(*faults)
        self.sources[table] = [(one.source, one.frame.height, one.broken) for one in raws]
        self.notes[table] = tuple(dict.fromkeys(notes))
        return checked

    def _finish_small(self, checked: dict[str, Checked]) -> None:
        if "pictures" in checked and "concepts" in checked:
            lost = unknown(checked["pictures"].good(), "concept_id", checked["concepts"].good()["concept_id"],
                           "is not among the concepts", check="unknown_concept")  # fmt: skip
            checked["pictures"] = checked["pictures"].with_faults(lost)
        for table in ("users", "concepts", "pictures"):
            schema = polars_schema(INPUT_TABLES[table])
            good = checked[table].good().drop(POSITION) if table in checked else pl.DataFrame(schema=schema)
            withheld = 0
            if table in checked:
                rejected = self._rejected_small(table, checked[table])
                accepted = good.height
                if table == "users":
                    good, withheld = self._consent(checked[table], good)
                names = tuple(part.name for part in self.found[table])
                self.counts[table] = TableCount(table, _file_words(names), checked[table].raw.read, accepted,
                                                rejected.height, self.notes[table], withheld, 0, names)  # fmt: skip
                self.rejected.append(rejected)
            if table == "concepts" and self.rules.sensitive_topics:
                touched = pl.col("topics").list.eval(pl.element().is_in(list(self.rules.sensitive_topics))).list.any()
                good = good.with_columns(sensitive=pl.col("sensitive") | touched)
            self.small[table] = good
            good.write_parquet(self.out / f"{table}.parquet")

    def _rejected_small(self, table: str, checked: Checked) -> pl.DataFrame:
        """Rejected rows with the file each stands in; what names a person is withheld when that is asked."""
        if len(self.sources[table]) == 1:
            rejected = checked.rejected()
        else:
            plain = Checked(RawTable("", checked.raw.is_text, checked.raw.frame, checked.raw.rows,
                                     checked.raw.broken.clear()), checked.typed, checked.faults).rejected()  # fmt: skip
            places = checked.faults["position"].unique().sort()
            names = pl.Series([name for name, height, _ in self.sources[table] for _ in range(height)], dtype=pl.String)
            order = checked.raw.rows.gather(places).arg_sort()
            rejected = plain.with_columns(source=names.gather(places).gather(order))
            lost = [broken.select(pl.lit(name).alias("source"), pl.all()) for name, _, broken in self.sources[table]]
            rejected = pl.concat([rejected.select(list(_REJECTED)), *(one.select(list(_REJECTED)) for one in lost)])
        if self.rules.is_private and table == "users":
            rejected = rejected.with_columns(raw=pl.lit(WITHHELD))
        return rejected

    def _consent(self, checked: Checked, good: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Users who consent in every row that names them."""
        bad = checked.bad().select("user_id").drop_nulls().unique()
        if not self.rules.is_private:
            self.doubtful_users = bad
            return good, 0
        consenting = good.filter(pl.col("personalise") & pl.col("adult").fill_null(True))
        consenting = consenting.join(bad, on="user_id", how="anti", maintain_order="left")
        consenting = self._without_barred(consenting)
        listed = pl.concat([good.select("user_id"), bad])
        self.rules = replace(self.rules, consenting=consenting.select("user_id"), listed=listed)
        withheld = good.height - consenting.height
        if self.rules.pseudonyms is not None:
            consenting = consenting.with_columns(self.rules.pseudonyms.replace(consenting["user_id"]))
        return consenting, withheld

    def _without_barred(self, users: pl.DataFrame) -> pl.DataFrame:
        if not self.rules.barred:
            return users
        kept_as = users["user_id"]
        if self.rules.pseudonyms is not None:
            kept_as = self.rules.pseudonyms.replace(kept_as)
        return users.filter(~kept_as.is_in(list(self.rules.barred)))

    # large tables

    def _sift(self, table: str) -> Held:
        sifted: list[Sifted] = []
        faults: list[DataError] = []
        for number, part in enumerate(self.found[table]):
            self.tell(part.name, number, len(self.found[table]))
            try:
                one = sift(table, part, self.rules, self.parts / table / self._key(table, part))
                sifted.append(self._with_consent(table, one))
            except DataError as fault:
                faults.append(fault)
        if faults:
            raise faults[0] if len(faults) == 1 else DataError(
                "; ".join([faults[0].what, *(f"{fault.where}: {fault.what}" for fault in faults[1:])]),
                where=faults[0].where, fix=faults[0].fix)  # fmt: skip
        return Held(table, tuple(sifted))

    def _with_consent(self, table: str, sifted: Sifted) -> Sifted:
        """The same file without the rows of users whose consent is not, or no longer, given."""
        if table == "clicks" or not self.rules.is_private or self.rules.consenting is None:
            return sifted
        gone = unlisted(sifted, self.small["users"]["user_id"])
        return forget(sifted, gone) if len(gone) else sifted

    def _prune(self) -> None:
        """Removes what was made of files that are no longer there."""
        for table in LARGE_INPUTS:
            wanted = {self._key(table, part) for part in self.found[table]}
            for path in (self.parts / table).glob("*"):
                if path.name not in wanted:
                    shutil.rmtree(path, ignore_errors=True)

    def _key(self, table: str, part: Part) -> str:
        pseudonyms = self.rules.pseudonyms
        return digest_of(
            {
                "name": part.name, "bytes": part.fingerprint, "table": table, "code": self.code, "polars": pl.__version__,
                "mapping": self.rules.mapping.of(table).model_dump(mode="json"), "clicks": self.rules.has_clicks,
                "settings": self.settings.model_dump(mode="json", exclude={"key_file", "max_rejected_share"}), "private": self.rules.is_private,
                "key": pseudonyms.fingerprint if pseudonyms else None, "asked": self.rules.consenting is not None,
            }
        )[:20]  # fmt: skip

    def _cross(self, held: dict[str, Held]) -> None:
        events, impressions = held["events"], held["impressions"]
        lost: dict[str, pl.DataFrame] = {}
        lost["events"] = pl.concat([cross.bots(events, self.rules), cross.repeated_events(events)])
        people = events.people()
        known = pl.concat([people, self.small["users"].select(pl.col("user_id").hash(0))["user_id"]]).unique()
        again = cross.repeated_impressions(impressions)
        lost["impressions"] = pl.concat(
            [
                again,
                cross.unknown_references(impressions, self.small["concepts"], known),
                cross.bots(impressions, self.rules),
                cross.slates(impressions, again),
            ]
        )
        clicked = pl.DataFrame(schema={"file": pl.UInt32, "position": pl.UInt32})
        if self.found["clicks"]:
            match = cross.match_clicks(held["clicks"], impressions)
            clicked, lost["clicks"] = match.clicked, match.faults
        for table in LARGE_INPUTS:
            if not self.found[table]:
                empty = pl.DataFrame(schema=polars_schema(INPUT_TABLES[table]))
                empty.write_parquet(self.out / f"{table}.parquet")
            else:
                self._write(held[table], lost.get(table, cross.no_findings()), clicked)
        self._warn_of(held)

    def _write(self, held: Held, found: pl.DataFrame, clicked: pl.DataFrame) -> None:
        """The accepted rows of a table without those that the cross checks found; a file without any is not copied."""
        table = held.table
        counts = [
            CHECKS[name].severity == "warning" or name in self.rules.tolerated for name in found["check"].to_list()
        ]
        counted = pl.Series(counts, dtype=pl.Boolean)
        names = tuple(part.name for part in self.found[table])
        (self.out / f"{table}.parquet").mkdir()
        errors, notes = found.filter(~counted), found.filter(counted)
        rejected = 0
        marks = clicked if table == "impressions" else clicked.clear()
        for number, part, place in held.files():
            here, said = errors.filter(pl.col("file") == number), notes.filter(pl.col("file") == number)
            path = self.out / f"{table}.parquet" / f"{number:05}.parquet"
            if said.height:
                rows = part.keys(place)["row"].gather(said["position"])
                self._note(table, part.tally.source, said.select("column", "reason", "check", row=rows))
            mine = marks.filter(pl.col("file") == number)["position"]
            if not here.height and not len(mine):
                _link(part.rows()[place], path)
                continue
            rejected += self._rewrite(table, part, place, path, here, mine)
        if not any((self.out / f"{table}.parquet").iterdir()):
            empty = pl.DataFrame(schema=polars_schema(INPUT_TABLES[table]))
            empty.write_parquet(self.out / f"{table}.parquet" / "00000.parquet")
        tallies = [part.tally for part in held.parts]
        for part in held.parts:
            self.rejected.append(part.frame("rejected"))
            self._note(table, part.tally.source, part.frame("warnings"))
        self.counts[table] = TableCount(
            table, _file_words(names), sum(one.read for one in tallies), sum(one.accepted for one in tallies) - rejected,
            sum(one.rejected for one in tallies) + rejected, tuple(dict.fromkeys(n for one in tallies for n in one.notes)),
            sum(one.withheld for one in tallies), sum(one.sensitive for one in tallies), names,
        )  # fmt: skip

    def _rewrite(
        self, table: str, part: Sifted, place: int, path: Path, found: pl.DataFrame, clicked: pl.Series
    ) -> int:
        frame = pl.read_parquet(part.rows()[place], glob=False).with_row_index(POSITION)
        rows = part.keys(place)["row"]
        if len(clicked):
            marked = pl.col(POSITION).is_in(clicked.implode())
            frame = frame.with_columns(clicked=pl.col("clicked") | marked)
            days = frame.filter(marked).group_by(day=pl.col("at").dt.date()).agg(clicks=pl.len().cast(pl.Int64))
            self.day_losses.append(days.select("day", pl.lit(0, pl.Int64).alias(f"{table}_rows"), "clicks",
                                               rejected=pl.lit(0, pl.Int64)))  # fmt: skip
        bad = frame.filter(pl.col(POSITION).is_in(found["position"].unique().implode()))
        if bad.height:
            first = found.unique(["position", "column"], keep="first", maintain_order=True)
            told = first.group_by("position").agg(
                pl.col("column").first(), pl.col("check").first(),
                reason=pl.col("reason").first(), others=pl.format("{}: {}", "column", "reason").slice(1),
            ).sort("position")  # fmt: skip
            told = told.with_columns(reason=pl.concat_list("reason", "others").list.join("; "))
            self.rejected.append(
                told.select(
                    source=pl.lit(part.tally.source), row=rows.gather(told["position"]), column="column", reason="reason",
                    check="check", raw=raw_json(bad.drop(POSITION)),
                ).select(list(_REJECTED))
            )  # fmt: skip
            if table != "clicks":
                clicks = pl.col("clicked").sum().cast(pl.Int64) if table == "impressions" else pl.lit(0, pl.Int64)
                loss = bad.group_by(day=pl.col("at").dt.date()).agg(
                    (-pl.len().cast(pl.Int64)).alias(f"{table}_rows"), (-clicks).alias("clicks"),
                    rejected=pl.len().cast(pl.Int64),
                )  # fmt: skip
                self.day_losses.append(loss)
        left = frame.filter(~pl.col(POSITION).is_in(found["position"].unique().implode())).drop(POSITION)
        left.write_parquet(path, compression="lz4")
        return bad.height

    # what is told

    def _note(self, table: str, source: str, warnings: pl.DataFrame) -> None:
        if warnings.height:
            told = warnings.select(pl.lit(table).alias("table"), pl.lit(source).alias("source"), "column", "reason",
                                   "check", "row")  # fmt: skip
            self.warnings.append(told)

    def _warn_of(self, held: dict[str, Held]) -> None:
        notes: list[tuple[str, str, str]] = []
        shift = cross.shifted_hours(held["events"], held["impressions"])
        if shift is not None:
            notes.append(("shifted_hours", "at", f"keeps the hours of events when moved by {-shift:+} h"))
        mean = cross.small_propensities(held["impressions"], self.small["concepts"].height)
        if mean is not None:
            words = f"is 1 / {mean:.0f} in the harmonic mean, with {self.small['concepts'].height} concepts"
            notes.append(("small_propensities", "propensity", words))
        source = self.found["impressions"][0].name
        for check, column, reason in notes:
            row = pl.DataFrame({"column": [column], "reason": [reason], "check": [check], "row": [1]})
            self._note("impressions", source, row)

    def _findings(self, rejected: pl.DataFrame) -> pl.DataFrame:
        tables = {part.name: table for table in INPUT_TABLES for part in self.found[table]}
        table = pl.col("source").replace_strict(tables, return_dtype=pl.String)
        errors = rejected.with_columns(table=table, severity=pl.lit("error"))
        told = [errors, *(one.with_columns(severity=pl.lit("warning")) for one in self.warnings)]
        names = ["table", "check", "severity", "column", "reason", "source", "row"]
        rows = pl.concat([one.select(names) for one in told])
        grouped = rows.group_by("table", "check", "severity", "column", "reason", maintain_order=True).agg(
            rows=pl.len().cast(pl.Int64), sources=pl.col("source").head(_EXAMPLES), examples=pl.col("row").head(_EXAMPLES)
        )  # fmt: skip
        return grouped.select(list(FINDINGS)).sort("severity", -pl.col("rows"), "table", "check", "reason")

    def _days(self, held: dict[str, Held]) -> pl.DataFrame:
        total = {
            "day": pl.Date(),
            "events": pl.Int64(),
            "impressions": pl.Int64(),
            "clicks": pl.Int64(),
            "rejected": pl.Int64(),
        }
        frames = [pl.DataFrame(schema=total)]
        for table in LARGE_INPUTS:
            for part in held[table].parts if table in held else ():
                one = part.frame("days")
                assert list(one.columns) == list(DAYS)
                frames.append(one.rename({"rows": table if table != "clicks" else "unused"}))
        frames += [one.rename({name: name.removesuffix("_rows") for name in one.columns}) for one in self.day_losses]
        joined = pl.concat(frames, how="diagonal").group_by("day").agg(pl.col(list(total)[1:]).sum())
        return joined.select(list(total)).sort("day", nulls_last=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or links are not allowed
        shutil.copyfile(source, target)


def _file_words(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files"


def _withheld(tables: dict[str, pl.DataFrame], doubtful: pl.DataFrame) -> pl.DataFrame:
    """Users without consent. With a users table, whoever it does not list as consenting in every row has given none."""
    users = tables["users"]
    if users.is_empty() and doubtful.is_empty():
        return pl.DataFrame(schema={"user_id": pl.String})
    consenting = users.filter(pl.col("personalise") & pl.col("adult").fill_null(True)).select("user_id")
    consenting = consenting.join(doubtful, on="user_id", how="anti")
    everyone = pl.concat([tables[name].select("user_id") for name in ("events", "impressions", "users")]).unique()
    return everyone.join(consenting, on="user_id", how="anti").sort("user_id")
