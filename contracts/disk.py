"""Turns what a full, read-only or barred disk does to any library into one error that says how much is free and needed."""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.errors import AdloomError, DiskError

_ELSEWHERE = "or give another folder with --out, and repeat the command: what was finished is kept."
_TOLD = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_BARRED = {errno.EROFS, errno.EACCES, errno.EPERM}
_BLOCK = 4096


@contextlib.contextmanager
def writing(folder: Path, *, need: Callable[[], int | None] = lambda: None) -> Iterator[None]:
    """Work that writes below a folder; a fault of its disk becomes a DiskError, anything else stays what it is.

    Args:
        folder: of which the disk is asked how much is free; it need not be there yet.
        need: bytes that the work needs in all, where known; asked only after a fault.

    Raises:
        DiskError: the disk is full or read-only, a quota or limit is reached, or this user may not write there.
    """
    try:
        yield
    except AdloomError:
        raise
    except Exception as error:
        fault = disk_fault(error, folder, need=need())
        if fault is None:
            raise
        raise fault from error


def disk_fault(error: BaseException, folder: Path, *, need: int | None = None) -> DiskError | None:
    """What an error says of the disk; None: it is about something else.

    Python, Polars, PIL, safetensors and LightGBM tell it in ways of their own: a number, a number in words, words, or,
    on a disk without a free block, anything.
    """
    code = _code(error)
    named = getattr(error, "filename", None)
    where = str(folder) if named is None else os.fsdecode(named)
    home = next(path for path in (Path(where).resolve(), *Path(where).resolve().parents) if path.exists())
    if code in _BARRED:
        ours = named is None or Path(where).resolve().is_relative_to(folder.resolve())
        return _barred(code, where) if ours else None
    if code == errno.EFBIG:
        fix = "Raise the limit (ulimit -f, or the file system's own) and repeat the command: what was finished is kept."
        return DiskError("a file may not become as large as it must here", where=where, fix=fix)
    about = os.statvfs(home)
    free = about.f_bavail * about.f_frsize
    return _full(code, where, about, free, need) if code in _FULL or free < _BLOCK else None


def _barred(code: int | None, where: str) -> DiskError:
    if code == errno.EROFS:
        return DiskError("is on a read-only disk", where=where, fix=f"Mount it for writing, {_ELSEWHERE}")
    fix = f"Let that user write there, {_ELSEWHERE}"
    return DiskError(f"may not be written by user {_user()}", where=where, fix=fix)


def _full(code: int | None, where: str, about: os.statvfs_result, free: int, need: int | None) -> DiskError:
    needed = (
        ", and how much is needed is not known before a first run" if need is None else f", about {size(need)} needed"
    )
    fix = f"Make room{'' if need is None else f' for {size(need)}'}, {_ELSEWHERE}"
    if code == errno.EDQUOT:
        return DiskError(f"the quota of user {_user()} is used up{needed}", where=where, fix=fix)
    if free >= _BLOCK and about.f_files and about.f_favail == 0:
        fix = f"Remove files that nobody needs, {_ELSEWHERE}"
        return DiskError("the disk has no room for more files (no inode is free)", where=where, fix=fix)
    return DiskError(f"the disk is full: {size(free)} free{needed}", where=where, fix=fix)


def size(count: float) -> str:
    """Bytes in words: 312 bytes, 4.0 KB, 1.3 GB; powers of 1000."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _code(error: BaseException) -> int | None:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno is not None:
            return seen.errno
        told = _TOLD.search(str(seen))
        if told:
            return int(told[1])
        for code in (*_FULL, errno.EROFS, errno.EACCES):
            if os.strerror(code) in str(seen):
                return code
        seen = seen.__cause__ or seen.__context__
    return None
