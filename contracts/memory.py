"""Turns a stretch of work into the most memory that this process held during it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import threading
from pathlib import Path
from types import TracebackType

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_EVERY_SECONDS = 0.05


def give_back() -> None:
    """Hands back to the system what nothing in this process holds any more, where the C library can (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Peak:
    """`with Peak() as peak: ...`, then `peak.bytes`: the most resident memory of this process meanwhile, bytes.

    Linux keeps the mark and forgets it on request. Where it may not be asked to, memory is looked at 20 times a second;
    where it cannot be looked at, the mark since the process began is given. Processes that the
    work starts are not counted. One at a time in a process.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._watch: threading.Thread | None = None

    def __enter__(self) -> Peak:
        try:
            _RESET.write_text("5", encoding="ascii")
        except OSError:
            self._watch = threading.Thread(target=self._look, daemon=True)
            self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is None:
            self.bytes = _told("VmHWM:") or _since_start()
            return
        self._stop.set()
        self._watch.join()
        self.bytes = self.bytes or _since_start()

    def _look(self) -> None:
        while True:
            self.bytes = max(self.bytes, _told("VmRSS:") or 0)
            if self._stop.wait(_EVERY_SECONDS):
                return


def _told(name: str) -> int | None:
    try:
        lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)


def _since_start() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most * 1024 if os.uname().sysname == "Linux" else most
