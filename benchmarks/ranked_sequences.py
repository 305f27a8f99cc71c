"""Turns purchase sequences into candidates and features of each next item: co-visits, attributes, an item space."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import svds

LAST = 12  # items of a history that are looked at
DECAYS = (0.5, 0.85)  # weight of an item for each later one in the history
BLOCK = 1000  # users scored at a time
Matrix = sp.csr_matrix


@dataclass(frozen=True)
class Known:
    """What the sequences so far say of items: how often, co-visits by kind (N, N), positions in the space (N, 64)."""

    shown: np.ndarray
    last: np.ndarray
    covisits: dict[str, Matrix]
    space: np.ndarray


def read_beauty(folder: Path) -> tuple[list[np.ndarray], Matrix]:
    """Sequences of items from 0, one a user, and attributes (N, A), weighted by rarity, rows of length 1."""
    lines = (folder / "Beauty.txt").read_text().splitlines()
    sequences = [np.array(line.split()[1:], dtype=np.int64) - 1 for line in lines]
    items = 1 + max(int(sequence.max()) for sequence in sequences)
    entries = json.loads((folder / "Beauty_item2attributes.json").read_text())
    pairs = np.array([(int(item) - 1, one) for item, found in entries.items() for one in found])
    held = sp.csr_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(items, pairs[:, 1].max() + 1))
    rare = held @ sp.diags(np.log(items / np.maximum(np.asarray(held.sum(0)).ravel(), 1)))
    length = np.sqrt(np.asarray(rare.multiply(rare).sum(1)).ravel())
    return sequences, (sp.diags(1 / np.maximum(length, 1e-9)) @ rare).tocsr().astype(np.float32)


def covisits(sequences: list[np.ndarray], items: int, window: int, weight: Callable[[int, int], float]) -> Matrix:
    """(N, N) how often column follows row within `window` places, by weight(distance, length)."""
    rows, columns, weights = [], [], []
    for sequence in sequences:
        for distance in range(1, min(window, len(sequence) - 1) + 1):
            rows.append(sequence[:-distance])
            columns.append(sequence[distance:])
            weights.append(np.full(len(sequence) - distance, weight(distance, len(sequence)), np.float32))
    where = (np.concatenate(rows), np.concatenate(columns))
    found = sp.csr_matrix((np.concatenate(weights), where), shape=(items, items))
    found.setdiag(0)
    found.eliminate_zeros()
    return found


def known_of(sequences: list[np.ndarray], items: int) -> Known:
    """Counts of these sequences alone: nothing that is to be predicted from them may be in them."""
    shown = np.bincount(np.concatenate(sequences), minlength=items).astype(np.float32)

    def scaled(matrix: Matrix, rows: float, columns: float) -> Matrix:
        size = np.maximum(shown, 1)
        return (sp.diags(size**-rows) @ matrix @ sp.diags(size**-columns)).tocsr().astype(np.float32)

    ahead = covisits(sequences, items, 50, lambda d, n: 1 / d)
    both = ahead + ahead.T
    evenly = covisits(sequences, items, 50, lambda d, n: 1 / np.sqrt(n))
    near = scaled(both, 0.5, 0.5)
    twice = near @ near
    twice.setdiag(0)
    u, s, _ = svds(near, k=64, v0=np.random.default_rng(0).random(items))
    place = u * np.sqrt(s)
    return Known(
        shown,
        np.bincount([sequence[-1] for sequence in sequences], minlength=items).astype(np.float32),
        {
            "ahead": scaled(ahead, 1, 0.3),
            "ahead_cosine": scaled(ahead, 0.5, 0.5),
            "behind": scaled(ahead.T, 1, 0.3),
            "next": scaled(covisits(sequences, items, 1, lambda d, n: 1), 1, 0.3),
            "evenly": scaled(evenly + evenly.T, 0.5, 0.5),
            "both": scaled(both, 1, 0),
            "twice": twice,
        },
        (place / np.maximum(np.linalg.norm(place, axis=1, keepdims=True), 1e-9)).astype(np.float32),
    )


def history_weights(histories: list[np.ndarray], items: int, decay: float) -> Matrix:
    """(U, N) decay^age of each item of a history, its last item of age 0."""
    rows = np.repeat(np.arange(len(histories)), [len(one) for one in histories])
    ages = np.concatenate([np.arange(len(one))[::-1] for one in histories])
    where = (rows, np.concatenate(histories))
    return sp.csr_matrix(((decay**ages).astype(np.float32), where), shape=(len(histories), items))


def retrieve(histories: list[np.ndarray], known: Known, attributes: Matrix, count: int) -> np.ndarray:
    """(U, count) items that are not in the history: co-visits of four kinds, attributes, popularity."""
    items = len(known.shown)
    fast, slow = (history_weights(histories, items, decay) for decay in DECAYS)
    popular = np.log1p(known.shown) / np.log1p(known.shown).max()
    found = np.empty((len(histories), count), np.int64)
    for start in range(0, len(histories), BLOCK):
        rows = slice(start, start + BLOCK)
        merit = (fast[rows] @ known.covisits["ahead"]).toarray()
        for name, weight in (("ahead_cosine", 0.5), ("both", 0.3), ("twice", 0.15)):
            merit += weight * (slow[rows] @ known.covisits[name]).toarray()
        merit += 0.02 * ((slow[rows] @ attributes) @ attributes.T).toarray() * popular + 0.002 * popular
        for row, history in enumerate(histories[rows]):
            merit[row, history] = -np.inf
        found[rows] = np.sort(np.argpartition(-merit, count, axis=1)[:, :count], axis=1)
    return found


def features(
    histories: list[np.ndarray], candidates: np.ndarray, known: Known, attributes: Matrix
) -> dict[str, np.ndarray]:
    """Features of each (user, candidate), (U, C) each; item numbers are none of them: they tell who bought first."""
    back = np.full((len(histories), LAST), -1, np.int64)
    for row, history in enumerate(histories):
        back[row, : min(len(history), LAST)] = history[::-1][:LAST]
    columns: dict[str, np.ndarray] = {}

    def gather(name: str, strength: np.ndarray) -> None:
        sums = {decay: np.zeros(candidates.shape, np.float32) for decay in DECAYS}
        best = np.full(candidates.shape, -np.inf, np.float32)
        for age in range(LAST):
            users = np.flatnonzero(back[:, age] >= 0)
            values = strength[back[users, age][:, None], candidates[users]]
            best[users] = np.maximum(best[users], values)
            for decay in DECAYS:
                sums[decay][users] += decay**age * values
            if age < 2:
                columns[f"{name}_last{age}"] = np.full(candidates.shape, np.nan, np.float32)
                columns[f"{name}_last{age}"][users] = values
        columns[f"{name}_best"] = best
        columns.update({f"{name}_sum{decay:g}": values for decay, values in sums.items()})

    for name, matrix in known.covisits.items():
        gather(name, matrix.toarray())
    gather("attributes", (attributes @ attributes.T).toarray())
    gather("space", known.space @ known.space.T)
    for name in ("ahead_sum0.5", "both_sum0.85", "twice_sum0.85", "attributes_sum0.85"):
        columns[f"{name}_rank"] = np.argsort(np.argsort(-columns[name], axis=1), axis=1).astype(np.float32)
    columns["shown"], columns["last"] = known.shown[candidates], known.last[candidates]
    length = np.array([len(history) for history in histories], np.float32)
    columns["length"] = np.repeat(length[:, None], candidates.shape[1], axis=1)
    columns["last_shown"] = np.repeat(known.shown[back[:, 0]][:, None], candidates.shape[1], axis=1)
    return columns
