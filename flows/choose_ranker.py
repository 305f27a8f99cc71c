"""Turns a newly trained ranker and the one in use into the one to use: the new one, unless it is worse beyond noise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from contracts.errors import ModelError
from contracts.store import write_json
from flows.choose_models import ORIGIN, model_roots
from flows.compare_rankers import Comparison, compare
from ranking.ranker import Ranker

KIND = "ranker"
_POINTER = "in_use.json"


@dataclass(frozen=True)
class InUse:
    """Which ranker is in use in a space.

    Attributes:
        version: of the ranker.
        by: digest of the training that put it in use; empty: a person did.
        after: the version that was in use before that training, which it was compared with.
    """

    version: str
    by: str = ""
    after: str | None = None


@dataclass(frozen=True)
class Choice:
    """Which ranker is used, and why.

    Attributes:
        ranker, version: the one to use.
        kept: whether it is the old one.
        sentence: what was decided, in words.
        comparison: on which figures; None when there was nothing to compare with.
    """

    ranker: Ranker
    version: str
    kept: bool
    sentence: str
    comparison: Comparison | None

    def as_json(self) -> dict[str, Any]:
        """What a run's facts and report say of the choice."""
        return {
            "version": self.version,
            "kept": self.kept,
            "sentence": self.sentence,
            "comparison": None if self.comparison is None else self.comparison.as_json(),
        }


def in_use(models: Path, space_hash: str) -> InUse | None:
    """The ranker in use in a space: features made in another space mean something else."""
    for root in model_roots(models):
        entry = _read(root / KIND / _POINTER).get("for", {}).get(space_hash)
        if entry is not None and (root / KIND / entry["version"]).is_dir():
            return InUse(entry["version"], entry.get("by", ""), entry.get("after"))
    return None


def rival(models: Path, space_hash: str, by: str) -> str | None:
    """The version that a training is to be compared with: the one in use, or, where that is its own, the one before.

    So a run that is repeated, or resumed after its ranker came into use, meets the same rival and ends in the same bytes.
    """
    found = in_use(models, space_hash)
    if found is None:
        return None
    return found.after if found.by == by else found.version  # a person's choice has no training: by is ""


def choose(new: Ranker, models: Path, held_out: pl.DataFrame, *, by: str, made_by: str, k: int, seed: int) -> Choice:
    """Adds a new ranker to the models and puts it in use, unless it is worse than its rival on the last days beyond noise.

    Worse beyond noise: the 95 % interval of the paired difference, from resamples of users, lies below 0 for NDCG, or
    above 0 for log loss.

    Args:
        new: with `space_hash` in its meta.
        models: the user's models.
        held_out: the last days, see `flows.compare_rankers.compare`.
        by: digest of the training.
        made_by: name of the run, or of the command.
        k: depth of NDCG.
        seed: of the run.

    Raises:
        ModelError: the rival is damaged.
    """
    space = str(new.meta["space_hash"])
    version = keep(new, models, made_by=made_by)
    before = rival(models, space, by)
    old = None if before is None else load(models, before)
    comparison: Comparison | None = None
    if old is None or before is None:
        sentence = f"{version} is the first ranker of this space"
    elif old.hash == new.hash:
        sentence = f"{version} is what was in use"
    elif old.features != new.features:
        sentence = f"{version} is used: {before} reads other features"
    else:
        comparison = compare(new, old, held_out, k=k, seed=seed)
        if comparison is None:
            sentence = f"{version} is used: {before} has learned from these days, or they have no click"
        elif comparison.worse is not None:
            sentence = f"{before} stays in use: {version} is worse beyond noise, {comparison.worse}"
            return Choice(old, before, kept=True, sentence=sentence, comparison=comparison)
        else:
            sentence = f"{version} is used: not worse than {before} beyond noise"
    use(models, version, space, by=by, after=before)
    return Choice(new, version, kept=False, sentence=sentence, comparison=comparison)


def keep(ranker: Ranker, models: Path, *, made_by: str) -> str:
    """Adds a ranker to the models, whole or not at all, and does not put it in use; returns its version."""
    version = ranker.hash[:12]
    folder = models / KIND / version
    if not folder.exists():
        part = folder.with_name(f"{version}.part")
        ranker.save(part)
        write_json(part / ORIGIN, {"made_by": made_by})
        part.rename(folder)
    return version


def use(models: Path, version: str, space_hash: str, *, by: str = "", after: str | None = None) -> None:
    """Puts a version in use in its space."""
    folder = models / KIND
    folder.mkdir(parents=True, exist_ok=True)
    entries = _read(folder / _POINTER).get("for", {})
    entries[space_hash] = {"version": version, "by": by, "after": after}
    write_json(folder / _POINTER, {"version": version, "for": entries})


def load(models: Path, version: str, features: Sequence[str] | None = None) -> Ranker:
    """A version, from the user's models or the shipped ones. Raises ModelError: there is none, or it is damaged."""
    for root in model_roots(models):
        if (root / KIND / version).is_dir():
            return Ranker.load(root / KIND / version, features)
    raise ModelError(
        f"there is no ranker {version}", where=str(models / KIND), fix="See what there is: adloom models list."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelError(
            "is damaged", where=str(path), fix="Remove it, then: adloom models use ranker VERSION."
        ) from error
    return dict(found)
