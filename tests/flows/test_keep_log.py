"""The log of a run: JSON lines for machines, words for people; one handler, Prefect's loggers too."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.console import complain
from flows.keep_log import close_log, log, open_log


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def closed() -> Iterator[None]:
    yield
    close_log()


def test_where_nobody_watches_every_line_is_one_json_object(capsys: pytest.CaptureFixture[str], closed: None) -> None:
    open_log()
    log.info('a "name"\nand %s', "größe", extra={"fields": {"run": "shop-1", "rows": 12}})
    log.debug("not told")
    try:
        raise ValueError("a bug\nof two lines")
    except ValueError:
        log.exception("it failed")
    assert complain("bad\ninput") == 2
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["info", "error", "error"]
    assert lines[0]["message"] == 'a "name"\nand größe'
    assert (lines[0]["run"], lines[0]["rows"]) == ("shop-1", 12)
    assert lines[0]["at"].endswith("Z")
    assert "ValueError: a bug" in lines[1]["traceback"]
    assert lines[2]["message"] == "bad input"


def test_a_person_at_a_terminal_reads_words_and_only_what_is_amiss(
    monkeypatch: pytest.MonkeyPatch, closed: None
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    open_log()
    log.info("went well")
    log.warning("tried again\nlater")
    complain("bad input")
    assert terminal.getvalue() == "adloom: tried again later\nadloom: bad input\n"


def test_how_much_is_told_can_be_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: None
) -> None:
    monkeypatch.setenv("ADLOOM_LOG", "debug")
    open_log()
    log.debug("begins")
    monkeypatch.setenv("ADLOOM_LOG", "error")
    open_log()
    log.warning("not told")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["begins"]
    close_log()
    assert log.isEnabledFor(logging.WARNING), "what was set ends with the log"


def test_prefects_loggers_speak_through_the_same_handler_once() -> None:
    """In a process of its own, as a run has: other tests set Prefect's loggers up in theirs."""
    script = """
import logging
from prefect import flow
from flows.keep_log import adopt_prefect, open_log
open_log()
adopt_prefect()
logger = logging.getLogger("prefect.flow_runs")
logger.setLevel("INFO")
logger.info("Beginning flow run")
"""
    outside_of_a_flow = os.environ | {"PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore"}
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=outside_of_a_flow, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [(line["logger"], line["message"]) for line in lines] == [("prefect.flow_runs", "Beginning flow run")]


def test_without_a_log_a_complaint_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    close_log()
    assert complain("bad input", 3) == 3
    assert capsys.readouterr().err == "adloom: bad input\n"
