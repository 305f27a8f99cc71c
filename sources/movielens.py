"""Turns MovieLens-100K into a data folder: films as concepts, posters as pictures, late ratings as proxy clicks."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl

from contracts.errors import DataError
from contracts.tables import Concepts, Events, Impressions, Pictures, Users, polars_schema
from sources.data_folder import refuse_used, write_data_folder
from sources.movielens_files import MovieLens, read_movielens

LIKED = 4.0
"""A rating of at least this many stars counts as a like, and as a click where it stands for an impression."""
MIN_RATINGS = 10
LATE_TENTHS = 4
SLATE_SIZE = 10
HEADLINE_CHARACTERS, BODY_CHARACTERS = 48, 90
SENTENCE_CHARACTERS = 25
"""A shorter first sentence ("Justice.") is joined by the next."""

_ARTICLE = re.compile(r"^(.*), (The|A|An|Il|La|Le|Les|L'|Das|Der|Die|El|Los)$")
_NO_END = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Lt|Jr|Sr|vs|[A-Z]))\.$")

_SOURCE = """# MovieLens-100K as an Adloom data folder

Origin: MovieLens-100K, GroupLens Research, University of Minnesota; collected 1997-1998.
F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context.
ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19.

Licence: research use, with the citation above; **no redistribution** and no commercial use without permission of
GroupLens. Posters belong to the studios. Do not publish this folder.

**This is a proxy. Nobody was shown an ad, and a rating is not an ad click.** What stands for what:

| table | stands for | made from |
|---|---|---|
| concepts | ad concepts | films; topics are the genres; headline, body and button are our wording, links are invented |
| pictures, images/posters | logged creatives | film posters, whole, without a known product box |
| events | browsing | every rating at its time: like at {liked:g} stars or more, else view |
| impressions | ads shown | the last {late} % by time of the ratings of each user with at least {least} ratings |
| clicked | a click | {liked:g} stars or more |
| slates | what was seen together | up to {slate} consecutive such ratings of one user, at the time of the first |
| users | consent | everyone is taken to consent; adult is age >= 18, and minors are treated as no consent |

So what was "shown" is what people chose to rate: there is no logging policy, propensity and policy are empty, slot is
0 throughout, and no off-policy estimate is possible. Ranking can be measured, ad effects cannot.
Slates of a user that would begin in the same second begin microseconds earlier, one after another, so that each is
one slate and none sees a rating of its own second.

