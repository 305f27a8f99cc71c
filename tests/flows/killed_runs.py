"""Turns a run and a moment into what is left when its process is killed then, and when the same command is given again."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.settings import load_settings
from contracts.store import file_hash
from flows.job import Job
from tests.flows.small_run import perform
from tests.flows.tiny_shop import write_tiny_shop

_UNEVEN = ("manifest.json", "report.json")
"""Files that say how long the work took; all else is equal to the byte, and so are these but for that."""
_MEASURED = ("seconds", "peak_bytes", "bytes", "outputs")
"""In a manifest; outputs are hashed themselves."""
_LEFT_OUT = {".lock", "job.json", "report.html", "summary.json", "metrics.txt"}
"""The lock; the paths of the job; the page made of report.json; what tells seconds."""


@dataclass(frozen=True)
class Shop:
    """A data folder and its settings, and a way to run the whole batch on it in processes that can be killed.

    Processes are forked from one that has imported everything, so that a moment of a run is a moment of work.
    """

    home: Path
    server: str = ""

    @staticmethod
    def write(home: Path, server: str = "") -> Shop:
        """A new shop below `home`; `server`: URL of Prefect's, and runs are whole commands; else their stages alone."""
        multiprocessing.set_forkserver_preload(["prefect", "flows.run_batch", "flows.command_line", __name__])
        write_tiny_shop(home / "shop")
        imported = multiprocessing.get_context("forkserver").Process(target=int)  # it is timed without that
        imported.start()
        imported.join()
        return Shop(home, server)

    def begin(self, name: str) -> multiprocessing.process.BaseProcess:
        """The batch as a new process."""
        context = multiprocessing.get_context("forkserver")
        process = context.Process(target=_run, args=(self, name))
        process.start()
        return process

    def run(self, name: str) -> float:
        """The batch to its end; returns seconds. Fails with what it said when it does not end well."""
        began = time.monotonic()
        process = self.begin(name)
        process.join()
        assert process.exitcode == 0, (self.home / name / "log").read_text()
        return time.monotonic() - began

    def kill(self, name: str, *, after: float) -> str | None:
        """Kills the batch after some seconds; returns where it was; None: it had ended before."""
        process = self.begin(name)
        process.join(after)
        process.kill()
        process.join()
        return None if process.exitcode == 0 else self.where(name)

    def where(self, name: str) -> str:
        """The stage that a killed run was in."""
        begun = [path.name for path in (self.home / name / "runs").glob("*/*.part")]
        done = len(list((self.home / name / "runs").glob("*/*/manifest.json")))
        return begun[0].removesuffix(".part") if begun else f"after {done} stages"

    def bytes_of(self, name: str) -> dict[str, Any]:
        """Hashes of all that a run left in runs, models and intake, by path; the parts that tell seconds left out."""
        found: dict[str, Any] = {}
        for path in sorted((self.home / name).rglob("*")):
            if not path.is_file() or path.name in _LEFT_OUT or path == self.home / name / "log":
                continue
            where = path.relative_to(self.home / name).as_posix()
            if path.name not in _UNEVEN:
                found[where] = file_hash(path)
                continue
            told = json.loads(path.read_text())
            if path.name == "report.json":
                del told["details"]["timings"]
            else:
                told = {key: value for key, value in told.items() if key not in _MEASURED}
            found[where] = told
        return found


@contextlib.contextmanager
def _logged(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        yield
        sys.stdout.flush()
        sys.stderr.flush()


def _run(shop: Shop, name: str) -> None:
    home = shop.home / name
    os.environ |= {"ADLOOM_KEY": "k" * 32, "OMP_NUM_THREADS": "1"}
    runs, models, config = home / "runs", home / "models", shop.home / "settings.toml"
    with _logged(home):
        if shop.server:
            from prefect.settings import PREFECT_API_URL, temporary_settings

            from flows.command_line import execute

            words = [
                "run",
                str(shop.home / "shop"),
                "--config",
                str(config),
                "--out",
                str(runs),
                "--models",
                str(models),
            ]
            with temporary_settings({PREFECT_API_URL: shop.server}):
                code = execute(words)
        else:
            job = Job(shop.home / "shop", load_settings(config), runs, models)
            with job.store.locked():
                perform(job)
            code = 0
    sys.exit(code)
