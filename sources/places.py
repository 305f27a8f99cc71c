"""Turns a data folder and its mapping into the parts of each table: files near or far, with format and day."""

from __future__ import annotations

import difflib
import re
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pyarrow import fs

from contracts.errors import DataError
from contracts.store import file_hash
from contracts.tables import OPTIONAL_INPUTS
from sources.far_storage import far_file_system, is_far

Kind = Literal["parquet", "csv", "tsv", "ndjson"]
Packing = Literal["", "gzip", "zstd"]

_KINDS: dict[str, Kind] = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_PACKINGS: dict[str, Packing] = {"": "", ".gz": "gzip", ".zst": "zstd"}
SUFFIXES = {
    kind + packing: (_KINDS[kind], _PACKINGS[packing])
    for kind in _KINDS
    for packing in _PACKINGS
    if kind != ".parquet" or not packing
}
"""What a file's name may end in: its format and how it is packed."""

_DAY = re.compile(r"(?<!\d)(\d{4})[-_/]?(\d{2})[-_/]?(\d{2})(?!\d)")
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a table.

    Attributes:
        name: what people call it: relative to the data folder, or a URL.
        path: where it is: an absolute path or a URL.
        kind, packing: its format.
        fingerprint: changes when its bytes do: SHA-256 of a local file, size and time of change of a far one.
        day: of its folder or name (day=2024-05-01, 2024/05/01, events-20240501.csv); None when it names none.
        constants: columns that its path gives (hive partitions), as text.
    """

    name: str
    path: str
    kind: Kind
    packing: Packing
    fingerprint: str
    day: date | None = None
    constants: dict[str, str | None] = field(default_factory=dict)


def find_parts(folder: Path, table: str, path: str | None = None) -> tuple[Part, ...]:
    """The parts of a table, in order of name; none when an optional table is absent.

    Args:
        folder: the data folder.
        table: name of the table.
        path: where the mapping says the table is: relative to the folder, absolute, or a URL; a file, a folder (hive
            partitions are read from its path), a pattern, or a Delta table. None: <table>.<suffix> or a folder <table>.

    Raises:
        DataError: nothing is there, more than one thing is, or a folder holds a file of no known format.
    """
    if path is not None and is_far(path):
        return _far_parts(path)
    if path is not None:
        return _mapped(folder, table, path)
    names = [f"{table}{suffix}" for suffix in SUFFIXES]
    present = [folder / name for name in names if (folder / name).exists()]
    if (folder / table).is_dir():
        present.append(folder / table)
    if len(present) > 1:
        first, second = present[0].name, present[1].name
        raise DataError(f"stands beside {first}", where=second, fix=f"Remove {second}, or {first} if it is older.")
    if not present:
        if table in OPTIONAL_INPUTS:
            return ()
        raise _missing(folder, table)
    return _local_parts(folder, present[0], table)


def find_any(folder: Path) -> dict[str, tuple[Part, ...]]:
    """The parts of whatever tables a folder holds, by name of file or folder; what is in no known format is left out."""
    if not folder.is_dir():
        raise DataError("is no folder", where=str(folder), fix="Give a folder with logs.")
    found: dict[str, tuple[Part, ...]] = {}
    for place in sorted(folder.iterdir()):
        if place.name.startswith((".", "_")):
            continue
        try:
            parts = _local_parts(folder, place, place.name)
        except DataError:
            continue
        found[place.name] = parts
    return found


def _mapped(folder: Path, table: str, path: str) -> tuple[Part, ...]:
    place = folder / path
    if place.exists():
        return _local_parts(folder, place, table)
    if "*" in path:
        root = Path(path[: path.index("*")]).parent if path.startswith("/") else folder
        pattern = str(Path(path).relative_to(root)) if path.startswith("/") else path
        found = sorted(file for file in root.glob(pattern) if file.is_file())
        if found:
            return tuple(_local(folder, file, file.parent, dated=True) for file in found)
    raise DataError(
        "is not there", where=path, fix=f"Mend path under [{table}] in mapping.toml: a file, a folder or a pattern."
    )


def _missing(folder: Path, table: str) -> DataError:
    names = sorted(path.name for path in folder.iterdir())
    near = difflib.get_close_matches(f"{table}.csv", names, n=1, cutoff=0.7)
    hint = f" (is it {near[0]!r}?)" if near else ""
    return DataError(
        f"is missing, as .parquet and as .csv{hint}",
        where=table,
        fix=f"Add {table}.parquet or {table}.csv, or say in mapping.toml where it is (adloom check --suggest-mapping proposes one).",
    )


def _local_parts(folder: Path, place: Path, table: str) -> tuple[Part, ...]:
    if not place.is_dir():
        return (_local(folder, place, place.parent, dated=False),)
    if (place / "_delta_log").is_dir():
        return _delta_parts(str(place))
    files = sorted(
        path
        for path in place.rglob("*")
        if path.is_file() and not any(step.startswith((".", "_")) for step in path.relative_to(place).parts)
    )
    if not files:
        raise DataError("is a folder without files", where=place.name, fix=f"Put the files of {table} there.")
    with ThreadPoolExecutor() as pool:  # every file is hashed, and hashing lets other threads work
        return tuple(pool.map(lambda path: _local(folder, path, place, dated=True), files))


def _local(folder: Path, path: Path, root: Path, *, dated: bool) -> Part:
    name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
    kind, packing = file_format(name)
    inside = path.relative_to(root).as_posix()
    constants = _hive(inside)
    try:
        fingerprint = file_hash(path)
    except OSError as error:
        fix = "Check that it is a readable file."
        raise DataError(f"cannot be read ({error.strerror or error})", where=name, fix=fix) from error
    return Part(name, str(path), kind, packing, fingerprint, _day(inside, constants) if dated else None, constants)


def file_format(name: str) -> tuple[Kind, Packing]:
    """Format and packing by a file's name. Raises DataError when its ending says nothing."""
    for suffix, known in SUFFIXES.items():
        if name.lower().endswith(suffix):
            return known
    raise DataError("is in no format that is read", where=name, fix=f"Remove it, or write it as {', '.join(SUFFIXES)}.")


