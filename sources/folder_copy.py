"""Turns a data folder at a URL into a copy of it here, of which only what has changed is fetched again."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from contracts.disk import disk_fault
from contracts.errors import DataError
from contracts.store import RunStore, digest_of
from sources.far_storage import FarFile, list_far, shown, without_secrets

COPIES = "copies"
"""Folder of the copies, beside the runs."""

_NOTES = "copied.jsonl"
_AT_ONCE = 8
_BLOCK = 1 << 22


def copy_folder(url: str, home: Path, *, tell: Callable[[str, int, int], None] | None = None) -> Path:
    """Makes `home/<hash of the URL>/<name>` equal to the folder at a URL; the copy.

    A file whose size and stamp (entity tag or time of change) are those noted when it was copied stays as it is; so a copy that
    was killed goes on where it stopped. One without a stamp is copied each time.

    Args:
        url: of the folder; passwords and queries in it are kept nowhere.
        home: where copies are.
        tell: told the file and how many of how many are done.

    Raises:
        DataError: it cannot be listed or read. DiskError: it cannot be written. RunError: another process copies it.
    """
    files, opened = list_far(url)
    said = shown(url).partition("?")[0].rstrip("/")
    place = home / digest_of(said)[:8]
    target = place / (said.rpartition("/")[2] or "data")
    place.mkdir(parents=True, exist_ok=True)
    with RunStore(place).locked():
        shutil.rmtree(place / ".part", ignore_errors=True)
        notes = _read_notes(place / _NOTES)
        wanted = [one for one in files if not _is_held(one, target, notes)]
        (place / ".part").mkdir()
        with ThreadPoolExecutor(_AT_ONCE) as pool, (place / _NOTES).open("a", encoding="utf-8") as noted:
            noted.write("\n")  # after a line that a kill cut off
            coming = [pool.submit(_fetch, url, one, opened, place / ".part", target) for one in wanted]
            try:
                for number, (one, done) in enumerate(zip(wanted, coming, strict=True)):
                    (tell or (lambda *_: None))(f"copying, {one.inside}", number, len(wanted))
                    done.result()
                    noted.write(json.dumps([one.inside, one.size, one.stamp]) + "\n")
                    noted.flush()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        _drop_others(target, {target / one.inside for one in files})
        shutil.rmtree(place / ".part")
    return target


def _read_notes(path: Path) -> dict[str, list[object]]:
    """Size and stamp of each file as it was copied last; the line at which a kill struck does not count."""
    notes: dict[str, list[object]] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                name, *seen = json.loads(line)
                notes[name] = seen
    return notes


def _is_held(file: FarFile, target: Path, notes: dict[str, list[object]]) -> bool:
    held = target / file.inside
    if not file.stamp or notes.get(file.inside) != [file.size, file.stamp] or not held.is_file():
        return False
    return file.size is None or held.stat().st_size == file.size


def _fetch(url: str, file: FarFile, opened: Callable[[str], BinaryIO], drafts: Path, target: Path) -> None:
    where = f"{shown(url).partition('?')[0].rstrip('/')}/{file.inside}"
    held = target / file.inside
    if ".." in file.inside.split("/"):
        raise DataError("would leave the folder", where=where, fix="Rename it.")
    draft = drafts / uuid.uuid4().hex
    try:
        held.parent.mkdir(parents=True, exist_ok=True)
        with opened(file.path) as far, draft.open("wb") as near:
            shutil.copyfileobj(far, near, _BLOCK)
        size = draft.stat().st_size
        if file.size is None or size == file.size:
            draft.replace(held)
            return
    except Exception as error:  # those of libraries for storage share no base class
        ours = isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC)
        if ours and (fault := disk_fault(error, held.parent)):
            raise fault from error
        fix = "Repeat the command: what was copied stays."
        raise DataError(f"cannot be copied ({without_secrets(url, error)})", where=where, fix=fix) from None
    fix = "Repeat the command when nobody writes there."
    raise DataError(f"has {size:,} bytes, not the {file.size:,} that were listed", where=where, fix=fix)


def _drop_others(target: Path, wanted: set[Path]) -> None:
    """Removes what is no longer at the URL."""
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path not in wanted:
            path.unlink()
