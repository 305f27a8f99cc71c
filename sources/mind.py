"""Turns the Microsoft News Dataset (MIND: behaviors.tsv, news.tsv) into a data folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, Events, Impressions, Users, polars_schema
from sources.data_folder import refuse_used, write_data_folder

_BEHAVIOURS = ["impression", "user_id", "time", "history", "shown"]
_NEWS = ["news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities"]
_TIME = "%m/%d/%Y %I:%M:%S %p"
_GAP_SECONDS = 60
_FIX = "Give a folder of MIND with behaviors.tsv and news.tsv."
_SOURCE = """# MIND as an Adloom data folder

Origin: Microsoft News, October and November 2019. Fangzhao Wu, Ying Qiao, Jiun-Hung Chen et al. 2020. MIND: A Large-scale
Dataset for News Recommendation. ACL.

Licence: Microsoft Research Licence Terms; research use, no redistribution. Do not publish this folder.

What stands for what:

| table | stands for | made from |
|---|---|---|
| impressions | ads shown | news shown in an impression log; an impression of MIND is a slate |
| clicked | a click | -1 after the news id |
| slot | a place in the list | **order in the file, which MIND shuffled: it is not the order on the page** |
| concepts | ad concepts | news that were shown; topics are category and subcategory |
| events | browsing | the history before a user's first impression, each news once; histories have no times: they stand a minute apart, ending a minute before that impression |
| users | consent | everyone is taken to consent |
| at | time | as written; **MIND names no time zone, it is taken for UTC** |

There is no logging policy: propensity and policy are empty. Slates of one user in the same second begin microseconds
later, one after another.

