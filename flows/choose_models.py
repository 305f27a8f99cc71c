"""Turns the folder of what has been learned so far into versions: which is in use, who made it, which fits a space."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.store import write_json
from flows.job import SHIPPED

ORIGIN = "origin.json"
"""Says which run learned a version."""

LEAST_COVERAGE = 0.5
"""A known space is used when it places at least this share of the events' items."""


def model_roots(models: Path) -> tuple[Path, ...]:
    """Folders to look for models in: the user's own first, then the shipped ones."""
    return models, SHIPPED / "models"


def versions(models: Path, kind: str) -> Iterator[Path]:
    """Finished versions of a kind of model: the one in use, the user's own, the shipped ones.

    The user's pointer may name a shipped version: going back to what came with the code is going back.
    """
    found: list[Path] = []
    first: str | None = None
    for root in model_roots(models):
        folder = root / kind
        pointer = folder / "in_use.json"
        used = json.loads(pointer.read_text())["version"] if pointer.exists() else None
        first = first or used
        own = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.endswith(".part"))
        found += sorted(own, key=lambda path, used=used: path.name != used)  # type: ignore[misc]
    yield from sorted(found, key=lambda path: path.name != first)


def use_version(models: Path, kind: str, version: str) -> None:
    """Points a kind of model at a version."""
    write_json(models / kind / "in_use.json", {"version": version})


def keep_version(models: Path, kind: str, version: str, save: Callable[[Path], None], *, made_by: str) -> Path:
    """Adds a version to the models, whole or not at all, and puts it in use."""
    folder = models / kind / version
    if not folder.exists():
        part = folder.with_name(f"{version}.part")
        part.mkdir(parents=True, exist_ok=True)
        save(part)
        write_json(part / ORIGIN, {"made_by": made_by})
        part.rename(folder)
    use_version(models, kind, version)
    return folder


def made_here(folder: Path, made_by: str) -> bool:
    """Whether a version was learned by the run of this name."""
    try:
        return bool(json.loads((folder / ORIGIN).read_text())["made_by"] == made_by)
    except (OSError, ValueError, KeyError):
        return False


def find_generator(models: Path, space_hash: str) -> Path | None:
    """The generator in use for a space; None when none was trained for it."""
    for folder in versions(models, "generator"):
        if generator_space(folder) == space_hash:
            return folder
    return None


def find_adapter(models: Path, space_hash: str) -> Path | None:
    """The adapter in use for a space; None when none was trained for it."""
    return next((folder for folder in versions(models, "adapter") if adapter_space(folder) == space_hash), None)


def any_generator(models: Path) -> Path | None:
    """A generator of whatever space, to start training from."""
    return next(versions(models, "generator"), None)


def generator_space(folder: Path) -> str | None:
    """The space that a generator was trained in."""
    return _space_in(folder / "weights" / "config.json")


def adapter_space(folder: Path) -> str | None:
    """The space that an adapter was trained in."""
    return _space_in(folder / "config.json")


def _space_in(config: Path) -> str | None:
    try:
        return str(json.loads(config.read_text())["space_hash"])
    except (OSError, ValueError, KeyError):
        return None
