"""Turns twenty reviewers on loopback into ten thousand decisions, and says how long they waited and whether one was lost.

    python -m benchmarks.review_load [--creatives 10000] [--decisions 10000] [--pause 0.2]

The server is a process of its own, the reviewers are threads of this one; on a small machine they share its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import polars as pl
from PIL import Image

from contracts.decisions import Role
from contracts.seeds import stream
from contracts.store import file_hash, write_json
from contracts.tables import Concepts, Creatives, polars_schema
from review.accounts import Accounts
from review.database import open_database
from review.decisions import DecisionLog

REVIEWERS = 20
LIMIT_SECONDS = 480
RESULTS = Path(__file__).parent / "results" / "review_load.json"


def write_run(home: Path, count: int) -> dict[str, str]:
    """A run of plain pictures; their hashes by creative."""
    folder = home / "runs" / "load-1"
    (folder / "generators" / "images").mkdir(parents=True)
    (folder / "sources").mkdir()
    rows, hashes = [], {}
    for number in range(count):
        file = f"images/c{number}.png"
        Image.new("RGB", (32, 32), (number % 256, number // 256 % 256, 90)).save(folder / "generators" / file)
        hashes[f"c{number}"] = file_hash(folder / "generators" / file)
        rows.append((f"c{number}", number % 4 - 1, f"k{number // 4}", "plain", "w", number, file, [], 0.05))
    pl.DataFrame(rows, schema=polars_schema(Creatives), orient="row").write_parquet(
        folder / "generators" / "creatives.parquet"
    )
    concept = {"advertiser": "a", "topics": ["t"], "headline": ["h"], "body": "", "call_to_action": "c",
               "landing_url": "https://shop.example", "sensitive": False}  # fmt: skip
    names = [{"concept_id": f"k{number}", **concept} for number in range(-(-count // 4))]
    pl.DataFrame(names, schema=polars_schema(Concepts)).write_parquet(folder / "sources" / "concepts.parquet")
    write_json(folder / "generators" / "cohorts.json", [])
    outputs = {f"images/{name}.png": value for name, value in hashes.items()}
    for stage, files in (("sources", {}), ("generators", outputs)):
        write_json(folder / stage / "manifest.json", {"outputs": files, "inputs": {}, "seconds": 1.0})
    return hashes


def review(
    port: int, name: str, mine: list[str], hashes: dict[str, str], pause: float, took: list[float], gallery: list[float]
) -> None:
    """One reviewer: decides on one creative after another, and opens the gallery every fiftieth time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-Remote-User": name}

    def ask(method: str, path: str, body: str | None = None) -> tuple[int, str, float]:
        kind = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"} if body else {}
        began = time.perf_counter()
        connection.request(method, path, body, {**headers, **kind})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, text, time.perf_counter() - began

    csrf = re.search(r'name="csrf" content="(\w+)"', ask("GET", "/")[1])[1]  # type: ignore[index]
    rng = stream(7, "load", name)
    for number, creative in enumerate(mine):
        fields = {"of": "load-1", "id": creative, "hash": hashes[creative], "csrf": csrf, "request": f"{name}{number}"}
        fields |= {"kind": "reject", "reason": "too_dark"} if rng.random() < 0.2 else {"kind": "approve"}
        status, text, seconds = ask("POST", "/act", urlencode(fields))
        assert status == 200, text
        took.append(seconds)
        if number % 50 == 49:
            gallery.append(ask("GET", "/?status=undecided")[2])
        time.sleep(rng.exponential(pause))


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creatives", type=int, default=10_000)
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--pause", type=float, default=0.2, help="mean seconds between two decisions of a reviewer")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        hashes = write_run(Path(home), asked.creatives)
        database = f"sqlite:///{home}/review.db"
        opened = open_database(database)
        names = [f"reviewer{number}" for number in range(REVIEWERS)]
        for name in names:
            Accounts(opened).add(name, "long enough 1", Role.REVIEWER)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "flows", "review", "--runs", f"{home}/runs", "--database", database]
        server = subprocess.Popen([*command, "--port", str(port), "--proxy-header", "X-Remote-User"], start_new_session=True, stdout=subprocess.DEVNULL)  # fmt: skip
        took: list[list[float]] = [[] for _ in names]
        gallery: list[float] = []
        try:
            _until_up(port)
            share = asked.decisions // REVIEWERS
            order = list(hashes)
            threads = [
                threading.Thread(
                    target=review,
                    args=(port, name, [order[(share * at + n) % len(order)] for n in range(share)], hashes, asked.pause, took[at], gallery),
                    daemon=True,
                )
                for at, name in enumerate(names)
            ]  # fmt: skip
            began = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.1, LIMIT_SECONDS - (time.monotonic() - began)))
            seconds = time.monotonic() - began
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)
        waits = np.array([wait for one in took for wait in one]) * 1000
        recorded = len(DecisionLog(opened).table().unique(["reviewer", "creative_id"]))
        opened.close()
    told = {
        "reviewers": REVIEWERS,
        "creatives": asked.creatives,
        "answered": len(waits),
        "recorded": recorded,
        "lost": len(waits) - recorded,
        "seconds": round(seconds, 1),
        "decisions_per_second": round(len(waits) / seconds, 1),
        "p50_ms": round(float(np.quantile(waits, 0.5)), 1),
        "p95_ms": round(float(np.quantile(waits, 0.95)), 1),
        "p99_ms": round(float(np.quantile(waits, 0.99)), 1),
        "gallery_p50_ms": round(1000 * float(np.median(gallery)), 1) if gallery else None,
        "gallery_p95_ms": round(1000 * float(np.quantile(gallery, 0.95)), 1) if gallery else None,
        "cores": len(os.sched_getaffinity(0)),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, told)
    print(json.dumps(told, indent=2))
    if told["lost"] or len(waits) < asked.decisions // REVIEWERS * REVIEWERS:
        sys.exit("not every decision was answered and recorded")


def _until_up(port: int) -> None:
    for _ in range(240):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.25)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
