"""Turns the folder of models into what is learned and what is in use, and puts another version in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import DataError, ModelError
from features.space import Space
from flows import choose_ranker
from flows.choose_models import ORIGIN, adapter_space, generator_space, model_roots, use_version
from flows.compare_rankers import Comparison, compare
from flows.job import Job
from ranking.ranker import Ranker
from ranking.split import split

KINDS = ("space", "generator", "student", "gan", "adapter", "ranker")


@dataclass(frozen=True)
class Version:
    """One version of one kind of model."""

    kind: str
    version: str
    in_use: bool
    made_by: str
    about: str


def list_versions(models: Path) -> list[Version]:
    """Every version of every kind, the user's own before the shipped ones; a damaged one says so."""
    return [one for kind in KINDS for one in _of_kind(models, kind)]


def put_in_use(models: Path, kind: str, version: str) -> str:
    """Puts a version in use, a ranker in the space it was trained in; returns its full name.

    Raises:
        ModelError: there is no such version, or several begin so, or it is damaged.
    """
    folder = find_version(models, kind, version)
    if kind == choose_ranker.KIND:
        ranker = Ranker.load(folder)
        choose_ranker.use(models, folder.name, str(ranker.meta["space_hash"]))
    else:
        if kind == "space":
            Space.load(folder)
        (models / kind).mkdir(parents=True, exist_ok=True)
        use_version(models, kind, folder.name)
    return folder.name


def compare_versions(job: Job, new: str, old: str) -> Comparison:
    """Two rankers on the test part of a run that is finished up to features.

    Raises:
        DataError: the run has no features yet, or the rankers have learned from all of its days.
        ModelError: there is no such ranker, or it reads other features.
    """
    if job.store.manifest("features") is None:
        raise DataError("its batch has not run", where=str(job.data), fix=f"Run first: adloom run {job.data}")
    rankers = [Ranker.load(find_version(job.models, choose_ranker.KIND, version)) for version in (new, old)]
    logged = split(pl.read_parquet(job.run / "features" / "logged.parquet"), job.settings.ranking)
    held_out = logged.filter(pl.col("part") == "test")
    found = compare(rankers[0], rankers[1], held_out, k=job.settings.ranking.slate_size, seed=job.settings.seed)
    if found is None:
        raise DataError(
            "no day with clicks is left that neither ranker has learned from",
            where=str(job.data),
            fix="Give a data folder with later days.",
        )
    return found


def find_version(models: Path, kind: str, version: str) -> Path:
    """The folder of a version by its name or the beginning of it."""
    folders = {path.name: path for path in reversed(list(_folders(models, kind)))}
    fitting = [name for name in sorted(folders) if name.startswith(version)] if version else []
    if version in folders:
        return folders[version]
    if len(fitting) == 1:
        return folders[fitting[0]]
    raise ModelError(
        f"several versions begin with {version}: {', '.join(fitting)}" if fitting else f"there is no {kind} {version}",
        where=str(models / kind),
        fix="See what there is: adloom models list.",
    )


def _folders(models: Path, kind: str) -> Iterator[Path]:
    for root in model_roots(models):
        yield from sorted(path for path in (root / kind).glob("*") if path.is_dir() and path.suffix != ".part")


def _of_kind(models: Path, kind: str) -> Iterator[Version]:
    seen: set[str] = set()
    used = _used(models, kind)
    for folder in _folders(models, kind):
        if folder.name not in seen:
            seen.add(folder.name)
            origin = _json(folder / ORIGIN).get("made_by", "shipped")
            yield Version(kind, folder.name, folder.name in used, origin, _about(kind, folder))


def _used(models: Path, kind: str) -> set[str]:
    """Versions in use: of rankers one a space, of the others the first that is pointed at."""
    for root in model_roots(models):
        pointer = _json(root / kind / "in_use.json")
        if pointer:
            return {entry["version"] for entry in pointer.get("for", {"": pointer}).values()}
    return set()


def _about(kind: str, folder: Path) -> str:
    try:
        if kind == "space":
            space = Space.load(folder)
            return f"{space.dimensions} dimensions"
        if kind in ("generator", "student", "gan"):
            return f"drawn in space {(generator_space(folder) or 'unknown')[:12]}"
        if kind == "adapter":
            return f"of users in space {(adapter_space(folder) or 'unknown')[:12]}"
        meta = Ranker.load(folder).meta
    except ModelError as error:
        return f"cannot be used: {error.what}"
    measured = next((v for k, v in meta["facts"].items() if k.startswith("validation_ndcg")), None)
    told = f", validation NDCG {measured:.4f}" if measured is not None else ""
    return f"{meta['objective']}, {meta['rounds']} trees{told}, learned until {meta['known_until'][:10]}, space {str(meta['space_hash'])[:12]}"


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
