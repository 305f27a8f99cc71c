"""Faults that may pass are tried again after longer and longer pauses; bad input, a full disk and bugs are not."""

from __future__ import annotations

import errno
import os

import polars as pl
import pytest

from contracts.errors import DataError, DiskError
from contracts.settings import NightSettings
from flows.try_again import is_transient, pauses


def caused(error: Exception, cause: Exception) -> Exception:
    try:
        raise error from cause
    except Exception as raised:
        return raised


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.EIO), os_error(errno.ESTALE), os_error(errno.ECONNRESET), TimeoutError(), ConnectionError("gone"),
        OSError("AWS Error NETWORK_CONNECTION: Connection was reset"), OSError("read failed (os error 110)"),
        pl.exceptions.ComputeError("Generic S3 error: error sending request for url"),
        caused(DataError("cannot be read", where="events.parquet", fix="Look."), os_error(errno.EIO)),
        caused(RuntimeError("wrapped"), caused(ValueError("again"), TimeoutError())),
    ],
)  # fmt: skip
def test_what_may_pass(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        DataError("is empty", where="events.parquet", fix="Write it again."), ValueError("connection reset, says a bug"),
        os_error(errno.ENOSPC), os_error(errno.ENOENT), os_error(errno.EACCES), OSError("cannot identify image file"),
        caused(DiskError("the disk is full", where="run", fix="Make room."), os_error(errno.EIO)),
        pl.exceptions.ComputeError("parquet: No space left on device (os error 28)"), MemoryError(), KeyError("x"),
    ],
)  # fmt: skip
def test_what_will_not(error: Exception) -> None:
    assert not is_transient(error)


def test_pauses_double_up_to_the_longest() -> None:
    assert pauses(NightSettings()) == [5.0, 10.0, 20.0]
    assert pauses(NightSettings(retries=4, first_pause_seconds=100.0)) == [100.0, 200.0, 300.0, 300.0]
    assert pauses(NightSettings(retries=0)) == []
