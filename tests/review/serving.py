"""The review pages on a free port of loopback, and how Debian's Chromium is started to look at them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from review.desk import Desk
from review.site import make_site

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"


@contextmanager
def serving(desk: Desk) -> Iterator[str]:
    """Serves the pages from a thread on a free port of loopback; yields their address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        server = uvicorn.Server(uvicorn.Config(make_site(desk), log_level="error", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join(10)


def launch_args() -> dict[str, object]:
    """For pytest-playwright; skips where Chromium is not installed."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    return {"executable_path": str(CHROMIUM), "args": [f"--{flag}" for flag in _FLAGS.split()]}
