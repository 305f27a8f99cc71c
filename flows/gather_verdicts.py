"""Turns a log of decisions and the pictures they were made on into verdicts that a model of approval can learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image, UnidentifiedImageError

from contracts.decisions import Kind
from flows.open_reviews import hashed_creatives
from generators.painting.painters import scene_looks
from generators.products import Pixels
from generators.taste.approval import Verdicts, preferences_of
from generators.taste.look import LOOK
from review.tiers import AUTO

JUDGED = "judged.parquet"
"""In a learned version: what the pictures looked like that it was learned from, by the hash of the file that was judged."""

JUDGED_SCHEMA: dict[str, pl.DataType] = {
    "file_hash": pl.String(),
    "run_id": pl.String(),
    "creative_id": pl.String(),
    "concept_id": pl.String(),
    "features": pl.Array(pl.Float32, len(LOOK)),
}


@dataclass(frozen=True)
class Gathered:
    """What can be learned from.

    Attributes:
        verdicts: of people, each person's last on each file.
        judged: pictures by JUDGED_SCHEMA, in the order of `verdicts.features`.
        reviewers: names, in the order of `verdicts.reviewer`.
        stale: decisions left out since the file they were made on is not there any more, or has changed.
    """

    verdicts: Verdicts
    judged: pl.DataFrame
    reviewers: tuple[str, ...]
    stale: int


def looks_of(run: Path, products: Mapping[str, Pixels | None]) -> pl.DataFrame:
    """The run's pictures by JUDGED_SCHEMA, as they are now; one whose scene is missing or unreadable is left out.

    Args:
        run: its folder.
        products: by concept; a concept that is not there has none.
    """
    rows = []
    for row in hashed_creatives(run).filter(pl.col("file_hash").is_not_null()).iter_rows(named=True):
        try:
            with Image.open(run / row["scene"]) as opened:
                scene = np.asarray(opened.convert("RGB"), np.uint8)
        except (OSError, UnidentifiedImageError):
            continue
        concept = row["concept_id"]
        look = scene_looks(scene[None], products.get(concept))[0]
        rows.append((row["file_hash"], run.name, row["creative_id"], concept, look))
    return pl.DataFrame(rows, schema=JUDGED_SCHEMA, orient="row")


def gather_verdicts(decisions: pl.DataFrame, looks: pl.DataFrame, remembered: pl.DataFrame | None) -> Gathered:
    """Verdicts on pictures that are known by the very bytes that were judged.

    Args:
        decisions: by the contract, of one or more runs.
        looks: pictures as they are now, by JUDGED_SCHEMA.
        remembered: those that the version in use was learned from, which may have been replaced since.
    """
    known = looks if remembered is None else pl.concat([looks, remembered])
    known = known.unique(["run_id", "creative_id", "file_hash"], keep="first", maintain_order=True)
    key = ["run_id", "creative_id", "file_hash"]
    placed = counting(decisions).join(known.select(*key, "concept_id").with_row_index("picture"), on=key, how="left")
    other = known.select("run_id", pl.col("creative_id").alias("other_creative_id"),
                         pl.col("file_hash").alias("other_file_hash")).with_row_index("other")  # fmt: skip
    placed = placed.join(other, on=["run_id", "other_creative_id", "other_file_hash"], how="left").sort("decision_id")
    found = placed.filter(
        pl.col("picture").is_not_null() & ((pl.col("kind") != Kind.PAIRWISE) | pl.col("other").is_not_null())
    )
    said = found.filter(pl.col("kind").is_in([Kind.APPROVE, Kind.REJECT])).unique(
        ["reviewer", *key], keep="last", maintain_order=True
    )
    pairs = found.filter(pl.col("kind") == Kind.PAIRWISE)
    rated = found.filter(pl.col("kind") == Kind.RATING).unique(["reviewer", *key], keep="last", maintain_order=True)
    by_rating = preferences_of(list(rated.select("reviewer", "concept_id", "picture", "rating").iter_rows()))
    reviewers = tuple(sorted(said["reviewer"].unique()))
    names = {name: number for number, name in enumerate(known["concept_id"].unique().sort())}
    verdicts = Verdicts(
        features=known["features"].to_numpy().astype(np.float32).reshape(-1, len(LOOK)),
        concept=np.array([names[name] for name in known["concept_id"]], np.int64),
        picture=said["picture"].to_numpy().astype(np.int64),
        reviewer=np.array([reviewers.index(name) for name in said["reviewer"]], np.int64),
        approved=(said["kind"] == Kind.APPROVE).to_numpy(),
        better=np.array([*pairs["picture"], *(one for one, _ in by_rating)], np.int64),
        worse=np.array([*pairs["other"], *(two for _, two in by_rating)], np.int64),
    )
    return Gathered(verdicts, known, reviewers, len(placed) - len(found))


def counting(decisions: pl.DataFrame) -> pl.DataFrame:
    """Decisions by people that were not undone and say something of a picture."""
    undone = decisions.filter(pl.col("kind") == Kind.UNDO)["undoes"]
    kinds = [Kind.APPROVE, Kind.REJECT, Kind.RATING, Kind.PAIRWISE]
    return decisions.filter(
        pl.col("kind").is_in(kinds) & ~pl.col("decision_id").is_in(undone.implode()) & (pl.col("reviewer") != AUTO)
    )
