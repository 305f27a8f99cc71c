"""Turns independent pieces of work into their results, in order, with as many hands as the machine lends this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def hands() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_out(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> Iterator[Result]:
    """Like `map`, by threads: Pillow and the zlib in it let other threads work, NumPy does on large arrays.

    Processes would have to be sent the enlarged scenes, and load all libraries again.

    Raises:
        Whatever the first piece that fails raises, when its result is asked for; pieces not yet begun are dropped.
    """
    with ThreadPoolExecutor(hands()) as pool:
        jobs = [pool.submit(work, piece) for piece in pieces]
        try:
            for job in jobs:
                yield job.result()
        finally:
            for job in jobs:
                job.cancel()
