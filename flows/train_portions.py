"""Turns portions of a lesson into the model they agree on, each in a process of its own; `python -m flows.train_portions` is one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from contracts.errors import RunError
from ranking.lesson import Fitted, Lesson, Place, fit

_CODE = Path(__file__).resolve().parents[1]
_POLL_SECONDS = 0.1
_FIX = "Look at the lines above it, then repeat the command."


def free_ports(count: int) -> list[int]:
    """So many TCP ports of this machine that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def rows_of(home: Path, rank: int) -> Path:
    """The file with the rows of a portion, in the folder of its lesson."""
    return home / f"rows-{rank}.parquet"


def train_portions(home: Path, attempt: Path, ranks: Sequence[int], machines: Sequence[str]) -> None:
    """Learns portions side by side, and ends them all when one fails, this process ends, or `attempt` is no longer there.

    In processes of their own: LightGBM waits without end for a portion that has died.

    Args:
        home: the lesson and the rows of all portions.
        attempt: a folder, which is given the model as each of them knows it.
        ranks: the portions to learn here.
        machines: `host:port` of all portions.

    Raises:
        RunError: one ended with an error, or was told to stop; with its last words.
    """
    (attempt / f"begun-{ranks[0]}").mkdir()  # a task that is given twice, its worker having come back, is stopped here
    with contextlib.ExitStack() as stack:
        running = {rank: _begin(stack, home, attempt, rank, machines) for rank in ranks}
        while running:
            if not attempt.is_dir():
                raise RunError("was told to stop", where="training in portions", fix=_FIX)
            for rank, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[rank]
                if process.returncode:
                    said = _said(attempt, rank)
                    raise RunError(f"ended with {said}", where=f"portion {rank} of the training", fix=_FIX)
            time.sleep(_POLL_SECONDS)


def agreed(attempt: Path, count: int) -> Fitted:
    """The model that all portions agree on. Raises RunError: they do not."""
    found = [json.loads(_answer(attempt, rank).read_text(encoding="utf-8")) for rank in range(count)]
    if any(one != found[0] for one in found):
        raise RunError("learned different models", where="training in portions", fix=_FIX)
    return Fitted(**found[0])


def _begin(
    stack: contextlib.ExitStack, home: Path, attempt: Path, rank: int, machines: Sequence[str]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.train_portions", str(home), str(attempt), str(rank), ",".join(machines)]
    with (attempt / f"said-{rank}").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=_CODE)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _said(attempt: Path, rank: int) -> str:
    with contextlib.suppress(OSError):
        lines = (attempt / f"said-{rank}").read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "no word")
    return "no word"


def _answer(attempt: Path, rank: int) -> Path:
    return attempt / f"fitted-{rank}.json"


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written there
    os._exit(1)


def main(words: Sequence[str]) -> None:
    """Learns one portion: home, attempt, rank, machines."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    home, attempt, rank = Path(words[0]), Path(words[1]), int(words[2])
    fitted = fit(Lesson.load(home, rows_of(home, rank)), Place(words[3].split(","), rank))
    _answer(attempt, rank).write_text(json.dumps(asdict(fitted)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
