"""Turns a fresh installation into one whose first night waits for nothing: `python -m flows.set_up`.

What replays a log, walks trees and fills what a product hid is compiled at its first call and kept beside the source
(contracts/compiled.py): a tiny planted world makes all those calls, through the very stages that make them in a run, and
is thrown away. And Prefect's own server lays the tables of a new database, beside the runs.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from contracts.settings import parse_settings
from flows.job import RUNS, Job
from flows.reach_prefect import quieten_prefect
from flows.run_batch import STAGES
from generators.typesetting.filling import clear_product
from sources.world import write_world

_UP_TO = "ranking"
_SETTINGS = {"ranking": {"threads": 1, "rounds": 10, "candidates": 12}}


def compile_loops() -> None:
    """Compiles what is not compiled yet; half a minute the first time, seconds afterwards."""
    with tempfile.TemporaryDirectory() as home:
        world = Path(home) / "world"
        write_world(world, users=80, days=12, seed=3, pictures_per_concept=1, side=64)
        job = Job(world, parse_settings(_SETTINGS, where="set-up"), Path(home) / "runs", Path(home) / "models")
        job.run.mkdir(parents=True)
        job.note()
        for stage in STAGES:
            job.store.perform(stage.key(job), functools.partial(stage.work, job))
            if stage.name == _UP_TO:
                break
    clear_product(np.zeros((80, 80, 3), np.uint8), np.eye(80, dtype=np.float32))


def lay_tables(runs: Path) -> None:
    """Makes the database of the server of our own for a folder of runs; one that is there is brought up to date.

    Raises:
        CalledProcessError: Prefect could not.
    """
    quieten_prefect(runs)
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    compile_loops()
    lay_tables(RUNS)
