"""Turns a generator and a training file into a generator that paints in few steps: the student's weights, or the GAN's.

Only the network is another one, and the student's decoder, which is slimmer. Encoder, prior and sketches stay the flow's, so that
latents, looks and sketches mean the same, and the taste that was fitted beside the flow serves all ways to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from contracts.errors import ModelError
from generators.examples import read_examples
from generators.painting.codec import REDUCTION
from generators.painting.devices import fastest_precision, find_device
from generators.painting.weights import load_weights, save_weights
from generators.training.curriculum import TrainResult, source_of
from generators.training.few_steps import STUDENT, FewStepsLesson, Game, Players
from generators.training.lessons import Studies
from generators.training.slim import DecoderLesson, with_decoder
from generators.training.training import Progress, Schedule, train


def schedule_of(game: Game = STUDENT, *, steps: int = 800, learning_rate: float = 2e-4, **changes: Any) -> Schedule:
    """How long and how fast; a student's usual is about half an hour on one CPU core without AVX-512.

    Against a discriminator a painter moves slowly, and it twenty times as fast (ADR 37), both without momentum.

    Args:
        game: the student's or the GAN's.
        steps, learning_rate, changes: fields of `Schedule`.
    """
    usual: dict[str, Any] = {"warmup_steps": min(20, steps // 4), "momentum": 0.5, "weight_decay": 0.0, "ema": 0.99}
    if game.realism:
        usual |= {"warmup_steps": min(100, steps // 4), "momentum": 0.0, "ema": 0.995, "clip_norm": 100.0}
        usual |= {"paces": {"discriminator": 20.0}}
    return Schedule(**{"checkpoint_every": 100, **usual, **changes, "steps": steps, "learning_rate": learning_rate})


DECODER_STEPS = 3000
"""Of a student's decoder; a quarter of a second each on one CPU core."""


def decoder_schedule(schedule: Schedule, steps: int) -> Schedule:
    """How a student's decoder is taught: with the rows, the seed and the machine of the student itself."""
    own = {"steps", "learning_rate", "warmup_steps", "momentum", "weight_decay", "ema"}
    same = schedule.model_dump(exclude=own)
    usual: dict[str, Any] = {
        "learning_rate": 1.5e-3,
        "warmup_steps": min(100, steps // 4),
        "weight_decay": 1e-4,
        "ema": 0.995,
    }
    return Schedule(**same, steps=steps, **usual)


def shorten(
    examples_file: Path,
    folder: Path,
    game: Game,
    schedule: Schedule,
    progress: Callable[[Progress], None] | None = None,
    *,
    flow: Path,
    decoder_steps: int = DECODER_STEPS,
) -> TrainResult:
    """Train a painter in few steps, or go on with the training that `folder` holds; leaves `weights/` in it.

    Args:
        examples_file: see `examples.py`.
        folder: made if it is not there.
        game: the student's or the GAN's.
        schedule: how.
        progress: called after every step.
        flow: the folder of the generator's weights, of the space of the examples.
        decoder_steps: of a slim decoder, where the game has one.

    Raises:
        DataError: the training file is unfit.
        ModelError: `folder` holds another training; `flow` is of another space, architecture or side; see `training.train`.
    """
    examples = read_examples(examples_file)
    start = load_weights(flow, space_hash=examples.space_hash)
    if examples.side != start.network.side * REDUCTION:
        what = f"paints scenes of {start.network.side * REDUCTION} pixels, not of {examples.side}"
        raise ModelError(what, where=str(flow), fix="Train the generator on these pictures first")
    source, device = source_of(examples_file), find_device(schedule.device)
    studies = Studies.prepare(examples, start.codec, start.prior)
    told: dict[str, Any] = {
        "seed": schedule.seed,
        "source": f"{source} {start.weights_hash}",
        "precision": fastest_precision(device) if schedule.precision == "auto" else schedule.precision,
    }
    codec, seconds, of_decoder = start.codec, 0.0, decoder_schedule(schedule, decoder_steps)
    if game.slim is not None:
        eyes = DecoderLesson(studies, start.codec, start.network, game.slim, **told)
        seen = train(eyes, folder / eyes.name, of_decoder, progress)
        codec, seconds = with_decoder(start.codec, game.slim, seen.module), seen.seconds
    lesson = FewStepsLesson(studies, start.codec, start.network, game, **told)
    done = train(lesson, folder / lesson.name, schedule, progress)
    assert isinstance(done.module, Players)
    made_from = {
        "way": game.name,
        "flow": start.weights_hash,
        "settings": schedule.model_dump(mode="json"),
        "decoder": None if game.slim is None else of_decoder.model_dump(mode="json"),
        "game": vars(game) | {"steps": list(game.steps)},
        "split": examples.split,
        "training": source,
    }
    weights_hash = save_weights(
        done.module.painter,
        codec,
        start.prior,
        start.sketchbook,
        folder / "weights",
        space_hash=start.space_hash,
        made_from=made_from,
    )
    return TrainResult(folder / "weights", weights_hash, done.loss, seconds + done.seconds)
