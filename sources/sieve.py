"""Turns one file of a large table into accepted rows, rejected rows and what later checks need of them, on disk."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.store import write_json
from contracts.tables import INPUT_TABLES, RejectedRows, polars_schema
from sources.casts import cast, faults_at, no_faults
from sources.checks import Checked, check_values
from sources.columns import adapted, is_free_text, unknown_columns
from sources.files import read_batches
from sources.places import Part
from sources.raw import BROKEN_ROWS, RawTable
from sources.rules import Rules
from sources.sifted import WITHHELD, Sifted, Tally, read_sifted
from sources.soundness import surely_sound

SHARDS = 16
"""A user's rows of one minute are counted when a batch holds at least 1/16 of the limit of them."""

_REJECTED = polars_schema(RejectedRows)
_ROW_GROUP = 250_000  # dictionaries stay in the cache
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads minutes over the slots


def sift(table: str, part: Part, rules: Rules, folder: Path) -> Sifted:
    """Checks a file a batch at a time, as far as rows can be judged alone, into `folder`; done before, it is read back.

    Raises:
        DataError: the file cannot be read at all.
    """
    done = read_sifted(folder)
    if done is not None:
        return done
    shutil.rmtree(folder, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=1) as writer:
        work = _Sieve(table, part, rules, draft, writer)
        for batch in read_batches(part, may_hold_line_break=partial(is_free_text, table, rules.mapping)):
            work.take(batch)
        work.finish()
    draft.rename(folder)
    return Sifted(folder, work.tally)


