"""Turns a new space and the one in use into the new one, turned to stand where the old one stands, and what that broke."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from contracts.errors import DataError
from features.history import Floats, Ints, codes
from features.space import Space, Vectors

NEIGHBOURS = 10
_SAME = 1e-5  # coordinates that differ by less are rounding: the spaces are the same
_BLOCK = 512
_JUDGED_ITEMS = 5000  # neighbours are looked up for so many items at most, evenly spaced in order of id


@dataclass(frozen=True)
class Alignment:
    """What a refit kept and broke.

    Attributes:
        shared: items in both spaces.
        lost, gained: items in the old one alone, in the new one alone.
        cosine: mean cosine of the shared items' old and new places; None without any.
        neighbours_kept: mean share of an item's NEIGHBOURS nearest shared items that are still among them; None with
            fewer than two shared items. The random order of a new space would keep NEIGHBOURS / shared.
        items: item_id, residual (1 - cosine of old and new place, in [0, 2]) and neighbours_kept (null: not looked
            up) of the shared items, the largest residual first.
        turned: whether the new space was turned; with fewer shared items than dimensions nothing says how.
        same: whether old and new are the same space, but for rounding.
    """

    shared: int
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    cosine: float | None
    neighbours_kept: float | None
    items: pl.DataFrame
    turned: bool
    same: bool


def align(new: Space, old: Space) -> tuple[Space, Alignment]:
    """Turns `new` so that its items stand as near to their places in `old` as a rotation allows, and compares.

    Orthogonal Procrustes (Schönemann 1966): R = U V' of the SVD U S V' of A'B, with A the new and B the old vectors of
    the shared items, minimises |A R - B|. Distances and cosines inside the new space do not change.

    Returns:
        The turned space; `old` itself where the two are the same. And what the refit kept and broke.

    Raises:
        DataError: the spaces differ in dimensions.
    """
    if new.dimensions != old.dimensions:
        raise DataError(
            f"{new.dimensions} and {old.dimensions} dimensions cannot be aligned",
            where="features.dimensions",
            fix="Fit the new space in the dimensions of the old one.",
        )
    new, old = new.with_guests(), old.with_guests()
    place = codes(pl.Series(new.item_ids, dtype=pl.String), pl.Series(old.item_ids, dtype=pl.String))
    rows = np.flatnonzero(place >= 0)
    before = old.vectors[place[rows]].astype(np.float64)
    turned = len(rows) >= new.dimensions
    if turned:
        left, _, right = np.linalg.svd(new.vectors[rows].astype(np.float64).T @ before)
        new = _turn(new, left @ right)
    after = new.vectors[rows].astype(np.float64)
    cosine = np.einsum("nd,nd->n", before, after)
    judged, kept = _neighbours_kept(before, after)
    shares = np.full(len(rows), np.nan)
    shares[judged] = kept
    ids = pl.Series("item_id", [new.item_ids[row] for row in rows], dtype=pl.String)
    items = pl.DataFrame({"item_id": ids, "residual": 1.0 - cosine, "neighbours_kept": shares}, nan_to_null=True)
    same = _same(new, old)
    found = Alignment(
        shared=len(rows),
        lost=tuple(sorted(set(old.item_ids) - set(new.item_ids))),
        gained=tuple(sorted(set(new.item_ids) - set(old.item_ids))),
        cosine=float(cosine.mean()) if len(rows) else None,
        neighbours_kept=float(kept.mean()) if len(kept) else None,
        items=items.sort("residual", "item_id", descending=[True, False]),
        turned=turned,
        same=same,
    )
    return (old if same else new), found


def _turn(space: Space, rotation: Floats) -> Space:
    def turned(vectors: Vectors) -> Vectors:
        return np.asarray(vectors.astype(np.float64) @ rotation, dtype=np.float32)

    return replace(
        space,
        vectors=turned(space.vectors),
        topic_vectors=turned(space.topic_vectors),
        text_map=None if space.text_map is None else turned(space.text_map),
    )


def _same(new: Space, old: Space) -> bool:
    if (new.item_ids, new.topics, new.kind) != (old.item_ids, old.topics, old.kind):
        return False
    return bool(np.abs(new.vectors - old.vectors).max() < _SAME)


def _neighbours_kept(before: Floats, after: Floats) -> tuple[Ints, Floats]:
    """Which rows were looked up, and the share of each one's nearest rows, by cosine, that are nearest in both."""
    count = len(before)
    nearest = min(NEIGHBOURS, count - 1)
    if nearest < 1:
        return np.empty(0, dtype=np.int64), np.empty(0)
    judged = np.unique(np.linspace(0, count - 1, min(count, _JUDGED_ITEMS)).astype(np.int64))
    kept = []
    for low in range(0, len(judged), _BLOCK):
        rows = judged[low : low + _BLOCK]
        old, new = (_nearest(vectors, rows, nearest) for vectors in (before, after))
        kept.append((old[:, :, None] == new[:, None, :]).any(axis=2).mean(axis=1))
    return judged, np.concatenate(kept)


def _nearest(vectors: Floats, rows: Ints, count: int) -> Ints:
    """The `count` rows nearest to each of `rows`, itself left out; ties go to the earlier row."""
    cosine = np.round(vectors[rows] @ vectors.T, 9)
    cosine[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count].astype(np.int64)
