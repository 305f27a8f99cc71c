"""Turns a stage's work into a finished folder with a manifest, or skips it when the manifest still matches."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from contracts.disk import writing
from contracts.errors import RunError
from contracts.lock import Lock, check_held, locked
from contracts.memory import Peak, give_back

MANIFEST = "manifest.json"
_KEY = "key.json"


@dataclass(frozen=True, slots=True)
class StageResult:
    """What became of a stage.

    Attributes:
        name, folder: of the stage.
        skipped: whether it was up to date.
        digest: of what it holds.
        seconds: of the work that made it, in its last attempt.
        peak_bytes: the most memory that its process held meanwhile; 0: not known.
        rows: in its tables.
    """

    name: str
    folder: Path
    skipped: bool
    digest: str
    seconds: float
    peak_bytes: int = 0
    rows: int = 0

    @staticmethod
    def of(folder: Path, manifest: Mapping[str, Any], *, skipped: bool) -> StageResult:
        """From a finished stage's manifest."""
        measured = (float(manifest["seconds"]), int(manifest.get("peak_bytes", 0)), int(manifest.get("rows", 0)))
        return StageResult(folder.name, folder, skipped, _digest(manifest), *measured)


@dataclass(frozen=True, slots=True)
class StageKey:
    """Everything that decides a stage's bytes: when it changes, the stage is stale.

    Attributes:
        stage: its name, also of its folder.
        inputs: digest of everything it reads, by name.
        settings: all settings it depends on, JSON values.
        seed: of the run.
        packages: packages whose code decides the result (contracts is always one of them).
        libraries: distributions whose version decides the result.
    """

    stage: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    seed: int
    packages: tuple[str, ...]
    libraries: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The key as it stands in the manifest."""
        return {
            "stage": self.stage,
            "inputs": dict(self.inputs),
            "settings": dict(self.settings),
            "seed": self.seed,
            "code": code_version(("contracts", *self.packages)),
            "libraries": library_versions(self.libraries),
        }


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path in sorted order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def digest_of(value: object) -> str:
    """SHA-256 of a JSON value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@cache
def code_version(packages: tuple[str, ...]) -> str:
    """Digest of the sources of `packages`: a changed line of code makes a stage stale."""
    root = Path(__file__).resolve().parents[1]
    hashes: dict[str, str] = {}
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                hashes[path.relative_to(root).as_posix()] = file_hash(path)
    return digest_of(hashes)


@cache
def library_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions of the libraries that a stage's bytes depend on."""
    return {name: metadata.version(name) for name in names}


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name, flushes it to disk and renames it: never half a file."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: object) -> None:
    """Writes JSON atomically, keys sorted; NaN is refused."""
    write_atomically(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


class RunStore:
    """One run's folder, `data/runs/<run_id>`, with one folder per stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def locked(self, tell: Callable[[str], None] = lambda line: None) -> contextlib.AbstractContextManager[Lock]:
        """Holds the run for this process, see `contracts.lock.locked`."""
        return locked(self.folder, tell)

    def current(self, key: StageKey) -> StageResult | None:
        """The stage's result when its manifest still matches the key and its files are intact; None otherwise."""
        manifest = self.manifest(key.stage)
        wanted = json.loads(json.dumps(key.as_json()))
        if manifest is None or any(manifest.get(field) != value for field, value in wanted.items()):
            return None
        folder = self.folder / key.stage
        held = {path: digest for path, digest in tree_hashes(folder).items() if path != MANIFEST}
        if held != manifest.get("outputs"):
            return None
        return StageResult.of(folder, manifest, skipped=True)

    def perform(self, key: StageKey, work: Callable[[Path], None]) -> StageResult:
        """Runs `work(folder)`; the stage's folder appears in one rename, with a manifest of what went in and came out.

        An interrupted stage leaves `<name>.part`; the next attempt with the same key finds there what was finished.
        """
        with writing(self.folder, need=lambda: self._need(key.stage)):
            return self._perform(key, work)

    def _perform(self, key: StageKey, work: Callable[[Path], None]) -> StageResult:
        part, said = self.folder / f"{key.stage}.part", json.loads(json.dumps(key.as_json()))
        manifest = _read_json(part / MANIFEST)
        if manifest is None or any(manifest.get(field) != value for field, value in said.items()):
            manifest = self._work(part, key, said, work)
        check_held(self.folder)
        (part / _KEY).unlink(missing_ok=True)
        final, old = self.folder / key.stage, self.folder / f"{key.stage}.old"
        shutil.rmtree(old, ignore_errors=True)
        if final.exists():
            final.rename(old)
        part.rename(final)
        shutil.rmtree(old, ignore_errors=True)
        return StageResult.of(final, manifest, skipped=False)

    def _work(self, part: Path, key: StageKey, said: dict[str, Any], work: Callable[[Path], None]) -> dict[str, Any]:
        """Fills the unfinished folder; its manifest, written last, says that it is whole."""
        if _read_json(part / _KEY) != said:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            write_json(part / _KEY, said)
        give_back()
        began = time.monotonic()
        with Peak() as peak:
            work(part)
        seconds = round(time.monotonic() - began, 3)
        outputs = {path: digest for path, digest in tree_hashes(part).items() if path != _KEY}
        held = sum((part / path).stat().st_size for path in outputs)
        rows = sum(_rows(part / path) for path in outputs if path.endswith(".parquet"))
        measured = {"bytes": held, "seconds": seconds, "peak_bytes": peak.bytes, "rows": rows}
        manifest = {**said, "outputs": outputs, **measured}
        write_json(part / MANIFEST, manifest)
        return manifest

    def _need(self, name: str) -> int | None:
        """Bytes that a stage took at most, in this run or one beside it; None: it has never been finished there."""
        told = (_read_json(path) for path in self.folder.parent.glob(f"*/{name}/{MANIFEST}"))
        return max((int(one["bytes"]) for one in told if one is not None and "bytes" in one), default=None)

    def manifest(self, name: str) -> dict[str, Any] | None:
        """The manifest of a finished stage; None when it has none."""
        return _read_json(self.folder / name / MANIFEST)

    def digest(self, name: str) -> str:
        """What a finished stage holds, as one hash. Raises RunError when it is not finished."""
        manifest = self.manifest(name)
        if manifest is None:
            raise RunError("the stage is not finished", where=str(self.folder / name), fix="Run: adloom run DATA.")
        return _digest(manifest)


def _digest(manifest: Mapping[str, Any]) -> str:
    return digest_of({"outputs": manifest["outputs"], "inputs": manifest["inputs"]})


def _rows(table: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415 - slow to import

    return int(pq.read_metadata(table).num_rows)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
