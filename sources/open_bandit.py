"""Turns the Open Bandit Dataset, as a folder or inside the obp wheel, into a data folder."""

from __future__ import annotations

import io
import zipfile
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, Events, Impressions, Users, polars_schema
from sources.data_folder import refuse_used, write_data_folder

Campaign = Literal["all", "men", "women"]
Policy = Literal["random", "bts"]

_FEATURES = [f"user_feature_{number}" for number in range(4)]
_FIX = "Give the folder with <policy>/<campaign>/<campaign>.csv and item_context.csv, or the wheel of obp 0.4.1."
_SOURCE = """# Open Bandit Dataset, campaign {campaign}, policy {policy}, as an Adloom data folder

Origin: ZOZO, Inc., fashion recommendations on ZOZOTOWN, November 2019. Yuta Saito, Shunsuke Aihara, Megumi Matsutani, Yusuke
Narita. 2020. Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation. arXiv:2008.07146.

Licence: the package obp that carries this sample is under Apache-2.0; no licence of the data is stated in it.

What stands for what:

| table | stands for | made from |
|---|---|---|
| impressions | ads shown | the rows as logged: item, position (slot 0 is position 1), click, **the true logging propensity** |
| user_id | **a segment, not a person** | the combination of the four hashed user features: people are not told apart |
| a slate | one row | what stood in the other two positions was not published |
| concepts | ad concepts | the items; topics are the hashed item features and the quarter of the numeric one; all wording is ours |
| events | browsing | an earlier click of the segment on an item, where the user-item affinity says so, one second before the first impression that shows it |
| users | consent | everyone is taken to consent |

The propensity is that of the item in its position, given the context, as published.

{users} segments, {concepts} concepts, {events} events, {impressions} impressions, {clicked} clicked.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, in rows."""

    users: int
    concepts: int
    events: int
    impressions: int
    clicked: int


def write_open_bandit(out: Path, *, data: Path, campaign: Campaign = "all", policy: Policy = "random") -> Summary:
    """Writes a data folder with events, concepts, impressions, users and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty.
        data: folder with <policy>/<campaign>/, or the wheel.
        campaign, policy: which of the six logs.

    Raises:
        DataError: `out` is in use, or a file is not what it should be.
    """
    refuse_used(out)
    where = f"{policy}/{campaign}"
    log = _table(
        data, f"{where}/{campaign}.csv", ["timestamp", "item_id", "position", "click", "propensity_score", *_FEATURES]
    )
    items = _table(data, f"{where}/item_context.csv", ["item_id", *(f"item_feature_{number}" for number in range(4))])
    log = _typed(log, f"{where}/{campaign}.csv")
    concepts = _concepts(items, f"{where}/item_context.csv")
    lost = log.filter(~pl.col("item_id").is_in(concepts["concept_id"].implode()))
    if lost.height:
        raise DataError(f"shows item {lost['item_id'][0]}, which item_context.csv does not have", where=where, fix=_FIX)
    shown = Impressions.validate(
        log.select(
            impression_id=pl.format("{}-{}-{}", pl.lit(policy), pl.lit(campaign), pl.int_range(pl.len())), user_id="user_id",
            at="at", slot=(pl.col("position") - 1).cast(pl.Int32), concept_id="item_id",
            creative_id=pl.lit(None, dtype=pl.String), clicked=pl.col("click") == 1, propensity="propensity_score",
            policy=pl.lit(policy),
        )
    )  # fmt: skip
    people = log.select("user_id").unique().sort("user_id")
    users = Users.validate(people.with_columns(personalise=pl.lit(True), locale=pl.lit(None, dtype=pl.String),
                                               adult=pl.lit(None, dtype=pl.Boolean)))  # fmt: skip
    tables = {"events": _events(log, concepts), "concepts": concepts, "impressions": shown, "users": users}
    summary = Summary(users.height, concepts.height, tables["events"].height, shown.height, int(shown["clicked"].sum()))
    write_data_folder(out, tables, _SOURCE.format(campaign=campaign, policy=policy, **asdict(summary)))
    return summary


