"""Turns a data folder into a new space or a new generator, outside any run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from contracts.store import digest_of
from flows.admit_rows import admitted_for_now
from flows.choose_models import any_generator
from flows.job import Job
from flows.prepare_examples import prepare_examples
from flows.refit_space import choose_space, refit_space
from flows.train_generator import SIDE, train_version
from generators.training.curriculum import Curriculum
from generators.training.training import Progress
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
    features = job.settings.features
    with admitted_for_now(job) as tables:
        events, concepts = read_table(tables, "events"), read_table(tables, "concepts")
        space, _ = choose_space(job.models, events, events, concepts, features, made_by="adloom train generator")
        prepared = prepare_examples(
            job.data, tables, space, features, side=SIDE, before=None, split=f"all of {job.data.name}"
        )
    command = digest_of(
        {"data": str(job.data.resolve()), "space": space.hash, "curriculum": curriculum.model_dump(mode="json")}
    )

    def told(progress: Progress) -> None:
        tell(f"{progress.lesson}, loss {progress.loss:.3f}", progress.step, progress.steps)

    return train_version(
        prepared,
        job.models / "generator.training" / command[:12],
        job.models,
        curriculum,
        made_by="adloom train generator",
        start_from=None if from_scratch else any_generator(job.models),
        tell=told,
    ).name
