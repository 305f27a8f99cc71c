"""Turns users, concepts and pictures, which fit into memory, into checked tables, and users into who consents."""

from __future__ import annotations

from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field, replace
from functools import partial

import polars as pl

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES, RejectedRows, polars_schema
from sources.checks import Checked, check_rows
from sources.columns import adapted, is_free_text, unknown_columns
from sources.faults import POSITION, unknown
from sources.files import read_batches, whole
from sources.outcome import TableCount, file_words
from sources.places import Part
from sources.raw import RawTable
from sources.rules import Rules
from sources.sifted import WITHHELD

SMALL = ("users", "concepts", "pictures")
_REJECTED = polars_schema(RejectedRows)


@dataclass(frozen=True)
class SmallTables:
    """The small tables after their check.

    Attributes:
        frames: by name, each by its contract; a table that is not there has no rows. Users: who consents, as kept.
        counts: by name, of those that are there.
        rejected: rows set aside.
        rules: with those who consent.
    """

    frames: dict[str, pl.DataFrame]
    counts: dict[str, TableCount]
    rejected: list[pl.DataFrame]
    rules: Rules


@dataclass
class _Read:
    """A small table out of its files: what its check found, and which rows each file gave."""

    checked: Checked
    files: list[RawTable] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def take_small(found: AnyMapping[str, tuple[Part, ...]], rules: Rules, faults: list[DataError]) -> SmallTables:
    """Checks the small tables; what cannot be read at all is added to `faults`, and counts as not there."""
    reads: dict[str, _Read] = {}
    for table in SMALL:
        try:
            if found[table]:
                reads[table] = _read(table, found[table], rules)
        except DataError as fault:
            faults.append(fault)
    if "pictures" in reads and "concepts" in reads:
        pictures, concepts = reads["pictures"].checked, reads["concepts"].checked
        ids = concepts.good()["concept_id"]
        lost = unknown(pictures.good(), "concept_id", ids, "is not among the concepts", check="unknown_concept")
        reads["pictures"].checked = pictures.with_faults(lost)
    made = SmallTables({}, {}, [], rules)
    for table in SMALL:
        made = _finish(made, table, reads.get(table))
    return made


def _read(table: str, parts: tuple[Part, ...], rules: Rules) -> _Read:
    raws: list[RawTable] = []
    faults: list[pl.DataFrame] = []
    notes: list[str] = []
    for part in parts:
        breaks = partial(is_free_text, table, rules.mapping)
        raw = whole(list(read_batches(part, may_hold_line_break=breaks)))
        frame, wrong = adapted(table, raw, part, rules)
        shift = sum(one.frame.height for one in raws)
        faults.append(wrong.with_columns(pl.col("position") + shift))
        notes += unknown_columns(table, frame)
        raws.append(RawTable(raw.source, raw.is_text, frame, raw.rows, raw.broken))
    joined = whole(raws) if len(raws) > 1 else raws[0]
    checked = check_rows(table, joined, rules.folder).with_faults(*faults)
    return _Read(checked, raws, tuple(dict.fromkeys(notes)))


def _finish(made: SmallTables, table: str, read: _Read | None) -> SmallTables:
    if read is None:
        made.frames[table] = pl.DataFrame(schema=polars_schema(INPUT_TABLES[table]))
        return made
    good, rules = read.checked.good().drop(POSITION), made.rules
    accepted, rejected = good.height, _rejected(table, read)
    if table == "users":
        good, rules = _consenting(read.checked, good, rules)
    if table == "concepts" and rules.sensitive_topics:
        touched = pl.col("topics").list.eval(pl.element().is_in(list(rules.sensitive_topics))).list.any()
        good = good.with_columns(sensitive=pl.col("sensitive") | touched)
    made.frames[table] = good
    names = tuple(file.source for file in read.files)
    made.counts[table] = TableCount(
        table, file_words(names), read.checked.raw.read, accepted, rejected.height, read.notes, accepted - good.height,
        0, names,
    )  # fmt: skip
    made.rejected.append(rejected)
    return replace(made, rules=rules)


def _rejected(table: str, read: _Read) -> pl.DataFrame:
    """Rejected rows with the file each stands in; raw rows of users are left out, for they may name a person."""
    checked = read.checked
    if len(read.files) == 1:
        rejected = checked.rejected()
    else:
        raw = checked.raw
        readable = RawTable("", raw.is_text, raw.frame, raw.rows, raw.broken.clear())
        plain = Checked(readable, checked.typed, checked.faults).rejected()
        places = checked.faults["position"].unique().sort()
        names = pl.Series([file.source for file in read.files for _ in range(file.frame.height)], dtype=pl.String)
        order = raw.rows.gather(places).arg_sort()
        rejected = plain.with_columns(source=names.gather(places).gather(order))
        lost = [file.broken.select(pl.lit(file.source).alias("source"), pl.all()) for file in read.files]
        rejected = pl.concat([rejected.select(list(_REJECTED)), *(one.select(list(_REJECTED)) for one in lost)])
    return rejected.with_columns(raw=pl.lit(WITHHELD)) if table == "users" else rejected


def _consenting(checked: Checked, good: pl.DataFrame, rules: Rules) -> tuple[pl.DataFrame, Rules]:
    """Users who consent in every row that names them, as kept; and the rules that know them."""
    bad = checked.bad().select("user_id").drop_nulls().unique()
    users = good.filter(pl.col("personalise") & pl.col("adult").fill_null(True))
    users = users.join(bad, on="user_id", how="anti", maintain_order="left")
    kept_as = users["user_id"] if rules.pseudonyms is None else rules.pseudonyms.replace(users["user_id"])
    stays = ~kept_as.is_in(list(rules.barred))
    users, kept_as = users.filter(stays), kept_as.filter(stays)
    listed = pl.concat([good.select("user_id"), bad])
    return users.with_columns(kept_as), replace(rules, consenting=users.select("user_id"), listed=listed)
