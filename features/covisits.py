"""Turns browsing into counts of what is visited together, their mutual information, and a space: its truncated SVD."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
import scipy.sparse as sp
from scipy.sparse.linalg import svds

from contracts.errors import DataError
from features.history import Floats, codes, weights_of
from features.space import Space

CONTEXT_SMOOTHING = 0.75
_FAINT = 1e-6  # an item this short, relative to the longest, is not represented by the truncated SVD


def fit_space(events: pl.DataFrame, *, dimensions: int, window: int, action_weights: Mapping[str, float]) -> Space:
    """Learns a space: truncated SVD of the smoothed positive pointwise mutual information of co-visits.

    Items i and j at most `window` places apart in a user's history co-visit with sqrt(w_i * w_j) / places. The matrix
    becomes max(0, log(p_ij / (p_i * q_j))), where q is p to the power 0.75, normalised (Levy, Goldberg and Dagan 2015,
    "Improving distributional similarity with lessons learned from word embeddings"); item vectors are the rows of
    U * sqrt(S), scaled to unit length. Signs are fixed, and so is the start of the iteration: equal events, in any
    row order, give an equal space.

    Args:
        events: table `events`, of the training period only.
        dimensions: D; columns beyond the rank are zero.
        window: places.
        action_weights: weight of each action; one that is not named counts 0.

    Raises:
        DataError: no user visited two different items.
    """
    items = events["item_id"].unique().sort()
    counts = covisits(events, items, window, action_weights)
    used = np.flatnonzero(counts.sum(axis=1) > 0)
    if not len(used):
        raise DataError(
            "no user visited two different items", where="events", fix="Give more events, or weights above 0."
        )
    mutual = mutual_information(counts[used][:, used])
    factors = factors_of(mutual, dimensions)
    norms = np.linalg.norm(factors, axis=1)
    placed = norms > _FAINT * norms.max()
    item_ids, vectors = items.gather(used[placed]), unit(factors[placed])
    topics, topic_vectors = topic_means(events, item_ids, vectors)
    return Space(tuple(item_ids), vectors.astype(np.float32), topics, topic_vectors.astype(np.float32))


def covisits(events: pl.DataFrame, items: pl.Series, window: int, action_weights: Mapping[str, float]) -> sp.csr_array:
    """Weighted symmetric co-visit counts, (I, I), zero diagonal."""
    history = pl.DataFrame(
        {
            "user": events["user_id"].rank("dense"),
            "at": events["at"],
            "item": codes(events["item_id"], items),
            "root": np.sqrt(weights_of(events["action"], action_weights)),
        }
    )
    history = history.filter(pl.col("root") > 0).sort("user", "at", "item", "root")
    user, item, root = (history[name].to_numpy() for name in ("user", "item", "root"))
    shape = (len(items), len(items))
    total = sp.csr_array(shape, dtype=np.float64)
    for places in range(1, min(window, len(user) - 1) + 1):
        together = (user[places:] == user[:-places]) & (item[places:] != item[:-places])
        left, right = item[:-places][together], item[places:][together]
        weight = (root[:-places] * root[places:])[together] / places
        total = total + sp.coo_array((weight, (left, right)), shape=shape).tocsr()
    return sp.csr_array(total + total.T)


def mutual_information(counts: sp.csr_array, context_mass: Floats | None = None) -> sp.csr_array:
    """max(0, log(p_ij / (p_i * q_j))), q smoothed by CONTEXT_SMOOTHING.

    Args:
        counts: (R, C) co-visits of row items with column items.
        context_mass: (C,) co-visits of the column items with anything; None: the matrix is symmetric, its row sums.
    """
    entries = counts.tocoo()
    mass = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    context = (mass if context_mass is None else context_mass) ** CONTEXT_SMOOTHING
    context /= context.sum()
    left, right = entries.coords
    ratio = entries.data / (mass[left] * context[right])
    return sp.csr_array((np.maximum(np.log(ratio), 0.0), (left, right)), shape=counts.shape)


def factors_of(matrix: sp.csr_array, dimensions: int) -> Floats:
    """U * sqrt(S) of the truncated SVD, (I, dimensions), largest first, the largest entry of each column positive."""
    size = matrix.shape[0]
    if dimensions < size - 1 and matrix.count_nonzero():
        start = np.random.Generator(np.random.PCG64(0)).standard_normal(size)
        left, values, _ = svds(matrix, k=dimensions, v0=start)
    else:
        left, values, _ = np.linalg.svd(matrix.toarray(), full_matrices=False)
    order = np.argsort(-values, kind="stable")[:dimensions]
    left, values = left[:, order], values[order]
    values = np.where(values > 1e-9 * max(float(values.max(initial=0.0)), 1e-300), values, 0.0)
    peak = left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])]
    factors = left * np.where(peak < 0, -1.0, 1.0) * np.sqrt(values)
    return np.pad(factors, ((0, 0), (0, dimensions - factors.shape[1])))


def topic_means(events: pl.DataFrame, item_ids: pl.Series, vectors: Floats) -> tuple[tuple[str, ...], Floats]:
    """Topics of the placed items, and the unit mean of each topic's item vectors."""
    pairs = events.select("item_id", "topics").explode("topics").drop_nulls().unique().sort("topics", "item_id")
    item = codes(pairs["item_id"], item_ids)
    pairs, item = pairs.filter(pl.Series(item >= 0)), item[item >= 0]
    topics = pairs["topics"].unique().sort()
    belongs = sp.csr_array(
        (np.ones(len(item)), (codes(pairs["topics"], topics), item)), shape=(len(topics), len(item_ids))
    )
    return tuple(topics), unit(np.asarray(belongs @ vectors))


def unit(vectors: Floats) -> Floats:
    """Rows scaled to unit length; a zero row, or one that cancels out, becomes zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norms > 1e-12, vectors / np.maximum(norms, 1e-12), 0.0)
