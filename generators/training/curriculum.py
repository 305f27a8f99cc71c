"""Turns a training file into generator weights: first the codec of scenes, then the prior of looks, then the flow.

    codec   scenes to latents and back                       a quarter of an hour on one CPU core
    prior   how logged pictures look, given their product    seconds, in closed form
    flow    latents of a scene, given look and concept       the rest

Each lesson has a folder of its own and goes on where it was stopped; the finished weights depend on the training file,
the settings and the weights set out from alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from generators.examples import read_examples
from generators.painting.codec import SceneCodec
from generators.painting.network import SceneNetwork
from generators.painting.weights import load_weights, save_weights
from generators.training.lessons import CodecLesson, FlowLesson, Studies, fit_prior, some_scenes
from generators.training.training import Frozen, Progress, Schedule, train


class Curriculum(Frozen):
    """How to train a generator. Defaults take about half an hour on two CPU cores without AVX-512."""

    codec: Schedule = Schedule(
        steps=1500, rows=12, learning_rate=1.5e-3, warmup_steps=100, weight_decay=1e-4, ema=0.995
    )
    flow: Schedule = Schedule()
    channels: tuple[int, ...] = Field(
        default=(64, 128), min_length=1, description="width of each level of a flow that sets out from nothing"
    )
    codec_again: int = Field(
        default=0, ge=0, description="steps that a codec set out from goes on learning, at half the rate; 0: it stays"
    )

    def for_codec(self, again: bool) -> Schedule:
        """How a codec is taught: from nothing, or again."""
        if not again:
            return self.codec
        steps = self.codec_again
        less = {"learning_rate": self.codec.learning_rate / 2, "warmup_steps": min(self.codec.warmup_steps, steps // 4)}
        return self.codec.model_copy(update={"steps": steps, **less})


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind: the folder for `weights.load_weights`, the weights' hash, the flow's mean loss over
    the last tenth of its log, and the seconds spent by this call."""

    weights: Path
    weights_hash: str
    loss: float
    seconds: float


def teach(
    examples_file: Path,
    folder: Path,
    curriculum: Curriculum,
    progress: Callable[[Progress], None] | None = None,
    *,
    start_from: Path | None = None,
) -> TrainResult:
    """Train a generator, or go on with the training that `folder` holds; leaves `weights/` in it.

    Args:
        examples_file: see `examples.py`; the side of its pictures is a multiple of 16.
        folder: made if it is not there.
        curriculum: how.
        progress: called after every step.
        start_from: a folder of weights to set out from. Their codec is kept as it is, unless the curriculum teaches it again, and
            their flow sets out with its weights, but for what reads concepts if the space is another, and with its width.

    Raises:
        DataError: the training file is unfit.
        ModelError: `folder` holds another training, or `start_from` no fit weights; see `training.train`.
    """
    examples = read_examples(examples_file)
    source = source_of(examples_file)
    start = None if start_from is None else load_weights(start_from)
    seconds = 0.0
    if start is None or curriculum.codec_again:
        known = None if start is None else start.codec
        lesson = CodecLesson(examples, seed=curriculum.codec.seed, source=source, start=known)
        learned = train(lesson, folder / lesson.name, curriculum.for_codec(known is not None), progress)
        codec, seconds = learned.module, learned.seconds
        assert isinstance(codec, SceneCodec)
        codec.fit(some_scenes(examples))
    else:
        codec = start.codec
    prior = fit_prior(examples)
    studies = Studies.prepare(examples, codec, prior)
    flow = FlowLesson(
        studies,
        codec,
        seed=curriculum.flow.seed,
        source=source,
        channels=curriculum.channels if start is None else start.network.channels,
        start=None if start is None else start.network,
        same_space=start is not None and start.space_hash == examples.space_hash,
    )
    done = train(flow, folder / flow.name, curriculum.flow, progress)
    assert isinstance(done.module, SceneNetwork)
    made_from = {"settings": curriculum.model_dump(mode="json"), "split": examples.split, "training": source}
    weights_hash = save_weights(
        done.module,
        codec,
        prior,
        studies.sketchbook(),
        folder / "weights",
        space_hash=examples.space_hash,
        made_from=made_from,
    )
    return TrainResult(folder / "weights", weights_hash, done.loss, seconds + done.seconds)


def source_of(examples_file: Path) -> str:
    """SHA-256 of a training file."""
    with examples_file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
