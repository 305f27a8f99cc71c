"""Databases, run stores and servers for the review tests; PostgreSQL and Chromium are Debian's, where installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from contracts.store import file_hash, write_json
from contracts.tables import Concepts, Creatives, polars_schema
from review.database import Database, open_database
from review.desk import Desk
from review.site import open_desk
from tests.own_postgresql import own_postgresql
from tests.review.serving import launch_args, serving


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a server of our own on loopback, without a database name; skips where PostgreSQL is not installed."""
    with own_postgresql() as address:
        yield f"postgresql+psycopg://{address}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'review.db'}"
    from sqlalchemy import create_engine, text

    server = request.getfixturevalue("postgresql")
    name = f"review_{abs(hash(str(tmp_path)))}"
    engine = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server}/{name}"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


def write_store(
    home: Path, count: int = 12, *, side: int = 48, headline: str = "Your next mile", sensitive: int = -1
) -> Path:
    """A folder `runs` with one finished run, made without any network; every picture is another plain colour.

    Creatives c00000, c00001, ... : four to a concept, of cohorts general, 0, 1, 2; the concept numbered `sensitive` is.
    """
    folder = home / "runs" / "shop-1"
    images = folder / "generators" / "images"
    images.mkdir(parents=True)
    (folder / "sources").mkdir()
    outputs, rows = {}, []
    for number in range(count):
        file = f"images/c{number:05d}.png"
        colour = (number * 37 % 256, number // 256 * 16 % 256, number % 256)
        Image.new("RGB", (side, side), colour).save(images.parent / file)
        outputs[file] = file_hash(images.parent / file)
        rows.append((f"c{number:05d}", number % 4 - 1, f"k{number // 4}", "diffusion", "w" * 64, number, file,
                     ["contrast"] if number % 10 == 9 else [], 0.02 + number % 7 / 100))  # fmt: skip
    schema = polars_schema(Creatives)
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "generators" / "creatives.parquet")
    concepts = [
        {"concept_id": f"k{number}", "advertiser": "Northpace", "topics": ["running" if number % 2 else "tea"],
         "headline": [f"{headline} {number}"], "body": "Soft landings.", "call_to_action": "See it",
         "product_image": None, "colours": None, "landing_url": "https://shop.example/x", "active_from": None,
         "active_until": None, "sensitive": number == sensitive}
        for number in range(-(-count // 4))
    ]  # fmt: skip
    pl.DataFrame(concepts, schema=polars_schema(Concepts)).write_parquet(folder / "sources" / "concepts.parquet")
    cohorts = [{"cohort": number, "users": 30, "interests": ["running", "tea"]} for number in range(3)]
    write_json(folder / "generators" / "cohorts.json", cohorts)
    for stage, files in (("sources", {}), ("generators", outputs)):
        write_json(folder / stage / "manifest.json", {"outputs": files, "inputs": {}, "seconds": 1.0})
    return folder.parent


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return write_store(tmp_path)


@pytest.fixture
def desk(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr("review.shelf.CHECK_SECONDS", -1.0)
    opened = open_desk(runs, f"sqlite:///{runs.parent / 'review.db'}")
    yield opened
    opened.database.close()


@pytest.fixture
def serve() -> Callable[[Desk], AbstractContextManager[str]]:
    return serving


@pytest.fixture
def store_of() -> Callable[..., Path]:
    return write_store


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    return launch_args()