def _hive(inside: str) -> dict[str, str | None]:
    steps = [step.partition("=") for step in inside.split("/")[:-1] if "=" in step]
    values = {name: urllib.parse.unquote(value) for name, _, value in steps}
    return {name: None if value == _NO_VALUE else value for name, value in values.items()}


def _day(inside: str, constants: dict[str, str | None]) -> date | None:
    parts = [constants.get(name) for name in ("year", "month", "day")]
    text = "-".join(str(part).zfill(2) for part in parts) if all(parts) else inside
    found = _DAY.search(text)
    if found is None:
        return None
    try:
        return date(*map(int, found.groups()))
    except ValueError:
        return None


def _delta_parts(location: str) -> tuple[Part, ...]:
    try:
        import deltalake  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DataError("is a Delta table", where=location, fix="Install what reads it: adloom[delta].") from error
    try:
        table = deltalake.DeltaTable(location)
        uris = sorted(table.file_uris())
    except Exception as error:  # its errors share no base class
        raise DataError(f"is no Delta table that can be read ({error})", where=location, fix="Mend it.") from error
    _refuse_indirect(table, location)
    root = location.rstrip("/")
    parts = []
    for uri in uris:
        path = uri.removeprefix("file://")
        inside = path.removeprefix(root).lstrip("/")
        constants = _hive(inside)
        fingerprint = file_hash(Path(path)) if not is_far(path) else path  # files of a Delta table never change
        parts.append(
            Part(f"{Path(root).name}/{inside}", path, "parquet", "", fingerprint, _day(inside, constants), constants)
        )
    return tuple(parts)


def _refuse_indirect(table: Any, location: str) -> None:
    """Deleted rows that still stand in their files, and columns under other names, would be read wrongly."""
    features = set(table.protocol().reader_features or ())
    mode = (table.metadata().configuration or {}).get("delta.columnMapping.mode", "none")
    if "deletionVectors" in features or mode != "none":
        what = "deletion vectors" if "deletionVectors" in features else "column mapping"
        fix = "Write it again without, or as plain Parquet (in Spark: REORG TABLE ... APPLY (PURGE))."
        raise DataError(f"is a Delta table with {what}, which is not read", where=location, fix=fix)


def _far_parts(url: str) -> tuple[Part, ...]:
    bare = url.partition("*")[0]
    root = bare if bare == url else bare.rpartition("/")[0]
    system, path = far_file_system(root.rstrip("/"))
    try:
        info = system.get_file_info(path)
        if info.type == fs.FileType.Directory:
            listed = system.get_file_info(fs.FileSelector(path, recursive=True))
            if any("/_delta_log/" in found.path for found in listed):
                return _delta_parts(root.rstrip("/"))
        else:
            listed = [info]
    except OSError as error:
        raise DataError(f"cannot be listed ({error})", where=url, fix="Check the address and the keys.") from error
    scheme = url.partition("://")[0]
    ending = url.rpartition("*")[2] if "*" in url else ""
    parts = []
    for found in sorted(listed, key=lambda found: str(found.path)):
        inside = found.path.removeprefix(path).lstrip("/") or found.base_name
        hidden = any(step.startswith((".", "_")) for step in inside.split("/"))
        if found.type != fs.FileType.File or hidden or not found.path.endswith(ending):
            continue
        name = f"{scheme}://{found.path}"
        kind, packing = file_format(name)
        constants = _hive(inside)
        stamp = f"{found.size}:{found.mtime_ns}"
        parts.append(Part(name, name, kind, packing, stamp, _day(inside, constants), constants))
    if not parts:
        raise DataError("holds no files", where=url, fix="Mend path in mapping.toml.")
    return tuple(parts)
