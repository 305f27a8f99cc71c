"""Turns a lesson (what to learn, from what) into trained weights: resumable, deterministic on one machine, watched.

Everything random is drawn from (seed, step), so a training that was killed and is started again with the same command
ends in the same weights to the byte (same machine, same number of threads). The lessons are in generators/training/lessons.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from contracts.errors import ModelError
from generators.painting.devices import Precision, fastest_precision, find_device, is_out_of_memory
from generators.sheets import save_sheet
from generators.training.checkpoints import Checkpoint, Log, read_checkpoint, write_checkpoint

log = logging.getLogger("adloom")


class Frozen(BaseModel):
    """Settings that cannot be changed, and know their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Schedule(Frozen):
    """How long and how fast to train one lesson, and what to keep on the way."""

    steps: int = Field(default=2400, ge=1, description="optimiser steps")
    rows: int = Field(default=16, ge=2, description="rows in a batch, of each process")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    learning_rate: float = Field(
        default=8e-4, gt=0, description="at its height; linear warm-up, then half a cosine to 2 %"
    )
    paces: dict[str, float] = Field(
        default={}, description="multiples of the learning rate, by the part of the module; 1 where it is not named"
    )
    warmup_steps: int = Field(default=150, ge=0, description="steps until the learning rate is reached")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="AdamW's first beta; less where two networks play")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    clip_norm: float = Field(default=1.0, gt=0, description="longest gradient")
    ema: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept")
    seed: int = Field(default=0, ge=0, description="of the first weights and of every draw")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on CUDA and on CPUs with AMX tiles, else fp32"
    )
    checkpoint_every: int = Field(default=250, ge=1, description="steps between checkpoints")
    sheet_every: int = Field(default=500, ge=1, description="steps between sheets of pictures")
    log_every: int = Field(default=50, ge=1, description="steps between lines of losses.jsonl")


class Lesson(Protocol):
    """What a training learns.

    Attributes:
        name: of its folder and of its progress.
        identity: what decides the result besides the schedule, as text; another identity cannot be resumed.
    """

    name: str
    identity: str

    def student(self) -> nn.Module:
        """The module to train, with its first weights."""

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """The loss of one batch, a scalar on the device of the module; random draws depend on `step` alone."""

    def sheet(self, module: nn.Module) -> Tensor | None:
        """Pictures to look at, uint8 (rows, columns, S, S, 3), made by the averaged weights; None: nothing to see."""


@dataclass(frozen=True)
class Progress:
    """One finished step: of which lesson, its number from 1, of how many, its loss, and the mean seconds of a step."""

    lesson: str
    step: int
    steps: int
    loss: float
    seconds_per_step: float


@dataclass(frozen=True)
class Trained:
    """What a lesson left behind: the averaged weights on the CPU, the mean loss over the last tenth of the log, and the
    seconds that this call spent."""

    module: nn.Module
    loss: float
    seconds: float


def train(
    lesson: Lesson, folder: Path, schedule: Schedule, progress: Callable[[Progress], None] | None = None
) -> Trained:
    """Train, or go on with the training that `folder` holds.

    Leaves in `folder`: `checkpoint.safetensors`, `losses.jsonl`, `sheets/step-*.png`, and, where TensorBoard is installed,
    `tensorboard/`.

    Args:
        lesson: what to learn.
        folder: made if it is not there.
        schedule: how.
        progress: called after every step; what it raises stops the training (start again to resume).

    Raises:
        ModelError: `folder` holds another training; CUDA was asked for and there is none; the loss is no longer finite.
    """
    began = time.monotonic()
    run = _Run(lesson, schedule)
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / "checkpoint.safetensors"
    first = run.restore(read_checkpoint(saved, run.identity)) if saved.is_file() else 0
    losses = Log(folder / "losses.jsonl", keep=first)
    board = _board(folder / "tensorboard", first)
    for step in range(first, schedule.steps):
        loss = run.step(step)
        if not math.isfinite(loss):
            raise ModelError(f"loss is {loss} at step {step + 1}", where=str(folder), fix="Lower the learning rate")
        last = step + 1 == schedule.steps
        if (step + 1) % schedule.log_every == 0 or last:
            mean, rate = run.take_mean_loss(), learning_rate(schedule, step)
            losses.write(step + 1, mean, rate)
            board("loss", mean, step + 1)
            board("learning rate", rate, step + 1)
        if (step + 1) % schedule.checkpoint_every == 0 or last:
            write_checkpoint(saved, run.checkpoint(step + 1))
        if ((step + 1) % schedule.sheet_every == 0 or last) and (sheet := lesson.sheet(run.average)) is not None:
            save_sheet(sheet, folder / "sheets" / f"step-{step + 1:06d}.png")
            board("pictures", sheet, step + 1)
        if progress is not None:
            seconds = (time.monotonic() - began) / (step + 1 - first)
            progress(Progress(lesson.name, step + 1, schedule.steps, loss, seconds))
    return Trained(run.average.cpu(), losses.last_mean(), time.monotonic() - began)


