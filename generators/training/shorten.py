"""Turns a generator and a training file into a generator that paints in few steps: the student's weights, or the GAN's.

Only the network is another one. Codec, prior and sketches stay the flow's, so that latents, looks and sketches mean the same,
and the taste that was fitted beside the flow serves all ways to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.errors import ModelError
from generators.examples import read_examples
from generators.painting.codec import REDUCTION
from generators.painting.weights import load_weights, save_weights
from generators.training.curriculum import TrainResult, source_of
from generators.training.few_steps import FewStepsLesson, Game, Players
from generators.training.lessons import Studies
from generators.training.training import Progress, Schedule, train


def schedule_of(*, steps: int = 800, learning_rate: float = 2e-4, **changes: Any) -> Schedule:
    """How long and how fast; the usual is about half an hour on one CPU core without AVX-512.

    Args:
        steps, learning_rate, changes: fields of `Schedule`.
    """
    usual = {"warmup_steps": min(20, steps // 4), "momentum": 0.5, "weight_decay": 0.0, "ema": 0.99}
    return Schedule(**{"checkpoint_every": 100, **usual, **changes, "steps": steps, "learning_rate": learning_rate})


def shorten(
    examples_file: Path,
    folder: Path,
    game: Game,
    schedule: Schedule,
    progress: Callable[[Progress], None] | None = None,
    *,
    flow: Path,
) -> TrainResult:
    """Train a painter in few steps, or go on with the training that `folder` holds; leaves `weights/` in it.

    Args:
        examples_file: see `examples.py`.
        folder: made if it is not there.
        game: the student's or the GAN's.
        schedule: how.
        progress: called after every step.
        flow: the folder of the generator's weights, of the space of the examples.

    Raises:
        DataError: the training file is unfit.
        ModelError: `folder` holds another training; `flow` is of another space, architecture or side; see `training.train`.
    """
    examples = read_examples(examples_file)
    start = load_weights(flow, space_hash=examples.space_hash)
    if examples.side != start.network.side * REDUCTION:
        what = f"paints scenes of {start.network.side * REDUCTION} pixels, not of {examples.side}"
        raise ModelError(what, where=str(flow), fix="Train the generator on these pictures first")
    source = source_of(examples_file)
    lesson = FewStepsLesson(
        Studies.prepare(examples, start.codec, start.prior),
        start.codec,
        start.network,
        game,
        seed=schedule.seed,
        source=f"{source} {start.weights_hash}",
    )
    done = train(lesson, folder / lesson.name, schedule, progress)
    assert isinstance(done.module, Players)
    made_from = {
        "way": game.name,
        "flow": start.weights_hash,
        "settings": schedule.model_dump(mode="json"),
        "game": vars(game) | {"steps": list(game.steps)},
        "split": examples.split,
        "training": source,
    }
    weights_hash = save_weights(
        done.module.painter,
        start.codec,
        start.prior,
        start.sketchbook,
        folder / "weights",
        space_hash=start.space_hash,
        made_from=made_from,
    )
    return TrainResult(folder / "weights", weights_hash, done.loss, done.seconds)
