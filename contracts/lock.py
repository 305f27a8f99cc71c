"""Turns a run's folder into one that a single process works on: who holds it, since when, and whether he still lives."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from contracts.disk import writing
from contracts.errors import RunError

BEAT_SECONDS = 5.0
"""A holder writes a sign of life this often."""
SILENCE_SECONDS = 30.0
"""A holder on another host is watched for so long; no sign of life, and the lock is taken over."""

FILE = ".lock"
_WIDTH = 512
_HELD: dict[Path, Lock] = {}
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a run.

    Attributes:
        host: its name.
        boot: names the time that the host has been up; what counts from its start can be compared only within it.
        pid: of the process.
        started: of the process, seconds since the host's start; tells it from a later process with the same pid.
        held: since when it holds the run, seconds since the host's start.
        since: the same by the host's clock, for people; nothing is computed from it, as clocks jump.
        token: of this holding, of which there is no other.
        beat: how often it gave a sign of life.
    """

    host: str
    boot: str
    pid: int
    started: float
    held: float
    since: str
    token: str
    beat: int = 0

    @staticmethod
    def me() -> Owner:
        """This process, from now on."""
        pid = os.getpid()
        since = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        return Owner(socket.gethostname(), _boot(), pid, start_of(pid) or 0.0, _uptime(), since, secrets.token_hex(8))

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this host since it was started."""
        return self.boot == _boot()

    @property
    def lives(self) -> bool:
        """Whether its process is there; to be asked only of one that is `here`."""
        return start_of(self.pid) == self.started

    def __str__(self) -> str:
        age = f"for {in_words(_uptime() - self.held)}" if self.here else f"since {self.since}"
        return f"process {self.pid} on {self.host} {age}"


class Lock:
    """A held run. `check` raises RunError once another process has taken it over, which never happens to one that beats."""

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner, self._stop = path, owner, threading.Event()
        self._write(owner)
        self._pulse = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._pulse.start()

    def check(self) -> None:
        """Raises RunError when the run is not this process's any more."""
        found = read_owner(self._path)
        if found is not None and found.token != self._owner.token:
            raise RunError(
                f"was taken over by {found}, as this process gave no sign of life for {in_words(SILENCE_SECONDS)}",
                where=str(self._path.parent),
                fix="Nothing of the other's work was touched. Wait for it to end.",
            )

    def release(self) -> None:
        """Gives the run back."""
        self._stop.set()
        self._pulse.join()
        found = read_owner(self._path)
        if found is not None and found.token == self._owner.token:
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)

    def _beat(self) -> None:
        owner = self._owner
        while not self._stop.wait(BEAT_SECONDS):
            found = read_owner(self._path)
            if found is not None and found.token != owner.token:
                return
            owner = Owner(**{**asdict(owner), "beat": owner.beat + 1})
            with contextlib.suppress(OSError):  # a full disk or a lost network is found by what is written next
                self._write(owner)

    def _write(self, owner: Owner) -> None:
        """In place and always of one length: a sign of life needs no space on the disk."""
        with self._path.open("r+b") as file:
            file.write(json.dumps(asdict(owner)).encode().ljust(_WIDTH))
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def locked(folder: Path, tell: Callable[[str], None] = lambda line: None) -> Iterator[Lock]:
    """Holds a folder for this process. Not for other threads of the same process either.

    On one host the kernel knows who lives: it gives the lock of a process that ended, however it ended, to the next one.
    Between hosts, whose file system may not pass locks on, the holder's signs of life are counted, which needs no clock:
    who gives none for SILENCE_SECONDS is dead. Should he wake up, he finds the lock taken and publishes nothing.

    Args:
        folder: made if need be.
        tell: told, in one line, that the lock of a dead process was taken over.

    Raises:
        RunError: another process works on it.
        DiskError: it cannot be written.
    """
    path = folder / FILE
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = path.open("ab")
    with handle:
        sure = _flock(handle.fileno(), path)
        before = read_owner(path)
        if before is not None:
            if not (sure and before.here) and _gives_signs(path, before):
                raise _held(path, before)
            tell(f"{folder}: took over from {before}, which did not end well")
        with writing(folder):
            lock = Lock(path, Owner.me())
        _HELD[folder.resolve()] = lock
        try:
            yield lock
        finally:
            del _HELD[folder.resolve()]
            lock.release()


def check_held(folder: Path) -> None:
    """Raises RunError when this process holds a folder and another one has taken it over meanwhile."""
    lock = _HELD.get(folder.resolve())
    if lock is not None:
        lock.check()


def read_owner(path: Path) -> Owner | None:
    """Who a lock file says holds it; None when nobody does, or it is not to be read."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def in_words(seconds: float) -> str:
    """A span of time, roughly: 40 s, 12 min, 3 h 20 min. Negative ones, of clocks that jumped, are 0 s."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if minutes < 2:
        return f"{max(int(seconds), 0)} s"
    return f"{minutes} min" if hours < 2 else f"{hours} h {minutes - 60 * hours} min"


def _flock(descriptor: int, path: Path) -> bool:
    """Takes the kernel's lock; False where the file system has none. Raises RunError when another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _held(path, read_owner(path)) from error
    except OSError:
        return False
    return True


def _held(path: Path, owner: Owner | None) -> RunError:
    who = f" ({owner})" if owner else ""
    fix = "Wait for it to end, or stop it, and repeat the command."
    if owner is not None and not owner.here:
        fix = f"Wait for it to end, or stop it there: ssh {owner.host} kill {owner.pid}; then repeat the command."
    elif owner is not None and owner.lives:
        fix = (
            f"Wait for it to end, or stop it: kill {owner.pid}; then repeat the command: it goes on where that stopped."
        )
    elif owner is not None:
        who = f" (started by {owner}, which has ended)"
        fix = f"See which one: fuser {path}. Wait for it to end, or stop it, and repeat the command."
    return RunError(f"another process works on this run{who}", where=str(path.parent), fix=fix)


def _gives_signs(path: Path, before: Owner) -> bool:
    """Whether the holder beats while it is watched."""
    end = time.monotonic() + SILENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(min(BEAT_SECONDS, SILENCE_SECONDS) / 5)
        found = read_owner(path)
        if found != before:
            return found is not None
    return False


def _uptime() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return round(time.clock_gettime(clock), 2)


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def start_of(pid: int) -> float | None:
    """When a process began, seconds since the host's start; None: there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, ValueError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass
    return 0.0
