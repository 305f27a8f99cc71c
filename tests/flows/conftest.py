"""One finished run of a small planted world that tests copy; a small shop whose users might be real people."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from flows.job import Job
from flows.reach_prefect import BatchServer
from sources.world import write_world
from tests.flows.small_run import copied, perform, small_settings


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Job:
    """All six stages of a planted world of 120 users, made once for all processes of a test run; copy it, never change it."""
    base = tmp_path_factory.getbasetemp()
    root = (base if worker_id == "master" else base.parent) / "shared-run"
    root.mkdir(exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "world").exists():
            write_world(root / "world", users=120, days=20, seed=5, pictures_per_concept=2, side=64)
        job = Job(root / "world", small_settings(), root / "runs", root / "models")
        perform(job)
    return job


@pytest.fixture
def job(shared_run: Job, tmp_path: Path) -> Job:
    """A finished run of its own."""
    return copied(shared_run, tmp_path)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Prefect server for all the batches of the process, which would begin one each."""
    with BatchServer(tmp_path_factory.mktemp("prefect") / "runs"):
        yield


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
