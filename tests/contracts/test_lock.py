"""The lock of a run: one process at a time, told who holds it; the dead are followed, on this host and on others."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import contracts.lock as locking
from contracts.errors import RunError
from contracts.lock import FILE, Owner, check_held, in_words, locked, read_owner, start_of


def _hold(folder: Path, release: Path) -> None:
    with locked(folder):
        (release.parent / "ready").touch()
        end = time.monotonic() + 20
        while not release.exists() and time.monotonic() < end:
            time.sleep(0.02)


@contextmanager
def other_process(folder: Path) -> Iterator[multiprocessing.Process]:
    """A process that holds the folder; told by files, which a killed one leaves in no disorder."""
    with TemporaryDirectory() as name:
        release = Path(name) / "release"
        other = multiprocessing.get_context("spawn").Process(target=_hold, args=(folder, release))
        other.start()
        try:
            end = time.monotonic() + 60
            while not (release.parent / "ready").exists():
                assert other.is_alive()
                assert time.monotonic() < end
                time.sleep(0.02)
            yield other  # type: ignore[misc]
        finally:
            release.touch()
            other.join(20)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(locking, "SILENCE_SECONDS", 0.5)


@pytest.fixture
def no_kernel_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not pass locks on, as between hosts."""

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)


def elsewhere() -> Owner:
    return replace(Owner.me(), host="other-host", boot="another boot", pid=4711, token="abc")


def leave(folder: Path, owner: Owner) -> Path:
    path = folder / FILE
    path.write_bytes(json.dumps(asdict(owner)).encode().ljust(512))
    return path


def test_a_second_process_is_told_who_holds_the_run_since_when_and_what_to_do(tmp_path: Path) -> None:
    with other_process(tmp_path) as other:
        with pytest.raises(RunError) as told, locked(tmp_path):
            pass
        line = str(told.value)
        assert re.search(rf"\(process {other.pid} on {os.uname().nodename} for \d+ s\)", line), line
        assert f"kill {other.pid}" in line
        assert "\n" not in line
        found = read_owner(tmp_path / FILE)
        assert found is not None
        assert found.started == start_of(other.pid or 0)
    with locked(tmp_path):
        pass
    assert (tmp_path / FILE).read_bytes() == b"", "who ends well leaves no name"


def test_the_lock_of_a_killed_process_is_taken_over_at_once_and_said_so(tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from contracts.lock import locked
with locked(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    dead = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert dead.wait(20) == -signal.SIGKILL
    told: list[str] = []
    began = time.monotonic()
    with locked(tmp_path, told.append):
        assert read_owner(tmp_path / FILE) is not None
    assert time.monotonic() - began < 2
    assert len(told) == 1
    assert f"process {dead.pid}" in told[0]


def test_what_a_dead_process_left_running_still_holds_the_run_and_is_pointed_at(tmp_path: Path) -> None:
    script = f"""
import os, signal, time
from pathlib import Path
from contracts.lock import locked
with locked(Path({str(tmp_path)!r})):
    if os.fork() == 0:
        time.sleep(20)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    dead = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2], start_new_session=True)
    dead.wait(20)
    try:
        with pytest.raises(RunError, match=rf"started by process {dead.pid} .*has ended.*fuser"), locked(tmp_path):
            pass
    finally:
        os.killpg(dead.pid, signal.SIGKILL)


def test_a_later_process_with_the_same_pid_is_not_taken_for_the_owner() -> None:
    me = Owner.me()
    assert me.lives
    assert not replace(me, started=me.started - 1).lives


def test_a_holder_on_another_host_that_gives_signs_of_life_is_left_alone(
    tmp_path: Path, quick: None, no_kernel_lock: None
) -> None:
    owner = elsewhere()
    path = leave(tmp_path, owner)
    stop = threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.1):
            number += 1
            leave(tmp_path, replace(owner, beat=number))

    pulse = threading.Thread(target=beat)
    pulse.start()
    try:
        with pytest.raises(RunError, match=r"process 4711 on other-host since .*ssh other-host kill 4711"):  # noqa: SIM117
            with locked(tmp_path):
                pass
    finally:
        stop.set()
        pulse.join()
    found = read_owner(path)
    assert found is not None
    assert found.token == owner.token, "the other's lock was not touched"


def test_a_holder_on_another_host_without_a_sign_of_life_is_followed(
    tmp_path: Path, quick: None, no_kernel_lock: None
) -> None:
    leave(tmp_path, elsewhere())
    told: list[str] = []
    with locked(tmp_path, told.append):
        found = read_owner(tmp_path / FILE)
        assert found is not None
        assert found.pid == os.getpid()
    assert "process 4711 on other-host" in told[0]


def test_signs_of_life_go_on_while_a_run_is_held(tmp_path: Path, quick: None) -> None:
    with locked(tmp_path):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            found = read_owner(tmp_path / FILE)
            if found is not None and found.beat >= 2:
                break
            time.sleep(0.02)
        else:
            pytest.fail("no sign of life")


def test_who_was_taken_for_dead_and_wakes_up_publishes_nothing(tmp_path: Path) -> None:
    with locked(tmp_path):
        check_held(tmp_path)
        other = elsewhere()
        leave(tmp_path, other)
        with pytest.raises(RunError, match="was taken over by process 4711 on other-host"):
            check_held(tmp_path)
    found = read_owner(tmp_path / FILE)
    assert found is not None
    assert found.token == other.token, "the new holder keeps it"


def test_a_clock_that_is_set_back_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with other_process(tmp_path) as other:
        monkeypatch.setattr(time, "time", lambda: 0.0)
        monkeypatch.setattr(time, "gmtime", lambda *_: time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0)))
        with pytest.raises(RunError, match=rf"process {other.pid} on \S+ for \d+ s\)"), locked(tmp_path):
            pass
        other.kill()
        other.join(20)
        with locked(tmp_path):  # held since 1970, by its clock
            found = read_owner(tmp_path / FILE)
            assert found is not None
            assert found.since.startswith("1970")
            with pytest.raises(RunError, match=r"for \d+ s"), locked(tmp_path):
                pass


@pytest.mark.parametrize(
    ("seconds", "words"), [(-50.0, "0 s"), (59.9, "59 s"), (119.0, "119 s"), (720.0, "12 min"), (12000.0, "3 h 20 min")]
)
def test_spans_of_time_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
