"""A training that was killed ends in the same bytes; another training cannot go on from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from contracts.errors import ModelError
from generators.training.training import Progress, Schedule, Trained, learning_rate, train


@dataclass
class Slope:
    """A lesson: learn three numbers from noisy products with them."""

    name: str = "slope"
    identity: str = "of the tests"
    truth: tuple[float, ...] = (1.0, -2.0, 0.5)

    def student(self) -> nn.Linear:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(3)
            return nn.Linear(3, 1)

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        lot = torch.Generator().manual_seed(step)
        inputs = torch.randn(rows, 3, generator=lot)
        wanted = inputs @ torch.tensor(self.truth)[:, None] + 0.01 * torch.randn(rows, 1, generator=lot)
        error: Tensor = (module(inputs) - wanted).square().mean()
        return error

    def sheet(self, module: nn.Module) -> Tensor | None:
        return torch.full((2, 3, 8, 8, 3), 7, dtype=torch.uint8)


def short(**changes: Any) -> Schedule:
    usual: dict[str, Any] = {
        "steps": 7, "rows": 4, "warmup_steps": 2, "checkpoint_every": 2, "sheet_every": 100, "log_every": 3,
        "learning_rate": 0.05, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    return Schedule(**(usual | changes))


class KilledError(Exception):
    pass


def kill_after(step: int) -> Any:
    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise KilledError

    return tell


def weights(trained: Trained) -> list[float]:
    return [float(value) for tensor in trained.module.state_dict().values() for value in tensor.flatten()]


def test_a_killed_training_ends_in_the_same_bytes(tmp_path: Path) -> None:
    straight = train(Slope(), tmp_path / "straight", short())
    for step in (3, 5):
        with pytest.raises(KilledError):
            train(Slope(), tmp_path / "killed", short(), kill_after(step))
    resumed = train(Slope(), tmp_path / "killed", short())
    assert weights(resumed) == weights(straight)
    for name in ("losses.jsonl", "checkpoint.safetensors", "sheets/step-000007.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    assert resumed.loss == straight.loss
    again = train(Slope(), tmp_path / "killed", short())  # a finished one has nothing to do
    assert weights(again) == weights(straight)


def test_batches_whose_gradients_are_added_up_make_the_step_of_one_large_batch(tmp_path: Path) -> None:
    class Parts(Slope):
        def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
            whole = torch.arange(24, dtype=torch.float32).reshape(8, 3) / 10
            part = whole if rows == 8 else whole[4 * (step % 2) : 4 * (step % 2) + 4]
            error: Tensor = (module(part) - part.sum(1, keepdim=True)).square().mean()
            return error

    one = train(Parts(), tmp_path / "one", short(rows=8, steps=3))
    added = train(Parts(), tmp_path / "added", short(rows=4, accumulate=2, steps=3))
    assert weights(added) == pytest.approx(weights(one), abs=1e-5)


def test_a_part_goes_at_its_own_pace_after_a_kill_too(tmp_path: Path) -> None:
    schedule = short(paces={"bias": 0.5}, weight_decay=0.0, warmup_steps=0, ema=0.0, steps=1)
    first, done = Slope().student().state_dict(), train(Slope(), tmp_path / "one", schedule).module.state_dict()
    moved = {
        name: float((done[name] - first[name]).abs().max()) for name in first
    }  # Adam's first step is as long as its rate
    assert moved == pytest.approx({"weight": 0.05, "bias": 0.025}, rel=1e-3)
    longer = schedule.model_copy(update={"steps": 7})
    straight = train(Slope(), tmp_path / "straight", longer)
    with pytest.raises(KilledError):
        train(Slope(), tmp_path / "killed", longer, kill_after(5))
    assert weights(train(Slope(), tmp_path / "killed", longer)) == weights(straight)


def test_it_learns_and_says_how_well(tmp_path: Path) -> None:
    told: list[Progress] = []
    done = train(Slope(), tmp_path / "out", short(steps=400, rows=16, ema=0.9, log_every=50), told.append)
    assert weights(done)[:3] == pytest.approx([1.0, -2.0, 0.5], abs=0.02)
    assert done.loss < 0.001 < told[0].loss
    assert [progress.step for progress in told] == list(range(1, 401))


def test_another_lesson_or_schedule_cannot_go_on(tmp_path: Path) -> None:
    train(Slope(), tmp_path / "out", short(steps=2))
    for lesson, schedule in (
        (Slope(), short(steps=2, learning_rate=0.01)),
        (Slope(identity="of other data"), short(steps=2)),
    ):
        with pytest.raises(ModelError, match="other data or with other settings"):
            train(lesson, tmp_path / "out", schedule)
    train(Slope(), tmp_path / "out", short(steps=2, log_every=1))  # what does not change the weights may change


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(Slope(), tmp_path / "out", short(steps=2))
    saved = tmp_path / "out" / "checkpoint.safetensors"
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        train(Slope(), tmp_path / "out", short(steps=2))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="loss is nan at step 1"):
        train(Slope(truth=(float("nan"), 0.0, 0.0)), tmp_path / "out", short())


def test_a_training_leaves_a_log_and_a_sheet(tmp_path: Path) -> None:
    told: list[Progress] = []
    train(Slope(), tmp_path / "out", short(), told.append)
    lines = [json.loads(line) for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert lines[0]["loss"] == pytest.approx(np.mean([progress.loss for progress in told[:3]]))
    assert Image.open(tmp_path / "out" / "sheets" / "step-000007.png").size == (24, 16)


def test_scalars_and_sheets_are_there_for_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(Slope(), tmp_path / "out", short())
    found = events.EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == [3, 6, 7]
    assert [event.step for event in found.Images("pictures")] == [7]


def test_the_learning_rate_warms_up_and_falls_to_two_per_cent() -> None:
    schedule = short(steps=1000, warmup_steps=100, learning_rate=1.0)
    rates = [learning_rate(schedule, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1)
    assert rates[550] == pytest.approx(0.51, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=0.001)
    assert all(a >= b for a, b in pairwise(rates[100:]))


@dataclass
class Heavy(Slope):
    """The same, on a GPU that holds so many rows."""

    room: int = 2

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        if rows > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().loss(module, step, rows)


def test_a_gpu_that_is_too_small_takes_more_and_smaller_batches_for_a_step_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heavy = train(Heavy(), tmp_path / "heavy", short(rows=8))
    told = [record.getMessage() for record in caplog.records if "memory" in record.getMessage()]
    assert len(told) == 2
    assert "slope, step 1: the GPU's memory does not suffice for a batch of 4; going on with 4 batches of 2" in told[1]
    small = train(Slope(), tmp_path / "small", short(rows=2, accumulate=4))
    assert weights(heavy) == weights(small)


def test_a_gpu_on_which_not_two_rows_fit_is_a_clear_line_and_the_checkpoint_is_kept(tmp_path: Path) -> None:
    train(Heavy(), tmp_path / "run", short(steps=4))
    kept = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ModelError, match="does not suffice for a batch of 2") as raised:
        train(Heavy(room=1), tmp_path / "other", short())
    assert "fewer rows" in (raised.value.fix or "")
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == kept