{users} users, {concepts} concepts, {events} events, {impressions} impressions in {slates} slates, {clicked} clicked.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, in rows."""

    users: int
    concepts: int
    events: int
    impressions: int
    slates: int
    clicked: int


def write_mind(out: Path, *, data: Path) -> Summary:
    """Writes a data folder with events, concepts, impressions and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty.
        data: folder with behaviors.tsv and news.tsv.

    Raises:
        DataError: `out` is in use, or a file is not what it should be.
    """
    refuse_used(out)
    news = _table(data / "news.tsv", _NEWS).unique("news_id", keep="first", maintain_order=True)
    slates = _behaviours(data / "behaviors.tsv")
    shown = _impressions(slates, data / "behaviors.tsv")
    concepts = _concepts(news, shown, data / "news.tsv")
    events = _events(slates, news)
    summary = Summary(
        users=slates["user_id"].n_unique(), concepts=concepts.height, events=events.height, impressions=shown.height,
        slates=slates.height, clicked=int(shown["clicked"].sum()),
    )  # fmt: skip
    people = slates.select("user_id").unique().sort("user_id")
    users = Users.validate(people.with_columns(personalise=pl.lit(True), locale=pl.lit(None, dtype=pl.String),
                                               adult=pl.lit(None, dtype=pl.Boolean)))  # fmt: skip
    tables = {"events": events, "concepts": concepts, "impressions": shown, "users": users}
    write_data_folder(out, tables, _SOURCE.format(**asdict(summary)))
    return summary


def _table(path: Path, names: list[str]) -> pl.DataFrame:
    """A TSV without a header; quotes are plain characters."""
    try:
        lines = pl.read_lines(path.read_bytes().decode().encode()).to_series()
    except (OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not UTF-8"
        raise DataError(f"cannot be read ({why})", where=str(path), fix=_FIX) from error
    lines = lines.filter(lines != "")
    fields = lines.str.count_matches("\t", literal=True) + 1
    wrong = (fields != len(names)).arg_true()
    if len(wrong) or lines.is_empty():
        what = (
            f"line {wrong[0] + 1} has {fields[wrong[0]]} fields instead of {len(names)}" if len(wrong) else "is empty"
        )
        raise DataError(what, where=str(path), fix=_FIX)
    return lines.str.split_exact("\t", len(names) - 1).struct.rename_fields(names).struct.unnest()


def _behaviours(path: Path) -> pl.DataFrame:
    """impression, user_id, at, history and shown (lists), in order of time; one row a slate."""
    read = _table(path, _BEHAVIOURS)
    read = read.with_columns(
        at=pl.col("time").str.to_datetime(_TIME, strict=False, time_unit="us", time_zone="UTC"),
        history=pl.col("history").str.split(" ").list.eval(pl.element().filter(pl.element() != "")),
        shown=pl.col("shown").str.split(" ").list.eval(pl.element().filter(pl.element() != "")),
    )
    sound = (
        (pl.col("impression") != "")
        & (pl.col("user_id") != "")
        & pl.col("at").is_not_null()
        & (pl.col("shown").list.len() > 0)
    )
    bad = read.with_row_index("line", offset=1).filter(~sound | pl.col("impression").is_duplicated())
    if bad.height:
        what = f"line {bad['line'][0]} has no id of its own, user, time or shown news"
        raise DataError(what, where=str(path), fix=_FIX)
    ordered = read.sort("at", "user_id", maintain_order=True)
    later = pl.int_range(pl.len()).over("user_id", "at")
    return ordered.with_columns(at=pl.col("at") + pl.duration(microseconds=later))


def _impressions(slates: pl.DataFrame, path: Path) -> pl.DataFrame:
    rows = slates.select("impression", "user_id", "at", "shown", slot=pl.int_ranges(pl.col("shown").list.len()))
    rows = rows.explode("shown", "slot")
    parts = pl.col("shown").str.extract_groups(r"^(?P<news>.+)-(?P<clicked>[01])$")
    rows = rows.with_columns(parts.alias("parts")).unnest("parts")
    if rows["news"].has_nulls():
        wrong = rows.filter(pl.col("news").is_null())["shown"][0]
        raise DataError(f"shows {wrong!r}, which is not <news>-<0 or 1>", where=str(path), fix=_FIX)
    return Impressions.validate(
        rows.select(
            impression_id=pl.format("{}-{}", "impression", "slot"), user_id="user_id", at="at",
            slot=pl.col("slot").cast(pl.Int32), concept_id="news", creative_id=pl.lit(None, dtype=pl.String),
            clicked=pl.col("clicked") == "1", propensity=pl.lit(None, dtype=pl.Float64), policy=pl.lit(None, dtype=pl.String),
        )
    )  # fmt: skip


def _topics() -> pl.Expr:
    words = pl.concat_list("category", "subcategory").list.eval(pl.element().filter(pl.element() != ""))
    return words.list.unique(maintain_order=True)


def _concepts(news: pl.DataFrame, shown: pl.DataFrame, path: Path) -> pl.DataFrame:
    wanted = shown["concept_id"].unique()
    lost = wanted.filter(~wanted.is_in(news["news_id"].implode())).sort()
    if len(lost):
        raise DataError(f"does not have {lost[0]}, which was shown", where=str(path), fix=_FIX)
    used = news.filter(pl.col("news_id").is_in(wanted.implode())).with_columns(topics=_topics())
    made = [
        {
            "concept_id": row["news_id"], "advertiser": row["category"] or "news", "topics": row["topics"] or ["news"],
            "headline": [row["title"] or row["news_id"]], "body": row["abstract"], "call_to_action": "Read",
            "product_image": None, "colours": None, "landing_url": row["url"] or f"https://example.org/{row['news_id']}",
            "active_from": None, "active_until": None, "sensitive": False,
        }
        for row in used.iter_rows(named=True)
    ]  # fmt: skip
    return Concepts.validate(pl.DataFrame(made, schema=polars_schema(Concepts)))


def _events(slates: pl.DataFrame, news: pl.DataFrame) -> pl.DataFrame:
    first = slates.unique("user_id", keep="first", maintain_order=True).select(
        "user_id", "at", history=pl.col("history").list.unique(maintain_order=True)
    )
    first = first.filter(pl.col("history").list.len() > 0)
    rows = first.with_columns(back=pl.int_ranges(pl.col("history").list.len(), 0, -1)).explode("history", "back")
    rows = rows.join(news.select("news_id", topics=_topics()), left_on="history", right_on="news_id", how="left",
                     maintain_order="left")  # fmt: skip
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return Events.validate(
        rows.select(
            "user_id", at=pl.col("at") - pl.duration(seconds=pl.col("back") * _GAP_SECONDS), action=pl.lit("view"),
            item_id="history", topics=pl.col("topics").fill_null(nothing), dwell_seconds=pl.lit(None, dtype=pl.Float64),
            device=pl.lit(None, dtype=pl.String),
        )
    )  # fmt: skip
