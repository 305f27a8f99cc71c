"""Turns a data folder into checked rows on disk and the rows that were set aside, each with its reason."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.settings import SourceSettings
from contracts.store import digest_of
from contracts.tables import INPUT_TABLES, LARGE_INPUTS, RejectedRows, polars_schema
from sources import cross_checks as cross
from sources.acceptance import Acceptance, accept
from sources.catalogue import tolerable
from sources.columns import adapted, is_free_text
from sources.far_storage import is_far
from sources.files import read_batches
from sources.held import AT_ONCE, Held
from sources.inventory import inventory, raise_together, require_folder
from sources.mapping import load_mapping
from sources.outcome import FINDINGS, Intake
from sources.places import Part
from sources.pseudonyms import Pseudonyms
from sources.rules import Rules
from sources.sieve import DAYS, sift
from sources.sifted import Sifted, forget, unlisted
from sources.small_tables import SmallTables, take_small

_EXAMPLES, _PEEK_ROWS = 5, 1000
_REJECTED = polars_schema(RejectedRows)


def take_in(
    folder: Path,
    out: Path,
    parts: Path,
    settings: SourceSettings,
    *,
    pseudonyms: Pseudonyms | None = None,
    barred: frozenset[str] = frozenset(),
    code: str = "",
    tell: Callable[[str, int, int], None] | None = None,
) -> Intake:
    """Checks a data folder and writes its accepted rows to `out`, in memory that does not grow with the log.

    Rows of users who gave no consent are left out, and no raw row is kept that may name a person.

    What was made of a file stays in `parts`, named by the file's bytes and all that decides the result: a day that is
    added later is the only one that is read.

    Args:
        folder: the data folder; it is only read.
        out: a folder to make; appears with <table>.parquet of every table.
        parts: where work on single files is kept.
        settings: how strict to be.
        pseudonyms: of user ids; None: ids stay as they are.
        barred: users, as they are kept, whose rows are left out: they were erased.
        code: version of what decides the result beside settings.
        tell: told the file and how many of how many are done.

    Raises:
        DataError: a file cannot be read at all; all such faults in one line.
    """
    require_folder(folder)
    mapping = load_mapping(folder)
    found, faults = inventory(folder, mapping)
    unknown_checks = sorted(set(settings.tolerate) - set(tolerable()))
    if unknown_checks:
        raise DataError(
            f"{unknown_checks[0]} is no check that can be tolerated",
            where="sources.tolerate",
            fix=f"Name some of {', '.join(tolerable())}.",
        )
    rules = Rules(
        folder=folder, mapping=mapping, now=datetime.now(UTC), pseudonyms=pseudonyms,
        max_user_rows_per_minute=settings.max_user_rows_per_minute, late_days=settings.late_days,
        ahead_hours=settings.ahead_hours, tolerated=frozenset(settings.tolerate),
        sensitive_topics=frozenset(settings.sensitive_topics), has_clicks=bool(found["clicks"]), barred=barred,
    )  # fmt: skip
    blank: dict[str, list[str]] = {}
    if settings.empty_files == "skip":
        found, blank = _without_blank(found)
    raise_together(folder, [*faults, *_peek(found, rules)])
    return _Work(folder, out, parts, rules, found, settings, code, tell or (lambda *_: None), blank).run()


def _without_blank(found: dict[str, tuple[Part, ...]]) -> tuple[dict[str, tuple[Part, ...]], dict[str, list[str]]]:
    """The files of every table but those of 0 bytes, unless a table has no other; and the names of those left out."""
    kept, blank = dict(found), {}
    for table in LARGE_INPUTS:
        full = tuple(part for part in found[table] if is_far(part.path) or Path(part.path).stat().st_size)
        if 0 < len(full) < len(found[table]):
            kept[table], blank[table] = full, [part.name for part in found[table] if part not in full]
    return kept, blank


def _peek(found: dict[str, tuple[Part, ...]], rules: Rules) -> list[DataError]:
    """Columns at fault in the first file of each table, before hours go into reading."""
    faults: list[DataError] = []
    for table, parts in found.items():
        try:
            for part in parts[:1]:
                breaks = partial(is_free_text, table, rules.mapping)
                adapted(table, next(read_batches(part, may_hold_line_break=breaks, head=_PEEK_ROWS)), part, rules)
        except DataError as fault:
            faults.append(fault)
    return faults


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
    blank: dict[str, list[str]]
    small: SmallTables = field(init=False)
    accepted: dict[str, Acceptance] = field(default_factory=dict)

    def run(self) -> Intake:
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        faults: list[DataError] = []
        self.small = take_small(self.found, self.rules, faults)
        self.rules = self.small.rules
        for table, frame in self.small.frames.items():
            frame.write_parquet(self.out / f"{table}.parquet")
        held: dict[str, Held] = {}
        for table in LARGE_INPUTS:
            try:
                held[table] = self._sift(table)
            except DataError as fault:
                faults.append(fault)
        raise_together(self.folder, faults)
        self._cross(held)
        self._warn_of(held)
        self._prune()
        rejected = self._rejected()
        made = {table: one.count for table, one in self.accepted.items() if one.count} | self.small.counts
        counts = tuple(made[table] for table in INPUT_TABLES if table in made)
        for count in counts:
            assert count.accepted + count.rejected == count.read, count
        return Intake(self.folder, self.out, rejected, counts, self._findings(rejected), self._days(held))

    def _sift(self, table: str) -> Held:
        sifted: list[Sifted] = []
        faults: list[DataError] = []
        pool = ThreadPoolExecutor(max_workers=AT_ONCE)
        try:
            work = [pool.submit(self._one, table, part) for part in self.found[table]]
            for number, (part, one) in enumerate(zip(self.found[table], work, strict=True)):
                self.tell(part.name, number, len(work))
                try:
                    sifted.append(one.result())
                except DataError as fault:
                    faults.append(fault)
        finally:
            pool.shutdown(cancel_futures=True)  # stopped: files not begun are left for the next time
        if faults:
            first, *others = faults
            what = "; ".join([first.what, *(f"{fault.where}: {fault.what}" for fault in others)])
            raise DataError(what, where=first.where, fix=first.fix)
        return Held(table, tuple(sifted))

    def _one(self, table: str, part: Part) -> Sifted:
        one = sift(table, part, self.rules, self.parts / table / self._key(table, part))
        return self._with_consent(table, one)

    def _with_consent(self, table: str, sifted: Sifted) -> Sifted:
        """The same file without the rows of users whose consent is not, or no longer, given."""
        if table == "clicks" or self.rules.consenting is None:
            return sifted
        gone = unlisted(sifted, self.small.frames["users"]["user_id"])
        return forget(sifted, gone) if len(gone) else sifted

    def _key(self, table: str, part: Part) -> str:
        pseudonyms = self.rules.pseudonyms
        return digest_of(
            {
                "name": part.name, "bytes": part.fingerprint, "table": table, "code": self.code, "polars": pl.__version__,
                "mapping": self.rules.mapping.of(table).model_dump(mode="json"), "clicks": self.rules.has_clicks,
                "settings": self.settings.model_dump(mode="json", exclude={"key_file", "max_rejected_share"}),
                "key": pseudonyms.fingerprint if pseudonyms else None, "asked": self.rules.consenting is not None,
            }
        )[:20]  # fmt: skip

    def _prune(self) -> None:
        """Removes what was made of files that are no longer there."""
        for table in LARGE_INPUTS:
            wanted = {self._key(table, part) for part in self.found[table]}
            for path in (self.parts / table).glob("*"):
                if path.name not in wanted:
                    shutil.rmtree(path, ignore_errors=True)

    def _cross(self, held: dict[str, Held]) -> None:
        """What shows only across rows, files and tables; then the accepted rows are written."""
        events, impressions = held["events"], held["impressions"]
        users = self.small.frames["users"].select(pl.col("user_id").hash(0))["user_id"]
        shown = impressions.people()
        strangers = events.absent(shown.filter(~shown.is_in(users.implode())))
        again = cross.repeated_impressions(impressions)
        lost = {
            "events": pl.concat([cross.bots(events, self.rules), cross.repeated_events(events)]),
            "impressions": pl.concat(
                [
                    again,
                    cross.unknown_references(impressions, self.small.frames["concepts"], strangers),
                    cross.bots(impressions, self.rules),
                    cross.slates(impressions, again),
                ]
            ),
        }
        nothing = pl.DataFrame(schema={"file": pl.UInt32, "position": pl.UInt32})
        match = cross.match_clicks(held["clicks"], impressions) if self.found["clicks"] else None
        if match is not None:
            lost["clicks"] = match.faults
        for table in LARGE_INPUTS:
            path = self.out / f"{table}.parquet"
            if not self.found[table]:
                pl.DataFrame(schema=polars_schema(INPUT_TABLES[table])).write_parquet(path)
                continue
            marks = match.clicked if match is not None and table == "impressions" else nothing
            names = tuple(part.name for part in self.found[table])
            found = lost.get(table, cross.no_findings())
            self.accepted[table] = accept(held[table], names, found, marks, self.rules.tolerated, path)

    def _rejected(self) -> pl.DataFrame:
        """Rows set aside of all tables, in order of table, file and row."""
        frames = [*self.small.rejected, *(frame for one in self.accepted.values() for frame in one.rejected)]
        names = dict.fromkeys(part.name for table in INPUT_TABLES for part in self.found[table])
        order = {name: place for place, name in enumerate(names)}
        place = pl.col("source").replace_strict(order, return_dtype=pl.Int64)
        rejected = pl.concat([pl.DataFrame(schema=_REJECTED), *(frame for frame in frames if frame.height)])
        return pl.DataFrame(RejectedRows.validate(rejected.sort(place, "row"), cast=False))

    def _warn_of(self, held: dict[str, Held]) -> None:
        notes: list[tuple[str, str, str]] = []
        shift = cross.shifted_hours(held["events"], held["impressions"])
        if shift is not None:
            notes.append(("shifted_hours", "at", f"keeps the hours of events when moved by {-shift:+} h"))
        concepts = self.small.frames["concepts"].height
        mean = cross.small_propensities(held["impressions"], concepts)
        if mean is not None:
            words = f"is 1 / {mean:.0f} in the harmonic mean, with {concepts} concepts"
            notes.append(("small_propensities", "propensity", words))
        source = self.found["impressions"][0].name
        for check, column, reason in notes:
            values = {"source": [source], "column": [column], "reason": [reason], "check": [check], "row": [1]}
            self.accepted["impressions"].warnings.append(pl.DataFrame(values))

        for table, one in held.items():
            names = [*self.blank.get(table, ()), *(part.tally.source for part in one.parts if not part.tally.read)]
            if names and table in self.accepted:
                values = {"source": names, "column": "", "reason": "has no rows", "check": "empty_file", "row": 0}
                self.accepted[table].warnings.append(pl.DataFrame(values).with_columns(pl.col("row").cast(pl.Int64)))

    def _findings(self, rejected: pl.DataFrame) -> pl.DataFrame:
        tables = {part.name: table for table in INPUT_TABLES for part in self.found[table]}
        table = pl.col("source").replace_strict(tables, return_dtype=pl.String)
        errors = rejected.with_columns(table=table, severity=pl.lit("error"))
        warned = [
            frame.with_columns(table=pl.lit(table), severity=pl.lit("warning"))
            for table, one in self.accepted.items()
            for frame in one.warnings
        ]
        names = ["table", "check", "severity", "column", "reason", "source", "row"]
        rows = pl.concat([one.select(names) for one in [errors, *warned]])
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
        for acceptance in self.accepted.values():
            frames += [
                one.rename({name: name.removesuffix("_rows") for name in one.columns}) for one in acceptance.days
            ]
        joined = pl.concat(frames, how="diagonal").group_by("day").agg(pl.col(list(total)[1:]).sum())
        return joined.select(list(total)).sort("day", nulls_last=True)
