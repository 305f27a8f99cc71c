"""Turns what each file of a table keeps into the faults that show only across rows, files and tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from sources.held import Held
from sources.rules import Rules
from sources.sifted import Sifted

FOUND = {
    "file": pl.UInt32(), "position": pl.UInt32(), "column": pl.String(), "reason": pl.String(), "check": pl.String(),
}  # fmt: skip
"""Columns of a frame of faults across files: which file of `Held.files`, which of its rows, and what is wrong."""

_SORT_AT_ONCE = 1 << 24
_SLACK = 1e-6


def no_findings() -> pl.DataFrame:
    """An empty frame of faults."""
    return pl.DataFrame(schema=FOUND)


def bots(held: Held, rules: Rules) -> pl.DataFrame:
    """Every row of users with more rows in one minute than the limit, counted over all files."""
    minutes = pl.concat([part.frame("minutes") for part in held.parts])
    busy = minutes.group_by("user_id", "minute").agg(pl.col("rows").sum())
    busy = busy.filter(pl.col("rows") > rules.max_user_rows_per_minute).group_by("user_id").agg(pl.col("rows").max())
    if busy.is_empty():
        return no_findings()
    busy = busy.with_columns(person=pl.col("user_id").hash(0))

    def rows_of(number: int, part: Sifted, place: int) -> pl.DataFrame:
        positions = part.hashes(place, "person").is_in(busy["person"].implode()).arg_true()
        if not len(positions):
            return no_findings()
        users = held.read(part, place, ["user_id"])[positions].with_columns(position=positions)
        told = users.join(busy, on="user_id", maintain_order="left")
        return _found(number, told, "user_id", pl.format("is of a user with {} rows in one minute", "rows"), "bot")

    return pl.concat([no_findings(), *held.each(rows_of)])


def repeated(held: Held, columns: list[str]) -> pl.DataFrame:
    """Rows that are equal to an earlier one in `columns`: (file, position, first_file, first_position), in order.

    A hash of those columns, kept for every row, says where to look; the rows themselves decide.
    """
    twice = _twice(held)

    def rows_of(number: int, part: Sifted, place: int) -> pl.DataFrame | None:
        positions = part.hashes(place, "key").is_in(twice.implode()).arg_true()
        if not len(positions):
            return None
        frame = held.read(part, place, columns)[positions]
        return frame.with_columns(file=pl.lit(number, dtype=pl.UInt32), position=positions)

    rows = [found for found in held.each(rows_of) if found is not None] if len(twice) else []
    if not rows:
        return pl.DataFrame(schema={name: pl.UInt32() for name in ("file", "position", "first_file", "first_position")})
    order = pl.concat(rows)
    first = order.select(
        "file", "position",
        first_file=pl.col("file").first().over(columns), first_position=pl.col("position").first().over(columns),
    )  # fmt: skip
    return first.filter((pl.col("file") != pl.col("first_file")) | (pl.col("position") != pl.col("first_position")))


def _twice(held: Held) -> pl.Series:
    """Key hashes that more than one row has."""
    total = sum(part.tally.accepted - part.tally.withheld - part.tally.sensitive for part in held.parts)
    passes = 1 if total <= _SORT_AT_ONCE else 1 << int(np.ceil(np.log2(total / _SORT_AT_ONCE)))
    found = [pl.Series("key", [], dtype=pl.UInt64)]
    for turn in range(passes):

        def mine(_: int, part: Sifted, place: int, turn: int = turn) -> pl.Series:
            key = part.hashes(place, "key")
            return key if passes == 1 else key.filter(key % passes == turn)

        keys = held.each(mine)
        if keys:
            ordered = pl.concat(keys).sort().to_numpy()
            found.append(pl.Series("key", np.unique(ordered[1:][ordered[1:] == ordered[:-1]]), dtype=pl.UInt64))
    return pl.concat(found)


def repeated_events(held: Held) -> pl.DataFrame:
    """Events that were delivered before."""
    again = repeated(held, ["user_id", "at", "action", "item_id"])
    return _told(again, "user_id, at, action, item_id", pl.lit("is there already, in an earlier row"), "repeated_event")


def repeated_impressions(held: Held) -> pl.DataFrame:
    """Impressions whose id an earlier row has: equal rows were delivered twice, others contradict each other."""
    again = repeated(held, ["impression_id"])
    if again.is_empty():
        return no_findings()
    rows = _rows_at(held, again.select("file", "position"))
    first = _rows_at(held, again.select(file="first_file", position="first_position"))
    same = again.select(
        (rows[name].eq_missing(first[name])).alias(name) for name in rows.columns if name != "impression_id"
    )
    equal = same.select(pl.all_horizontal(pl.all())).to_series()
    again = again.with_columns(equal=equal)
    return pl.concat(
        [
            _told(again.filter("equal"), "impression_id", pl.lit("is there already, in an equal row"), "repeated_id"),
            _told(
                again.filter(~pl.col("equal")),
                "impression_id",
                pl.lit("is there already, in a row that differs"),
                "conflicting_id",
            ),
        ]
    )


def _rows_at(held: Held, wanted: pl.DataFrame) -> pl.DataFrame:
    """Whole rows at (file, position), in the order asked."""
    wanted = wanted.with_row_index("#order")
    rows = []
    for number, part, place in held.files():
        here = wanted.filter(pl.col("file") == number)
        if here.height:
            frame = pl.read_parquet(part.rows()[place], glob=False)[here["position"]]
            rows.append(frame.with_columns(here["#order"]))
    return pl.concat(rows).sort("#order").drop("#order")


def unknown_references(held: Held, concepts: pl.DataFrame, strangers: pl.Series) -> pl.DataFrame:
    """Impressions of concepts or to users that are nowhere else, and those outside the concept's window.

    Args:
        held: impressions.
        concepts: accepted concepts.
        strangers: hashes of users who are in neither events nor users.
    """
    windows = concepts.select("concept_id", "active_from", "active_until", known=pl.lit(True))
    found = [no_findings()]
    for number, part, place in held.files():
        rows = held.read(part, place, ["concept_id", "at"]).with_row_index("position")
        rows = rows.join(windows, on="concept_id", how="left", maintain_order="left")
        lost = rows.filter(pl.col("known").is_null())
        found.append(_found(number, lost, "concept_id", pl.lit("is not among the concepts"), "unknown_concept"))
        outside = (pl.col("at") < pl.col("active_from")) | (pl.col("at") >= pl.col("active_until"))
        reason = pl.lit("is outside the active window of its concept")
        found.append(_found(number, rows.filter(outside), "at", reason, "shown_outside_window"))
        if len(strangers):
            unknown = rows.filter(part.keys(place)["person"].is_in(strangers.implode()))
            found.append(_found(number, unknown, "user_id", pl.lit("is in neither events nor users"), "unknown_user"))
    return pl.concat(found)


def slates(held: Held, without: pl.DataFrame) -> pl.DataFrame:
    """Slots whose propensities sum to more than 1; slates with some propensities only, or with several policies.

    Args:
        held: impressions.
        without: (file, position) of rows that are no part of any slate, such as repeated ones.
    """
    found = [no_findings()]
    for number, part, place in held.files():
        gone = without.filter(pl.col("file") == number)["position"]
        rows = held.read(part, place, ["at", "slot", "propensity", "policy"])
        rows = rows.with_columns(part.keys(place)["person"]).with_row_index("position")
        rows = rows.filter(~pl.col("position").is_in(gone.implode())) if len(gone) else rows
        slot = rows.filter(pl.struct("person", "at", "slot").is_duplicated())
        slot = slot.with_columns(total=pl.col("propensity").sum().over("person", "at", "slot"))
        reason = pl.format("sums to {} with the others of its slot", pl.col("total").round(3))
        over = slot.filter(pl.col("total") > 1 + _SLACK)
        found.append(_found(number, over, "propensity", reason, "slate_sum"))
        slate = ("person", "at")
        if rows["propensity"].has_nulls() and rows["propensity"].count():
            some = rows.filter(
                pl.col("propensity").is_null().any().over(slate) & pl.col("propensity").is_not_null().any().over(slate)
            )
            reason = pl.lit("is given for a part of its slate only")
            found.append(_found(number, some, "propensity", reason, "partial_propensity"))
        if rows["policy"].n_unique() > 1:
            mixed = rows.filter(pl.col("policy").n_unique().over(slate) > 1)
            found.append(_found(number, mixed, "policy", pl.lit("is not the same in all of its slate"), "mixed_policy"))
    return pl.concat(found)


@dataclass(frozen=True)
class ClickMatch:
    """Clicks matched to impressions: faults of either, and (file, position) of the impressions that were clicked."""

    faults: pl.DataFrame
    clicked: pl.DataFrame


def match_clicks(clicks: Held, impressions: Held) -> ClickMatch:
    """Clicks without an impression, and clicks before it; what is left marks its impression as clicked."""
    rows = []
    for number, part, place in clicks.files():
        frame = held_rows(clicks, number, part, place, ["impression_id", "at"])
        rows.append(frame.with_columns(part.keys(place)["key"]))
    schema = {"impression_id": pl.String(), "at": pl.Datetime("us", "UTC"), "file": pl.UInt32(),
              "position": pl.UInt32(), "key": pl.UInt64()}  # fmt: skip
    made = pl.concat([pl.DataFrame(schema=schema), *(frame.select(list(schema)) for frame in rows)])
    shown = []
    for number, part, place in impressions.files():
        positions = part.keys(place)["key"].is_in(made["key"].implode()).arg_true()
        frame = impressions.read(part, place, ["impression_id", "at"])[positions]
        shown.append(frame.select("impression_id", shown_at="at", shown_file=pl.lit(number, dtype=pl.UInt32),
                                  shown_position=positions))  # fmt: skip
    empty = pl.DataFrame(schema={"impression_id": pl.String(), "shown_at": pl.Datetime("us", "UTC"),
                                 "shown_file": pl.UInt32(), "shown_position": pl.UInt32()})  # fmt: skip
    both = made.join(pl.concat([empty, *shown]).unique("impression_id", keep="first", maintain_order=True),
                     on="impression_id", how="left", maintain_order="left")  # fmt: skip
    lost, early = pl.col("shown_at").is_null(), (pl.col("at") < pl.col("shown_at")).fill_null(False)
    none, before = pl.lit("is not among the impressions"), pl.lit("is before its impression")
    faults = pl.concat(
        [
            _told(both.filter(lost), "impression_id", none, "click_without_impression"),
            _told(both.filter(early), "at", before, "click_before_impression"),
        ]
    )
    sound = both.filter(~lost & ~early).select(file="shown_file", position="shown_position").unique()
    return ClickMatch(faults, sound)


def held_rows(held: Held, number: int, part: Sifted, place: int, columns: list[str]) -> pl.DataFrame:
    """Columns of a file with its number and the places of its rows."""
    frame = held.read(part, place, columns)
    return frame.with_row_index("position").with_columns(file=pl.lit(number, dtype=pl.UInt32))


def shifted_hours(events: Held, impressions: Held) -> int | None:
    """By how many hours impressions must be moved to keep the hours of events; None unless that is plain."""
    first, second = (np.sum([part.tally.hours for part in held.parts] or [[0] * 24], axis=0, dtype=np.float64)
                     for held in (events, impressions))  # fmt: skip
    if min(first.sum(), second.sum()) < 1000 or min(first.std() / first.mean(), second.std() / second.mean()) < 0.3:
        return None
    fits = [float(np.corrcoef(first, np.roll(second, -shift))[0, 1]) for shift in range(24)]
    best = int(np.argmax(fits))
    if best == 0 or fits[best] < 0.9 or fits[0] > 0.5:
        return None
    return best if best <= 12 else best - 24


def small_propensities(impressions: Held, concepts: int) -> float | None:
    """The mean of one over the propensity when it is surely more than the number of concepts; else None.

    With chances that sum to 1 over at most C concepts, E[1 / p] = the number of concepts that can be chosen <= C.
    """
    number, total, squares = np.sum(
        [part.tally.inverse_propensities for part in impressions.parts] or [[0.0] * 3], axis=0
    )
    if number < 1000:
        return None
    mean = total / number
    error = np.sqrt(max(squares / number - mean**2, 0.0) / number)
    return float(mean) if mean - 5 * error > concepts else None


def _found(number: int, rows: pl.DataFrame, column: str, reason: pl.Expr, check: str) -> pl.DataFrame:
    return _told(rows.with_columns(file=pl.lit(number, dtype=pl.UInt32)), column, reason, check)


def _told(rows: pl.DataFrame, column: str, reason: pl.Expr, check: str) -> pl.DataFrame:
    if rows.is_empty():
        return no_findings()
    return rows.select(
        pl.col("file").cast(pl.UInt32), pl.col("position").cast(pl.UInt32), pl.lit(column).alias("column"),
        reason.alias("reason"), pl.lit(check).alias("check"),
    )  # fmt: skip
