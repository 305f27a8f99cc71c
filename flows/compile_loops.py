"""Turns a fresh installation into one whose first night does not wait for the compiler: `python -m flows.compile_loops`.

What replays a log and walks trees is compiled at its first call and kept beside the source (contracts/compiled.py). Here a
tiny planted world makes all those calls, through the very stages that make them in a run, and is thrown away.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from contracts.settings import parse_settings
from flows.job import Job
from flows.run_batch import STAGES
from sources.world import write_world

_UP_TO = "ranking"
_SETTINGS = {"ranking": {"threads": 1, "rounds": 10}}


def compile_loops() -> None:
    """Compiles what is not compiled yet; half a minute the first time, seconds afterwards."""
    with tempfile.TemporaryDirectory() as home:
        world = Path(home) / "world"
        write_world(world, users=80, days=12, seed=3, pictures_per_concept=1, side=64)
        job = Job(world, parse_settings(_SETTINGS, where="compile_loops"), Path(home) / "runs", Path(home) / "models")
        job.run.mkdir(parents=True)
        job.note()
        for stage in STAGES:
            job.store.perform(stage.key(job), functools.partial(stage.work, job))
            if stage.name == _UP_TO:
                return


if __name__ == "__main__":
    compile_loops()
