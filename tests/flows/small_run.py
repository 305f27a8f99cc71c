"""A run that takes seconds: its settings, its stages without a server, and a copy that a test may spoil."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from contracts.settings import Settings, parse_settings
from flows.job import Job
from flows.run_batch import STAGES

SMALL = {
    "ranking": {"threads": 1, "rounds": 30},
    "generators": {"renders": 6, "steps": 2, "side": 320, "candidates": 2, "redraws": 0, "min_cohort_users": 10,
                   "first_training_steps": 2, "sizes": ["300x250", "320x50"]},
    "evaluation": {"bootstraps": 50},
    "learning": {"pool": 48, "least_decisions": 10},
}  # fmt: skip
"""Settings of a run that takes seconds."""


def small_settings(**changes: dict[str, object]) -> Settings:
    """SMALL with changes."""
    merged = {name: {**SMALL.get(name, {}), **changes.get(name, {})} for name in {*SMALL, *changes}}
    return parse_settings(merged, where="test")


def perform(job: Job, *, stages: int = len(STAGES)) -> None:
    """The first stages of the batch, without a server; those that are up to date are skipped."""
    job.run.mkdir(parents=True, exist_ok=True)
    job.note()
    for stage in STAGES[:stages]:
        key = stage.key(job)
        if job.store.current(key) is None:
            job.store.perform(key, functools.partial(stage.work, job))


def copied(job: Job, home: Path, settings: Settings | None = None) -> Job:
    """The same run and models in another place, that a test may spoil."""
    for name in ("runs", "models"):
        shutil.copytree(getattr(job, name), home / name)
    return Job(job.data, settings or job.settings, home / "runs", home / "models")