def learning_rate(schedule: Schedule, step: int) -> float:
    """The learning rate of a step (from 0): linear warm-up, then a cosine down to 2 % of the height."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(schedule.steps - schedule.warmup_steps, 1)
    return schedule.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


class _Run:
    """The moving parts of a training: module, average, optimiser."""

    def __init__(self, lesson: Lesson, schedule: Schedule) -> None:
        self.lesson, self.schedule = lesson, schedule
        self.device = find_device(schedule.device)
        wish = schedule.precision
        precision: Precision = fastest_precision(self.device) if wish == "auto" else wish
        ignored = {"device", "precision", "checkpoint_every", "sheet_every", "log_every"}
        decided = json.dumps(schedule.model_dump(mode="json", exclude=ignored), sort_keys=True)
        self.identity = hashlib.sha256(f"{lesson.name}\n{lesson.identity}\n{decided}".encode()).hexdigest()
        module = lesson.student()
        self.average = lesson.student().to(self.device).requires_grad_(False).eval()
        optimiser = torch.optim.AdamW(
            _groups(module, schedule),
            lr=schedule.learning_rate,
            betas=(schedule.momentum, 0.99),
            weight_decay=schedule.weight_decay,
        )
        self.accelerator = Accelerator(
            cpu=self.device == "cpu", mixed_precision="bf16" if precision == "bf16" else "no"
        )
        self.module, self.optimiser = self.accelerator.prepare(module.train(), optimiser)
        self.losses: list[float] = []
        self.split = 1

    def step(self, step: int) -> float:
        """Take one optimiser step; returns its loss. Each process of several draws batches of its own.

        When the GPU's memory runs out, the step is taken again from twice as many batches of half the rows, and so is every later one.
        """
        schedule = self.schedule
        total = self._gradients(step)
        while total is None:
            self._split(step)
            total = self._gradients(step)
        self.accelerator.clip_grad_norm_(self.module.parameters(), schedule.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(schedule, step) * group["pace"]
        self.optimiser.step()
        self.optimiser.zero_grad()
        decay = min(schedule.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self._plain().parameters(), strict=True):
                average.lerp_(weight, 1 - decay)
        self.losses.append(total)
        return total

    def _gradients(self, step: int) -> float | None:
        """Gradients of a step, and its loss; None when the GPU's memory ran out. The error goes with this call, and all that it holds."""
        processes, parts = self.accelerator.num_processes, self.schedule.accumulate * self.split
        total = 0.0
        try:
            for part in range(parts):
                number = (step * parts + part) * processes + self.accelerator.process_index
                loss = self.lesson.loss(self.module, number, self.schedule.rows // self.split) / parts
                self.accelerator.backward(loss)
                total += float(loss.detach())
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            raise
        return total

    def _split(self, step: int) -> None:
        rows, where = self.schedule.rows // self.split, f"{self.lesson.name}, step {step + 1}"
        if rows < 4 or self.accelerator.num_processes > 1:  # one process alone cannot change what all of them do
            fix = "Train with fewer rows in a batch and more accumulation, on a larger GPU, or on the processor: device = cpu"
            raise ModelError(f"the GPU's memory does not suffice for a batch of {rows}", where=where, fix=fix)
        self.split *= 2
        self.optimiser.zero_grad()
        torch.cuda.empty_cache()
        told = "%s: the GPU's memory does not suffice for a batch of %d; going on with %d batches of %d for each step"
        log.warning(told, where, rows, self.schedule.accumulate * self.split, self.schedule.rows // self.split)

    def take_mean_loss(self) -> float:
        """Mean loss since the last call."""
        mean = math.fsum(self.losses) / len(self.losses)
        self.losses = []
        return mean

    def checkpoint(self, step: int) -> Checkpoint:
        """Everything that the next step depends on."""
        names = [name for name, _ in self._plain().named_parameters()]
        moments = self.optimiser.state_dict()["state"]
        tensors = {f"network.{n}": t for n, t in self._plain().state_dict().items()}
        tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        for index, name in enumerate(names):
            tensors |= {f"{kind}.{name}": moments[index][kind] for kind in ("exp_avg", "exp_avg_sq", "step")}
        return Checkpoint(step, self.identity, tuple(self.losses), tensors)

    def restore(self, saved: Checkpoint) -> int:
        """Go back to a checkpoint; returns the number of steps it had taken."""
        part = saved.part
        self._plain().load_state_dict(part("network"))
        self.average.load_state_dict(part("average"))
        names = [name for name, _ in self._plain().named_parameters()]
        kinds = {kind: part(kind) for kind in ("exp_avg", "exp_avg_sq", "step")}
        state = {index: {kind: kinds[kind][name] for kind in kinds} for index, name in enumerate(names)}
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
        self.losses = list(saved.losses)
        return saved.step

    def _plain(self) -> nn.Module:
        plain: nn.Module = cast(Any, self.accelerator).unwrap_model(self.module)
        return plain


def _groups(module: nn.Module, schedule: Schedule) -> list[dict[str, Any]]:
    """Parameters in the module's order, together where they go at one pace."""
    paced = groupby(module.named_parameters(), key=lambda named: schedule.paces.get(named[0].partition(".")[0], 1.0))
    return [{"params": [weight for _, weight in named], "pace": pace} for pace, named in paced]


def _board(folder: Path, first: int) -> Callable[[str, float | Tensor, int], None]:
    """Writes a number or a sheet for TensorBoard; does nothing where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        return lambda name, value, step: None
    writer: Any = SummaryWriter(folder, purge_step=first + 1)

    def write(name: str, value: float | Tensor, step: int) -> None:
        if isinstance(value, Tensor):
            rows, columns, side = value.shape[:3]
            whole = value.permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, 3)
            writer.add_image(name, whole.numpy(), step, dataformats="HWC")
        else:
            writer.add_scalar(name, value, step)
        writer.flush()

    return write
