"""Turns a data folder into a new space or a new generator, outside any run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from contracts.settings import Settings
from contracts.store import digest_of
from features.space import fit_space
from flows.choose_models import any_generator, choose_space, keep_version
from flows.prepare_examples import prepare_examples
from flows.train_generator import SIDE, train_version
from generators.training import Progress, TrainConfig
from sources.intake import read_folder


def learn_space(data: Path, settings: Settings, models: Path) -> str:
    """Fits a space on all events of a data folder and puts it in use; returns its version."""
    intake = read_folder(data, max_rejected_share=settings.sources.max_rejected_share)
    space = fit_space(
        intake.consented()["events"],
        dimensions=settings.features.dimensions,
        window=settings.features.covisit_window,
        action_weights=settings.features.action_weights,
    )
    return keep_version(models, "space", space.hash[:12], space.save, made_by="adloom train space").name


def learn_generator(
    data: Path,
    settings: Settings,
    models: Path,
    config: TrainConfig,
    *,
    from_scratch: bool,
    tell: Callable[[str, int, int], None],
) -> str:
    """Trains a generator on all impressions of a data folder and puts it in use; returns its version.

    Checkpoints stay in `models/generator.training/<hash of the command>` until the training is finished.
    """
    intake = read_folder(data, max_rejected_share=settings.sources.max_rejected_share)
    tables = intake.consented()
    space, _ = choose_space(
        models, tables["events"], tables["events"], settings.features, made_by="adloom train generator"
    )
    with tempfile.TemporaryDirectory() as name:
        for table, frame in tables.items():
            frame.write_parquet(Path(name) / f"{table}.parquet")
        examples = prepare_examples(
            data, Path(name), space, settings.features, side=SIDE, before=None, split=f"all of {data.name}"
        )
    command = digest_of({"data": str(data.resolve()), "space": space.hash, "config": config.model_dump(mode="json")})

    def told(progress: Progress) -> None:
        tell(f"training, loss {progress.loss:.3f}", progress.step, progress.steps)

    return train_version(
        examples,
        models / "generator.training" / command[:12],
        models,
        config,
        made_by="adloom train generator",
        start_from=None if from_scratch else any_generator(models),
        tell=told,
    ).name
