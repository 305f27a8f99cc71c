"""Turns a run's log into the generator that fits its space: the one in use, or one trained from the shipped weights."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import polars as pl

from contracts.settings import Settings
from contracts.store import write_json
from features.space import Space
from flows.choose_models import any_generator, find_generator, keep_version, made_here
from flows.job import Job, Stage
from flows.prepare_examples import Prepared, prepare_examples
from generators.examples import write_examples
from generators.painting.weights import load_weights
from generators.taste.look import picture_looks
from generators.taste.taste import fit_taste
from generators.training.curriculum import Curriculum, teach
from generators.training.training import Progress, Schedule

SIDE = 128
"""Side of the pictures that the network draws, pixels."""


def work(job: Job, folder: Path) -> None:
    """Writes generator/ (a copy of the weights and the taste model) and choice.json; trains when there is none."""
    space = Space.load(job.run / "features" / "space")
    found = find_generator(job.models, space.hash)
    origin = "known"
    if found is None and pl.read_parquet(job.run / "sources" / "pictures.parquet").is_empty():
        write_json(folder / "choice.json", {"origin": "none", "space_hash": space.hash})
        return
    if found is None:
        test_from = json.loads((job.run / "features" / "facts.json").read_text())["test_from"]
        prepared = prepare_examples(
            job.data,
            job.run / "sources",
            space,
            job.settings.features,
            side=SIDE,
            before=dt.datetime.fromisoformat(test_from),
            split="before the test period",
        )
        steps = job.settings.generators.first_training_steps
        found = train_version(
            prepared,
            folder / "training",
            job.models,
            curriculum_of(steps=steps, seed=job.settings.seed, device=job.settings.generators.device),
            made_by=job.run_id,
            start_from=any_generator(job.models),
        )
        shutil.rmtree(folder / "training")
    if made_here(found, job.run_id):
        origin = "trained here"
    shutil.copytree(found, folder / "generator", dirs_exist_ok=True)
    weights = load_weights(found / "weights", space_hash=space.hash)
    write_json(
        folder / "choice.json",
        {
            "origin": origin,
            "version": found.name,
            "space_hash": space.hash,
            "weights_hash": weights.weights_hash,
            "made_from": dict(weights.made_from),
        },
    )


def curriculum_of(
    *, steps: int, seed: int, device: Literal["auto", "cpu", "cuda"], codec_again: int = 0, **flow: Any
) -> Curriculum:
    """The usual curriculum with so many steps of the flow.

    Args:
        steps: of the flow. seed: of everything. device: to train on.
        codec_again: steps that a known codec goes on learning.
        flow: further fields of the flow's `Schedule`.
    """
    usual = Curriculum()
    same = {"seed": seed, "device": device}
    return Curriculum(
        codec=usual.codec.model_copy(update=same),
        codec_again=codec_again,
        flow=Schedule(**{**same, "steps": steps, "warmup_steps": min(usual.flow.warmup_steps, steps // 4), **flow}),
    )


def train_version(
    prepared: Prepared,
    folder: Path,
    models: Path,
    curriculum: Curriculum,
    *,
    made_by: str,
    start_from: Path | None = None,
    tell: Callable[[Progress], None] | None = None,
) -> Path:
    """Trains the network and fits the scorer; the finished version is put in use.

    The network learns from everybody, the scorer from its half of the users alone: the others are the judge's.

    Args:
        prepared: what to learn from.
        folder: of the training's checkpoints; the same folder resumes it.
        models: where the version goes.
        curriculum: how to train.
        made_by: name of the run, or of the command.
        start_from: a version to start from.
        tell: told after every step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "examples.safetensors"
    write_examples(prepared.examples, file)
    start = start_from / "weights" if start_from is not None else None
    result = teach(file, folder, curriculum, tell, start_from=start)
    examples = (prepared.half(judges=False) or prepared).examples
    taste = fit_taste(
        picture_looks(examples.pictures, examples.masks),
        user_vectors=examples.user_vectors,
        concept_vectors=examples.concept_vectors,
        impression_picture=examples.impression_picture,
        impression_user=examples.impression_user,
        picture_concept=examples.picture_concept,
        clicked=examples.clicked,
        space_hash=examples.space_hash,
    )

    def save(version: Path) -> None:
        shutil.copytree(result.weights, version / "weights", dirs_exist_ok=True)
        taste.save(version)

    return keep_version(models, "generator", result.weights_hash[:12], save, made_by=made_by)


def generator_key(job: Job) -> dict[str, str]:
    """The generator in use for this space, unless this run trained it."""
    facts = json.loads((job.run / "features" / "facts.json").read_text())
    found = find_generator(job.models, facts["space_hash"])
    if found is None or made_here(found, job.run_id):
        return {"generator": "to be trained"}
    return {"generator": found.name}


def first_training(settings: Settings) -> dict[str, Any]:
    """The settings that decide a first training."""
    return settings.generators.model_dump(mode="json", include={"first_training_steps", "device"})


def say(folder: Path) -> str:
    """Which weights, and where they are from."""
    choice = json.loads((folder / "choice.json").read_text())
    if choice["origin"] == "none":
        return "no pictures to learn from: general creatives only"
    return f"generator {choice['version']} ({choice['origin']})"


STAGE = Stage(
    name="training",
    reads=("sources", "features"),
    settings=first_training,
    packages=("generators",),
    libraries=("torch", "diffusers", "numpy", "pillow"),
    work=work,
    say=say,
    models=generator_key,
)
