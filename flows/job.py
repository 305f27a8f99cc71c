"""Turns a data folder and settings into a job: what to run, on what, where the results go, and its stages' keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from contracts.errors import RunError
from contracts.settings import LearningSettings, Settings, parse_settings
from contracts.store import RunStore, StageKey, digest_of, file_hash, write_json
from flows.find_key import find_key
from generators.typesetting.brand_kits import BRAND_FOLDER
from generators.typesetting.brand_kits import FILE as BRANDS_FILE
from sources.inventory import locate
from sources.mapping import FILE as MAPPING_FILE
from sources.pseudonyms import Pseudonyms

SHIPPED = Path(__file__).resolve().parents[1] / "data" / "sample"
"""The sample that comes with the code: a small planted world and the models that fit it."""

RUNS, MODELS = Path("data/runs"), Path("data/models")
"""Where runs and learned models go, below the working directory."""

_WATCHED_FOLDERS = ("images", "truth", BRAND_FOLDER)
_BARRED = "erased.json"
_JOB = "job.json"


def database_of(runs: Path) -> str:
    """The database of the reviews of runs in a folder, unless another is given: review.db beside the folder."""
    return f"sqlite:///{(runs.resolve().parent / 'review.db').as_posix()}"


def read_barred(folder: Path) -> frozenset[str]:
    """The pseudonyms that were erased."""
    try:
        return frozenset(json.loads((folder / _BARRED).read_text(encoding="utf-8")))
    except OSError:
        return frozenset()


def bar(folder: Path, pseudonym: str) -> None:
    """Keeps one more pseudonym out of every later run."""
    write_json(folder / _BARRED, sorted(read_barred(folder) | {pseudonym}))


@dataclass(frozen=True)
class Job:
    """One batch: a data folder, settings, where runs and models live, and who does what can be spread over workers.

    `cluster` is as `spread_work.workers_of` takes it; it decides nothing of what comes out, but for the trees of a long log
    (`train_together`).
    """

    data: Path
    settings: Settings
    runs: Path = RUNS
    models: Path = MODELS
    cluster: str = ""

    @cached_property
    def input_hashes(self) -> dict[str, str]:
        """SHA-256 of every file that the batch may read, by path relative to the data folder."""
        found = {part.name: part.fingerprint for parts in locate(self.data).values() for part in parts}
        files = [path for path in (self.data / MAPPING_FILE, self.data / BRANDS_FILE) if path.is_file()]
        for name in _WATCHED_FOLDERS:
            files += sorted(path for path in (self.data / name).rglob("*") if path.is_file())
        return found | {path.relative_to(self.data).as_posix(): file_hash(path) for path in files}

    @cached_property
    def run_id(self) -> str:
        """Named by what goes in: the same input resumes the same run, another input is another run."""
        stem = re.sub(r"[^a-z0-9]+", "-", self.data.resolve().name.lower()).strip("-") or "data"
        return f"{stem}-{digest_of(self.input_hashes)[:8]}"

    @property
    def parts(self) -> Path:
        """Where the intake keeps what it made of each file of this data folder, from run to run."""
        return (
            self.runs.parent / "intake" / f"{self.run_id.rpartition('-')[0]}-{digest_of(str(self.data.resolve()))[:8]}"
        )

    @cached_property
    def pseudonyms(self) -> Pseudonyms | None:
        """Of user ids; None in a planted world, where nobody is behind them and the truth knows them by name."""
        if (self.data / "truth").is_dir():
            return None
        return Pseudonyms(find_key(self.runs.parent, self.settings.sources.key_file))

    @property
    def barred(self) -> frozenset[str]:
        """Pseudonyms of erased users: their rows are left out should the input still hold them."""
        return read_barred(self.runs.parent)

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.runs / self.run_id

    @property
    def store(self) -> RunStore:
        """The run's store."""
        return RunStore(self.run)

    def with_learning(self, learning: LearningSettings) -> Job:
        """The job with other settings for learning; they decide nothing of the run."""
        return replace(self, settings=self.settings.model_copy(update={"learning": learning}))

    def elsewhere(self) -> Job:
        """The same job for another process: absolute paths, and a name that is not worked out again from the input."""
        places = {name: getattr(self, name).resolve() for name in ("data", "runs", "models")}
        moved = replace(self, **places, cluster="")
        moved.__dict__["run_id"] = self.run_id
        return moved

    def note(self) -> None:
        """Writes down in the run what it was made from, for work that is given the run alone."""
        said = {"data": str(self.data.resolve()), "models": str(self.models.resolve())}
        write_json(self.run / _JOB, {**said, "settings": self.settings.model_dump(mode="json")})


def job_of(run: Path) -> Job:
    """The job that made a run, from the run alone. Raises RunError when it is no run, or an older Adloom made it."""
    path = run / _JOB
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        data, models, settings = Path(said["data"]), Path(said["models"]), said["settings"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "Give the folder of a run, or repeat its command: adloom run DATA."
        raise RunError("does not say what it was made from", where=str(path), fix=fix) from error
    return Job(data, parse_settings(settings, where=str(path)), run.parent, models)


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
