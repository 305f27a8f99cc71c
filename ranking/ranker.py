"""Turns (user, concept) features into scores and click chances; learned once, kept as text, loaded with suspicion."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import ModelError
from contracts.settings import RankingSettings, SlateSettings
from ranking.boosting import Learn, boost
from ranking.calibration import Calibration, calibrate
from ranking.forest import scorer
from ranking.frames import Floats, floats, integers, matrix
from ranking.lesson import fit

MODEL_FILE = "model.txt"
ABOUT_FILE = "ranker.json"
_FORMAT = 2
_RETRAIN = "Train the ranker again, or take an undamaged copy."


@dataclass(frozen=True)
class Ranker:
    """A LightGBM model, the features it reads in their order, its calibration, and facts about its training.

    `meta` is plain JSON: objective, rounds, warnings (in words for a person), row counts, settings, seed, version,
    known_until (moment of the last impression it learned from), space_hash (of the space its features were made in),
    portions (how many processes learned it together, where it was not one).
    """

    model_text: str
    features: tuple[str, ...]
    calibration: Calibration
    meta: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def _scorer(self) -> Callable[[npt.NDArray[Any], int], Floats]:
        return scorer(self.model_text)

    @cached_property
    def _booster(self) -> lightgbm.Booster:
        return lightgbm.Booster(model_str=self.model_text)

    def score(self, table: pl.DataFrame) -> Floats:
        """Raw ranking scores, (rows,), higher is better; only the feature columns are read, never a slot.

        No unit; in the binary fallback log-odds of a click, less those of the slot.

        Raises:
            ModelError: a feature column is missing or not a number.
        """
        values = matrix(table, self.features)
        if not len(values):
            return np.empty(0, dtype=np.float64)
        return self._scorer(values, self.threads)

    def contributions(self, table: pl.DataFrame) -> Floats:
        """What each feature adds to each raw score, (rows, features + 1): SHAP values of the trees, the base value last.

        Exact for trees (Lundberg et al. 2020, path-dependent TreeSHAP, LightGBM's own); a row sums to its `score`.

        Raises:
            ModelError: a feature column is missing or not a number.
        """
        values = matrix(table, self.features)
        if not len(values):
            return np.empty((0, len(self.features) + 1), dtype=np.float64)
        return np.asarray(self._booster.predict(values, pred_contrib=True, num_threads=self.threads), dtype=np.float64)

    def log_odds(self, score: npt.ArrayLike, slot: npt.ArrayLike = 0) -> Floats:
        """Calibrated log-odds of a click at `slot`, rising with the score (constant in the fallback)."""
        return self.calibration.log_odds(score, slot)

    def click_chance(self, score: npt.ArrayLike, slot: npt.ArrayLike = 0) -> Floats:
        """Calibrated click chance at `slot`, in [0, 1]."""
        return self.calibration.click_chance(score, slot)

    def scores(self, table: pl.DataFrame) -> pl.DataFrame:
        """The table's keys with their scores: user_id, at (where there is one), concept_id, score, click_chance."""
        score = self.score(table)
        keys = [name for name in ("user_id", "at", "concept_id") if name in table.columns]
        return table.select(keys).with_columns(score=score, click_chance=self.click_chance(score))

    @property
    def threads(self) -> int:
        """Threads to score on, those that it was trained on."""
        return int(self.meta.get("settings", {}).get("threads", 1))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about this model, in sentences; empty when all went well."""
        return tuple(self.meta.get("warnings", ()))

    @property
    def slot_offsets(self) -> Floats:
        """Log-odds of a click at slot k less those at slot 0, (slots,); beyond the end the last one holds."""
        return np.asarray(self.calibration.slot_offsets)

    @cached_property
    def hash(self) -> str:
        """sha256 hex of everything that is saved: the same training gives the same hash."""
        return hashlib.sha256(self._about().encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Writes model.txt and ranker.json into `folder`, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self.model_text.encode())
        (folder / ABOUT_FILE).write_bytes(self._about().encode())

    @classmethod
    def load(cls, folder: Path, features: Sequence[str] | None = None) -> Ranker:
        """Reads what `save` wrote.

        Args:
            folder: where it was saved.
            features: the feature list that will be fed; None: any.

        Raises:
            ModelError: a file is missing or damaged, or the model was trained on other features.
        """
        text = _read(folder / MODEL_FILE)
        about = _parse(folder / ABOUT_FILE)
        if about["model_sha256"] != hashlib.sha256(text.encode()).hexdigest():
            raise ModelError(
                "is not the model that ranker.json describes", where=str(folder / MODEL_FILE), fix=_RETRAIN
            )
        known = tuple(about["features"])
        if features is not None and known != tuple(features):
            raise ModelError(_difference(known, tuple(features)), where=str(folder), fix="Train the ranker again.")
        return cls(text, known, _calibration(about["calibration"], folder / ABOUT_FILE), about["meta"])

    def _about(self) -> str:
        about = {
            "format": _FORMAT,
            "features": self.features,
            "calibration": asdict(self.calibration),
            "meta": self.meta,
            "model_sha256": hashlib.sha256(self.model_text.encode()).hexdigest(),
        }
        return json.dumps(about, indent=2, sort_keys=True, allow_nan=False) + "\n"


def train(
    table: pl.DataFrame,
    features: Sequence[str],
    settings: RankingSettings,
    seed: int,
    *,
    directions: Mapping[str, int] | None = None,
    space_hash: str | None = None,
    learn: Learn = fit,
) -> Ranker:
    """Learns the order from the training part, stops by the validation part, calibrates on the calibration part.

    The test part is never read. Equal rows, in whatever order, give equal bytes.

    Args:
        table: user_id, at, slot, concept_id, clicked, part (see `ranking.split`), and the features (numbers).
        features: feature columns, in the order the model shall know them.
        settings: see RankingSettings.
        seed: of the run.
        directions: of the features, see `ranking.boosting.boost`.
        space_hash: of the space that the features were made in, for the record.
        learn: see `ranking.boosting.boost`.

    Raises:
        ModelError: see `ranking.boosting.boost`.
    """
    boosted = boost(table, features, settings, seed, directions, learn)
    uncalibrated = Ranker(boosted.text, tuple(features), Calibration(1.0, 0.0))
    held_out = table.filter(pl.col("part") == "calibration").sort("at", "user_id", "concept_id", "slot", "clicked")
    calibration = calibrate(uncalibrated.score(held_out), integers(held_out, "slot"), floats(held_out, "clicked"))
    meta = {
        "objective": boosted.objective,
        "rounds": boosted.rounds,
        "warnings": [*boosted.warnings, *([calibration.warning] if calibration.warning else [])],
        "facts": {**boosted.facts, "calibration_rows": held_out.height},
        "settings": settings.model_dump(
            mode="json", exclude=set(SlateSettings.model_fields) - {"slate_size"} | {"portion_rows"}
        ),  # of slates, and of who learns, not of learning
        "directions": {name: sign for name, sign in (directions or {}).items() if sign and settings.monotone},
        "known_until": str(table.filter(pl.col("part") != "test")["at"].max()),
        "space_hash": space_hash,
        "calibration": calibration.method,
        "seed": seed,
        "lightgbm": lightgbm.__version__,
    }
    if boosted.portions > 1:
        meta["portions"] = boosted.portions
    return Ranker(boosted.text, tuple(features), calibration, meta)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise ModelError(f"cannot be read ({error.strerror})", where=str(path), fix=_RETRAIN) from error
    except UnicodeDecodeError as error:
        raise ModelError("is not text", where=str(path), fix=_RETRAIN) from error


def _parse(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise ModelError(f"is not JSON ({error})", where=str(path), fix=_RETRAIN) from error
    keys = {"format", "features", "calibration", "meta", "model_sha256"}
    if not isinstance(about, dict) or not keys <= about.keys() or about["format"] != _FORMAT:
        raise ModelError("does not describe a ranker of this version", where=str(path), fix=_RETRAIN)
    return about


def _calibration(values: Any, path: Path) -> Calibration:
    try:
        calibration = Calibration(
            float(values["slope"]),
            float(values["intercept"]),
            tuple(float(offset) for offset in values["slot_offsets"]),
            values["warning"],
            tuple((float(x), float(y)) for x, y in values["knots"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError("holds a damaged calibration", where=str(path), fix=_RETRAIN) from error
    knots = np.asarray(calibration.knots, dtype=np.float64).reshape(-1, 2)
    numbers = [calibration.slope, calibration.intercept, *calibration.slot_offsets, *knots.ravel()]
    falling = calibration.slope < 0 or bool(np.any(np.diff(knots, axis=0) <= 0))
    if falling or not calibration.slot_offsets or not np.all(np.isfinite(numbers)):
        raise ModelError("holds a damaged calibration", where=str(path), fix=_RETRAIN)
    return calibration


def _difference(known: tuple[str, ...], given: tuple[str, ...]) -> str:
    lacking = [name for name in known if name not in given]
    extra = [name for name in given if name not in known]
    parts = [f"{word} {', '.join(names)}" for word, names in (("without", lacking), ("with", extra)) if names]
    return "trained on another feature list; the one given is " + ("; ".join(parts) if parts else "in another order")
