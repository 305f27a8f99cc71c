"""Turns what a killed run left in Prefect into an ended server and flow runs that are marked as crashed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from contracts.lock import start_of
from contracts.store import write_json

_FOLDER = "servers"


def tag_of(run: Path) -> str:
    """The tag of the flow runs that work on a run, of which there is at most one alive."""
    return f"run:{run.resolve()}"


def claim_flow_run(run: Path) -> int:
    """Tags the flow run under way, which holds the run, and marks those that held it before and were killed as crashed.

    Returns how many there were.
    """
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - slow to import
    from prefect.client.schemas import filters  # noqa: PLC0415
    from prefect.client.schemas.objects import StateType  # noqa: PLC0415
    from prefect.runtime import flow_run  # noqa: PLC0415
    from prefect.states import Crashed  # noqa: PLC0415

    alive = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    wanted = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[tag_of(run)]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=alive)),
    )
    mine = UUID(str(flow_run.id))
    with get_client(sync_client=True) as client:
        dead = [one for one in client.read_flow_runs(flow_run_filter=wanted) if one.id != mine]
        for one in dead:
            message = "Its process ended without a word. The run was taken up again by another flow run."
            client.set_flow_run_state(one.id, Crashed(message=message), force=True)
        client.update_flow_run(mine, tags=[*flow_run.tags, tag_of(run)])
    return len(dead)


@contextlib.contextmanager
def noted(home: Path, pid: int) -> Iterator[None]:
    """Notes, meanwhile, a server that this process has started, so that it is ended if this process is killed."""
    note = home / _FOLDER / f"{pid}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"server": [pid, start_of(pid)], "owner": [os.getpid(), start_of(os.getpid())]})
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def end_orphans(home: Path) -> int:
    """Ends servers of our own whose process is gone; returns how many."""
    ended = 0
    for note in sorted((home / _FOLDER).glob("*.json")):
        try:
            told = json.loads(note.read_text(encoding="utf-8"))
            (server, began), (owner, owner_began) = told["server"], told["owner"]
        except (OSError, ValueError, KeyError):
            continue
        if start_of(owner) == owner_began:
            continue
        if start_of(server) == began:
            with contextlib.suppress(OSError):
                os.kill(server, signal.SIGTERM)
                ended += 1
        note.unlink(missing_ok=True)
    return ended
