"""Turns a data folder and settings into a job: what to run, on what, where the results go, and its stages' keys."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts.errors import DataError
from contracts.settings import Settings
from contracts.store import RunStore, StageKey, digest_of, file_hash
from contracts.tables import INPUT_TABLES, OPTIONAL_INPUTS

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "sample"
"""The sample that comes with the code: a small planted world and the models that fit it."""

RUNS, MODELS = Path("data/runs"), Path("data/models")
"""Where runs and learned models go, below the working directory."""

_WATCHED_FOLDERS = ("images", "truth")


@dataclass(frozen=True)
class Job:
    """One batch: a data folder, settings, and where runs and models live."""

    data: Path
    settings: Settings
    runs: Path = RUNS
    models: Path = MODELS

    @cached_property
    def input_hashes(self) -> dict[str, str]:
        """SHA-256 of every file that the batch may read, by path relative to the data folder."""
        if not self.data.is_dir():
            raise DataError(
                "there is no such folder", where=str(self.data), fix="Give a data folder, see data/README.md."
            )
        present = {name: table_file(self.data, name) for name in INPUT_TABLES}
        missing = [name for name, path in present.items() if path is None and name not in OPTIONAL_INPUTS]
        if missing:
            raise DataError(
                f"it holds no {' and no '.join(missing)} table",
                where=str(self.data),
                fix=f"Put {missing[0]}.parquet or {missing[0]}.csv there, see data/README.md.",
            )
        files = [path for path in present.values() if path is not None]
        for name in _WATCHED_FOLDERS:
            files += sorted(path for path in (self.data / name).rglob("*") if path.is_file())
        return {path.relative_to(self.data).as_posix(): file_hash(path) for path in files}

    @cached_property
    def run_id(self) -> str:
        """Named by what goes in: the same input resumes the same run, another input is another run."""
        stem = re.sub(r"[^a-z0-9]+", "-", self.data.resolve().name.lower()).strip("-") or "data"
        return f"{stem}-{digest_of(self.input_hashes)[:8]}"

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.runs / self.run_id

    @property
    def store(self) -> RunStore:
        """The run's store."""
        return RunStore(self.run)


def table_file(folder: Path, name: str) -> Path | None:
    """The file of an input table in a data folder, Parquet before CSV; None when there is none."""
    for suffix in (".parquet", ".csv"):
        path = folder / f"{name}{suffix}"
        if path.exists():
            return path
    return None


@dataclass(frozen=True)
class Stage:
    """One stage of the batch.

    Attributes:
        name: of the stage and its folder in the run.
        reads: stages whose results it reads.
        settings: the part of the settings its result depends on.
        packages, libraries: whose code and version its bytes depend on.
        work: fills the stage's folder.
        say: one line on what came out, read from the finished folder.
        models: hashes of learned models that it reads from outside the run, by name.
    """

    name: str
    reads: tuple[str, ...]
    settings: Callable[[Settings], dict[str, Any]]
    packages: tuple[str, ...]
    libraries: tuple[str, ...]
    work: Callable[[Job, Path], None]
    say: Callable[[Path], str]
    models: Callable[[Job], dict[str, str]] = lambda job: {}

    def key(self, job: Job) -> StageKey:
        """What decides this stage's bytes; the stages it reads must be finished."""
        inputs = {name: job.store.digest(name) for name in self.reads}
        if not self.reads:
            inputs = job.input_hashes
        return StageKey(
            stage=self.name,
            inputs={**inputs, **self.models(job)},
            settings=self.settings(job.settings),
            seed=job.settings.seed,
            packages=("flows", *self.packages),
            libraries=self.libraries,
        )