{users} users, {films} films, {events} events, {impressions} impressions in {slates} slates ({clicked} clicked),
{posters} posters.
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written: numbers of rows, slates, clicked impressions and poster files."""

    users: int
    films: int
    events: int
    impressions: int
    slates: int
    clicked: int
    posters: int


def write_movielens(out: Path, *, ratings: Path, posters: Path | None) -> Summary:
    """Writes a data folder with events, concepts, impressions, users, pictures and SOURCE.md; deterministic.

    Args:
        out: the folder to make; must not exist, or be empty. It appears in one rename.
        ratings: folder with u.data and u.item (u.user, items.csv), or RecBole's ml-100k files as folder or wheel.
        posters: Parquet with item_id and jpeg (bytes), or a folder of <film>.jpg; None: no pictures.

    Raises:
        DataError: `out` is in use, or an input is not what it should be.
    """
    refuse_used(out)
    data = read_movielens(ratings)
    films = data.films.unique("film", keep="first", maintain_order=True).sort("film")
    rated = data.ratings.join(films.select("film", "genres"), on="film", how="left", maintain_order="left")
    if rated["genres"].has_nulls():
        film = rated.filter(pl.col("genres").is_null())["film"][0]
        raise DataError(f"rates film {film}, which is not among the films", where=str(ratings), fix="Fetch it again.")
    twice = data.ratings.filter(data.ratings.select("user", "film").is_duplicated())
    if twice.height:
        user, film = twice.select("user", "film").row(0)
        raise DataError(f"user {user} rates film {film} more than once", where=str(ratings), fix="Fetch it again.")
    pictures = _read_posters(posters, films) if posters is not None else {}
    shown = impressions(data.ratings, pictures.keys())
    tables = {
        "events": _events(rated),
        "concepts": _concepts(films, pictures.keys()),
        "impressions": shown,
        "users": _users(data),
    }
    if pictures:
        tables["pictures"] = _pictures(sorted(pictures))
    summary = Summary(
        users=tables["users"].height,
        films=films.height,
        events=rated.height,
        impressions=shown.height,
        slates=shown.select("user_id", "at").n_unique(),
        clicked=int(shown["clicked"].sum()),
        posters=len(pictures),
    )
    text = _SOURCE.format(liked=LIKED, late=LATE_TENTHS * 10, least=MIN_RATINGS, slate=SLATE_SIZE, **asdict(summary))
    write_data_folder(out, tables, text, {_poster_file(film): jpeg for film, jpeg in pictures.items()})
    return summary


def impressions(ratings: pl.DataFrame, with_poster: Collection[int]) -> pl.DataFrame:
    """The late ratings of each user as impressions, by the contract; what they stand for is told in SOURCE.md.

    Args:
        ratings: user, film, rating, seconds.
        with_poster: films whose poster is the creative shown.
    """
    place, many = pl.int_range(pl.len()).over("user"), pl.len().over("user")
    late = (
        ratings.sort("user", "seconds", "film")
        .with_columns(place=place, many=many)
        .with_columns(first=pl.col("many") - pl.col("many") * LATE_TENTHS // 10)
        .filter((pl.col("many") >= MIN_RATINGS) & (pl.col("place") >= pl.col("first")))
        .with_columns(slate=(pl.col("place") - pl.col("first")) // SLATE_SIZE)
        .with_columns(begins=pl.col("seconds").first().over("user", "slate"))
        .with_columns(earlier=pl.col("slate").max().over("user", "begins") - pl.col("slate"))
    )
    frame = late.select(
        impression_id=pl.format("{}-{}", "user", "film"),
        user_id=pl.col("user").cast(pl.String),
        at=(pl.col("begins") * 1_000_000 - pl.col("earlier")).cast(pl.Datetime("us", "UTC")),
        slot=pl.lit(0, dtype=pl.Int32),
        concept_id=pl.col("film").cast(pl.String),
        creative_id=pl.when(pl.col("film").is_in(list(with_poster))).then(pl.format("poster-{}", "film")),
        clicked=pl.col("rating") >= LIKED,
        propensity=pl.lit(None, dtype=pl.Float64),
        policy=pl.lit(None, dtype=pl.String),
    )
    return Impressions.validate(frame)


def headline(title: str) -> str:
    """A film's title as an ad sets it: without year and brackets, the article in front, cut at a word if need be."""
    bare = " ".join(re.sub(r"\([^)]*\)", " ", title).split()) or title.strip()
    article = _ARTICLE.match(bare)
    if article:
        bare = f"{article[2]}{'' if article[2].endswith(chr(39)) else ' '}{article[1]}"
    return shortened(bare[:1].upper() + bare[1:], HEADLINE_CHARACTERS)


def body(plot: str | None, genres: list[str], year: int | None) -> str:
    """The first sentence of the plot, at most `BODY_CHARACTERS` characters; without a plot a line on the genres."""
    if not plot:
        line = ", ".join(genres) if genres != ["unknown"] else "film"
        line = f"{line}, {year}" if year else line
        return shortened(line[:1].upper() + line[1:], BODY_CHARACTERS)
    words: list[str] = []
    for word in plot.split():
        words.append(word)
        long_enough = len(" ".join(words)) >= SENTENCE_CHARACTERS
        if long_enough and word.rstrip("\"')").endswith((".", "!", "?")) and not _NO_END.search(word):
            break
    return shortened(" ".join(words), BODY_CHARACTERS)


