"""Turns a ranker into a first model that costs next to nothing and keeps the few candidates worth the ranker's time.

The first model is linear in what is known of a user and has weights of its own for every concept: all its scores are one
matrix product, and it needs no feature of the pair. It is distilled from the ranker's own scores (Hinton, Vinyals and Dean
2015) on a sample of today's users, and keeps as many candidates as it takes to lose no more than was allowed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.frames import Floats, Ints, run_lengths
from ranking.retrieval import Bools, Channel, Merits, retrieve

ANCHORS = 64
_BLOCK = 2048  # moments looked at together
_WIDTH = 6.0  # of the bumps around the anchors
_RIDGE = 0.3
_KEEPS = (0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.35, 0.4, 0.5)
"""Shares of the candidates that are tried; to keep more would not pay."""

MIN_USERS = 100
"""Users that a first model is learned from at least, half of them to measure it by."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """A first model and how many candidates it keeps.

    Attributes:
        anchors: (K, D) unit vectors, places in the space that concepts stand near.
        weights: (B, C) by concept, scaled so that no score of the sample is beyond 1.
        keep: candidates of a user that the ranker scores.
        loss: share of NDCG@k that is lost, measured on users that the first model did not learn from; `of` is k.
        error: standard error of the loss.
    """

    anchors: Merits
    weights: Merits
    keep: int
    loss: float
    error: float
    of: int

    @cached_property
    def hash(self) -> str:
        """sha256 hex of what decides which candidates are kept."""
        digest = hashlib.sha256(f"{self.weights.shape} {self.anchors.shape} {self.keep}".encode())
        for array in (self.anchors, self.weights):
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()

    def select(self, vectors: npt.NDArray[np.floating], allowed: Bools) -> Ints:
        """The columns that the ranker is to score, (n, min(keep, C)), ascending, then -1.

        Args:
            vectors: (n, D) user embeddings.
            allowed: (n, C) the candidates.
        """
        merits = np.clip(_basis(vectors, self.anchors) @ self.weights, -1.0, 1.0)
        return retrieve(allowed, [Channel(1.0, merits)], self.keep)

    def cut(self, pairs: pl.DataFrame, concept_ids: pl.Series, vectors: npt.NDArray[np.floating]) -> pl.DataFrame:
        """The pairs (user_id, at, concept_id and others) that the ranker is to score, in their order.

        Args:
            pairs: the candidates, sorted by user_id, at.
            concept_ids: (C,) distinct, in the order of the weights; all of the pairs' are among them.
            vectors: (n, D) user embeddings, one for each run of equal (user_id, at).
        """
        lengths = run_lengths(pairs, ["user_id", "at"])
        places = pl.DataFrame({"concept_id": concept_ids}).with_row_index("column")
        column = pairs.join(places, on="concept_id", how="left", maintain_order="left")["column"].to_numpy()
        row = np.repeat(np.arange(len(lengths)), lengths)
        kept = np.zeros(len(pairs), dtype=np.bool_)
        for low in range(0, len(lengths), _BLOCK):
            first, last = np.searchsorted(row, [low, low + _BLOCK])
            inside = row[first:last] - low, column[first:last]
            allowed = np.zeros((min(_BLOCK, len(lengths) - low), len(concept_ids)), dtype=np.bool_)
            allowed[inside] = True
            chosen = self.select(vectors[low : low + _BLOCK], allowed)
            marked = np.zeros((len(allowed), len(concept_ids) + 1), dtype=np.bool_)
            marked[np.arange(len(allowed))[:, None], chosen] = True  # -1 is the last column
            kept[first:last] = marked[inside]
        return pairs.filter(pl.Series(kept))

    def as_json(self) -> dict[str, Any]:
        """What a run's facts say of it."""
        return {"hash": self.hash, "keep": self.keep, "loss": self.loss, "error": self.error, "of": self.of}


