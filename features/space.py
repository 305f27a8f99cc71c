"""Turns items, topics and concepts into places of one frozen space, and keeps that space on disk, to the byte."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from contracts.errors import ModelError
from features.history import Floats, Ints, codes

Vectors = npt.NDArray[np.float32]

STANDINGS = ("own", "guest", "topics", "nowhere")
"""How a thing stands in a space: by a vector of its own, by one projected later, by its topics', or not at all."""

_WEIGHTS, _NAMES = "space.safetensors", "space.json"


@dataclass(frozen=True, eq=False)
class Space:
    """Where items and topics stand.

    Attributes:
        item_ids: (I,) items that the space was fitted on, ascending; then guests, ascending.
        vectors: (I, D) float32, unit length.
        topics: (T,) ascending; topics of those items.
        topic_vectors: (T, D) float32: mean of the vectors of the topic's items, scaled to unit length.
        text_map: (E, D) float32, of a space of texts: turns a sentence embedding into a place; else None.
        guests: how many of the items, the last ones, were projected into the fitted space (see `features.newcomers`).
            They are neither saved nor part of the hash: nothing in the space moves for them.
    """

    item_ids: tuple[str, ...]
    vectors: Vectors  # (I, D)
    topics: tuple[str, ...]
    topic_vectors: Vectors  # (T, D)
    text_map: Vectors | None = None  # (E, D)
    guests: int = 0

    @property
    def dimensions(self) -> int:
        """D."""
        return int(self.vectors.shape[1])

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content, hexadecimal: the name by which models remember their space."""
        arrays = self._fitted_arrays
        digest = hashlib.sha256(json.dumps([self.fitted_ids, self.topics, arrays["vectors"].shape]).encode())
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()

    @property
    def fitted_ids(self) -> tuple[str, ...]:
        """The items without the guests, ascending."""
        return self.item_ids[: len(self.item_ids) - self.guests]

    @property
    def _fitted_arrays(self) -> dict[str, Vectors]:
        arrays = {"vectors": self.vectors[: len(self.fitted_ids)], "topic_vectors": self.topic_vectors}
        return arrays if self.text_map is None else arrays | {"text_map": self.text_map}

    @property
    def kind(self) -> str:
        """What it was fitted on: covisits or text."""
        return "covisits" if self.text_map is None else "text"

    def with_guests(self, ids: tuple[str, ...] = (), vectors: Vectors | None = None) -> Space:
        """The fitted space with these guests instead of those it has; `ids` ascending, none of them fitted."""
        own = self._fitted_arrays["vectors"]
        every = own if vectors is None else np.concatenate([own, vectors])
        return replace(self, item_ids=(*self.fitted_ids, *ids), vectors=every, guests=len(ids))

    def save(self, directory: Path) -> None:
        """Writes space.safetensors and space.json; equal spaces give equal bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: np.ascontiguousarray(a) for name, a in sorted(self._fitted_arrays.items())}, directory / _WEIGHTS
        )
        names = {"hash": self.hash, "item_ids": self.fitted_ids, "topics": self.topics}
        (directory / _NAMES).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")

    @staticmethod
    def load(directory: Path) -> Space:
        """Reads what `save` wrote. Raises ModelError when a file is missing, damaged or was altered."""
        fix = "Learn the space again, or go back to another version."
        try:
            arrays = load_file(directory / _WEIGHTS)
            names = json.loads((directory / _NAMES).read_text(encoding="utf-8"))
            items, topics = tuple(names["item_ids"]), tuple(names["topics"])
            space = Space(items, arrays["vectors"], topics, arrays["topic_vectors"], arrays.get("text_map"))
            expected = names["hash"]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the space cannot be read ({error})", where=str(directory), fix=fix) from error
        shapes = (len(space.item_ids), len(space.topics)), (len(space.vectors), len(space.topic_vectors))
        if shapes[0] != shapes[1] or space.hash != expected:
            raise ModelError("the space does not match its recorded hash", where=str(directory), fix=fix)
        return space

    def place_concepts(self, concepts: pl.DataFrame) -> Vectors:
        """Vectors of concepts, (C, D) float32: the vector of the item or guest whose id is concept_id, else the mean of
        its known topics' vectors, else zeros."""
        return self.place(concepts.select(pl.col("concept_id").alias("item_id"), "topics")).astype(np.float32)

    def place(self, things: pl.DataFrame) -> Floats:
        """Vectors of things (item_id, topics), (N, D); zeros where neither the item nor a topic is known."""
        row, column, share = self.entries(things)
        return np.asarray(sp.csr_array((share, (row, column)), shape=(len(things), len(self.anchors))) @ self.anchors)

    def standing(self, things: pl.DataFrame) -> pl.Series:
        """How each thing (item_id, topics) stands, (N,), an Enum of STANDINGS."""
        row, column, _ = self.entries(things)
        stands = np.full(len(things), len(STANDINGS) - 1, dtype=np.uint8)
        stands[row] = np.searchsorted([len(self.fitted_ids), len(self.item_ids)], column, side="right")
        return pl.Series("standing", np.array(STANDINGS)[stands], dtype=pl.Enum(STANDINGS))

    def coverage(self, events: pl.DataFrame) -> float:
        """Share of events whose item has a vector of its own, in [0, 1]; 1.0 for no events. The rest is projected
        through its topics: a low coverage says that the space has grown old."""
        return 1.0 if events.is_empty() else float((codes(events["item_id"], pl.Series(self.fitted_ids)) >= 0).mean())

    @cached_property
    def anchors(self) -> Floats:
        """Item vectors, then topic vectors: (I + T, D) float64."""
        return np.concatenate([self.vectors, self.topic_vectors]).astype(np.float64)

    def entries(self, things: pl.DataFrame) -> tuple[Ints, Ints, Floats]:
        """Where each thing stands, as a sparse matrix over `anchors`: row, column, share; sorted by row.

        Args:
            things: columns item_id and topics, N rows.

        Returns:
            An item of the space, or a guest, is one entry of share 1; another one has an entry of share 1/n for each
            of its n distinct known topics, or none.
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
