"""Turns co-visits into a frozen space: a unit vector per item and per topic; what is new is projected into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse.linalg import svds

from contracts.errors import DataError, ModelError
from features.history import Floats, Ints, codes, weights_of

Vectors = npt.NDArray[np.float32]

CONTEXT_SMOOTHING = 0.75
_FAINT = 1e-6  # an item this short, relative to the longest, is not represented by the truncated SVD
_WEIGHTS, _NAMES = "space.safetensors", "space.json"


@dataclass(frozen=True, eq=False)
class Space:
    """Where items and topics stand.

    Attributes:
        item_ids: (I,) ascending; items that were visited next to another one.
        vectors: (I, D) float32, unit length.
        topics: (T,) ascending; topics of those items.
        topic_vectors: (T, D) float32: mean of the vectors of the topic's items, scaled to unit length.
    """

    item_ids: tuple[str, ...]
    vectors: Vectors  # (I, D)
    topics: tuple[str, ...]
    topic_vectors: Vectors  # (T, D)

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content, hexadecimal: the name by which models remember their space."""
        digest = hashlib.sha256(json.dumps([self.item_ids, self.topics, self.vectors.shape]).encode())
        for array in (self.vectors, self.topic_vectors):
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()

    def save(self, directory: Path) -> None:
        """Writes space.safetensors and space.json; equal spaces give equal bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        arrays = {"topic_vectors": self.topic_vectors, "vectors": self.vectors}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _WEIGHTS)
        names = {"hash": self.hash, "item_ids": self.item_ids, "topics": self.topics}
        (directory / _NAMES).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(directory: Path) -> Space:
        """Reads what `save` wrote. Raises ModelError when a file is missing, damaged or was altered."""
        fix = "Learn the space again, or go back to another version."
        try:
            arrays = load_file(directory / _WEIGHTS)
            names = json.loads((directory / _NAMES).read_text(encoding="utf-8"))
            space = Space(tuple(names["item_ids"]), arrays["vectors"], tuple(names["topics"]), arrays["topic_vectors"])
            expected = names["hash"]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the space cannot be read ({error})", where=str(directory), fix=fix) from error
        shapes = (len(space.item_ids), len(space.topics)), (len(space.vectors), len(space.topic_vectors))
        if shapes[0] != shapes[1] or space.hash != expected:
            raise ModelError("the space does not match its recorded hash", where=str(directory), fix=fix)
        return space

    def place_concepts(self, concepts: pl.DataFrame) -> Vectors:
        """Vectors of concepts, (C, D) float32: the item's own vector where concept_id is an item of the space, else the
        mean of its known topics' vectors, else zeros."""
        things = concepts.select(pl.col("concept_id").alias("item_id"), "topics")
        row, column, share = self.entries(things)
        placing = sp.csr_array((share, (row, column)), shape=(len(things), len(self.item_ids) + len(self.topics)))
        return np.asarray(placing @ self.anchors, dtype=np.float32)

    def coverage(self, events: pl.DataFrame) -> float:
        """Share of events whose item has a vector of its own, in [0, 1]; 1.0 for no events. The rest is projected
        through its topics: a low coverage says that the space has grown old."""
        return 1.0 if events.is_empty() else float((codes(events["item_id"], pl.Series(self.item_ids)) >= 0).mean())

    @cached_property
    def anchors(self) -> Floats:
        """Item vectors, then topic vectors: (I + T, D) float64."""
        return np.concatenate([self.vectors, self.topic_vectors]).astype(np.float64)

    def entries(self, things: pl.DataFrame) -> tuple[Ints, Ints, Floats]:
        """Where each thing stands, as a sparse matrix over `anchors`: row, column, share; sorted by row.

        Args:
            things: columns item_id and topics, N rows.

        Returns:
            An item of the space is one entry of share 1; another one has an entry of share 1/n for each of its n
            distinct known topics, or none.
        """
        item = codes(things["item_id"], pl.Series(self.item_ids, dtype=pl.String))
        owned, new = np.flatnonzero(item >= 0), np.flatnonzero(item < 0)
        loose = things.select("topics")[new].with_columns(row=new).explode("topics").drop_nulls("topics")
        topic = codes(loose["topics"], pl.Series(self.topics, dtype=pl.String))
        width = max(len(self.topics), 1)
        pairs = np.unique(loose["row"].to_numpy()[topic >= 0] * width + topic[topic >= 0])
        row = pairs // width
        share = 1.0 / np.bincount(row, minlength=1)[row]
        rows = np.concatenate([owned, row])
        order = np.argsort(rows, kind="stable")
        columns = np.concatenate([item[owned], len(self.item_ids) + pairs % width])
        return rows[order], columns[order], np.concatenate([np.ones(len(owned)), share])[order]


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
    covisits = _covisits(events, items, window, action_weights)
    used = np.flatnonzero(covisits.sum(axis=1) > 0)
    if not len(used):
        raise DataError(
            "no user visited two different items", where="events", fix="Give more events, or weights above 0."
        )
    mutual = _mutual_information(covisits[used][:, used])
    factors = _factors(mutual, dimensions)
    norms = np.linalg.norm(factors, axis=1)
    placed = norms > _FAINT * norms.max()
    item_ids, vectors = items.gather(used[placed]), _unit(factors[placed])
    topics, topic_vectors = _topic_vectors(events, item_ids, vectors)
    return Space(tuple(item_ids), vectors.astype(np.float32), topics, topic_vectors.astype(np.float32))


def _covisits(events: pl.DataFrame, items: pl.Series, window: int, action_weights: Mapping[str, float]) -> sp.csr_array:
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


def _mutual_information(covisits: sp.csr_array) -> sp.csr_array:
    """max(0, log(p_ij / (p_i * q_j))), q smoothed by CONTEXT_SMOOTHING."""
    entries = covisits.tocoo()
    mass = np.asarray(covisits.sum(axis=1), dtype=np.float64).ravel()
    context = mass**CONTEXT_SMOOTHING
    context /= context.sum()
    left, right = entries.coords
    ratio = entries.data / (mass[left] * context[right])
    return sp.csr_array((np.maximum(np.log(ratio), 0.0), (left, right)), shape=covisits.shape)


def _factors(matrix: sp.csr_array, dimensions: int) -> Floats:
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


def _topic_vectors(events: pl.DataFrame, item_ids: pl.Series, vectors: Floats) -> tuple[tuple[str, ...], Floats]:
    """Topics of the placed items, and the unit mean of each topic's item vectors."""
    pairs = events.select("item_id", "topics").explode("topics").drop_nulls().unique().sort("topics", "item_id")
    item = codes(pairs["item_id"], item_ids)
    pairs, item = pairs.filter(pl.Series(item >= 0)), item[item >= 0]
    topics = pairs["topics"].unique().sort()
    belongs = sp.csr_array(
        (np.ones(len(item)), (codes(pairs["topics"], topics), item)), shape=(len(topics), len(item_ids))
    )
    return tuple(topics), _unit(np.asarray(belongs @ vectors))


def _unit(vectors: Floats) -> Floats:
    """Rows scaled to unit length; a zero row, or one that cancels out, becomes zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norms > 1e-12, vectors / np.maximum(norms, 1e-12), 0.0)
