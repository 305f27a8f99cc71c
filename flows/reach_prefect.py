"""Turns the environment into a Prefect server that answers: the one that is named, or one of our own beside the runs."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contracts.errors import RunError
from flows.clear_wreckage import end_orphans, noted

PORT = 4200
"""Where our own server listens when the port is free: the one that Prefect's command line expects."""

START_SECONDS = 120
"""Longest wait for our own server: the tables of a new database take half a minute."""


def quieten_prefect(runs: Path) -> None:
    """Offline defaults: an embedded server with its own database beside the runs, no telemetry; what is set wins."""
    home = (runs / ".prefect").resolve()
    defaults = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)


def named_server() -> str | None:
    """URL of the Prefect server that the environment or the profile names; None: it names none.

    Raises:
        RunError: it does not answer.
    """
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - slow to import
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    url = PREFECT_API_URL.value()
    if url is None:
        return None
    with get_client(sync_client=True, httpx_settings={"timeout": 10.0}) as client:
        fault = client.api_healthcheck()
    if fault is not None:
        raise RunError(
            f"no Prefect server answers there ({fault or type(fault).__name__})",
            where=f"PREFECT_API_URL {url}",
            fix="Start it: prefect server start, or unset PREFECT_API_URL for a server of our own.",
        )
    return str(url)


@contextmanager
def reachable_server(runs: Path) -> Iterator[str]:
    """URL of the server that is named; else of one of our own, whose database stands beside the runs, until the end.

    Raises:
        RunError: the one named does not answer; another process has a server of its own here; ours does not start.
    """
    url = named_server()
    if url is not None:
        yield url
        return
    home = _home()
    with (home / "server.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            fix = "Start one for all: prefect server start, and set PREFECT_API_URL."
            raise RunError("another schedule has its own server here", where=str(home), fix=fix) from error
        with _own_server(home) as url:
            yield url


@contextmanager
def _own_server(home: Path) -> Iterator[str]:
    port = _free_port(PORT, 0)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = _url(port)
    # Slots of running nights are kept in files, so that they outlive the server.
    kept = {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}
    with (
        _sigterm_is_ctrl_c(),
        _started(home, command, {**kept, **os.environ, "PREFECT_API_URL": url}) as server,
    ):
        _wait_for(server, url, home)
        yield url


class BatchServer:
    """`with BatchServer(runs): ...`: the Prefect server that a batch asks, for as long as it takes.

    The one that is named; else one of our own without pages. Its start takes ten seconds: `begin` early, and import meanwhile.
    """

    def __init__(self, runs: Path) -> None:
        self._runs, self._stack = runs, ExitStack()
        self._own: tuple[subprocess.Popen[bytes], str] | None = None

    def begin(self) -> None:
        """Lets our own server start, unless one is named or it was begun before, and waits for nothing."""
        if self._own is not None:
            return
        quieten_prefect(self._runs)
        from prefect.settings import PREFECT_API_URL, get_current_settings  # noqa: PLC0415 - slow to import

        if PREFECT_API_URL.value() is not None:
            return
        port = _free_port(0)
        command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
        # As Prefect starts its own; types of blocks, of which a batch has none, are not registered.
        lean = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        known = get_current_settings().to_environment_variables(exclude_unset=True)
        env = {"PREFECT_API_BLOCKS_REGISTER_ON_START": "false", **os.environ, **known, **lean}
        self._own = self._stack.enter_context(_started(_home(), command, env)), _url(port)

    def close(self) -> None:
        """Ends our own server, if it was begun."""
        self._own = None
        self._stack.close()

    def __enter__(self) -> BatchServer:
        """Waits until the server answers. Raises RunError when it does not."""
        self.begin()
        if self._own is None:
            end_orphans(_home())
            named_server()
            return self
        from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415 - slow to import

        process, url = self._own
        try:
            _wait_for(process, url, _home())
        except BaseException:
            self.close()
            raise
        self._stack.enter_context(temporary_settings({PREFECT_API_URL: url}))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _home() -> Path:
    return Path(os.environ["PREFECT_HOME"])


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


@contextmanager
def _started(home: Path, command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server of our own, noted so that it is ended even if this process is killed; those of killed ones are ended."""
    end_orphans(home)
    with _log_of(home).open("ab") as output:
        server = subprocess.Popen(command, env=env, stdout=output, stderr=output)
    try:
        with noted(home, server.pid):
            yield server
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _log_of(home: Path) -> Path:
    return home / "server.log"


@contextmanager
def _sigterm_is_ctrl_c() -> Iterator[None]:
    """So that whoever is stopped while the server starts ends it too."""
    known = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, known)


def _wait_for(server: subprocess.Popen[bytes], url: str, home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise RunError("the Prefect server did not start", where=str(_log_of(home)), fix="Its last lines say why.")


def _free_port(*wished: int) -> int:
    for wanted in wished:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RunError("no port is free", where="127.0.0.1", fix="Start a server elsewhere and set PREFECT_API_URL.")