def shortened(text: str, limit: int) -> str:
    """`text`, cut at a word and ended by an ellipsis where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    if not text[limit - 1].isspace() and " " in kept:
        kept = kept.rsplit(" ", 1)[0]
    return kept.rstrip(" ,;:-.") + "…"


def _events(rated: pl.DataFrame) -> pl.DataFrame:
    frame = rated.sort("user", "seconds", "film").select(
        user_id=pl.col("user").cast(pl.String),
        at=(pl.col("seconds") * 1_000_000).cast(pl.Datetime("us", "UTC")),
        action=pl.when(pl.col("rating") >= LIKED).then(pl.lit("like")).otherwise(pl.lit("view")),
        item_id=pl.col("film").cast(pl.String),
        topics="genres",
        dwell_seconds=pl.lit(None, dtype=pl.Float64),
        device=pl.lit(None, dtype=pl.String),
    )
    return Events.validate(frame)


def _concepts(films: pl.DataFrame, with_poster: Collection[int]) -> pl.DataFrame:
    rows = [
        {
            "concept_id": str(film),
            "advertiser": f"Films of the {year // 10 * 10}s" if year else "MovieLens",
            "topics": genres,
            "headline": [headline(title)],
            "body": body(plot, genres, year),
            "call_to_action": "Watch the trailer",
            "product_image": _poster_file(film) if film in with_poster else None,
            "colours": None,
            "landing_url": f"https://example.org/films/{film}",
            "active_from": None,
            "active_until": None,
            "sensitive": False,
        }
        for film, title, year, genres, plot in films.iter_rows()
    ]
    return Concepts.validate(pl.DataFrame(rows, schema=polars_schema(Concepts)))


def _users(data: MovieLens) -> pl.DataFrame:
    known = data.viewers.unique("user", keep="first")
    users = data.ratings.select("user").unique().join(known, on="user", how="left").sort("user")
    frame = users.select(
        user_id=pl.col("user").cast(pl.String),
        personalise=pl.lit(True),
        locale=pl.lit(None, dtype=pl.String),
        adult=pl.col("age") >= 18,
    )
    return Users.validate(frame)


def _pictures(films: list[int]) -> pl.DataFrame:
    frame = pl.DataFrame({"film": films}, schema={"film": pl.Int64}).select(
        creative_id=pl.format("poster-{}", "film"),
        concept_id=pl.col("film").cast(pl.String),
        file=pl.Series([_poster_file(film) for film in films], dtype=pl.String),
        **{f"box_{side}": pl.lit(None, dtype=pl.Float64) for side in ("left", "top", "width", "height")},
        labelled=pl.lit(None, dtype=pl.Boolean),
    )
    return Pictures.validate(frame)


def _poster_file(film: int) -> str:
    return f"images/posters/{film}.jpg"


def _read_posters(posters: Path, films: pl.DataFrame) -> dict[int, bytes]:
    """The JPEG of each film that has one."""
    fix = "Give a Parquet file with item_id and jpeg, or a folder with files such as 1.jpg."
    if posters.is_dir():
        found = {film: posters / f"{film}.jpg" for film in films["film"]}
        pictures = {film: path.read_bytes() for film, path in found.items() if path.is_file()}
    else:
        try:
            frame = pl.read_parquet(posters, columns=["item_id", "jpeg"], glob=False)
            frame = frame.select(pl.col("item_id").cast(pl.Int64), pl.col("jpeg").cast(pl.Binary)).drop_nulls()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DataError("holds no posters that can be read", where=str(posters), fix=fix) from error
        known = set(films["film"])
        pictures = {film: jpeg for film, jpeg in frame.iter_rows() if film in known}
    bad = sorted(film for film, jpeg in pictures.items() if not jpeg.startswith(b"\xff\xd8"))
    if bad:
        listed = ", ".join(map(str, bad[:5])) + (" and more" if len(bad) > 5 else "")
        raise DataError(f"the posters of films {listed} are no JPEG", where=str(posters), fix="Convert or remove them.")
    if not pictures:
        raise DataError("holds no poster of any of the films", where=str(posters), fix=fix)
    return pictures
