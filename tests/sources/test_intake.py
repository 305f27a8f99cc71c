"""What the intake promises: accepted + rejected = read, a reason for each bad row, one line for what is unreadable."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.settings import SourceSettings
from sources.intake import take_in
from tests.sources.taken import accounted, taken

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
STAMP = "2024-05-01T12:00:00Z"
BOX = "0.25,0.25,0.5,0.5"
CSV = {
    "events": "user_id,at,action,item_id,topics,dwell_seconds,device\n"
    + "".join(f'u{i},2024-05-01T12:00:{i:02}Z,view,item-{i},"[""running"",""hiking""]",1.5,phone\n' for i in range(8)),
    "concepts": "concept_id,advertiser,topics,headline,body,call_to_action,product_image,colours,landing_url,sensitive"
    + "".join(
        f'\nc{i},Acme,running|hiking,"[""Run, faster""]","Light\nand quick",Buy,images/shoe.png,#ff0000,x.org,false'
        for i in range(3)
    ),
    "impressions": "impression_id,user_id,at,slot,concept_id,creative_id,clicked,propensity,policy\n"
    + "".join(f"i{i},u{i},{STAMP},0,c{i % 3},p{i % 3},{i % 2},0.5,uniform\n" for i in range(8)),
    "users": "user_id,personalise,locale,adult\n" + "".join(f"u{i},true,en-GB,true\n" for i in range(8)),
    "pictures": "creative_id,concept_id,file,box_left,box_top,box_width,box_height\n"
    + "".join(f"p{i},c{i},images/shoe.png,0.25,0.25,0.5,0.5\n" for i in range(3)),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "data")


def write_folder(folder: Path) -> Path:
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "shoe.png").write_bytes(b"\x89PNG")
    for table, text in CSV.items():
        (folder / f"{table}.csv").write_text(text)
    return folder


def as_parquet(folder: Path, table: str, **columns: Any) -> None:
    """Replaces a CSV by the Parquet file of its accepted rows, with other columns."""
    frame = taken(folder).tables[table].with_columns(**columns)
    (folder / f"{table}.csv").unlink()
    frame.write_parquet(folder / f"{table}.parquet")


def replace(folder: Path, table: str, old: str, new: str) -> None:
    path = folder / f"{table}.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def rejected(folder: Path) -> list[tuple[str, int, str, str]]:
    intake = taken(folder)
    accounted(intake)
    return intake.rejected.select("source", "row", "column", "reason").rows()


def test_a_valid_folder_is_taken_whole(folder: Path) -> None:
    intake = taken(folder, max_rejected_share=0)
    accounted(intake)
    assert intake.rejected.is_empty()
    assert [(count.table, count.read) for count in intake.counts] == [
        ("events", 8), ("concepts", 3), ("impressions", 8), ("users", 8), ("pictures", 3)
    ]  # fmt: skip
    concept = intake.tables["concepts"].row(0, named=True)
    assert concept["topics"] == ["running", "hiking"]
    assert concept["headline"] == ["Run, faster"]
    assert concept["body"] == "Light\nand quick"
    assert concept["active_from"] is None
    assert intake.tables["impressions"]["clicked"].to_list() == [False, True] * 4
    assert intake.tables["events"]["at"][3] == START + timedelta(seconds=3)
    assert not any(count.withheld for count in intake.counts)


def test_csv_and_parquet_give_the_same_tables(folder: Path) -> None:
    before = taken(folder).tables
    for table in CSV:
        as_parquet(folder, table)
    after = taken(folder, max_rejected_share=0).tables
    for table in CSV:
        assert after[table].equals(before[table])


def test_users_and_pictures_may_be_missing(folder: Path) -> None:
    (folder / "users.csv").unlink()
    (folder / "pictures.csv").unlink()
    intake = taken(folder, max_rejected_share=0)
    accounted(intake)
    assert intake.tables["users"].is_empty()
    assert not any(count.withheld for count in intake.counts)


def test_unknown_columns_are_ignored_and_named(folder: Path) -> None:
    replace(folder, "users", "user_id,", "user_id,shoe size,")
    (folder / "users.csv").write_text(re.sub(r"(?m)^(u\d),", r"\1,43,", (folder / "users.csv").read_text()))
    intake = taken(folder, max_rejected_share=0)
    assert intake.counts[3].notes == ("ignores the unknown column(s) 'shoe size'",)
    assert intake.tables["users"].height == 8


@pytest.mark.parametrize("value", ["true", "false", "True", "0", "1", " TRUE "])
def test_clicked_is_true_false_0_or_1(folder: Path, value: str) -> None:
    replace(folder, "impressions", "p0,0,", f"p0,{value},")
    assert rejected(folder) == []
    assert taken(folder).tables["impressions"]["clicked"][0] is (value.strip().lower() in {"true", "1"})


@pytest.mark.parametrize("value", ["7", "yes", "1.5", "-1", "t", "on"])
def test_clicked_is_nothing_else(folder: Path, value: str) -> None:
    replace(folder, "impressions", "p0,0,", f"p0,{value},")
    assert rejected(folder) == [("impressions.csv", 1, "clicked", "is not true, false, 0 or 1")]


@pytest.mark.parametrize(
    ("table", "old", "new", "row", "column", "reason"),
    [
        ("impressions", ",0.5,", ",0,", 1, "propensity", "is not above 0.0"),
        ("impressions", ",0.5,", ",1.01,", 1, "propensity", "is above 1.0"),
        ("impressions", ",0.5,", ",NaN,", 1, "propensity", "is not a finite number"),
        ("impressions", ",0.5,", ",inf,", 1, "propensity", "is not a finite number"),
        ("impressions", ",0.5,", ",half,", 1, "propensity", "is not a number"),
        ("impressions", f"{STAMP},0", f"{STAMP},-1", 1, "slot", "is below 0"),
        ("impressions", f"{STAMP},0", f"{STAMP},1.5", 1, "slot", "is not a whole number"),
        ("impressions", f"{STAMP},0", f"{STAMP},9999999999", 1, "slot", "is not a whole number"),
        ("impressions", STAMP, "2024-05-01T12:00:00", 1, "at", "has no UTC offset"),
        ("impressions", STAMP, "2024-05-01 12:00", 1, "at", "has no UTC offset"),
        ("impressions", STAMP, "2024-05-01", 1, "at", "has no UTC offset"),
        ("impressions", STAMP, "1714564800", 1, "at", "is not a timestamp"),
        ("impressions", STAMP, "2024-13-01T12:00:00Z", 1, "at", "is not a timestamp"),
        ("impressions", STAMP, "", 1, "at", "is missing"),
        ("impressions", STAMP, "0001-01-01T00:00:00Z", 1, "at", "is no plausible time (before 1970 or after 2199)"),
        ("impressions", "i1,", "i0,", 2, "impression_id", "is there already, in a row that differs"),
        ("impressions", "i1,u1", ",u1", 2, "impression_id", "is missing"),
        ("impressions", "u3", "stranger", 4, "user_id", "is in neither events nor users"),
        ("impressions", "u3", "*", 4, "user_id", "is *, which stands for everyone"),
        ("impressions", "c2", "c9", 3, "concept_id", "is not among the concepts"),
        ("pictures", "c2", "c9", 3, "concept_id", "is not among the concepts"),
        ("pictures", "images/shoe.png", "images/boot.png", 1, "file", "is not in the data folder"),
        ("pictures", "images/shoe.png", "images", 1, "file", "is not in the data folder"),
        ("pictures", "images/shoe.png", "images/../../secret.png", 1, "file", "points outside the data folder"),
        ("pictures", "images/shoe.png", "/etc/hostname", 1, "file", "is not a path relative to the data folder"),
        ("pictures", "images/shoe.png", "C:\\shoe.png", 1, "file", "is not a path relative to the data folder"),
        ("pictures", "images/shoe.png", "a" * 5000, 1, "file", "is not in the data folder"),
        ("pictures", BOX, "0.25,0.25,,0.5", 1, "box_left", "is part of a box that is given only in part"),
        ("pictures", BOX, "0.75,0.25,0.5,0.5", 1, "box_width", "reaches beyond the right edge of the picture"),
        ("pictures", BOX, "0,0,0.5,0", 1, "box_width", "is a box without area"),
        ("events", "view", "stare", 1, "action", "is not one of view, click, cart, purchase, search, like"),
        ("events", '"[""running"",""hiking""]"', "[running", 1, "topics", 'is not a list of strings, ["a","b"] or a|b'),
        ("events", '"[""running"",""hiking""]"', "[3]", 1, "topics", 'is not a list of strings, ["a","b"] or a|b'),
        ("events", '"[""running"",""hiking""]"', "a||b", 1, "topics", "holds an empty entry"),
        ("events", '"[""running"",""hiking""]"', '"[""a"",null]"', 1, "topics", "holds an empty entry"),
        ("events", ",1.5,", ",-1.5,", 1, "dwell_seconds", "is below 0.0"),
        ("events", ",1.5,phone", ",1.5", 1, "", "has 6 field(s) instead of 7"),
        ("events", 'hiking""]"', 'hiking""]', 1, "", "has a broken quote (never closed)"),
        ("users", "true,en", "maybe,en", 1, "personalise", "is not true, false, 0 or 1"),
    ],
)  # fmt: skip
def test_a_bad_row_is_set_aside_with_its_reason(
    folder: Path, table: str, old: str, new: str, row: int, column: str, reason: str
) -> None:
    (folder.parent / "secret.png").write_bytes(b"\x89PNG")
    if column == "user_id":  # with a users table, whoever is not in it is left out unread
        (folder / "users.csv").unlink()
    replace(folder, table, old, new)
    assert rejected(folder) == [(f"{table}.csv", row, column, reason)]


def test_a_concept_without_its_picture_takes_its_impressions_along(folder: Path) -> None:
    replace(folder, "concepts", "images/shoe.png", "images/boot.png")
    assert rejected(folder) == [
        ("concepts.csv", 1, "product_image", "is not in the data folder"),
        *[("impressions.csv", row, "concept_id", "is not among the concepts") for row in (1, 4, 7)],
        ("pictures.csv", 1, "concept_id", "is not among the concepts"),
    ]


def test_a_link_may_not_lead_out_of_the_folder(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(b"\x89PNG")
    (folder / "images" / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "images" / "loop.png").symlink_to("loop.png")
    replace(folder, "pictures", "p0,c0,images/shoe.png", "p0,c0,images/link.png")
    replace(folder, "pictures", "p1,c1,images/shoe.png", "p1,c1,images/loop.png")
    assert rejected(folder) == [
        ("pictures.csv", 1, "file", "points outside the data folder"),
        ("pictures.csv", 2, "file", "is not in the data folder"),
    ]


def test_a_row_with_several_faults_is_one_line_with_all_of_them(folder: Path) -> None:
    replace(folder, "impressions", f"i0,u0,{STAMP},0,c0,p0,0,0.5", "i0,u0,2024-05-01T12:00,0,c9,p0,7,2")
    assert rejected(folder) == [
        (
            "impressions.csv",
            1,
            "at",
            "has no UTC offset; clicked: is not true, false, 0 or 1; propensity: is above 1.0",
        )
    ]
    raw = json.loads(taken(folder).rejected["raw"][0])
    assert raw["clicked"] == "7"
    assert raw["at"] == "2024-05-01T12:00"


def test_of_equal_keys_the_first_sound_row_is_kept(folder: Path) -> None:
    with (folder / "impressions.csv").open("a") as file:
        file.write(f"i0,u1,{STAMP},0,c1,p1,1,0.5,uniform\n")  # a second i0
        file.write(
            f"i9,u1,{STAMP},0,c1,p1,7,0.5,uniform\ni9,u1,{STAMP},0,c1,p1,1,0.25,uniform\n"
        )  # its first row is bad
    assert [fault[:3] for fault in rejected(folder)] == [
        ("impressions.csv", 9, "impression_id"), ("impressions.csv", 10, "clicked")
    ]  # fmt: skip
    kept = taken(folder).tables["impressions"]
    assert kept.filter(pl.col("impression_id") == "i0")["user_id"].to_list() == ["u0"]
    assert kept.filter(pl.col("impression_id") == "i9")["propensity"].to_list() == [0.25]


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01T14:00:00+02:00",
        "2024-05-01T14:00:00.000000+0200",
        "2024-05-01 14:00:00+02",
        "2024-05-01 06:30:00-05:30",
        "2024-05-01T12:00Z",
        "2024-05-01 12:00 UTC",
        "2024-05-01T12:00:00z",
        " 2024-05-01 12:00:00 +00:00 ",
    ],
)
def test_any_offset_is_converted_to_utc(folder: Path, text: str) -> None:
    replace(folder, "events", STAMP, text)
    assert rejected(folder) == []
    assert taken(folder).tables["events"]["at"][0] == START


def test_a_parquet_in_another_zone_or_unit_is_converted(folder: Path) -> None:
    as_parquet(folder, "events", at=pl.col("at").dt.convert_time_zone("Asia/Kolkata").dt.cast_time_unit("ns"))
    assert taken(folder, max_rejected_share=0).tables["events"]["at"][3] == START + timedelta(seconds=3)


@pytest.mark.parametrize(
    "columns",
    [
        {"slot": pl.col("slot").cast(pl.Float64)},
        {"slot": pl.col("slot").cast(pl.String)},
        {"clicked": pl.col("clicked").cast(pl.UInt8)},
        {"clicked": pl.col("clicked").cast(pl.Float32)},
        {"clicked": pl.col("clicked").cast(pl.String)},
        {"propensity": pl.col("propensity").cast(pl.Decimal(8, 4))},
        {"policy": pl.col("policy").cast(pl.Categorical)},
        {"policy": pl.col("policy").cast(pl.Binary)},
        {"at": pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%SZ")},
    ],
)
def test_values_of_another_dtype_are_cast_where_nothing_is_lost(folder: Path, columns: dict[str, pl.Expr]) -> None:
    before = taken(folder).tables["impressions"]
    as_parquet(folder, "impressions", **columns)
    after = taken(folder, max_rejected_share=0)
    accounted(after)
    assert after.tables["impressions"].equals(before)


def test_ids_that_are_numbers_become_text(folder: Path) -> None:
    as_parquet(folder, "users", user_id=pl.Series([0.0, 1.0, 2.5, 3.0, 4.0, 5.0, 6.0, None]))
    assert rejected(folder) == [
        ("users.parquet", 3, "user_id", "is a number with decimals where text is due"),
        ("users.parquet", 8, "user_id", "is missing"),
    ]
    assert taken(folder).tables["users"]["user_id"].to_list() == ["0", "1", "3", "4", "5", "6"]


def test_bytes_that_are_not_text_are_row_faults(folder: Path) -> None:
    as_parquet(folder, "users", locale=pl.Series([b"en", b"\xff", None, *[b"fr"] * 5]))
    assert rejected(folder) == [("users.parquet", 2, "locale", "is not UTF-8")]


@pytest.mark.parametrize(
    ("column", "values", "what"),
    [
        ("at", pl.col("at").dt.replace_time_zone(None), "at is a local time without an offset. Write at in UTC"),
        ("at", pl.col("at").dt.date(), "at holds date where a UTC timestamp is due"),
        ("at", pl.col("at").dt.epoch(), "at holds int64 where a UTC timestamp is due"),
        ("propensity", pl.struct(value="propensity"), "propensity holds struct where a number is due"),
        ("slot", pl.concat_list("slot"), "slot holds list where a whole number is due"),
        ("clicked", pl.col("at"), "clicked holds datetime where true or false is due"),
        ("concept_id", pl.concat_list("concept_id"), "concept_id holds list where text is due"),
    ],
)
def test_a_column_of_an_impossible_dtype_is_one_error(folder: Path, column: str, values: pl.Expr, what: str) -> None:
    as_parquet(folder, "impressions", **{column: values})
    with pytest.raises(DataError, match=re.escape(what)) as caught:
        taken(folder)
    assert caught.value.where.endswith("impressions.parquet")


def test_every_unreadable_thing_is_in_one_line(folder: Path) -> None:
    replace(folder, "events", "user_id,at", "user,at")
    replace(folder, "concepts", "body,", "text,")
    (folder / "users.csv").write_bytes(b"")
    (folder / "impressions.csv").unlink()
    as_path = folder / "pictures.parquet"
    as_path.write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError) as caught:
        taken(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "events.csv: the column user_id is missing (is it 'user'?)",
        "concepts.csv: the column body is missing",
        "users.csv: is empty",
        "impressions: is missing, as .parquet and as .csv",
        "pictures.csv: stands beside pictures.parquet",
    ):
        assert part in message


def test_a_damaged_parquet_and_a_folder_that_is_none_are_data_errors(folder: Path) -> None:
    as_parquet(folder, "events")
    content = (folder / "events.parquet").read_bytes()
    (folder / "events.parquet").write_bytes(content[:-20])
    with pytest.raises(DataError, match="damaged, cut off"):
        taken(folder)
    with pytest.raises(DataError, match="is no folder"):
        taken(folder / "nowhere")
    with pytest.raises(DataError, match="or its URL"):  # which a command copies first, see flows/bring_data.py
        taken(Path("s3://bucket/shop"))


def test_too_many_bad_rows_stop_with_the_top_reasons(folder: Path) -> None:
    (folder / "users.csv").unlink()
    for _ in range(3):
        replace(folder, "impressions", ",0.5,", ",2,")
    replace(folder, "impressions", "u7", "stranger")
    taken(folder)
    taken(folder, max_rejected_share=0.5)
    with pytest.raises(DataError) as caught:
        taken(folder, max_rejected_share=0.4)
    message = str(caught.value)
    assert "impressions.csv: 4 of 8 rows (50.0%) set aside, more than 40.0%" in message
    assert "propensity is above 1.0 (3 rows, first row 1); user_id is in neither events nor users (1 rows" in message
    assert "`adloom check`" in message
    assert "\n" not in message


def test_a_table_without_an_accepted_row_stops_whatever_the_limit(folder: Path) -> None:
    header = CSV["impressions"].splitlines()[0]
    (folder / "impressions.csv").write_text(header + "\n")
    with pytest.raises(DataError, match=r"impressions\.csv has no rows"):
        taken(folder, max_rejected_share=1)
    (folder / "impressions.csv").write_text(f"{header}\ni0,u0,{STAMP},0,c0,p0,7,0.5,uniform\n")
    with pytest.raises(DataError, match="none is left"):
        taken(folder, max_rejected_share=1)


def test_reasons_are_counted_by_table(folder: Path) -> None:
    replace(folder, "impressions", ",0.5,", ",2,")
    replace(folder, "impressions", ",0.5,", ",2,")
    replace(folder, "events", "view", "stare")
    reasons = taken(folder).intake.reasons()
    assert reasons.rows() == [
        ("events", "action", "is not one of view, click, cart, purchase, search, like", 1, 1),
        ("impressions", "propensity", "is above 1.0", 2, 1),
    ]


def test_who_gave_no_consent_is_withheld(folder: Path) -> None:
    replace(folder, "users", "u1,true,en-GB,true", "u1,false,en-GB,true")  # refused
    replace(folder, "users", "u2,true,en-GB,true", "u2,true,en-GB,false")  # not of age
    replace(folder, "users", "u3,true,en-GB,true", "u3,perhaps,en-GB,true")  # not readable
    replace(folder, "users", "u4,true,en-GB,true\n", "")  # never asked
    with (folder / "users.csv").open("a") as file:
        file.write("u5,false,en-GB,true\n")  # contradicts an earlier row
    intake = taken(folder)
    accounted(intake)
    for table in ("events", "impressions", "users"):
        assert intake.tables[table]["user_id"].to_list() == ["u0", "u6", "u7"]
    assert intake.count("events").withheld == intake.count("impressions").withheld == 5
    assert intake.count("users").withheld == 3  # u1, u2 and u5; u3 and the second u5 are set aside, u4 is not there
    assert intake.tables["concepts"].height == 3


def test_an_empty_or_late_day_is_named_and_left_out_or_stops_the_run_as_the_settings_say(
    folder: Path, tmp_path: Path
) -> None:
    text = (folder / "events.csv").read_text()
    (folder / "events.csv").unlink()
    for day, rows in ((1, text), (2, text.splitlines()[0] + "\n"), (3, "")):
        (folder / "events" / f"day=2024-05-0{day}").mkdir(parents=True)
        (folder / "events" / f"day=2024-05-0{day}" / "part-0.csv").write_text(rows)
    with pytest.raises(DataError, match=r"day=2024-05-03.*is empty"):
        take_in(folder, tmp_path / "out", tmp_path / "parts", SourceSettings(empty_files="stop"))
    intake = taken(folder).intake
    found = intake.findings.filter(pl.col("check") == "empty_file").to_dicts()
    assert [(one["table"], one["severity"], one["rows"]) for one in found] == [("events", "warning", 2)]
    assert {Path(name).parent.name for name in found[0]["sources"]} == {"day=2024-05-02", "day=2024-05-03"}
    assert intake.counts[0].read == intake.counts[0].accepted == 8
    (folder / "events" / "day=2024-05-01" / "part-0.csv").write_text("")
    (folder / "events" / "day=2024-05-02" / "part-0.csv").unlink()
    with pytest.raises(DataError, match="is empty"):
        taken(folder)
