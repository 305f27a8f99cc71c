"""Keeps what native threads print when they panic over a damaged file off the terminal; we say it in one line instead."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

_STDERR = 2
_PANIC = b"panicked at "


class _Hush:
    """The state of the process: how many hold their breath, and where stderr really is."""

    lock = threading.Lock()
    depth = 0
    real = -1
    python: IO[str] | None = None
    held: IO[bytes] | None = None


@contextmanager
def hushed() -> Iterator[None]:
    """While it lasts, native writes to stderr are held back; Python's stay where they are.

    Afterwards they are printed, unless they tell of a panic. May be entered several times, in any order.
    """
    with _Hush.lock:
        _begin()
    try:
        yield
    finally:
        with _Hush.lock:
            _end()


def _begin() -> None:
    _Hush.depth += 1
    if _Hush.depth > 1:
        return
    try:
        _Hush.real = os.dup(_STDERR)
    except OSError:  # no stderr at all
        _Hush.real = -1
        return
    try:
        goes_there = sys.stderr is not None and sys.stderr.fileno() == _STDERR
    except (OSError, ValueError):  # replaced by something without a file
        goes_there = False
    if goes_there:
        sys.stderr.flush()
        _Hush.python = sys.stderr
        sys.stderr = os.fdopen(
            os.dup(_Hush.real), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
        )
    _Hush.held = tempfile.TemporaryFile()  # noqa: SIM115 - closed in _end
    os.dup2(_Hush.held.fileno(), _STDERR)


def _end() -> None:
    _Hush.depth -= 1
    if _Hush.depth or _Hush.real < 0:
        return
    os.dup2(_Hush.real, _STDERR)
    os.close(_Hush.real)
    if _Hush.python is not None:
        sys.stderr.close()
        sys.stderr, _Hush.python = _Hush.python, None
    if _Hush.held is not None:
        _Hush.held.seek(0)
        said = _Hush.held.read()
        _Hush.held.close()
        if said and _PANIC not in said:
            os.write(_STDERR, said)
