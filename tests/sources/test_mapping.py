"""A mapping file: names, units, zones, actions and topics; what it cannot know it says instead of guessing."""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from contracts.tables import Events, Impressions, polars_schema
from sources.mapping import Mapping, TableMapping, apply, load_mapping, parse_mapping
from sources.suggestion import suggest

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Santiago",
    "Africa/Casablanca",
)
instants = st.datetimes(datetime(1999, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))


def at(values: list[Any], dtype: Any = pl.String, **mapping: Any) -> tuple[list[Any], list[tuple[int, str]]]:
    """The column at under a mapping, and its faults."""
    frame = pl.DataFrame({"at": pl.Series(values, dtype=dtype)})
    made, faults = apply("events", frame, TableMapping(**mapping), source="events.csv")
    return made["at"].to_list(), faults.select("position", "reason").rows()


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_an_empty_mapping_changes_nothing() -> None:
    frame = pl.DataFrame({"whatever": [1]})
    made, faults = apply("events", frame, Mapping().of("events"), source="events.csv")
    assert made is frame
    assert faults.is_empty()


@settings(max_examples=80, deadline=None)
@given(
    when=st.lists(instants, min_size=1, max_size=8), unit=st.sampled_from(["s", "ms", "us", "ns"]), text=st.booleans()
)
def test_numbers_since_1970_come_back_exactly(when: list[datetime], unit: str, text: bool) -> None:
    kept = [
        one.replace(microsecond={"s": 0, "ms": one.microsecond // 1000 * 1000}.get(unit, one.microsecond))
        for one in when
    ]
    whole = [(one - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for one in kept]
    numbers = [
        n // 10**6 if unit == "s" else n // 1000 if unit == "ms" else n if unit == "us" else n * 1000 for n in whole
    ]
    values, dtype = ([str(n) for n in numbers], pl.String) if text else (numbers, pl.Int64)
    found, faults = at(values, dtype, time_unit=unit)
    assert found == kept
    assert faults == []


def test_seconds_with_a_fraction_keep_their_microseconds() -> None:
    assert at([1714564800.25, None], pl.Float64, time_unit="s")[0] == [instant("2024-05-01T12:00:00.25+00:00"), None]
    assert at(["1714564800.5"], time_unit="s")[0] == [instant("2024-05-01T12:00:00.5+00:00")]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_what_is_no_number_or_too_large_is_a_fault_and_not_a_date(unit: str) -> None:
    values = ["soon", "1e300", str(2**75), "9" * 40, "nan", ""]
    found, faults = at(values, time_unit=unit)
    assert found == [None] * 6
    assert [place for place, _ in faults] == [0, 1, 2, 3, 4]
    assert faults[0][1] == f"is not a number of {unit} since 1970"


@settings(max_examples=120, deadline=None)
@given(local=st.datetimes(datetime(1999, 1, 1), datetime(2037, 1, 1)), zone=st.sampled_from(ZONES))
def test_local_times_agree_with_zoneinfo(local: datetime, zone: str) -> None:
    local = local.replace(microsecond=0)
    found, faults = at([local.isoformat(" ")], time_zone=zone)
    assert ([None if one is None else instant(one) for one in found], faults) == by_zoneinfo(local, zone)


def by_zoneinfo(local: datetime, zone: str) -> tuple[list[datetime | None], list[tuple[int, str]]]:
    """What `at` must say of a local time by the standard library's word: its instant, or that it is skipped or repeated."""
    early, late = (local.replace(tzinfo=zoneinfo.ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    back = early.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)
    if back != local:
        return [None], [(0, f"does not exist in {zone} (the clocks went forward)")]
    if early != late:
        return [None], [(0, f"exists twice in {zone} (the clocks went back)")]
    return [early], []


@pytest.mark.parametrize("zone", ZONES)
def test_every_quarter_hour_around_every_change_of_the_clocks_agrees_with_zoneinfo(zone: str) -> None:
    info = zoneinfo.ZoneInfo(zone)
    hours = [datetime(2015, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(366 * 24)]
    offsets = [hour.astimezone(info).utcoffset() for hour in hours]
    turns = [hour for hour, one, two in zip(hours, offsets[1:], offsets[:-1], strict=False) if one != two]
    for turn in turns:
        middle = turn.astimezone(info).replace(tzinfo=None)
        for quarter in range(-12, 13):
            local = middle + timedelta(minutes=15 * quarter)
            assert at([local], pl.Datetime("us"), time_zone=zone) == by_zoneinfo(local, zone)


def test_text_with_an_offset_keeps_it_whatever_the_zone() -> None:
    found, faults = at(["2024-05-01T12:00:00+02:00", "2024-05-01 12:00", "2024-05-01"], time_zone="Europe/Berlin")
    assert [instant(text) for text in found[1:]] == [
        instant("2024-05-01T12:00:00+02:00"),
        instant("2024-05-01T00:00:00+02:00"),
    ]
    assert found[0] == "2024-05-01T12:00:00+02:00"
    assert faults == []


def test_a_time_format_of_their_own() -> None:
    found, faults = at(
        ["11/15/2019 9:05:58 AM", "noon"], time_format="%m/%d/%Y %I:%M:%S %p", time_zone="America/New_York"
    )
    assert found == [instant("2019-11-15T09:05:58-05:00"), None]
    assert faults == [(1, "is not a timestamp")]
    found, _ = at(["15.11.2019 09:05 +0100"], time_format="%d.%m.%Y %H:%M %z")
    assert found == [instant("2019-11-15T09:05:00+01:00")]


@pytest.mark.parametrize(
    ("cells", "mapping", "expected"),
    [
        (["shoes/running", "", None], {"topic_separator": "/"}, [["shoes", "running"], [], None]),
        (["a, b ,", "c"], {"topic_separator": ",", "topics": {"a": "A"}}, [["A", "b"], ["c"]]),
        (["old", "new"], {"topics": {"old": "new"}}, [["new"], ["new"]]),
        (['["old","x"]', "old|y"], {"topics": {"old": "new"}}, [["new", "x"], ["new", "y"]]),
    ],
)
def test_topics_of_text_cells(cells: list[Any], mapping: dict[str, Any], expected: list[Any]) -> None:
    frame = pl.DataFrame({"topics": pl.Series(cells, dtype=pl.String)})
    made, faults = apply("events", frame, TableMapping(**mapping), source="events.csv")
    assert made["topics"].to_list() == expected
    assert faults.is_empty()


def test_topics_that_are_numbers_or_lists() -> None:
    for values in (pl.Series([7, 8]), pl.Series([["7"], ["8"]])):
        frame = pl.DataFrame({"topics": values})
        made, _ = apply("events", frame, TableMapping(topics={"7": "seven"}), source="events.parquet")
        assert made["topics"].to_list() == [["seven"], ["8"]]


def test_a_topic_cell_that_is_no_list_is_a_fault() -> None:
    frame = pl.DataFrame({"topics": ["[broken", "fine"]})
    made, faults = apply("events", frame, TableMapping(topics={"fine": "good"}), source="events.csv")
    assert made["topics"].to_list() == [None, ["good"]]
    assert faults["position"].to_list() == [0]


def test_actions_and_constants() -> None:
    frame = pl.DataFrame({"verb": ["look", "view", "stare"]})
    mapping = TableMapping(columns={"action": "verb"}, actions={"look": "view"}, constants={"device": "web"})
    made, _ = apply("events", frame, mapping, source="events.csv")
    assert made["action"].to_list() == [
        "view",
        "view",
        "stare",
    ]  # what is not listed stays, and is then set aside by name
    assert made["device"].to_list() == ["web"] * 3


@pytest.mark.parametrize(
    ("columns", "mapping", "what"),
    [
        (["uid"], {"columns": {"user_id": "usr"}}, "has no column 'usr', the nearest one is 'uid'"),
        (["uid", "user_id"], {"columns": {"user_id": "uid"}}, "has a column 'user_id' beside the one"),
        (["device"], {"constants": {"device": "web"}}, "has a column 'device' beside the one"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_is_one_error(
    columns: list[str], mapping: dict[str, Any], what: str
) -> None:
    frame = pl.DataFrame({name: ["x"] for name in columns})
    with pytest.raises(DataError, match=re.escape(what)) as caught:
        apply("events", frame, TableMapping(**mapping), source="events.csv")
    assert caught.value.where == "events.csv"


def test_two_columns_may_change_places() -> None:
    frame = pl.DataFrame({"user_id": ["item"], "item_id": ["user"]})
    mapping = TableMapping(columns={"user_id": "item_id", "item_id": "user_id"})
    made, _ = apply("events", frame, mapping, source="events.csv")
    assert made.select("user_id", "item_id").row(0) == ("user", "item")


def test_every_fault_of_the_file_is_in_one_line() -> None:
    values = {
        "event": {},
        "events": {"colums": {}, "time_unit": "minutes"},
        "impressions": {
            "columns": {"usr_id": "a", "slot": "b", "policy": "b"}, "constants": {"slot": 1}, "time_zone": "Europe/Berlim",
            "actions": {"look": "view"}, "topic_separator": "",
        },
        "clicks": {"actions": {"a": "stare"}},
    }  # fmt: skip
    with pytest.raises(SettingsError) as caught:
        parse_mapping(values, where="mapping.toml")
    said = str(caught.value)
    for part in (
        "event: is no table, the nearest one is events",
        "events.colums: unknown key, the nearest known one is columns",
        "events.time_unit: input should be 's', 'ms', 'us' or 'ns'",
        "impressions.columns.usr_id: is no column of impressions, the nearest one is user_id",
        "impressions.constants.slot: is mapped under columns too",
        "impressions.columns: 'b' stands for two columns",
        "impressions.time_zone: 'Europe/Berlim' is no time zone, the nearest one is Europe/Berlin",
        "impressions.actions: impressions has no such column",
        "impressions.topic_separator: is empty",
        "clicks.actions.a: 'stare' is no action",
        "docs/mapping.md",
    ):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize("content", [b"[events\n", b"\xff\xfe", b"events = 1\n", b"[events]\ncolumns = 3\n"])
def test_a_file_that_is_no_mapping_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mapping.toml").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_mapping(tmp_path)
    assert "mapping.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


# proposals

LOG = pl.DataFrame(
    {
        "visitor": ["u1", "u2", "u1"], "server_time": [1714564800123, 1714564801123, 1714564802123],
        "event_type": ["pageview", "add_to_cart", "hover"], "sku": ["s1", "s2", "s3"],
        "category": ["shoes>running", "shoes>hiking", "bags"],
    }
)  # fmt: skip


def test_a_proposal_names_columns_units_actions_and_separators_and_what_it_does_not_know() -> None:
    found = suggest({"log.parquet": LOG})
    for line in (
        'path = "log.parquet"',
        'user_id = "visitor"',
        'at = "server_time"',
        'time_unit = "ms"',
        'topic_separator = ">"',
        '"pageview" = "view"',
        '"add_to_cart" = "cart"',
        '# ? the action "hover" is none of',
    ):
        assert line in found.text, line
    assert "concepts: nothing here looks like it" in found.unsure
    assert "impressions: nothing here looks like it" in found.unsure


def test_a_proposal_for_our_own_tables_has_nothing_to_say() -> None:
    frames = {
        "events": pl.DataFrame(schema=polars_schema(Events)),
        "impressions": pl.DataFrame(schema=polars_schema(Impressions)),
    }
    found = suggest(frames)
    assert [line for line in found.text.splitlines() if line and not line.startswith(("#", "["))] == []


def test_a_proposal_is_toml_that_parses_whatever_the_names() -> None:
    import tomllib

    odd = LOG.rename({"visitor": 'user "id"', "category": "caté\\gory"})
    assert tomllib.loads(suggest({'we"ird.csv': odd}).text)["events"]["path"] == 'we"ird.csv'


@settings(max_examples=60, deadline=None)
@given(
    frame=st.dictionaries(
        st.one_of(st.text(min_size=1, max_size=8), st.sampled_from(["user", "at", "time", "event", "clicked", "price"])),
        st.lists(st.one_of(st.none(), st.text(max_size=8)), min_size=3, max_size=3),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_a_proposal_of_any_table_parses(frame: dict[str, list[str | None]]) -> None:
    import tomllib

    found = suggest({"any.csv": pl.DataFrame(frame, schema=dict.fromkeys(frame, pl.String))})
    proposed = tomllib.loads(found.text)
    parse_mapping(proposed, where="proposal")
    named = {name for table in proposed.values() for name in table.get("columns", {}).values()}
    assert named <= set(frame), "only columns that are there"