def distil(
    score: Floats,
    chance: Floats,
    vectors: npt.NDArray[np.floating],
    concept_vectors: npt.NDArray[np.floating],
    *,
    limit: int,
    max_loss: float,
    top: int = 10,
) -> Cascade | None:
    """Learns a first model on every other user of a sample, and how many candidates it must keep on the others.

    The loss is that of NDCG@top, with the ranker's click chances as gains: the ranker's own order of all candidates is the
    ideal one, so 1 - NDCG is what the cascade loses. The fewest candidates are kept for which the loss and two standard
    errors are within `max_loss`.

    Args:
        score: (n, C) the ranker's scores of users and concepts; NaN for a pair that is no candidate.
        chance: (n, C) its click chances.
        vectors: (n, D) user embeddings.
        concept_vectors: (C, D).
        limit: candidates of a user at most.
        max_loss: share of NDCG.
        top: depth of NDCG.

    Returns:
        None where there are too few users, or where even half of the candidates would lose more.
    """
    if len(score) < MIN_USERS or score.shape[1] <= top:
        return None
    taught, asked = slice(0, None, 2), slice(1, None, 2)
    anchors = _anchors(concept_vectors)
    basis = _basis(vectors, anchors)
    known = np.isfinite(score)
    mean = np.where(known, score, 0.0)[taught].sum(axis=0) / np.maximum(known[taught].sum(axis=0), 1)
    filled = np.where(known, score, mean)
    x = basis[taught].astype(np.float64)
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ filled[taught])
    weights /= max(float(np.abs(basis @ weights).max()), 1e-30)
    for share in _KEEPS:
        keep = max(top, round(share * limit))
        model = Cascade(anchors, weights.astype(np.float32), keep, 0.0, 0.0, top)
        lost = _lost(score[asked], chance[asked], model.select(vectors[asked], known[asked]), top)
        loss, error = float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))
        if loss + 2 * error <= max_loss:
            return Cascade(anchors, model.weights, keep, loss, error, top)
    return None


def _lost(score: Floats, chance: Floats, kept: Ints, top: int) -> Floats:
    """(n,) 1 - NDCG@top of the ranker's order of the kept candidates, its order of all of them being the ideal one."""
    discount = 1.0 / np.log2(np.arange(2, top + 2))
    rows = np.arange(len(score))[:, None]
    inside = np.zeros((len(score), score.shape[1] + 1), dtype=np.bool_)
    inside[rows, kept] = True  # -1 is the last column
    gains = []
    for among in (np.isfinite(score), np.isfinite(score) & inside[:, :-1]):
        best = np.argsort(-np.where(among, score, -np.inf), axis=1, kind="stable")[:, :top]
        gains.append(np.where(among[rows, best], chance[rows, best], 0.0) @ discount)
    return np.where(gains[0] > 0, 1.0 - gains[1] / np.where(gains[0] > 0, gains[0], 1.0), 0.0)


def _basis(vectors: npt.NDArray[np.floating], anchors: Merits) -> Merits:
    """(n, 1 + 2 D + 2 K): one, the embedding and its direction, and how near it is to each anchor."""
    wide = vectors.astype(np.float32)
    unit = _unit(wide)
    cosine = unit @ anchors.T
    near = np.exp(np.float32(_WIDTH) * (cosine - 1))
    one = np.ones((len(wide), 1), dtype=np.float32)
    return np.concatenate([one, wide, unit, near, np.maximum(cosine, 0) ** 2], axis=1)


def _anchors(concept_vectors: npt.NDArray[np.floating]) -> Merits:
    """(K, D) directions of concepts, each the one farthest from those before (Gonzalez 1985)."""
    unit = _unit(concept_vectors.astype(np.float32))
    unit = np.unique(unit[unit.any(axis=1)], axis=0)
    if not len(unit):
        return np.zeros((0, concept_vectors.shape[1]), dtype=np.float32)
    chosen, nearest = [0], unit @ unit[0]
    while len(chosen) < min(ANCHORS, len(unit)) and nearest.min() < 1 - 1e-6:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, unit @ unit[chosen[-1]])
    return unit[chosen]


def _unit(vectors: Merits) -> Merits:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)
