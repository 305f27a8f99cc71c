"""Turns a data folder into an adapter for a Stable Diffusion checkpoint: the users' slot, and styles of advertisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from contracts.store import digest_of
from flows.admit_rows import admitted_for_now
from flows.choose_models import keep_version
from flows.choose_painter import device_of, load_checkpoint
from flows.job import Job
from flows.prepare_examples import prepare_examples
from flows.refit_space import choose_space
from generators.examples import write_examples
from generators.painting.adapter import save_adapter
from generators.painting.prompts import concept_prompt
from generators.training.adapter_training import Course, teach_adapter
from sources.outcome import read_table

MADE_BY = "adloom train adapter"


def learn_adapter(
    job: Job, course: Course, style_course: Course, advertisers: Sequence[str], tell: Callable[[str, int, int], None]
) -> str:
    """Trains an adapter on all impressions that may be learned from and puts it in use; returns its version.

    Checkpoints stay in `models/adapter.training/<hash of the command>` until the training is finished.

    Args:
        job: its settings name the checkpoint, the side and the template of prompts.
        course: of the users' lesson; style_course: of each style's.
        advertisers: to learn a style of.
        tell: told after every step.

    Raises:
        DataError: no such advertiser, no pictures, no clicks.
        ModelError, SettingsError: the checkpoint is missing or unfit.
    """
    known = job.settings.stable_diffusion
    pretrained = load_checkpoint(job, device=device_of(job))
    with admitted_for_now(job) as tables:
        events, concepts = read_table(tables, "events"), read_table(tables, "concepts")
        space, _ = choose_space(job.models, events, events, concepts, job.settings.features, made_by=MADE_BY)
        side, split = known.side or pretrained.side, f"all of {job.data.name}"
        prepared = prepare_examples(
            job.data, tables, space, job.settings.features, side=side, before=None, split=split
        )  # fmt: skip
    examples = prepared.examples
    styles = pictures_of(concepts, examples.picture_concept, advertisers)
    prompts = tuple(
        concept_prompt(known.prompt, topics=row["topics"], headline=row["headline"][0], advertiser=row["advertiser"])
        for row in concepts.iter_rows(named=True)
    )
    command = digest_of(
        {"data": str(job.data.resolve()), "space": space.hash, "checkpoint": pretrained.weights_hash, "side": side,
         "courses": [repr(course), repr(style_course)], "advertisers": list(advertisers)}
    )  # fmt: skip
    folder = job.models / "adapter.training" / command[:12]
    folder.mkdir(parents=True, exist_ok=True)
    write_examples(examples, folder / "examples.safetensors")
    adapter = teach_adapter(
        pretrained, folder / "examples.safetensors", prompts, folder, course, styles=styles, style_course=style_course, tell=tell
    )  # fmt: skip
    adapter = replace(adapter, made_from={**adapter.made_from, "side": side, "prompt": known.prompt})
    version = adapter.weights_hash[:12]

    def save(to: Path) -> None:
        save_adapter(adapter, to)

    return keep_version(job.models, "adapter", version, save, made_by=MADE_BY).name


def pictures_of(
    concepts: pl.DataFrame, picture_concept: npt.NDArray[np.int32], advertisers: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Which pictures are whose. Raises DataError for a name that no concept has."""
    owners = concepts["advertiser"].to_numpy()
    unknown = [name for name in advertisers if name not in set(owners)]
    if unknown:
        raise DataError("no such advertiser in concepts", where=f"advertiser {unknown[0]}", fix="Check the spelling.")
    return {name: np.flatnonzero(owners[picture_concept] == name) for name in advertisers}
