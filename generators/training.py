"""Turns a training file into generator weights: resumable, deterministic on one machine, watched by loss and pictures.

Everything random is drawn from (seed, step), so a run that was killed and is started again with the same command ends
in the same weights to the byte (same machine, same number of threads). The loss is in `network.scene_loss`; conditions
are dropped at random so that one network learns all the distributions that guidance needs.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field

from contracts.errors import ModelError
from contracts.seeds import seed_of
from generators.checkpoints import Checkpoint, Log, read_checkpoint, write_checkpoint
from generators.examples import Batch, ExampleBatches, Examples, read_examples
from generators.network import Condition, SceneNetwork, add_noise, draw_times, fastest_precision, scene_loss, time_shift
from generators.sheets import write_sheet
from generators.weights import load_weights, save_weights

SPACE_BOUND = ("condition.user.", "condition.concept.")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class NetworkShape(_Frozen):
    """The arguments of `SceneNetwork` that the training file does not decide."""

    patch: int = Field(default=4, ge=1, description="side of a patch in pixels")
    channels: tuple[int, ...] = Field(
        default=(128, 160), min_length=1, description="width of each level, multiples of 32"
    )
    layers: int = Field(default=1, ge=1, description="residual blocks per level")
    token_width: int = Field(default=128, ge=8, description="width of a condition token")
    prediction: Literal["picture", "velocity"] = Field(default="picture", description="what the UNet puts out")
    refine: int = Field(default=16, ge=0, description="width of the convolutions on full-size pixels; 0 for none")
    coarse: bool = Field(default=True, description="whether a small head adds the colour and light of large areas")
    even: bool = Field(default=True, description="whether user, concept and click start out equally loud")


class TrainConfig(_Frozen):
    """How to train. Defaults are for about 50 minutes on two CPU cores."""

    network: NetworkShape = NetworkShape()
    steps: int = Field(default=8000, ge=1, description="optimiser steps")
    rows: int = Field(default=16, ge=2, description="impressions in a batch")
    learning_rate: float = Field(
        default=5e-4, gt=0, description="at its height; linear warm-up, then half a cosine to 2 %"
    )
    warmup_steps: int = Field(default=200, ge=0, description="steps until the learning rate is reached")
    weight_decay: float = Field(default=0.01, ge=0, description="AdamW's")
    clip_norm: float = Field(default=1.0, gt=0, description="longest gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are the ones kept")
    clicked_share: float = Field(default=0.5, gt=0, lt=1, description="share of clicked impressions in a batch")
    time_spread: float = Field(default=1.4, gt=0, description="of the logit-normal times, in logits")
    drop_user: float = Field(default=0.15, ge=0, le=1, description="share of rows that forget the user only")
    drop_click: float = Field(default=0.15, ge=0, le=1, description="share of rows that forget the click only")
    drop_both: float = Field(default=0.1, ge=0, le=1, description="share of rows that forget user and click")
    drop_concept: float = Field(
        default=0.05, ge=0, le=1, description="share of rows that forget the concept, independently"
    )
    seed: int = Field(default=0, ge=0, description="of the first weights and of every draw")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: CUDA where there is one")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on CUDA and on CPUs with AMX tiles, else fp32"
    )
    checkpoint_every: int = Field(default=250, ge=1, description="steps between checkpoints")
    sheet_every: int = Field(default=500, ge=1, description="steps between sheets of pictures")
    log_every: int = Field(default=50, ge=1, description="steps between lines of losses.jsonl")
    guidance: float = Field(default=4.0, ge=0, description="of the pictures on the sheets")


@dataclass(frozen=True)
class Progress:
    """One finished step: its number from 1, of how many, its loss, and the mean seconds of a step so far."""

    step: int
    steps: int
    loss: float
    seconds_per_step: float


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind.

    Attributes:
        weights: folder for `weights.load_weights`.
        weights_hash: of those weights.
        steps: taken in all, those before a resumption included.
        loss: mean over the last tenth of the log.
        seconds: spent by this call.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
    """

    weights: Path
    weights_hash: str
    steps: int
    loss: float
    seconds: float
    device: str
    precision: str


