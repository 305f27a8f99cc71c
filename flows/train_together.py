"""Turns a lesson into a model that the workers of a cluster learn together; a short one, or without a cluster, here."""

from __future__ import annotations

import logging
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from contracts.errors import AdloomError, RunError
from flows.job import Job
from flows.spread_work import Terms, Workers, workers_of
from flows.train_portions import agreed, free_ports, rows_of, train_portions
from ranking.lesson import Fitted, Lesson, fit

log = logging.getLogger("adloom")

TRIES = 3
"""Times that a training is begun on the cluster, before it is made on this machine."""

_LOOK_SECONDS = 0.5
_LAST_SECONDS = 60  # the others have, once one portion is done: all stop after the same tree
_HERE = "127.0.0.1"


def train_together(job: Job, folder: Path, lesson: Lesson) -> Fitted:
    """The model of a lesson: in as many portions as there are workers, but no more than `portion_rows` allows, or here.

    How many portions is settled once, and decides the model with the rows and the seed: workers that die meanwhile leave
    their portions to those that remain, in the end to this machine, and the bytes stay the same.

    Args:
        job: whose settings and cluster.
        folder: of the stage; workers see it by the same path.
        lesson: all of it.

    Raises:
        RunError: nobody answers at the cluster, or the training fails on this machine too.
    """
    if not job.cluster:
        return fit(lesson)
    least, rows = job.settings.ranking.portion_rows, len(lesson.rows)
    if rows // least < 2:
        log.info(
            "the ranker is trained on this machine: %s rows, a worker takes %s at least", f"{rows:,}", f"{least:,}"
        )
        return fit(lesson)
    home = folder.resolve() / "portions"
    shutil.rmtree(home, ignore_errors=True)
    with workers_of(job.cluster) as workers:
        portions = lesson.portions(min(rows // least, len(workers.addresses())))
        if len(portions) < 2 or any(portion.rows.is_empty() for portion in portions):
            log.info("the ranker is trained on this machine: no two workers have rows to learn from")
            return fit(lesson)
        home.mkdir(parents=True)
        lesson.save(home)
        for rank, portion in enumerate(portions):
            portion.save_rows(rows_of(home, rank))
        fitted = _tried(workers, home, len(portions))
    shutil.rmtree(home)
    return fitted


def train_here(home: Path, count: int) -> Fitted:
    """The model of portions that all learn on this machine. Raises RunError: they cannot."""
    with _attempt(home) as attempt:
        machines = [f"{_HERE}:{port}" for port in free_ports(count)]
        train_portions(home, attempt, range(count), machines)
        return agreed(attempt, count)


def _tried(workers: Workers, home: Path, count: int) -> Fitted:
    for _ in range(TRIES):
        try:
            addresses = sorted(workers.addresses())[:count]
            if not addresses:
                break
            fitted = _on_workers(workers, addresses, home, count)
        except Exception as error:  # a lost connection has many names, and a training can always begin again
            told = error.what if isinstance(error, AdloomError) else str(error) or type(error).__name__
            log.warning(
                "training in %d portions stopped (%s): it is begun again on the workers that are there", count, told
            )
        else:
            log.info("the ranker was trained in %d portions by %d workers", count, len(addresses))
            return fitted
    log.warning("training in %d portions: the workers did not finish it, it is made on this machine", count)
    return train_here(home, count)


def _on_workers(workers: Workers, addresses: Sequence[str], home: Path, count: int) -> Fitted:
    ranks = {address: range(number, count, len(addresses)) for number, address in enumerate(addresses)}
    ports = workers.client.run(free_ports, count, workers=list(addresses))
    machines = [""] * count
    for address, own in ranks.items():
        for rank, port in zip(own, ports[address], strict=False):
            machines[rank] = f"{_host(address)}:{port}"
    with _attempt(home) as attempt:
        asked = {
            address: workers.client.submit(
                _on_worker, Terms.here(), home, attempt, list(own), machines,
                workers=[address], allow_other_workers=False, retries=0, pure=False,
            )
            for address, own in ranks.items()
        }  # fmt: skip
        try:
            _wait(workers, asked)
        finally:
            workers.client.cancel(list(asked.values()))
        return agreed(attempt, count)


def _on_worker(terms: Terms, home: Path, attempt: Path, ranks: Sequence[int], machines: Sequence[str]) -> None:
    terms.agree(home)
    train_portions(home, attempt, ranks, machines)


def _wait(workers: Workers, asked: dict[str, Any]) -> None:
    """Returns when all are done. Raises RunError where a worker is gone, or one is done and another is not; and what a task raises."""
    first_done: float | None = None
    while True:
        done = [address for address, task in asked.items() if task.done()]
        for address in done:
            asked[address].result()
        if len(done) == len(asked):
            return
        if gone := asked.keys() - workers.addresses():
            raise RunError(
                f"{len(gone)} of {len(asked)} workers gone", where="training in portions", fix="Begin again."
            )
        if done:
            first_done = first_done or time.monotonic()
            if time.monotonic() - first_done > _LAST_SECONDS:
                raise RunError("some portions do not end", where="training in portions", fix="Begin again.")
        time.sleep(_LOOK_SECONDS)


@contextmanager
def _attempt(home: Path) -> Iterator[Path]:
    """A folder of one attempt; its end is the sign to stop for all who still work for it."""
    folder = home / uuid.uuid4().hex
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _host(address: str) -> str:
    found = urlparse(address)
    return _HERE if found.scheme == "inproc" else found.hostname or _HERE
