"""Turns lessons on a frozen checkpoint into an adapter with styles: resumable, deterministic on one machine.

Everything random is drawn from (seed, step), so a training that was killed and is started again with the same command
ends in the same weights to the byte (same machine, same number of threads).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator

from contracts.errors import ModelError
from contracts.store import file_hash
from generators.examples import read_examples
from generators.painting.adapter import Adapter, new_adapter, plug_in
from generators.painting.pretrained import Pretrained
from generators.training.adapter_lessons import Grafted, StyleLesson, UserLesson, study
from generators.training.checkpoints import Checkpoint, Log, read_checkpoint, write_checkpoint

Tell = Callable[[str, int, int], None]
"""Told the name of a lesson, the steps taken and the steps in all."""


@dataclass(frozen=True)
class Course:
    """How long and how fast one lesson is taught.

    Attributes:
        steps: of the optimiser. rows: in a batch. accumulate: batches whose gradients make one step.
        learning_rate: at its height; linear warm-up over warmup_steps, then half a cosine to 2 %.
        weight_decay: AdamW's. clip_norm: longest gradient.
        seed: of every draw.
        checkpoint_every: steps between checkpoints.
        spare_memory: compute activations twice instead of keeping them.
    """

    steps: int = 2000
    rows: int = 8
    accumulate: int = 1
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 0
    checkpoint_every: int = 250
    spare_memory: bool = False

    @property
    def identity(self) -> str:
        """All that decides the result."""
        return repr(replace(self, checkpoint_every=0))


def teach_adapter(
    pretrained: Pretrained,
    examples_file: Path,
    prompts: tuple[str, ...],
    folder: Path,
    course: Course,
    *,
    styles: Mapping[str, npt.NDArray[np.int64]] | None = None,
    style_course: Course | None = None,
    tell: Tell = lambda name, step, steps: None,
) -> Adapter:
    """Teach an adapter, and a style for each advertiser; or go on with the training that `folder` holds.

    Args:
        pretrained: the checkpoint, without an adapter; it is left with the taught one.
        examples_file: see generators/examples.py; its pictures have the side to train at.
        prompts: of each concept of the file.
        folder: of checkpoints and logs, made if it is not there.
        course: of the users' lesson.
        styles: by advertiser, which pictures of the file are theirs.
        style_course: of each style's lesson.
        tell: told after every step; what it raises stops the training (start again to resume).

    Raises:
        DataError: the training file is unfit; an advertiser has no pictures.
        ModelError: `folder` holds another training; the loss is no longer finite.
    """
    examples = read_examples(examples_file)
    source = hashlib.sha256(f"{file_hash(examples_file)} {prompts}".encode()).hexdigest()
    adapter = new_adapter(
        pretrained.pipeline.unet, examples.user_vectors, space_hash=examples.space_hash,
        checkpoint_hash=pretrained.weights_hash, seed=course.seed,
    )  # fmt: skip
    studies = study(pretrained, examples, prompts)
    plug_in(pretrained.pipeline, adapter)
    users = UserLesson(pretrained, adapter, studies, examples, source=source, seed=course.seed)
    module = teach(users, folder / "users", course, tell)
    made_from = {"checkpoint": pretrained.name, "split": examples.split, "course": repr(course)}
    adapter = replace(adapter, tensors=users.learned(module), made_from=made_from)
    learned: dict[str, Mapping[str, torch.Tensor]] = {}
    chosen = style_course or course
    for advertiser, pictures in (styles or {}).items():
        lesson = StyleLesson(
            pretrained, adapter, studies, pictures=pictures, concepts=examples.picture_concept, advertiser=advertiser,
            source=source, seed=chosen.seed,
        )  # fmt: skip
        place = folder / f"style-{hashlib.sha256(advertiser.encode()).hexdigest()[:12]}"
        learned[advertiser] = lesson.learned(teach(lesson, place, chosen, tell))
    return replace(adapter, styles=learned)


def teach(lesson: UserLesson | StyleLesson, folder: Path, course: Course, tell: Tell) -> Grafted:
    """Teach one lesson, or go on with it; leaves `checkpoint.safetensors` and `losses.jsonl` in `folder`.

    Raises:
        ModelError: `folder` holds another training; the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(lesson, course)
    saved = folder / "checkpoint.safetensors"
    first = run.restore(read_checkpoint(saved, run.identity)) if saved.is_file() else 0
    log = Log(folder / "losses.jsonl", keep=first)
    for step in range(first, course.steps):
        loss = run.step(step)
        if not math.isfinite(loss):
            raise ModelError(f"loss is {loss} at step {step + 1}", where=str(folder), fix="Lower the learning rate")
        log.write(step + 1, loss, learning_rate(course, step))
        if (step + 1) % course.checkpoint_every == 0 or step + 1 == course.steps:
            write_checkpoint(saved, run.checkpoint(step + 1))
        tell(lesson.name, step + 1, course.steps)
    return run.plain


def learning_rate(course: Course, step: int) -> float:
    """The learning rate of a step (from 0): linear warm-up, then a cosine down to 2 % of the height."""
    if step < course.warmup_steps:
        return course.learning_rate * (step + 1) / course.warmup_steps
    done = (step - course.warmup_steps) / max(course.steps - course.warmup_steps, 1)
    return course.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


class _Run:
    """The moving parts: the grafted parameters and their optimiser."""

    def __init__(self, lesson: UserLesson | StyleLesson, course: Course) -> None:
        self.lesson, self.course = lesson, course
        self.identity = hashlib.sha256(f"{lesson.name}\n{lesson.identity}\n{course.identity}".encode()).hexdigest()
        unet = lesson.unet
        unet.requires_grad_(False)
        self.plain = lesson.student().train()
        if course.spare_memory:
            unet.enable_gradient_checkpointing()
        optimiser = torch.optim.AdamW(
            self.plain.parameters(), lr=course.learning_rate, weight_decay=course.weight_decay
        )
        on_cpu = unet.device.type == "cpu"
        mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(unet.dtype, "no")
        self.accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed)
        self.module, self.optimiser = self.accelerator.prepare(self.plain, optimiser)

    def step(self, step: int) -> float:
        """Take one optimiser step; returns its loss. Each process of several draws batches of its own."""
        course, processes = self.course, self.accelerator.num_processes
        total = 0.0
        for part in range(course.accumulate):
            number = (step * course.accumulate + part) * processes + self.accelerator.process_index
            loss = self.lesson.loss(self.module, number, course.rows) / course.accumulate
            self.accelerator.backward(loss)
            total += float(loss.detach())
        self.accelerator.clip_grad_norm_(self.plain.parameters(), course.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(course, step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        return total

    def checkpoint(self, step: int) -> Checkpoint:
        """Everything that the next step depends on."""
        moments = self.optimiser.state_dict()["state"]
        tensors = {f"network.{name}": tensor for name, tensor in self.plain.state_dict().items()}
        for index, (name, _) in enumerate(self.plain.named_parameters()):
            tensors |= {f"{kind}.{name}": moments[index][kind] for kind in _MOMENTS}
        return Checkpoint(step, self.identity, (), tensors)

    def restore(self, saved: Checkpoint) -> int:
        """Go back to a checkpoint; returns the number of steps it had taken."""
        self.plain.load_state_dict(saved.part("network"))
        kinds: dict[str, Any] = {kind: saved.part(kind) for kind in _MOMENTS}
        names = [name for name, _ in self.plain.named_parameters()]
        state = {index: {kind: kinds[kind][name] for kind in kinds} for index, name in enumerate(names)}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        return saved.step


_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
