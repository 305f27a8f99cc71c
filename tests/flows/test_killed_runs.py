"""A batch that is killed at any moment ends in the same bytes when its command is given again."""

from __future__ import annotations

import collections
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.seeds import stream
from tests.flows.killed_runs import Shop

KILLS = int(os.environ.get("ADLOOM_TEST_KILLS", "50"))
FIRST = int(os.environ.get("ADLOOM_TEST_FIRST_KILL", "0"))


def test_a_run_killed_three_times_in_a_row_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Half a minute: four processes do the work of two runs."""
    shop = Shop.write(tmp_path)
    whole = shop.run("straight")
    draw = stream(7, "three kills")
    killed = [shop.kill("killed", after=float(draw.uniform(0.05, 0.3)) * whole) for _ in range(3)]
    assert killed[0] is not None, "it was killed before its end"
    shop.run("killed")
    assert shop.bytes_of("killed") == shop.bytes_of("straight")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A Prefect server of its own; returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)
                break
            except OSError:
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_run_killed_at_any_of_many_moments_ends_in_the_same_bytes(tmp_path: Path, server: str) -> None:
    """KILLS runs of the command, each killed once at a moment drawn evenly over the whole of it, and given again."""
    shop = Shop.write(tmp_path, server)
    shop.run("warm")
    whole = shop.run("straight")
    wanted = shop.bytes_of("straight")
    assert wanted == shop.bytes_of("warm")
    where: collections.Counter[str] = collections.Counter()
    other: list[str] = []
    for number in range(FIRST, FIRST + KILLS):
        draw, stage = stream(7, f"kill {number}"), None
        while stage is None:  # it had ended: another moment
            shutil.rmtree(tmp_path / "killed", ignore_errors=True)
            stage = shop.kill("killed", after=float(draw.uniform(0, 1)) * whole)
        shop.run("killed")
        where[stage] += 1
        found = shop.bytes_of("killed")
        differing = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
        other += [f"kill {number} in {stage}: {', '.join(differing)}"] if differing else []
        print(json.dumps({"kills": where.total(), "ended otherwise": other, "where": where}), flush=True)
    assert not other
