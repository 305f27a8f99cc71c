"""Turns a sequence data set of S3-Rec (Beauty, LastFM) into a data folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, polars_schema
from sources.data_folder import refuse_used, write_data_folder
from sources.sequences import SLATE_SIZE, sequence_events, sequence_slates

HELD_OUT = 2
"""The last item of a user is for the test, the one before it for validation, as published."""
_BEGIN = datetime(2014, 7, 1, tzinfo=UTC)
_FIX = "Give the folder with <Name>.txt and <Name>_item2attributes.json."
_SOURCE = """# {name} sequences of S3-Rec as an Adloom data folder

Origin: files of S3-Rec. Kun Zhou, Hui Wang, Wayne Xin Zhao et al. 2020. S3-Rec: Self-Supervised Learning for Sequential
Recommendation with Mutual Information Maximization. CIKM. The data behind them: Amazon reviews (McAuley et al. 2015) and
LastFM (HetRec 2011).

Licence: the terms of Amazon and LastFM respectively; research use, no redistribution.

**This is a proxy. Nobody was shown an ad, and the slates are invented.** What stands for what:

| table | stands for | made from |
|---|---|---|
| concepts | ad concepts | items; topics are their attribute ids; all wording is ours |
| events | browsing | every item of a user but the last two, as views |
| at | time | order in the sequence, a minute apart, ending at the same moment for all: the files have no times |
| impressions | ads shown | the last item (test) and the one before (validation) of each user, each beside {negatives} items that the user never had{given} |
| clicked | a click | the item that came |

So "not clicked" means drawn, not refused; there is no logging policy: propensity and policy are empty. Published figures
rank all items; a figure on these slates is another figure.

{users} users, {items} items, {interactions} interactions, {events} events, {impressions} impressions in {slates} slates.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was read and written."""

    users: int
    items: int
    interactions: int
    events: int
    impressions: int
    slates: int


def write_s3rec(out: Path, *, data: Path) -> Summary:
    """Writes a data folder with events, concepts, impressions and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty.
        data: folder with <Name>.txt, <Name>_item2attributes.json and maybe <Name>_sample.txt (negatives for the test).

    Raises:
        DataError: `out` is in use, or a file is not what it should be.
    """
    refuse_used(out)
    attributes = sorted(data.glob("*_item2attributes.json")) if data.is_dir() else []
    if len(attributes) != 1:
        raise DataError(f"holds {len(attributes)} files *_item2attributes.json, not one", where=str(data), fix=_FIX)
    name = attributes[0].name.removesuffix("_item2attributes.json")
    topics_of = _attributes(attributes[0])
    read = _sequences(data / f"{name}.txt")
    interactions = sum(map(len, read.values()))
    sequences = {user: list(dict.fromkeys(items)) for user, items in read.items()}
    sample = data / f"{name}_sample.txt"
    given = _sequences(sample) if sample.is_file() else None
    items = sorted({item for found in sequences.values() for item in found}, key=int)
    topics = pl.DataFrame(
        {"item_id": items, "topics": [topics_of.get(item, []) for item in items]},
        schema={"item_id": pl.String, "topics": pl.List(pl.String)},
    )
    unknown = sorted({item for found in (given or {}).values() for item in found} - set(items), key=int)
    if unknown:
        raise DataError(f"names item {unknown[0]}, which nobody had", where=str(sample), fix=_FIX)
    shown = sequence_slates(sequences, items, _BEGIN, held_out=HELD_OUT, name=name, given=given)
    tables = {
        "events": sequence_events(sequences, topics, _BEGIN, HELD_OUT),
        "concepts": _concepts(name, topics),
        "impressions": shown,
    }
    summary = Summary(
        users=len(sequences), items=len(items), interactions=interactions, events=tables["events"].height,
        impressions=shown.height, slates=shown.select("user_id", "at").n_unique(),
    )  # fmt: skip
    words = f" (for the test, the first {SLATE_SIZE - 1} published negatives)" if given is not None else ""
    write_data_folder(out, tables, _SOURCE.format(name=name, given=words, negatives=SLATE_SIZE - 1, **asdict(summary)))
    return summary


def _sequences(path: Path) -> dict[str, list[str]]:
    """User -> items, from lines of numbers."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise DataError(f"cannot be read ({why})", where=str(path), fix=_FIX) from error
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        user, *items = line.split() or [""]
        if not line.strip():
            continue
        if not items or not all(part.isascii() and part.isdigit() for part in (user, *items)):
            raise DataError(f"line {number} is not a user and items, as numbers", where=str(path), fix=_FIX)
        if user in found:
            raise DataError(f"line {number} names user {user} again", where=str(path), fix=_FIX)
        found[user] = items
    if not found:
        raise DataError("is empty", where=str(path), fix=_FIX)
    return found


def _attributes(path: Path) -> dict[str, list[str]]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return {str(item): sorted({str(int(one)) for one in found}, key=int) for item, found in values.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError("holds no attributes by item", where=str(path), fix=_FIX) from error


def _concepts(name: str, topics: pl.DataFrame) -> pl.DataFrame:
    rows = [
        {
            "concept_id": item, "advertiser": name, "topics": found or ["none"], "headline": [f"{name} {item}"], "body": "",
            "call_to_action": "See it", "product_image": None, "colours": None,
            "landing_url": f"https://example.org/{name.lower()}/{item}", "active_from": None, "active_until": None,
            "sensitive": False,
        }
        for item, found in topics.iter_rows()
    ]  # fmt: skip
    return Concepts.validate(pl.DataFrame(rows, schema=polars_schema(Concepts)))
