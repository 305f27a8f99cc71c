"""Turns the MineThatData e-mail challenge (Hillstrom) into a data folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, Events, Impressions, polars_schema
from sources.data_folder import refuse_used, write_data_folder

ARMS = {"Mens E-Mail": "mens-email", "Womens E-Mail": "womens-email", "No E-Mail": "no-email"}
_SENT = datetime(2008, 3, 20, tzinfo=UTC)
_MONTH = timedelta(days=30)
_COLUMNS = {"recency": pl.Int64, "history_segment": pl.String, "history": pl.Float64, "mens": pl.Int64, "womens": pl.Int64,
            "zip_code": pl.String, "newbie": pl.Int64, "channel": pl.String, "segment": pl.String, "visit": pl.Int64,
            "conversion": pl.Int64, "spend": pl.Float64}  # fmt: skip
_FIX = "Give hillstrom.csv of the MineThatData e-mail analytics challenge."
_SOURCE = """# The Hillstrom e-mail challenge as an Adloom data folder

Origin: Kevin Hillstrom, MineThatData E-Mail Analytics and Data Mining Challenge, March 2008. 64,000 customers, each put
at random into one of three arms with equal chance: an e-mail with men's goods, one with women's goods, no e-mail.

Licence: public challenge data without a licence text.

What stands for what:

| table | stands for | made from |
|---|---|---|
| concepts | what was sent | the two e-mails, and **no-email**: the control arm, kept as a concept so that nobody vanishes. It is no ad |
| impressions | the randomised arm | one a customer, slot 0, propensity 1/3 (by design), policy "randomised" |
| clicked | **a visit to the site** within two weeks, not a click on the e-mail: the control arm visits too |  visit |
| events | what was bought before | a purchase of men's and of women's goods where the flags say so, `recency` months of 30 days before the e-mail |
| at | time | the day of the e-mail; customers a second apart in order of the file, which means nothing |

`spend` and `conversion` are left out: our reward is the visit. An arm's value estimated from this log is a visit rate and
has a randomised truth: {mens:.4f} men's, {womens:.4f} women's, {none:.4f} none.

{users} customers, {events} events, {visits} visits.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written; visit rates by arm, in [0, 1]."""

    users: int
    events: int
    impressions: int
    visits: int
    mens: float
    womens: float
    none: float


def write_hillstrom(out: Path, *, data: Path) -> Summary:
    """Writes a data folder with events, concepts, impressions and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty.
        data: hillstrom.csv, or the folder it is in.

    Raises:
        DataError: `out` is in use, or the file is not what it should be.
    """
    refuse_used(out)
    customers = _read(data / "hillstrom.csv" if data.is_dir() else data)
    shown = Impressions.validate(
        customers.select(
            impression_id=pl.format("email-{}", "user_id"), user_id="user_id", at="at", slot=pl.lit(0, dtype=pl.Int32),
            concept_id=pl.col("segment").replace_strict(ARMS, return_dtype=pl.String),
            creative_id=pl.lit(None, dtype=pl.String), clicked=pl.col("visit") == 1, propensity=pl.lit(1 / 3),
            policy=pl.lit("randomised"),
        )
    )  # fmt: skip
    rates = dict(shown.group_by("concept_id").agg(pl.col("clicked").mean()).iter_rows())
    tables = {"events": _events(customers), "concepts": _concepts(), "impressions": shown}
    mens, womens, none = (float(rates.get(arm, 0.0)) for arm in ARMS.values())
    summary = Summary(
        customers.height, tables["events"].height, shown.height, int(shown["clicked"].sum()), mens, womens, none
    )
    write_data_folder(out, tables, _SOURCE.format(**asdict(summary)))
    return summary


def _read(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError("cannot be read as CSV", where=str(path), fix=_FIX) from error
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise DataError(f"has no column {', '.join(missing)}", where=str(path), fix=_FIX)
    typed = frame.select(pl.col(name).cast(dtype, strict=False) for name, dtype in _COLUMNS.items())
    sound = pl.col("segment").is_in(list(ARMS)) & pl.col("visit").is_in([0, 1]) & (pl.col("recency") >= 0)
    bought = pl.col("mens").is_in([0, 1]) & pl.col("womens").is_in([0, 1])
    bad = typed.with_row_index("row", offset=1).filter(~(sound & bought).fill_null(False))
    if bad.height:
        raise DataError(f"row {bad['row'][0]} has values that cannot be", where=str(path), fix=_FIX)
    if typed.is_empty():
        raise DataError("has no rows", where=str(path), fix=_FIX)
    number = pl.int_range(pl.len())
    return typed.with_columns(
        user_id=pl.format("customer-{}", number + 1),
        at=(pl.lit(_SENT) + pl.duration(seconds=number)).cast(pl.Datetime("us", "UTC")),
    )


def _events(customers: pl.DataFrame) -> pl.DataFrame:
    found = []
    for goods in ("mens", "womens"):
        when = (pl.lit(_SENT) - pl.col("recency") * pl.lit(_MONTH) - pl.lit(timedelta(days=1))).cast(
            pl.Datetime("us", "UTC")
        )
        bought = customers.filter(pl.col(goods) == 1)
        found.append(
            bought.select(
                user_id="user_id", at=when, action=pl.lit("purchase"), item_id=pl.lit(goods),
                topics=pl.concat_list(pl.lit(goods), pl.col("channel").str.to_lowercase()),
                dwell_seconds=pl.lit(None, dtype=pl.Float64), device=pl.lit(None, dtype=pl.String),
            )
        )  # fmt: skip
    return Events.validate(pl.concat(found).sort("at", "user_id", "item_id"))


def _concepts() -> pl.DataFrame:
    words = {"mens-email": ("mens", "Men's merchandise"), "womens-email": ("womens", "Women's merchandise"),
             "no-email": ("control", "No e-mail: the control arm")}  # fmt: skip
    rows = [
        {
            "concept_id": arm, "advertiser": "Hillstrom", "topics": [topic], "headline": [headline], "body": "",
            "call_to_action": "Visit", "product_image": None, "colours": None, "landing_url": f"https://example.org/{arm}",
            "active_from": None, "active_until": None, "sensitive": False,
        }
        for arm, (topic, headline) in words.items()
    ]  # fmt: skip
    return Concepts.validate(pl.DataFrame(rows, schema=polars_schema(Concepts)))