class _Sieve:
    """One file on its way through."""

    def __init__(self, table: str, part: Part, rules: Rules, folder: Path, writer: ThreadPoolExecutor) -> None:
        self.table, self.part, self.rules, self.folder, self.writer = table, part, rules, folder, writer
        self.writing: Future[None] | None = None
        self.tally = Tally(part.name)
        self.schema = polars_schema(INPUT_TABLES[table])
        self.rejected: list[pl.DataFrame] = []
        self.warnings: list[pl.DataFrame] = []
        self.minutes: list[pl.DataFrame] = []
        self.days: list[pl.DataFrame] = []
        self.begins, self.ends = _expected(part, rules)

    def take(self, raw: RawTable) -> None:
        """Judges one batch."""
        frame, faults = adapted(self.table, raw, self.part, self.rules)
        if not self.tally.read:
            self.tally.notes = unknown_columns(self.table, frame)
        self.tally.read += raw.read
        rows = raw.rows
        if "user_id" in frame.columns:
            frame, rows, faults = self._private(frame, rows, faults)
        self._set_aside(raw.broken.with_columns(raw=pl.lit(WITHHELD)))
        good, at = self._judge(raw, frame, rows, faults)
        good, at = self._without_sensitive(good, at)
        if good.height:
            self._keep(good, at)

    def _private(
        self, frame: pl.DataFrame, rows: pl.Series, faults: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
        users, unread = cast(frame["user_id"], pl.String())
        faults = pl.concat([faults, unread])
        kept_as = users if self.rules.pseudonyms is None else self.rules.pseudonyms.replace(users)
        if self.rules.consenting is not None or self.rules.barred:
            without = kept_as.is_in(list(self.rules.barred)).fill_null(False)
            if self.rules.consenting is not None:
                named = users.is_not_null() & (users != "")
                without = without | (named & ~users.is_in(self.rules.consenting["user_id"].implode()))
                self._warn_of_unlisted(users, rows, without)
            if without.any():
                self.tally.withheld += int(without.sum())
                self.tally.accepted += int(without.sum())
                kept = ~without
                places = kept.arg_true().cast(pl.UInt32).alias("position").to_frame().with_row_index("place")
                faults = faults.join(places, on="position", maintain_order="left").select(
                    pl.col("place").cast(pl.UInt32).alias("position"), "column", "reason", "check"
                )
                frame, rows, kept_as = frame.filter(kept), rows.filter(kept), kept_as.filter(kept)
        return frame.with_columns(kept_as.alias("user_id")), rows, faults

    def _warn_of_unlisted(self, users: pl.Series, rows: pl.Series, without: pl.Series) -> None:
        if self.rules.listed is None or not without.any():
            return
        strange = without & ~users.is_in(self.rules.listed["user_id"].implode())
        if strange.any():
            words = "is not in users: nobody asked for consent, the row is left out"
            told = pl.DataFrame({"row": rows.filter(strange)}, schema={"row": pl.Int64})
            self.warnings.append(
                told.select(pl.lit("user_id").alias("column"), pl.lit(words).alias("reason"),
                            pl.lit("unlisted_user").alias("check"), "row")
            )  # fmt: skip

    def _judge(
        self, raw: RawTable, frame: pl.DataFrame, rows: pl.Series, faults: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.Series]:
        """Rows without a fault by the contract, and their row numbers; the others are set aside."""
        mask = surely_sound(self.table, frame.schema, self.begins, self.ends)
        if mask is None:
            sound = pl.Series([False]).new_from_index(0, frame.height)
        else:
            sound = frame.select(mask).to_series()
        if faults.height:
            sound = sound.scatter(faults["position"], False)
        if sound.all():
            return self._typed(frame), rows
        doubtful = ~sound
        places = doubtful.arg_true().cast(pl.UInt32).alias("position").to_frame().with_row_index("place")
        own = faults.join(places, on="position", maintain_order="left").select(
            pl.col("place").cast(pl.UInt32).alias("position"), "column", "reason", "check"
        )
        rest = frame.filter(doubtful)
        told = rest.select(name for name in rest.columns if name in self.schema)
        table = RawTable(raw.source, raw.is_text, told, rows.filter(doubtful), pl.DataFrame(schema=BROKEN_ROWS))
        values = RawTable(raw.source, raw.is_text, rest, table.rows, table.broken)
        checked = check_values(self.table, values, self.rules.folder)
        checked = Checked(table, checked.typed, pl.concat([checked.faults, own])).with_faults(
            self._clock(checked.typed)
        )
        counted = checked.faults["check"].is_in(list(self.rules.tolerated))
        self._warn(checked, checked.faults.filter(counted))
        checked = Checked(table, checked.typed, checked.faults.filter(~counted))
        self._set_aside(checked.rejected().drop("source"), checked)
        good = checked.typed.filter(~pl.col("#position").is_in(checked.faults["position"].unique().implode()))
        numbers = table.rows.gather(good["#position"])
        good = good.drop("#position")
        if not sound.any():
            return good, numbers
        both = pl.concat([self._typed(frame.filter(sound)), good]).with_columns(
            pl.concat([rows.filter(sound), numbers]).alias("#row")
        )
        both = both.sort("#row")
        return both.drop("#row"), both["#row"]

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame.select(
            pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.schema.items()
        )

    def _clock(self, typed: pl.DataFrame) -> pl.DataFrame:
        if "at" not in self.schema:
            return no_faults()
        at, rules = typed["at"], self.rules
        future = at >= rules.now + timedelta(hours=rules.ahead_hours)
        found = [faults_at(future, "at", "is later than now", check="from_the_future")]
        if self.part.day is not None and self.begins is not None:
            late = at < self.begins
            words = f"is more than {rules.late_days} days older than its file's day {self.part.day}"
            found.append(faults_at(late, "at", words, check="too_late"))
            ahead = (at >= self.ends) & ~future
            found.append(faults_at(ahead, "at", f"lies beyond its file's day {self.part.day}", check="clock_skew"))
        return pl.concat(found)

    def _warn(self, checked: Checked, faults: pl.DataFrame) -> None:
        if faults.height:
            numbers = checked.raw.rows.gather(faults["position"])
            self.warnings.append(faults.select("column", "reason", "check", row=numbers))

    def _set_aside(self, rejected: pl.DataFrame, checked: Checked | None = None) -> None:
        if not rejected.height:
            return
        self.tally.rejected += rejected.height
        self.rejected.append(rejected.select(pl.lit(self.part.name).alias("source"), pl.col(list(_REJECTED)[1:])))
        days = pl.Series("day", [self.part.day], dtype=pl.Date).new_from_index(0, rejected.height)
        if checked is not None and "at" in self.schema:
            known = checked.bad().sort("#position")["at"].dt.date()
            days = (
                known.to_frame("day")
                .with_columns(pl.col("day").fill_null(pl.lit(self.part.day, dtype=pl.Date)))
                .to_series()
            )
        self.days.append(_by_day(days, rejected=1))

    def _without_sensitive(self, good: pl.DataFrame, rows: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        topics = self.rules.sensitive_topics
        if self.table != "events" or not topics or not good.height:
            return good, rows
        touched = good["topics"].list.eval(pl.element().is_in(list(topics))).list.any()
        if not touched.any():
            return good, rows
        self.tally.sensitive += int(touched.sum())
        self.tally.accepted += int(touched.sum())
        return good.filter(~touched), rows.filter(~touched)

    def _keep(self, good: pl.DataFrame, rows: pl.Series) -> None:
        tally = self.tally
        tally.accepted += good.height
        self._wait()  # one batch is written while the next is judged
        path = self.folder / f"rows-{tally.files:05}.parquet"
        self.writing = self.writer.submit(
            good.write_parquet, path, compression="lz4", statistics=False, row_group_size=_ROW_GROUP
        )
        keys = good.select(_keys(self.table)).with_columns(row=rows)
        keys.write_parquet(self.folder / f"keys-{tally.files:05}.parquet", compression="uncompressed", statistics=False)
        tally.files += 1
        if "at" not in self.schema or self.table == "clicks":
            return
        self._busy_minutes(good, keys["person"])
        hour = good["at"].to_physical().to_numpy() // 3_600_000_000
        first = int(hour.min()) // 24 * 24
        counts = np.bincount(hour - first)  # bounded: times lie between 1970 and 2199
        counts = np.pad(counts, (0, -len(counts) % 24)).reshape(-1, 24)  # (days, 24)
        tally.hours = [before + int(more) for before, more in zip(tally.hours, counts.sum(axis=0), strict=True)]
        if self.table == "impressions":
            per_day = good.lazy().group_by(day=pl.col("at").dt.date())
            self.days.append(per_day.agg(rows=pl.len().cast(pl.Int64), clicks=pl.col("clicked").sum().cast(pl.Int64),
                                         rejected=pl.lit(0, dtype=pl.Int64)).collect())  # fmt: skip
            inverse = 1 / good["propensity"].drop_nulls()
            for place, value in enumerate((len(inverse), inverse.sum(), (inverse * inverse).sum())):
                tally.inverse_propensities[place] += float(value)
        else:
            rows = counts.sum(axis=1)
            days = pl.Series("day", first // 24 + np.flatnonzero(rows)).cast(pl.Int32).cast(pl.Date)
            none = pl.lit(0, dtype=pl.Int64)
            self.days.append(days.to_frame().select("day", rows=pl.Series(rows[rows > 0]), clicks=none, rejected=none))

    def _busy_minutes(self, good: pl.DataFrame, person: pl.Series) -> None:
        """Exact counts of the (user, minute) that reach a share of the limit; hashes say where to look."""
        floor = max(1, self.rules.max_user_rows_per_minute // SHARDS)
        if good.height <= floor:
            return
        many = _crowded(person.to_numpy(), floor)
        if not many.any():
            return
        rows = good.select("user_id", "at").filter(many)
        minute = rows["at"].dt.epoch("us").to_numpy() // 60_000_000
        mixed = person.filter(many).to_numpy() ^ (minute.astype(np.uint64) * _MIX)
        found = (
            rows.filter(_crowded(mixed, floor))
            .group_by("user_id", minute=pl.col("at").dt.truncate("1m"))
            .agg(rows=pl.len().cast(pl.Int64))
        )
        self.minutes.append(found.filter(pl.col("rows") >= floor))

    def _wait(self) -> None:
        if self.writing is not None:
            self.writing.result()

    def finish(self) -> None:
        """Writes what was set aside and the sums."""
        self._wait()
        assert self.tally.accepted + self.tally.rejected == self.tally.read, self.tally
        _concat(self.rejected, _REJECTED).sort("row").write_parquet(self.folder / "rejected.parquet")
        _concat(self.warnings, WARNINGS).write_parquet(self.folder / "warnings.parquet")
        _concat(self.minutes, MINUTES).write_parquet(self.folder / "minutes.parquet")
        days = _concat(self.days, DAYS).group_by("day").sum().sort("day")
        days.write_parquet(self.folder / "days.parquet")
        values: dict[str, Any] = dict(vars(self.tally))
        write_json(self.folder / "tally.json", values)


WARNINGS = {"column": pl.String(), "reason": pl.String(), "check": pl.String(), "row": pl.Int64()}
MINUTES = {"user_id": pl.String(), "minute": pl.Datetime("us", "UTC"), "rows": pl.Int64()}
DAYS = {"day": pl.Date(), "rows": pl.Int64(), "clicks": pl.Int64(), "rejected": pl.Int64()}


def _expected(part: Part, rules: Rules) -> tuple[datetime | None, datetime]:
    """The time in which rows of a file are expected."""
    ahead = timedelta(hours=rules.ahead_hours)
    if part.day is None:
        return None, rules.now + ahead
    midnight = datetime.combine(part.day, time(), UTC)
    return midnight - timedelta(days=rules.late_days), min(midnight + timedelta(days=1) + ahead, rules.now + ahead)


def _keys(table: str) -> list[pl.Expr]:
    """key and person of each row, as hashes; they live and die with this version of Polars."""
    nobody = pl.lit(0, dtype=pl.UInt64)
    if table == "clicks":
        return [pl.col("impression_id").hash(1).alias("key"), nobody.alias("person")]
    person = pl.col("user_id").hash(0)
    if table == "impressions":
        return [pl.col("impression_id").hash(1).alias("key"), person.alias("person")]
    key = person * 3 ^ pl.col("at").to_physical().hash(1) ^ pl.col("action").hash(2) ^ pl.col("item_id").hash(3)
    return [key.alias("key"), person.alias("person")]


def _crowded(hashes: npt.NDArray[np.uint64], floor: int) -> pl.Series:
    """Which of the hashes, (N,), share their upper 20 bits with at least `floor`, themselves among them."""
    slot = (hashes >> np.uint64(44)).astype(np.int64)
    return pl.Series((np.bincount(slot, minlength=1 << 20) >= floor)[slot])


def _by_day(days: pl.Series, *, rows: int = 0, rejected: int = 0) -> pl.DataFrame:
    counted = days.alias("day").value_counts()
    many = pl.col("count").cast(pl.Int64)
    return counted.select("day", rows=many * rows, clicks=pl.lit(0, dtype=pl.Int64), rejected=many * rejected)


def _concat(frames: list[pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=schema), *(frame.select(list(schema)) for frame in frames)])
