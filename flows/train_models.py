"""Turns a data folder into a new space, a new generator, or a student or GAN of it, outside any run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.errors import ModelError
from contracts.store import digest_of
from flows.admit_rows import admitted_for_now
from flows.choose_models import any_generator, find_generator, keep_version
from flows.job import Job
from flows.prepare_examples import Prepared, prepare_examples
from flows.refit_space import choose_space, refit_space
from flows.train_generator import SIDE, train_version
from generators.examples import write_examples
from generators.training.curriculum import Curriculum
from generators.training.few_steps import Game
from generators.training.shorten import DECODER_STEPS, shorten
from generators.training.training import Frozen, Progress, Schedule
from sources.outcome import read_table


def learn_space(job: Job) -> dict[str, Any]:
    """Fits a space on all events that may be learned from and puts it in use; returns its version and what it broke."""
    with admitted_for_now(job) as tables:
        events, concepts = read_table(tables, "events"), read_table(tables, "concepts")
        refit = refit_space(job.models, events, concepts, job.settings.features, made_by="adloom train space")
    return {"version": refit.space.hash[:12], **refit.told}


def learn_generator(
    job: Job, curriculum: Curriculum, *, from_scratch: bool, tell: Callable[[str, int, int], None]
) -> str:
    """Trains a generator on all impressions that may be learned from and puts it in use; returns its version.

    Checkpoints stay in `models/generator.training/<hash of the command>` until the training is finished.
    """
    prepared = learnable(job, "adloom train generator")
    return train_version(
        prepared,
        _folder(job, "generator", prepared.examples.space_hash, curriculum),
        job.models,
        curriculum,
        made_by="adloom train generator",
        start_from=None if from_scratch else any_generator(job.models),
        tell=_told(tell),
    ).name


def learn_short_cut(
    job: Job,
    game: Game,
    schedule: Schedule,
    *,
    tell: Callable[[str, int, int], None],
    decoder_steps: int = DECODER_STEPS,
) -> str:
    """Trains a student or a GAN of the generator in use for the data's space and puts it in use; returns its version.

    Checkpoints stay in `models/student.training/<hash of the command>`, or `models/gan.training/...`.

    Raises:
        ModelError: there is no generator for the space.
    """
    made_by = f"adloom train {game.name}"
    prepared = learnable(job, made_by)
    space_hash = prepared.examples.space_hash
    flow = find_generator(job.models, space_hash)
    if flow is None:
        fix = f"Train it first: adloom train generator {job.data}"
        raise ModelError(f"there is no generator for space {space_hash[:12]}", where=str(job.models), fix=fix)
    folder = _folder(job, game.name, space_hash, schedule, f"{flow.name} {decoder_steps}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "examples.safetensors"
    write_examples(prepared.examples, file)
    result = shorten(file, folder, game, schedule, _told(tell), flow=flow / "weights", decoder_steps=decoder_steps)

    def save(version: Path) -> None:
        shutil.copytree(result.weights, version / "weights", dirs_exist_ok=True)

    return keep_version(job.models, game.name, result.weights_hash[:12], save, made_by=made_by).name


def learnable(job: Job, made_by: str) -> Prepared:
    """All that may be learned from now, in the space in use."""
    features = job.settings.features
    with admitted_for_now(job) as tables:
        events, concepts = read_table(tables, "events"), read_table(tables, "concepts")
        space, _ = choose_space(job.models, events, events, concepts, features, made_by=made_by)
        return prepare_examples(
            job.data, tables, space, features, side=SIDE, before=None, split=f"all of {job.data.name}"
        )


def _folder(job: Job, kind: str, space_hash: str, settings: Frozen, flow: str = "") -> Path:
    """Where the checkpoints of a command are."""
    told = {"data": str(job.data.resolve()), "space": space_hash, "settings": settings.model_dump(mode="json")}
    return job.models / f"{kind}.training" / digest_of(told | {"flow": flow})[:12]


def _told(tell: Callable[[str, int, int], None]) -> Callable[[Progress], None]:
    """Tells the progress of a lesson, its loss beside it."""
    return lambda progress: tell(f"{progress.lesson}, loss {progress.loss:.3f}", progress.step, progress.steps)
