"""Turns a half-done training into one safetensors file, put in place atomically, and back; and keeps its log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from contracts.errors import ModelError

_RESTART = "Give another folder, or delete this one to train from the start"


@dataclass(frozen=True)
class Checkpoint:
    """All that the next step depends on.

    Attributes:
        step: steps taken.
        identity: of the training (data, settings, first weights): another one cannot go on from here.
        losses: of the steps since the last line of the log.
        tensors: by name, with the part they belong to in front: "network.", "average.", "exp_avg.", ...
    """

    step: int
    identity: str
    losses: tuple[float, ...]
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors of one part, without its name in front."""
        return {
            key.removeprefix(f"{name}."): tensor for key, tensor in self.tensors.items() if key.startswith(f"{name}.")
        }


def write_checkpoint(file: Path, checkpoint: Checkpoint) -> None:
    """Write by way of a temporary name, so that a kill at any moment leaves the old checkpoint or the new one."""
    temporary = file.with_name(file.name + ".part")
    facts = {"step": checkpoint.step, "identity": checkpoint.identity, "losses": checkpoint.losses}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    save_file(tensors, temporary, metadata={"checkpoint": json.dumps(facts)})
    temporary.replace(file)


def read_checkpoint(file: Path, identity: str) -> Checkpoint:
    """Read a checkpoint of the training called `identity`.

    Raises:
        ModelError: it is damaged, or of a training on other data or with other settings.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            facts = json.loads((opened.metadata() or {})["checkpoint"])
            names = list(opened.keys())
            tensors = {name: opened.get_tensor(name) for name in names}
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"not a whole checkpoint ({error})", where=str(file), fix=_RESTART) from error
    if facts["identity"] != identity:
        what = "the checkpoint is of a training on other data or with other settings"
        raise ModelError(what, where=str(file), fix=_RESTART)
    return Checkpoint(facts["step"], facts["identity"], tuple(facts["losses"]), tensors)


class Log:
    """`losses.jsonl`: a line {"step", "loss" (mean since the last line), "learning_rate"} every so often.

    Args:
        file: made if it is not there.
        keep: lines of later steps are dropped, since those steps will be taken again.
    """

    def __init__(self, file: Path, *, keep: int) -> None:
        self.file = file
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []
        whole = [line for line in lines if line.endswith("\n")]
        file.write_text("".join(line for line in whole if json.loads(line)["step"] <= keep), encoding="utf-8")

    def write(self, step: int, loss: float, rate: float) -> None:
        """Add a line."""
        with self.file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps({"step": step, "loss": loss, "learning_rate": rate}) + "\n")

    def last_mean(self) -> float:
        """Mean loss over the last tenth of the lines (at least one)."""
        losses = [json.loads(line)["loss"] for line in self.file.read_text(encoding="utf-8").splitlines()]
        tail = losses[-max(1, len(losses) // 10) :]
        return float(sum(tail) / len(tail))