def _table(data: Path, name: str, needed: list[str]) -> pl.DataFrame:
    """A CSV of the folder or of the wheel, all text."""
    try:
        if data.is_file():
            with zipfile.ZipFile(data) as wheel:
                content = wheel.read(f"obp/dataset/obd/{name}")
        else:
            content = (data / name).read_bytes()
        frame = pl.read_csv(io.BytesIO(content), infer_schema=False)
    except (OSError, KeyError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise DataError(f"{name} is not there or no CSV", where=str(data), fix=_FIX) from error
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise DataError(f"{name} has no column {', '.join(missing)}", where=str(data), fix=_FIX)
    return frame


def _typed(log: pl.DataFrame, name: str) -> pl.DataFrame:
    affinities = [column for column in log.columns if column.startswith("user-item_affinity_")]
    typed = log.select(
        "item_id",
        *_FEATURES,
        pl.col("timestamp").str.replace(" ", "T").str.to_datetime(
            "%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_unit="us", time_zone="UTC").alias("at"),
        pl.col("position", "click").cast(pl.Int64, strict=False),
        pl.col("propensity_score", *affinities).cast(pl.Float64, strict=False),
        user_id=pl.concat_str([pl.col(column).str.head(8) for column in _FEATURES], separator="-", ignore_nulls=True),
    )  # fmt: skip
    sound = (
        pl.col("at").is_not_null() & pl.col("item_id").is_not_null() & pl.col("position").is_between(1, 3)
        & pl.col("click").is_in([0, 1]) & (pl.col("propensity_score") > 0) & (pl.col("propensity_score") <= 1)
        & (pl.col("user_id") != "")
    )  # fmt: skip
    bad = typed.with_row_index("row", offset=1).filter(~sound.fill_null(False))
    if bad.height:
        raise DataError(f"row {bad['row'][0]} has values that cannot be", where=name, fix=_FIX)
    if typed.is_empty():
        raise DataError("has no rows", where=name, fix=_FIX)
    return typed.sort("at", maintain_order=True)


def _concepts(items: pl.DataFrame, name: str) -> pl.DataFrame:
    numeric = pl.col("item_feature_0").cast(pl.Float64, strict=False)
    quarter = ((numeric.rank("ordinal") - 1) * 4 // pl.len()).cast(pl.Int64)
    topics = [
        pl.format("f0-quarter-{}", quarter + 1),
        *(pl.format("f{}-{}", pl.lit(number), pl.col(f"item_feature_{number}").str.head(8)) for number in (1, 2, 3)),
    ]
    rows = items.select("item_id", topics=pl.concat_list(topics).list.drop_nulls())
    if rows["item_id"].is_duplicated().any() or rows["item_id"].has_nulls():
        raise DataError("has an item twice, or without id", where=name, fix=_FIX)
    bare = rows.filter(pl.col("topics").list.len() == 0)
    if bare.height:
        raise DataError(f"item {bare['item_id'][0]} has no feature", where=name, fix=_FIX)
    made = [
        {
            "concept_id": item, "advertiser": "ZOZOTOWN", "topics": found, "headline": [f"Item {item}"], "body": "",
            "call_to_action": "See it", "product_image": None, "colours": None,
            "landing_url": f"https://example.org/items/{item}", "active_from": None, "active_until": None,
            "sensitive": False,
        }
        for item, found in rows.iter_rows()
    ]  # fmt: skip
    return Concepts.validate(pl.DataFrame(made, schema=polars_schema(Concepts)))


def _events(log: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    affinities = [column for column in log.columns if column.startswith("user-item_affinity_")]
    long = log.select("user_id", "at", *affinities).unpivot(affinities, index=["user_id", "at"], variable_name="item")
    earlier = long.filter(pl.col("value") > 0).with_columns(
        item_id=pl.col("item").str.strip_prefix("user-item_affinity_"), at=pl.col("at") - timedelta(seconds=1)
    )
    first = earlier.sort("at", "user_id", "item_id").unique(["user_id", "item_id"], keep="first", maintain_order=True)
    topics = concepts.select(item_id="concept_id", topics="topics")
    joined = first.join(topics, on="item_id", how="inner", maintain_order="left")
    return Events.validate(
        joined.select(
            "user_id", "at", action=pl.lit("click"), item_id="item_id", topics="topics",
            dwell_seconds=pl.lit(None, dtype=pl.Float64), device=pl.lit(None, dtype=pl.String),
        )
    )  # fmt: skip
