"""Turns a run folder into the redraws that were asked for there: who wants what drawn again, why, and how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from contracts.decisions import Reason
from contracts.errors import RunError
from contracts.run_creatives import REDRAWN
from contracts.store import write_json

State = Literal["waiting", "drawing", "done", "failed"]


@dataclass(frozen=True)
class RedrawJob:
    """One redraw.

    Attributes:
        job_id: names its folder in the run; later ones sort after earlier ones.
        creative_id: the rejected creative. reasons: why. requested_by, at: who asked, and when (ISO 8601, UTC).
        state: "waiting" behind another redraw of this run, "drawing", "done", "failed".
        done, total: candidates drawn, and to be drawn.
        message: what went wrong; empty otherwise.
        made: creative_ids of the new candidates, when it is done.
    """

    job_id: str
    creative_id: str
    reasons: tuple[str, ...]
    requested_by: str
    at: str
    state: State = "waiting"
    done: int = 0
    total: int = 0
    message: str = ""
    made: tuple[str, ...] = ()

    def write(self, run: Path) -> None:
        """Keeps it in the run, whole or not at all."""
        (run / REDRAWN).mkdir(exist_ok=True)
        write_json(run / REDRAWN / f"{self.job_id}.json", asdict(self))


StartRedraw = Callable[[Path, str, Sequence[Reason], str], str]
"""(run, creative_id, reasons, requested_by) into a job_id; returns at once, the work goes on elsewhere."""


def read_job(run: Path, job_id: str) -> RedrawJob:
    """A redraw as far as it is. Raises RunError when there is none of this name, or its file is damaged."""
    path = run / REDRAWN / f"{job_id}.json"
    try:
        if "/" in job_id or job_id.startswith("."):
            raise ValueError
        said = json.loads(path.read_text(encoding="utf-8"))
        return RedrawJob(**{**said, "reasons": tuple(said["reasons"]), "made": tuple(said["made"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError("there is no such redraw", where=str(path), fix="Ask for the drawing again.") from error


def list_jobs(run: Path) -> list[RedrawJob]:
    """All redraws of a run, the oldest first."""
    return [read_job(run, path.stem) for path in sorted((run / REDRAWN).glob("*.json"))]
