"""Turns a rejected creative and the reasons into a redraw that is written down in the run, and begun in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from contracts.decisions import Reason
from contracts.errors import DataError
from contracts.redraw_jobs import RedrawJob
from contracts.run_creatives import REDRAWN, run_creatives

CANDIDATES = 3
"""New pictures a redraw makes, of which an analyst takes one or none."""


def request(run: Path, creative_id: str, reasons: Sequence[Reason], requested_by: str) -> RedrawJob:
    """Writes down that a creative is to be drawn again.

    Raises:
        DataError: there is no such creative, or no reason is given.
        RunError: the run cannot be read.
    """
    if not reasons:
        known = ", ".join(Reason)
        raise DataError("no reason is given", where=f"creative {creative_id}", fix=f"Give one or more of: {known}.")
    if creative_id not in set(run_creatives(run)["creative_id"]):
        raise DataError("there is no such creative", where=str(run), fix="Give a creative_id of this run.")
    now = datetime.now(UTC)
    job = RedrawJob(
        job_id=f"{now:%Y%m%dT%H%M%S%f}-{creative_id}",
        creative_id=creative_id,
        reasons=tuple(str(reason) for reason in dict.fromkeys(reasons)),
        requested_by=requested_by,
        at=now.isoformat(timespec="seconds"),
        total=CANDIDATES,
    )
    job.write(run)
    return job


def start(run: Path, creative_id: str, reasons: Sequence[Reason], requested_by: str) -> str:
    """A `contracts.redraw_jobs.StartRedraw`: the drawing goes on in a process of its own, which outlives this one."""
    job = request(run, creative_id, reasons, requested_by)
    log = (run / REDRAWN / f"{job.job_id}.log").open("wb")
    with log:
        subprocess.Popen(
            [sys.executable, "-m", "flows", "redraw", str(run.resolve()), "--job", job.job_id],
            cwd=Path(__file__).resolve().parents[1], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    return job.job_id
