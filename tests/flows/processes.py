"""Commands that run beside a test, on loopback, until it is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CLIENT = httpx.Client(timeout=30, trust_env=False)
"""Asks servers on loopback. One for all: each new one reads the machine's certificates, which costs more than what is asked."""


def plain_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which no Prefect server is named, and waiting nights ask every second."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **known,
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        **more,
    }


@contextmanager
def running(words: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block ends, then gets SIGTERM, and must end by itself."""
    with log.open("ab") as output:
        process = subprocess.Popen(words, env=env, cwd=ROOT, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def until(found: Callable[[], Any], seconds: float = 150) -> Any:
    """What `found` gives, once it is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            value = found()
        except (httpx.HTTPError, OSError):
            value = None
        if value:
            return value
        time.sleep(0.5)
    raise AssertionError("it did not come about in time")
