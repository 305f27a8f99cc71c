"""Turns a planted world's truth into what a report holds estimates against: oracle scores, policy values, picture values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.seeds import stream
from flows.job import Job
from flows.value_pictures import Worth, scene
from generators.layout import DEFAULT_BOX
from generators.products import CLEAR, fit_product, load_product
from ranking.policy import Policy
from ranking.rollout import rolled_out
from ranking.slates import arranged
from sources.truth import Truth

Floats = npt.NDArray[np.float64]

REPLICATES = 32
"""Slates drawn per logged slate for the target policy's true value."""


def oracle_of(truth: Truth, rows: pl.DataFrame) -> Floats:
    """True click chance of each row (user_id, at, concept_id, slot), averaged over the concept's logged creatives."""
    return truth.oracle_scores(rows["user_id"], rows["at"], rows["concept_id"], rows["slot"].to_numpy())


def logged_value(rows: pl.DataFrame, oracle: Floats) -> float:
    """Expected clicks per slate of the slates as logged."""
    return float(oracle.sum() / rows.select("user_id", "at").n_unique())


def target_value(
    truth: Truth, replayed: Iterable[pl.DataFrame], concepts: pl.DataFrame, *, policy: Policy, seed: int
) -> float:
    """Expected clicks per slate of a policy on the logged slates' moments.

    See `ranking.rollout.rolled_out`, with true click chances and REPLICATES draws a slate.

    Args:
        truth: of the planted world.
        replayed: user_id, at, concept_id, score, click_chance of every candidate at every logged slate's moment, in
            parts of whole users.
        concepts: concept_id, advertiser, topics.
        policy: what decides the chances.
        seed: of the run.
    """
    slots, rng = np.arange(policy.settings.slate_size)[:, None], stream(seed, "true value of the target policy")
    found = []
    for part in replayed:
        rows = arranged(part, ["user_id", "at"], policy)
        true = list(truth.oracle_scores(rows["user_id"], rows["at"], rows["concept_id"], slots))
        clicks = rolled_out(rows, concepts, true, policy=policy, draws=REPLICATES, rng=rng)
        found.append(clicks.sum(axis=1))
    return float(np.concatenate(found).mean())


def true_worth(truth: Truth, job: Job, at: dt.datetime) -> Worth:
    """True click chances of the pictures of a job's run at a moment, for `value_pictures.picture_values`."""
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet", columns=["concept_id", "product_image"])
    files = dict(concepts.iter_rows())

    def worth(people: pl.Series, concept: str, creative: str | None) -> Floats:
        if creative is None:
            return truth.oracle_scores(people, at, [concept] * len(people))[None]
        picture = scene(job.run, creative)
        file = files[concept]
        box = (np.nan,) * 4 if file is None else product_square(job.data / file, picture.shape[1])
        return truth.picture_value(people, picture, [concept], np.array([box]), at)[None]

    return worth


@cache
def product_square(path: Path, side: int) -> tuple[float, float, float, float]:
    """Where a product's picture as it came, with its clear margins, lies in a scene: left, top, width, height, fractions of the side.

    The world's law measures how far a product stands out by this square; painters set the product without its margins.

    Args:
        path: of the product's picture.
        side: of the scene, pixels.
    """
    whole, product = load_product(path, trim=False), load_product(path)
    seen = whole[..., 3] > CLEAR
    top, left = (int(np.flatnonzero(seen.any(axis=axis))[0]) for axis in (1, 0))
    _, at = fit_product(product, DEFAULT_BOX, (side, side))
    high, wide = (at.bottom - at.top) / product.shape[0] / side, (at.right - at.left) / product.shape[1] / side
    return at.left / side - left * wide, at.top / side - top * high, whole.shape[1] * wide, whole.shape[0] * high
