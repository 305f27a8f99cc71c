"""Turns a run's pictures and the decisions on them into one round of review: how many were approved, and how varied they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from contracts.decisions import Kind
from evaluation.review_rounds import ReviewRound
from flows.gather_verdicts import counting
from flows.open_reviews import hashed_creatives
from generators.taste.variety import spread, thumbnails

FACTS = "learned.json"
"""In a learned version of a generator: what was learned, and the rounds so far."""


def rounds_of(version: Path) -> tuple[ReviewRound, ...]:
    """The rounds that a version of a generator has learned from, the first one first."""
    path = version / FACTS
    if not path.exists():
        return ()
    told: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")).get("rounds", [])
    return tuple(ReviewRound(**one) for one in told)


def sum_up_round(run: Path, decisions: pl.DataFrame) -> ReviewRound:
    """What people decided, each with his last word, on the run's pictures as they are now.

    Args:
        run: its folder.
        decisions: by the contract.
    """
    key = ["run_id", "creative_id", "file_hash"]
    kinds = pl.col("kind").is_in([Kind.APPROVE, Kind.REJECT])
    pictures = hashed_creatives(run).drop_nulls("file_hash").with_columns(run_id=pl.lit(run.name))
    said = counting(decisions).filter(kinds).sort("decision_id").unique(["reviewer", *key], keep="last")
    said = said.join(pictures.select(key), on=key, how="semi")
    judged = pictures.join(said, on=key, how="semi")
    scenes = [_scene(run / file) for file in judged["scene"]]
    known = [scene for scene in scenes if scene is not None]
    return ReviewRound(
        generator=json.loads((run / "training" / "choice.json").read_text())["version"],
        decisions=len(said),
        approved=int((said["kind"] == Kind.APPROVE).sum()),
        pictures=len(judged),
        spread=spread(thumbnails(np.stack(known))) if len(known) > 1 else None,
    )


def _scene(path: Path) -> Any:
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"), np.uint8)
    except (OSError, SyntaxError, ValueError):
        return None
