"""A batch is told of its server once that is healthy, however long it takes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from contracts.errors import RunError
from flows.reach_prefect import _free_port, _url, _wait_for

SLOW = """
import http.server, sys, time
born = time.monotonic()
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() - born > 1 else 503)
        self.end_headers()
    def log_message(self, *_): pass
time.sleep(0.5)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Slow).serve_forever()
"""


def test_refused_connections_and_faults_are_waited_for(tmp_path: Path) -> None:
    port = _free_port(0)
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", SLOW, str(port)]) as server:
        try:
            _wait_for(server, _url(port), tmp_path)
        finally:
            server.kill()
    assert time.monotonic() - began > 1


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as server,
        pytest.raises(RunError, match="did not start"),
    ):
        _wait_for(server, _url(_free_port(0)), tmp_path)