def train(
    examples_file: Path,
    out_dir: Path,
    config: TrainConfig,
    progress: Callable[[Progress], None] | None = None,
    *,
    start_from: Path | None = None,
) -> TrainResult:
    """Train, or go on with the training that `out_dir` holds.

    Leaves in `out_dir`: `weights/`, `checkpoint.safetensors`, `losses.jsonl`, and `sheets/step-*.png`.

    Args:
        examples_file: see `examples.py`.
        out_dir: made if it is not there.
        config: how to train.
        progress: called after every step; what it raises stops the training (start again to resume).
        start_from: a folder of weights to set out from instead of random ones. If their space is another, the
            projections of users and concepts start afresh.

    Raises:
        DataError: the training file is unfit.
        ModelError: `out_dir` holds a training on other data or with other settings; `start_from` has another
            architecture; CUDA was asked for and there is none; the loss is no longer finite.
    """
    began = time.monotonic()
    examples = read_examples(examples_file)
    run = _Run(examples, config, _identity(examples_file, config, start_from), start_from)
    out_dir.mkdir(parents=True, exist_ok=True)
    saved = out_dir / "checkpoint.safetensors"
    first = run.restore(read_checkpoint(saved, run.identity)) if saved.is_file() else 0
    log = Log(out_dir / "losses.jsonl", keep=first)
    for step in range(first, config.steps):
        loss = run.step(step)
        if not math.isfinite(loss):
            raise ModelError(f"loss is {loss} at step {step + 1}", where=str(out_dir), fix="Lower the learning rate")
        if (step + 1) % config.log_every == 0 or step + 1 == config.steps:
            log.write(step + 1, run.take_mean_loss(), config_rate(config, step))
        if (step + 1) % config.checkpoint_every == 0 or step + 1 == config.steps:
            write_checkpoint(saved, run.checkpoint(step + 1))
        if (step + 1) % config.sheet_every == 0 or step + 1 == config.steps:
            sheet = out_dir / "sheets" / f"step-{step + 1:06d}.png"
            write_sheet(run.average, examples, sheet, weight=config.guidance, seed=config.seed, precision=run.precision)
        if progress is not None:
            progress(Progress(step + 1, config.steps, loss, (time.monotonic() - began) / (step + 1 - first)))
    made_from = {"settings": config.model_dump(mode="json"), "split": examples.split, "training": run.identity}
    weights_hash = save_weights(run.average, out_dir / "weights", space_hash=examples.space_hash, made_from=made_from)
    seconds = time.monotonic() - began
    return TrainResult(
        out_dir / "weights", weights_hash, config.steps, log.last_mean(), seconds, run.device, run.precision
    )


def new_network(examples: Examples, config: TrainConfig) -> SceneNetwork:
    """A network with random weights that depend on the seed alone, its inputs scaled to the vectors of `examples`."""
    shape = config.network.model_dump()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_of(config.seed, "first weights"))
        try:
            network: SceneNetwork = SceneNetwork(dimensions=examples.dimensions, side=examples.side, **shape)
        except ValueError as error:
            raise ModelError(str(error), where="network", fix="Change patch or channels") from error
    network.condition.user.fit(torch.from_numpy(examples.user_vectors))
    network.condition.concept.fit(torch.from_numpy(examples.concept_vectors))
    return network


def warm_start(network: SceneNetwork, folder: Path, space_hash: str) -> SceneNetwork:
    """`network` with the weights in `folder`, but for the projections of users and concepts if the space is another.

    Changes and returns `network`. Raises ModelError if the architecture is another.
    """
    start = load_weights(folder)
    same_space = start.space_hash == space_hash
    tensors = {n: t for n, t in start.network.state_dict().items() if same_space or not n.startswith(SPACE_BOUND)}
    own = network.state_dict()
    wrong = [n for n, t in tensors.items() if n not in own or own[n].shape != t.shape]
    wrong += [n for n in own if n not in tensors and not n.startswith(SPACE_BOUND)]
    if wrong:
        what = f"another architecture: {len(wrong)} tensors do not fit, the first is {wrong[0]}"
        raise ModelError(what, where=str(folder), fix="Train with the network settings in its config.json")
    network.load_state_dict(tensors, strict=False)
    return network


