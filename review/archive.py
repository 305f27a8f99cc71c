"""Turns named contents into a ZIP whose bytes depend on nothing else, and back."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from contracts.errors import DataError

_NO_TIME = (1980, 1, 1, 0, 0, 0)


def write_archive(path: Path, contents: Mapping[str, bytes | Path]) -> None:
    """Writes a ZIP: entries in order of name, no times, stored (pictures are packed already), whole or not at all.

    Args:
        path: of the ZIP.
        contents: bytes, or the file to copy them from, by name in the ZIP.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, date_time=_NO_TIME)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            content = contents[name]
            archive.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
    part.replace(path)


def read_archive(path: Path) -> dict[str, bytes]:
    """Contents by name. Raises DataError when it is no whole ZIP."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot be read ({error})", where=str(path), fix="Export again.") from error
