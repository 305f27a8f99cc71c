"""Turns tables of many users into folders of Parquet files, each of whole users in order: one is in memory at a time."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

_Part = TypeVar("_Part")
PART_EVENTS = 4_000_000
"""Events of one part of the log, about."""


def write_parts(path: Path, parts: Iterable[pl.DataFrame]) -> int:
    """Writes a table that comes in parts: as a file where there is but one, else as a folder of files; its rows.

    Args:
        path: of the table; what an earlier attempt left there goes.
        parts: at least one, in order.
    """
    if path.is_dir():
        shutil.rmtree(path)
    coming = iter(parts)
    first = list(islice(coming, 2))
    if len(first) == 1:
        first[0].write_parquet(path)
        return len(first[0])
    path.mkdir()
    rows = 0
    for number, part in enumerate(chain(first, coming)):
        part.write_parquet(path / f"{number:05d}.parquet")
        rows += len(part)
    return rows


def files_of(path: Path) -> list[Path]:
    """The files of a table, in order."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def read_parts(path: Path) -> Iterator[pl.DataFrame]:
    """The parts of a table that have rows, one by one."""
    for file in files_of(path):
        part = pl.read_parquet(file, glob=False)
        if len(part):
            yield part


def made_of(parts: Iterable[_Part], make: Callable[[_Part], pl.DataFrame], *, threads: int) -> Iterator[pl.DataFrame]:
    """What is made of each part, in their order.

    As many parts are in the making as there are threads: what one part does on a single core, another fills.
    """
    waiting: deque[Future[pl.DataFrame]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for part in parts:
            waiting.append(pool.submit(make, part))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        yield from (one.result() for one in waiting)


def by_user(log: pl.LazyFrame, size: int) -> Iterator[pl.DataFrame]:
    """A log sorted by user_id, in its order otherwise, in parts of whole users; of a log without rows one empty part.

    Args:
        log: user_id and other columns, read once for each part.
        size: rows of a part, about.
    """
    counts = log.group_by("user_id").len().sort("user_id").collect(engine="streaming")
    ends = counts["len"].cast(pl.Int64).cum_sum().to_numpy()
    if not len(ends):
        yield log.collect()
    low = 0
    while low < len(ends):
        begin = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, begin + size, side="right")))
        theirs = pl.col("user_id").is_between(pl.lit(counts["user_id"][low]), pl.lit(counts["user_id"][high - 1]))
        yield log.filter(theirs).collect().sort("user_id", maintain_order=True)
        low = high


def whole_users(table: pl.DataFrame, size: int) -> Iterator[pl.DataFrame]:
    """A table sorted by user_id in slices of about so many rows that cut no user."""
    low = 0
    while low < len(table):
        last = table["user_id"][min(low + size, len(table)) - 1]
        high = int(table["user_id"].search_sorted(last, "right"))
        yield table[low:high]
        low = high


def by_file(table: pl.DataFrame, log: Path) -> Iterator[tuple[Path, pl.DataFrame]]:
    """A table sorted by user_id as the parts that belong to the files of a log, without those that are empty.

    Args:
        table: of users in the log or not; one who is not goes with those before, or with the first.
        log: in parts of whole users in order.
    """
    firsts = {
        file: pl.read_parquet(file, columns=["user_id"], n_rows=1, glob=False)["user_id"] for file in files_of(log)
    }
    files = [file for file, first in firsts.items() if len(first)] or list(firsts)[:1]
    ends = [int(table["user_id"].search_sorted(firsts[file][0], "left")) for file in files[1:]]
    for file, low, high in zip(files, [0, *ends], [*ends, len(table)], strict=True):
        if high > low:
            yield file, table[low:high]
