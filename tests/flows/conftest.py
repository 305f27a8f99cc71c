"""A small shop whose users might be real people, and what its runs still say of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from sources.world import write_world

Mentions = Callable[[Path, str], list[str]]


def mentions_of(home: Path, name: str) -> list[str]:
    """Files below a folder that hold a name, in any form; but for the list of the erased and the data folder `shop`."""
    found = []
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.name in ("erased.json", "adloom.key") or "shop" in path.parts:
            continue
        text = path.read_bytes()
        if path.suffix == ".parquet":
            text += json.dumps(pl.read_parquet(path, glob=False).to_dicts(), default=str).encode()
        if name.encode() in text:
            found.append(path.relative_to(home).as_posix())
    return found


@pytest.fixture(scope="session")
def mentions() -> Mentions:
    """See `mentions_of`."""
    return mentions_of


@pytest.fixture(scope="session")
def write_shop() -> Callable[[Path, int], Path]:
    """Writes a planted world of some users without its truth: as if they were people."""

    def write(folder: Path, users: int) -> Path:
        write_world(folder, users=users, days=15, seed=5, pictures_per_concept=2, side=64)
        shutil.rmtree(folder / "truth")
        return folder

    return write
