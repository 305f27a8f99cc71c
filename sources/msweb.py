"""Turns one week of visits to a large site (UCI "anonymous web data") into a data folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, polars_schema
from sources.data_folder import refuse_used, write_data_folder
from sources.sequences import SLATE_SIZE, sequence_events, sequence_slates

_BEGIN = datetime(1998, 2, 9, tzinfo=UTC)
_TEST_LATER = timedelta(days=1)
_FIX = "Give the folder with anonymous-msweb.data and anonymous-msweb.test."
_SOURCE = """# Anonymous web data of www.microsoft.com as an Adloom data folder

Origin: Jack S. Breese, David Heckerman, Carl M. Kadie, Microsoft Research; UCI repository, November 1998. One week of
February 1998, 38,000 users drawn at random.
J. Breese, D. Heckerman, C. Kadie. 1998. Empirical Analysis of Predictive Algorithms for Collaborative Filtering. UAI 14.

Licence: none is stated beyond the UCI repository's terms (CC BY 4.0 since 2023); cite the authors.

**This is a proxy. Nobody was shown an ad, and the slates are invented.** What stands for what:

| table | stands for | made from |
|---|---|---|
| concepts | ad concepts | page areas; the topic is the first step of the path; the wording beside the title is ours |
| events | browsing | the areas a user visited but the last, as views |
| at | time | order in the file, a minute apart: the file has no times; users of the .test file are a day later |
| impressions | ads shown | the last area of each user with at least two, and {negatives} areas drawn at random that the user did not visit |
| clicked | a click | the last area visited |

So "not clicked" means drawn, not refused; there is no logging policy: propensity and policy are empty.
Splitting by time gives back the published split of users.

{users} users ({train} train, {test} test), {areas} areas, {events} events, {impressions} impressions in {slates} slates.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, in rows; `train` and `test` are users of the published split."""

    users: int
    train: int
    test: int
    areas: int
    events: int
    impressions: int
    slates: int


def write_msweb(out: Path, *, data: Path) -> Summary:
    """Writes a data folder with events, concepts, impressions and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty.
        data: folder with anonymous-msweb.data and anonymous-msweb.test.

    Raises:
        DataError: `out` is in use, or a file is not what it should be.
    """
    refuse_used(out)
    areas: dict[str, tuple[str, str]] = {}
    visits: dict[str, dict[str, list[str]]] = {}
    for split in ("data", "test"):
        visits[split] = read_visits(data / f"anonymous-msweb.{split}", split, areas)
    topics = pl.DataFrame(
        {"item_id": list(areas), "topics": [[_topic(path)] for _, path in areas.values()]},
        schema={"item_id": pl.String, "topics": pl.List(pl.String)},
    )
    events, impressions = [], []
    for split, sequences in visits.items():
        begin = _BEGIN + (_TEST_LATER if split == "test" else timedelta())
        events.append(sequence_events(sequences, topics, begin, held_out=1))
        impressions.append(sequence_slates(sequences, list(areas), begin, held_out=1, name="msweb"))
    shown = pl.concat(impressions)
    tables = {"events": pl.concat(events), "concepts": _concepts(areas), "impressions": shown}
    summary = Summary(
        users=sum(map(len, visits.values())), train=len(visits["data"]), test=len(visits["test"]), areas=len(areas),
        events=tables["events"].height, impressions=shown.height, slates=shown.select("user_id", "at").n_unique(),
    )  # fmt: skip
    write_data_folder(out, tables, _SOURCE.format(negatives=SLATE_SIZE - 1, **asdict(summary)))
    return summary


def read_visits(path: Path, split: str, areas: dict[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Visits of each user in order; adds the areas that the file describes to `areas`."""
    visits: dict[str, list[str]] = {}
    user = ""
    for number, fields in _lines(path):
        kind = fields[0] if fields else ""
        width = {"A": 5, "C": 3, "V": 3}.get(kind)
        if width is not None and len(fields) != width:
            raise DataError(f"line {number} has {len(fields)} fields instead of {width}", where=str(path), fix=_FIX)
        if kind == "A":
            areas[fields[1]] = (fields[3], fields[4])
        elif kind == "C":
            user = f"{split}-{fields[2]}"
            visits[user] = []
        elif kind == "V":
            if not user or fields[1] not in areas:
                what = "comes before any case" if not user else f"names the area {fields[1]}, which is not described"
                raise DataError(f"line {number} {what}", where=str(path), fix=_FIX)
            if fields[1] not in visits[user]:
                visits[user].append(fields[1])
    found = {user: areas_of for user, areas_of in visits.items() if areas_of}
    if not found:
        raise DataError("holds no visits", where=str(path), fix=_FIX)
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="ascii", newline="") as file:
            yield from enumerate(csv.reader(file, strict=True), start=1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"cannot be read ({why})", where=str(path), fix=_FIX) from error


def _topic(path: str) -> str:
    return path.strip("/").split("/")[0] or "home"


def _concepts(areas: dict[str, tuple[str, str]]) -> pl.DataFrame:
    rows = [
        {
            "concept_id": area, "advertiser": "Microsoft", "topics": [_topic(path)], "headline": [title or path],
            "body": "", "call_to_action": "Visit", "product_image": None, "colours": None,
            "landing_url": f"https://www.microsoft.com{path}", "active_from": None, "active_until": None,
            "sensitive": False,
        }
        for area, (title, path) in areas.items()
    ]  # fmt: skip
    return Concepts.validate(pl.DataFrame(rows, schema=polars_schema(Concepts)))
