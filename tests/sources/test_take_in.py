"""Logs as they really are: any format, any number of files, late, repeated, by bots, of people who said no."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.errors import AdloomError, DataError
from contracts.settings import SourceSettings
from contracts.tables import Events, Impressions, polars_schema
from sources.catalogue import CHECKS
from sources.intake import take_in
from sources.outcome import Intake, read_table
from sources.pseudonyms import Pseudonyms
from sources.sieve import SHARDS
from tests.sources.packing import packed
from tests.sources.taken import taken

START = datetime(2024, 5, 1, tzinfo=UTC)
KEY = b"0123456789abcdef0123456789abcdef"
MAPPED = '[events]\ncolumns = { user_id = "uid", at = "ts" }\ntime_unit = "ms"\nactions = { pageview = "view" }\n'


def events(day: int = 0, users: int = 6, each: int = 4) -> pl.DataFrame:
    rows = [
        {
            "user_id": f"person-{user}", "at": START + timedelta(days=day, minutes=17 * user, seconds=7 * number),
            "action": "view", "item_id": f"i{number}", "topics": ["running"] if number else ["faith"],
            "dwell_seconds": 1.5, "device": None,
        }
        for user in range(users) for number in range(each)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=polars_schema(Events))


def impressions(day: int = 0, users: int = 6) -> pl.DataFrame:
    rows = [
        {
            "impression_id": f"d{day}-u{user}-s{slot}", "user_id": f"person-{user}",
            "at": START + timedelta(days=day, hours=12, minutes=user), "slot": slot, "concept_id": f"c{slot}",
            "creative_id": None, "clicked": slot == user % 2, "propensity": 0.5, "policy": "uniform",
        }
        for user in range(users) for slot in range(2)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=polars_schema(Impressions))


CONCEPTS = pl.DataFrame(
    {
        "concept_id": ["c0", "c1"], "advertiser": ["A", "B"], "topics": [["running"], ["faith"]], "headline": [["H"], ["H"]],
        "body": ["", ""], "call_to_action": ["Go", "Go"], "landing_url": ["x", "y"], "sensitive": [False, False],
    }
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    for table in ("events", "impressions"):
        (data / table).mkdir(parents=True)
    for day in range(2):
        add_day(data, day)
    CONCEPTS.write_parquet(data / "concepts.parquet")
    return data


def add_day(data: Path, day: int, **frames: pl.DataFrame) -> None:
    made = {"events": events(day), "impressions": impressions(day), **frames}
    for table, frame in made.items():
        path = data / table / f"day={date(2024, 5, 1) + timedelta(days=day)}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)


def take(data: Path, name: str = "first", **kwargs: Any) -> Intake:
    given = kwargs.pop("settings", {})
    home = data.parent
    return take_in(data, home / name, home / "parts", SourceSettings(**given), **kwargs)


def rows(intake: Intake, table: str) -> pl.DataFrame:
    return read_table(intake.out, table)


def told(intake: Intake) -> list[tuple[str, str, int]]:
    return intake.findings.select("check", "severity", "rows").sort("check", "rows").rows()


# formats


def written(kind: str, frame: pl.DataFrame, folder: Path) -> None:
    """Events in another format, with the suffix as their name says."""
    stamps = pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    text = frame.with_columns(stamps, pl.col("topics").list.join("|"))
    plain = kind.partition(".")[0]
    if plain == "parquet":
        frame.write_parquet(folder / "events.parquet")
        return
    if plain == "ndjson":
        content = frame.with_columns(stamps).write_ndjson().encode()
    else:
        content = text.write_csv(separator="\t" if plain == "tsv" else ",").encode()
    (folder / f"events.{kind}").write_bytes(packed(content, kind))


KINDS = [plain + packed for plain in ("csv", "tsv", "ndjson") for packed in ("", ".gz", ".zst")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_rows(folder: Path, kind: str) -> None:
    before = rows(take(folder), "events")
    shutil.rmtree(folder / "events")
    written(kind, pl.concat([events(0), events(1)]), folder)
    intake = take(folder, "second")
    assert intake.rejected.is_empty()
    assert rows(intake, "events").equals(before)


def test_delta_tables_and_their_partitions_are_read(folder: Path) -> None:
    pytest.importorskip("deltalake")
    before = rows(take(folder), "events")
    shutil.rmtree(folder / "events")
    both = pl.concat([events(0), events(1)]).with_columns(day=pl.col("at").dt.date().cast(pl.String))
    both.write_delta(str(folder / "events"), delta_write_options={"partition_by": ["day"]})
    both.head(0).write_delta(str(folder / "events"), mode="append")
    intake = take(folder, "second")
    assert intake.rejected.is_empty()
    assert rows(intake, "events").sort("at", "user_id").equals(before.sort("at", "user_id"))


def test_a_delta_table_whose_files_still_hold_deleted_rows_is_refused(folder: Path) -> None:
    deltalake = pytest.importorskip("deltalake")
    shutil.rmtree(folder / "events")
    deltalake.write_deltalake(str(folder / "events"), events(0).to_arrow())
    features = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                "writerFeatures": ["deletionVectors"]}  # fmt: skip
    (folder / "events" / "_delta_log" / f"{1:020}.json").write_text(json.dumps({"protocol": features}) + "\n")
    with pytest.raises(DataError, match="deletion vectors"):
        take(folder)


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_a_broken_line_is_set_aside_alone_with_its_number(folder: Path, kind: str) -> None:
    shutil.rmtree(folder / "events")
    written(kind, events(0), folder)
    path = folder / f"events.{kind}"
    lines = path.read_text().splitlines()
    lines.insert(3, '{"user_id": "x", "at": ' if kind == "ndjson" else "a,b")
    path.write_text("\n".join(lines))
    intake = take(folder)
    assert intake.rejected.select("row", "check").rows() == [(4 if kind == "ndjson" else 3, "unreadable_row")]
    assert rows(intake, "events").height == 24


def test_json_values_of_the_wrong_kind_are_rejected_one_by_one(folder: Path) -> None:
    shutil.rmtree(folder / "events")
    good = {"user_id": "person-1", "at": "2024-05-01T10:00:00Z", "action": "view", "item_id": "i", "topics": ["a"]}
    lines = [
        good,
        {**good, "item_id": "j", "topics": {"a": 1}},
        {**good, "item_id": "k", "dwell_seconds": "long"},
        {**good, "item_id": 7},
    ]
    (folder / "events.ndjson").write_text("\n".join(map(json.dumps, lines)) + "\n[1]\n\nnull\n")
    intake = take(folder)
    assert intake.rejected.filter(pl.col("source") == "events.ndjson").select("row", "column").rows() == [
        (2, "topics"), (3, "dwell_seconds"), (5, ""), (6, ""),
    ]  # fmt: skip
    assert rows(intake, "events")["item_id"].to_list() == ["i", "7"]


def test_a_record_over_many_blocks_is_one_row(tmp_path: Path) -> None:
    from sources.files import _csv_batches
    from sources.raw import RawTable

    long = "\n".join(f"line {number}" for number in range(300))
    text = f'a,b\n1,"{long}"\n2,x\n"3","y\nz"\n4,"open\n5,w\n'.encode()

    def read(size: int) -> list[tuple[Any, ...]]:
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        cut, held = [], b""
        for number, piece in enumerate(pieces):
            held += piece
            end = len(held) if number == len(pieces) - 1 else held.rfind(b"\n") + 1
            if end:
                cut.append((held[:end], number == len(pieces) - 1))
                held = held[end:]
        tables: list[RawTable] = list(_csv_batches("t.csv", iter(cut), ",", lambda _: True))
        found = [(row, *values) for table in tables for row, values in zip(table.rows, table.frame.rows(), strict=True)]
        return [*found, *(tuple(row[:3]) for table in tables for row in table.broken.rows())]

    whole = read(len(text))
    assert whole[0] == (1, "1", long)
    assert len(whole) == 5
    for size in (7, 50, 333, 1000):
        assert read(size) == whole


# many files, day by day


def test_a_new_day_is_the_only_one_that_is_read(folder: Path) -> None:
    take(folder)
    made = {path: path.stat().st_mtime_ns for path in (folder.parent / "parts").rglob("rows-*")}
    assert len(made) == 4
    add_day(folder, 2)
    later = take(folder, "second")
    now = {path: path.stat().st_mtime_ns for path in (folder.parent / "parts").rglob("rows-*")}
    assert len(now) == 6
    assert {path: now[path] for path in made} == made
    afresh = take_in(folder, folder.parent / "third", folder.parent / "other", SourceSettings())
    for table in ("events", "impressions"):
        assert rows(later, table).equals(rows(afresh, table))
    assert later.counts == afresh.counts
    assert later.days.equals(afresh.days)


def test_doing_a_day_again_changes_nothing_and_a_mended_day_replaces_the_old(folder: Path) -> None:
    first = take(folder)
    again = take(folder, "second")
    assert rows(again, "events").equals(rows(first, "events"))
    assert again.counts == first.counts
    add_day(folder, 1, events=events(1, users=3))
    mended = take(folder, "third")
    assert rows(mended, "events").height == 24 + 12
    assert len(list((folder.parent / "parts" / "events").iterdir())) == 2


def test_late_rows_are_accepted_within_the_window_and_named_beyond_it(folder: Path) -> None:
    late = pl.concat([events(1), *(events(1, users=1, each=1).with_columns(pl.col("at") - timedelta(days=days))
                                   for days in (2, 3, 4))])  # fmt: skip
    add_day(folder, 1, events=late)
    intake = take(folder)
    assert told(intake) == [("too_late", "error", 1)]
    assert "3 days older than its file's day 2024-05-02" in intake.rejected["reason"][0]
    assert rows(intake, "events").height == 50
    kept = take(folder, "second", settings={"late_days": 4})
    assert kept.rejected.is_empty()


def test_rows_beyond_the_day_of_their_file_or_beyond_now_have_names_of_their_own(folder: Path) -> None:
    ahead = events(1, users=1, each=1).with_columns(pl.col("at") + timedelta(days=2))
    future = events(1, users=1, each=1).with_columns(
        at=pl.lit(datetime.now(UTC) + timedelta(days=3)).cast(pl.Datetime("us", "UTC"))
    )
    add_day(folder, 1, events=pl.concat([events(1), ahead, future]))
    assert told(take(folder)) == [("clock_skew", "error", 1), ("from_the_future", "error", 1)]


# across rows, files and tables


def test_rows_that_were_delivered_twice_are_set_aside_across_files(folder: Path) -> None:
    again = pl.concat([events(1), events(0).head(5).with_columns(at=pl.col("at") + timedelta(hours=24))])
    add_day(folder, 1, events=again, impressions=pl.concat([impressions(1), impressions(0).head(2)]))
    contradiction = impressions(0).tail(1).with_columns(clicked=~pl.col("clicked"))
    add_day(folder, 1, events=again, impressions=pl.concat([impressions(1), impressions(0).head(2), contradiction]))
    intake = take(folder)
    assert told(intake) == [("conflicting_id", "error", 1), ("repeated_event", "error", 5), ("repeated_id", "error", 2)]
    assert intake.rejected["source"].unique().to_list() != []
    assert rows(intake, "impressions").equals(pl.concat([impressions(0), impressions(1)]))


def test_a_bot_is_found_over_all_files_and_a_busy_person_is_not(folder: Path) -> None:
    limit = SHARDS * 4

    def burst(user: str, many: int, first: int) -> pl.DataFrame:
        return pl.concat([events(0, users=1, each=1)] * many).with_columns(
            user_id=pl.lit(user), item_id=pl.format("b{}", pl.int_range(pl.len()) + first))  # fmt: skip

    for place in range(2):
        frame = pl.concat([burst("bot", limit // 2 + 1, place * 1000), burst("busy", limit // 2, place * 1000)])
        frame.write_parquet(folder / "events" / f"extra-2024-05-01-{place}.parquet")
    intake = take(folder, settings={"max_user_rows_per_minute": limit})
    assert told(intake) == [("bot", "error", limit + 2)]
    assert f"{limit + 2} rows in one minute" in intake.rejected["reason"][0]
    assert "busy" in rows(intake, "events")["user_id"].to_list()
    kept = take(folder, "second", settings={"max_user_rows_per_minute": limit, "tolerate": ("bot",)})
    assert told(kept) == [("bot", "warning", limit + 2)]
    assert kept.rejected.is_empty()


def test_references_and_windows_are_checked_across_tables(folder: Path) -> None:
    shown = impressions(1)
    strange = shown.head(3).with_columns(
        impression_id=pl.format("x{}", "slot") + pl.col("user_id"),
        concept_id=pl.Series(["gone", "c0", "c1"]), user_id=pl.Series(["person-0", "nobody", "person-1"]),
    )  # fmt: skip
    add_day(folder, 1, impressions=pl.concat([shown, strange]))
    CONCEPTS.with_columns(active_until=pl.Series([None, START + timedelta(hours=20)])).write_parquet(
        folder / "concepts.parquet"
    )
    found = told(take(folder))
    assert found == [
        ("shown_outside_window", "error", 7),
        ("unknown_concept", "error", 1),
        ("unknown_user", "error", 1),
    ]


def test_propensities_of_one_slot_that_sum_to_more_than_one_are_set_aside(folder: Path) -> None:
    shown = impressions(1)
    twin = shown.head(1).with_columns(impression_id=pl.lit("twin"), concept_id=pl.lit("c1"), propensity=pl.lit(0.6))
    add_day(folder, 1, impressions=pl.concat([shown, twin]))
    assert told(take(folder)) == [("slate_sum", "error", 2)]
    twin = twin.with_columns(propensity=pl.lit(0.5))
    add_day(folder, 1, impressions=pl.concat([shown, twin]))
    assert told(take(folder, "second")) == []


def test_a_slate_with_some_propensities_or_two_policies_is_a_warning(folder: Path) -> None:
    shown = impressions(1).with_columns(
        propensity=pl.when(pl.int_range(pl.len()) != 0).then("propensity"),
        policy=pl.when(pl.int_range(pl.len()) == 2).then(pl.lit("other")).otherwise("policy"),
    )
    add_day(folder, 1, impressions=shown)
    intake = take(folder)
    assert told(intake) == [("mixed_policy", "warning", 2), ("partial_propensity", "warning", 2)]
    assert intake.rejected.is_empty()


def test_propensities_too_small_to_sum_to_one_are_a_warning(folder: Path) -> None:
    many = pl.concat([impressions(1).with_columns(impression_id=pl.format("{}-{}", "impression_id", pl.lit(n)),
                                                  at=pl.col("at") + timedelta(seconds=n)) for n in range(100)])  # fmt: skip
    add_day(folder, 1, impressions=many)
    assert told(take(folder)) == []
    add_day(folder, 1, impressions=many.with_columns(propensity=pl.lit(0.01)))
    assert told(take(folder, "second")) == [("small_propensities", "warning", 1)]


def test_a_table_kept_in_another_time_zone_is_a_warning(folder: Path) -> None:
    hours = [9] * 100 + [10] * 300 + [11] * 600 + [12] * 300 + [20] * 100

    def at(shift: int) -> pl.Series:
        return pl.Series(
            [START + timedelta(days=1, hours=h + shift, seconds=n) for n, h in enumerate(hours)],
            dtype=pl.Datetime("us", "UTC"),
        )

    seen = pl.concat([events(1, 1, 1)] * len(hours)).with_columns(
        at=at(0), item_id=pl.format("i{}", pl.int_range(pl.len()))
    )
    shown = pl.concat([impressions(1, 1).head(1)] * len(hours)).with_columns(
        impression_id=pl.format("n{}", pl.int_range(pl.len()))
    )
    add_day(folder, 1, events=seen, impressions=shown.with_columns(at=at(0)))
    assert told(take(folder)) == []
    add_day(folder, 1, events=seen, impressions=shown.with_columns(at=at(-6)))
    intake = take(folder, "second")
    assert told(intake) == [("shifted_hours", "warning", 1)]
    assert "+6 h" in intake.findings["reason"][0]


def test_clicks_in_a_table_of_their_own_mark_their_impressions(folder: Path) -> None:
    wanted = pl.concat([rows(take(folder), "impressions")])
    for path in (folder / "impressions").rglob("*.parquet"):
        pl.read_parquet(path, hive_partitioning=False).drop("clicked").write_parquet(path)
    clicked = wanted.filter("clicked").select("impression_id", at=pl.col("at") + timedelta(seconds=9))
    extra = pl.DataFrame({"impression_id": ["lost", clicked["impression_id"][0]],
                          "at": [START, START - timedelta(days=1)]}, schema=clicked.schema)  # fmt: skip
    pl.concat([clicked, extra]).write_parquet(folder / "clicks.parquet")
    intake = take(folder, "second")
    assert rows(intake, "impressions").equals(wanted)
    assert told(intake) == [("click_before_impression", "error", 1), ("click_without_impression", "error", 1)]
    assert intake.days["clicks"].sum() == wanted["clicked"].sum()
    shutil.rmtree(folder / "impressions")
    wanted.write_parquet(folder / "impressions.parquet")
    with pytest.raises(DataError, match="there is a clicks table"):
        take(folder, "third")


def test_every_fault_found_is_in_the_catalogue(folder: Path) -> None:
    assert all(check.meaning.endswith(".") and check.fix for check in CHECKS.values())
    with pytest.raises(DataError, match="no check that can be tolerated"):
        take(folder, settings={"tolerate": ("unknown_user",)})


# people


def everything(home: Path) -> bytes:
    """All bytes of all artefacts, Parquet unpacked."""
    found = []
    for path in sorted(home.rglob("*")):
        if path.is_file():
            found.append(path.read_bytes())
            if path.suffix == ".parquet":
                found.append(pl.read_parquet(path, glob=False).select(pl.all().cast(pl.String, strict=False)).write_csv().encode()
                             if not any(dtype.is_nested() for dtype in pl.read_parquet_schema(path).values())
                             else str(pl.read_parquet(path, glob=False).to_dicts()).encode())  # fmt: skip
    return b"\n".join(found)


def consent(data: Path, **refused: dict[str, Any]) -> None:
    users = pl.DataFrame({"user_id": [f"person-{n}" for n in range(6)], "personalise": [True] * 6, "adult": [True] * 6})
    for name, values in refused.items():
        row = pl.col("user_id") == name.replace("_", "-")
        users = users.with_columns(
            pl.when(row).then(pl.lit(value)).otherwise(column).alias(column) for column, value in values.items()
        )
    users.write_parquet(data / "users.parquet")


def test_who_refused_and_who_is_a_minor_cannot_be_found_in_any_artefact(folder: Path) -> None:
    consent(folder, person_1={"personalise": False}, person_2={"adult": False})
    bad = events(1).with_columns(action=pl.when(pl.col("item_id") == "i3").then(pl.lit("stare")).otherwise("action"))
    add_day(folder, 1, events=bad)
    intake = take(folder, pseudonyms=Pseudonyms(KEY))
    held = everything(folder.parent / "first") + everything(folder.parent / "parts") + str(intake).encode()
    pseudonyms = Pseudonyms(KEY)
    for user in range(6):
        assert f"person-{user}".encode() not in held
        assert (pseudonyms.of(f"person-{user}").encode() in held) == (user not in (1, 2))
    count = next(one for one in intake.counts if one.table == "events")
    assert (count.read, count.rejected, count.withheld) == (48, 4, 16)
    assert count.accepted == 44


def test_consent_that_is_withdrawn_takes_the_rows_of_earlier_days_along(folder: Path) -> None:
    consent(folder)
    take(folder)
    consent(folder, person_3={"personalise": False})
    intake = take(folder, "second")
    assert b"person-3" not in everything(folder.parent / "second") + everything(folder.parent / "parts")
    afresh = take_in(folder, folder.parent / "third", folder.parent / "other", SourceSettings())
    assert intake.counts == afresh.counts
    assert intake.days.equals(afresh.days)


def test_sensitive_topics_never_come_in(folder: Path) -> None:
    intake = take(folder, settings={"sensitive_topics": ("faith",)})
    assert "faith" not in rows(intake, "events")["topics"].explode().to_list()
    assert rows(intake, "concepts").select("concept_id", "sensitive").rows() == [("c0", False), ("c1", True)]
    count = next(one for one in intake.counts if one.table == "events")
    assert (count.accepted, count.sensitive) == (48, 12)


def test_pseudonyms_are_stable_and_differ_by_key() -> None:
    one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    assert one.of("a") == Pseudonyms(KEY).of("a") != other.of("a")
    names = pl.Series("user_id", ["a", None, "*", "", "a", "ä"])
    assert one.replace(names).to_list() == [one.of("a"), None, "*", "", one.of("a"), one.of("ä")]
    assert one.fingerprint != other.fingerprint
    with pytest.raises(AdloomError, match="fewer than 16"):
        Pseudonyms(b"short")


# the fast road


cells: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "user_id": lambda: st.sampled_from(["a", "b", "", "*", None]),
    "at": lambda: st.sampled_from([START, START + timedelta(days=9), datetime(1969, 1, 1, tzinfo=UTC), None,
                                   datetime(2150, 1, 1, tzinfo=UTC)]),
    "action": lambda: st.sampled_from(["view", "like", "stare", "", None]),
    "item_id": lambda: st.sampled_from(["i", "", None]),
    "topics": lambda: st.sampled_from([[], ["x"], ["x", ""], [None], None]),
    "dwell_seconds": lambda: st.sampled_from([None, 0.0, 3.5, -1.0, float("nan"), float("inf")]),
    "device": lambda: st.sampled_from(["phone", None, ""]),
}  # fmt: skip


@settings(max_examples=60, deadline=None)
@example(data=[{"user_id": "a", "at": START, "action": "view", "item_id": "i", "topics": [], "dwell_seconds": None, "device": ""}])  # fmt: skip
@given(data=st.lists(st.fixed_dictionaries({name: make() for name, make in cells.items()}), min_size=1, max_size=12))
def test_the_fast_road_and_the_slow_road_agree(
    tmp_path_factory: pytest.TempPathFactory, data: list[dict[str, Any]]
) -> None:
    home = tmp_path_factory.mktemp("roads")
    (home / "data" / "events").mkdir(parents=True)
    frame = pl.DataFrame([{**row, "item_id": row["item_id"] and f"{row['item_id']}{n}"} for n, row in enumerate(data)],
                         schema=polars_schema(Events))  # fmt: skip
    name = home / "data" / "events" / "2024-05-02.parquet"
    impressions(0).write_parquet(home / "data" / "impressions.parquet")
    CONCEPTS.write_parquet(home / "data" / "concepts.parquet")
    frame.write_parquet(name)
    fast = take(home / "data", "fast")
    frame.with_columns(pl.col("at").dt.cast_time_unit("ns").dt.convert_time_zone("Asia/Tokyo")).write_parquet(name)
    slow = take(home / "data", "slow")
    assert rows(fast, "events").equals(rows(slow, "events"))
    assert fast.rejected.drop("raw").equals(slow.rejected.drop("raw"))


def test_a_mapping_file_makes_their_log_ours(folder: Path) -> None:
    before = rows(take(folder), "events")
    theirs = pl.concat([events(0), events(1)]).select(
        "item_id", "topics", "dwell_seconds", uid="user_id", ts=pl.col("at").dt.epoch("ms"), action=pl.lit("pageview")
    )
    shutil.rmtree(folder / "events")
    theirs.write_parquet(folder / "events.parquet")
    (folder / "mapping.toml").write_text(MAPPED)
    assert rows(take(folder, "second"), "events").equals(before)
    assert taken(folder).rejected.is_empty()