def config_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of a step (from 0): linear warm-up, then a cosine down to 2 % of the height."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def drop_conditions(batch: Batch, config: TrainConfig, generator: torch.Generator) -> Condition:
    """The condition of a batch with parts forgotten at random: user, click or both; and, independently, the concept."""
    rows = len(batch.click)
    lot, concept_lot = torch.rand(rows, generator=generator), torch.rand(rows, generator=generator)
    both = lot < config.drop_both
    user = (lot >= config.drop_both) & (lot < config.drop_both + config.drop_user)
    click = (lot >= config.drop_both + config.drop_user) & (
        lot < config.drop_both + config.drop_user + config.drop_click
    )
    return Condition(
        user=batch.user,
        concept=batch.concept,
        click=torch.where(both | click, 0, batch.click),
        has_user=~(both | user),
        has_concept=concept_lot >= config.drop_concept,
    )


class _Run:
    """The moving parts of a training: network, average, optimiser."""

    def __init__(self, examples: Examples, config: TrainConfig, identity: str, start_from: Path | None) -> None:
        self.config, self.identity = config, identity
        self.device = _device(config.device)
        self.precision = fastest_precision(self.device) if config.precision == "auto" else config.precision
        self.batches = ExampleBatches(examples, rows=config.rows, seed=config.seed, clicked_share=config.clicked_share)
        network = new_network(examples, config)
        if start_from is not None:
            network = warm_start(network, start_from, examples.space_hash)
        self.average = new_network(examples, config).to(self.device).requires_grad_(False).eval()
        self.average.load_state_dict(network.state_dict())
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )
        self.accelerator = Accelerator(
            cpu=self.device == "cpu", mixed_precision="bf16" if self.precision == "bf16" else "no"
        )
        self.network, self.optimiser = self.accelerator.prepare(network.train(), optimiser)
        self.losses: list[float] = []

    def step(self, step: int) -> float:
        """Take one optimiser step; returns its loss."""
        config = self.config
        batch = self.batches.batch(step)
        generator = torch.Generator().manual_seed(seed_of(config.seed, "noise", step))
        noise = torch.randn(batch.picture.shape, generator=generator)
        shift = time_shift(self.batches.examples.side)
        times = draw_times(config.rows, generator, shift=shift, spread=config.time_spread)
        condition = drop_conditions(batch, config, generator).to(self.device)
        picture, mask, noise, times = (x.to(self.device) for x in (batch.picture, batch.mask, noise, times))
        velocity = self.network(add_noise(picture, noise, times), times, picture, mask, condition)
        loss = scene_loss(velocity.float(), picture, noise, mask)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = config_rate(config, step)
        self.optimiser.step()
        self.optimiser.zero_grad()
        decay = min(config.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, weight in zip(self.average.parameters(), self._plain().parameters(), strict=True):
                average.lerp_(weight, 1 - decay)
        self.losses.append(float(loss.detach()))
        return self.losses[-1]

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

    def _plain(self) -> SceneNetwork:
        plain: SceneNetwork = cast(Any, self.accelerator).unwrap_model(self.network)
        return plain


def _device(wish: str) -> str:
    """ "cpu" or "cuda"."""
    available = torch.cuda.is_available()
    if wish == "cuda" and not available:
        raise ModelError("no CUDA device", where="device", fix="Use device auto or cpu")
    return "cuda" if available and wish != "cpu" else "cpu"


def _identity(examples_file: Path, config: TrainConfig, start_from: Path | None) -> str:
    """SHA-256 of what decides the result: the training file, the settings and the first weights."""
    ignored = {"device", "precision", "checkpoint_every", "sheet_every", "guidance"}
    digest = hashlib.sha256(json.dumps(config.model_dump(mode="json", exclude=ignored), sort_keys=True).encode())
    with examples_file.open("rb") as opened:
        digest.update(hashlib.file_digest(opened, "sha256").digest())
    if start_from is not None:
        digest.update(load_weights(start_from).weights_hash.encode())
    return digest.hexdigest()
