"""Turns covariates and outcomes of two arms into each user's predicted effect, by a forest of honest causal trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from evaluation.effects import Ints
from evaluation.intervals import Floats

TREES, DEPTH, BINS = 60, 3, 16
LEAF_USERS = 50
"""Users of each arm that a leaf must hold, in the half that grows and in the half that fills it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A complete binary tree in heap order: node n has children 2n + 1 and 2n + 2.

    Attributes:
        feature: (2^DEPTH - 1,) split column; -1: the node is not split.
        threshold: (2^DEPTH - 1,) bins up to it go left.
        effect: (2^(DEPTH + 1) - 1,) effect in each node, from users who did not choose the splits.
    """

    feature: Ints
    threshold: Ints
    effect: Floats


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees over binned covariates; `edges` holds each column's inner bin edges."""

    trees: tuple[Tree, ...]
    edges: tuple[Floats, ...]

    def effect(self, covariates: Floats) -> Floats:
        """(N,) predicted effect of each row of (N, P): mean over the trees."""
        bins = _binned(covariates, self.edges)
        return np.asarray(sum(_descend(tree, bins) for tree in self.trees) / len(self.trees), dtype=np.float64)


def grow_forest(covariates: Floats, score: Floats, arm: Ints, *, seed: int) -> Forest:
    """A forest of honest trees (Athey and Imbens 2016; Wager and Athey 2018) for one arm against control.

    Each tree gets half of the users without replacement: one half of those choose the splits, by the largest
    n_left n_right (effect_left - effect_right)^2, the other half fill in the effects, so that a leaf's effect is not the
    one it was chosen for. An effect is the mean over users of `score`, an unbiased score of each user's own effect.

    Args:
        covariates: (N, P).
        score: (N,) doubly robust scores, see `held_out.effect_scores`.
        arm: (N,) 0 control, 1 treatment, other numbers other arms; counted for the smallest leaf.
        seed: of the run.
    """
    edges = tuple(_edges(column) for column in covariates.T)
    bins = _binned(covariates, edges)
    rng = stream(seed, "evaluation", "uplift")
    trees = []
    for _ in range(TREES):
        drawn = rng.permutation(score.size)[: score.size // 2]
        halves = drawn[: drawn.size // 2], drawn[drawn.size // 2 :]
        columns = np.less(rng.random(covariates.shape[1]), 0.7 if covariates.shape[1] > 2 else 1.0)
        trees.append(_grow(bins, score, arm, halves, columns))
    return Forest(tuple(trees), edges)


def _grow(
    bins: npt.NDArray[np.uint8], score: Floats, arm: Ints, halves: tuple[Ints, Ints],
    columns: npt.NDArray[np.bool_],
) -> Tree:  # fmt: skip
    inner = 2**DEPTH - 1
    feature, threshold = np.full(inner, -1, dtype=np.int64), np.zeros(inner, dtype=np.int64)
    grow, fill = ((bins[rows], score[rows], arm[rows]) for rows in halves)
    nodes = [np.zeros(part[1].size, dtype=np.int64) for part in (grow, fill)]
    for level in range(DEPTH):
        first, width = 2**level - 1, 2**level
        best = np.zeros(width)
        for column in np.flatnonzero(columns).tolist():
            counts = [_cells(part, at, column, first, width) for part, at in zip((grow, fill), nodes, strict=True)]
            gain, place = _gains(*counts)
            better = gain > best
            best[better] = gain[better]
            feature[first : first + width][better] = column
            threshold[first : first + width][better] = place[better]
        for part, at in zip((grow, fill), nodes, strict=True):
            here = (at >= first) & (feature[np.minimum(at, inner - 1)] >= 0)
            split = at[here]
            right = part[0][here, feature[split]] > threshold[split]
            at[here] = 2 * split + 1 + right
    return Tree(feature, threshold, _filled(fill[1], nodes[1]))


def _cells(part: tuple[npt.NDArray[np.uint8], Floats, Ints], at: Ints, column: int, first: int, width: int) -> Floats:
    """(4, width, BINS) running sums over bins, by node of this level: score, users, users of control, of treatment."""
    here = at >= first
    cell = (at[here] - first) * BINS + part[0][here, column]
    weights = part[1][here], np.ones(cell.size), part[2][here] == 0, part[2][here] == 1
    sums = [np.bincount(cell, weights=weight, minlength=width * BINS) for weight in weights]
    return np.cumsum(np.stack(sums).reshape(4, width, BINS), axis=2)


def _gains(grow: Floats, fill: Floats) -> tuple[Floats, Ints]:
    """Best gain of each node over thresholds, and that threshold; 0 where a side would be too small."""
    enough = np.ones(grow.shape[1:], dtype=np.bool_)
    for part in (grow, fill):
        for sums in part[2:]:
            enough &= (sums >= LEAF_USERS) & (sums[:, -1:] - sums >= LEAF_USERS)
    left = grow[1]
    right = left[:, -1:] - left
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = grow[0] / left - (grow[0][:, -1:] - grow[0]) / right
        gain = np.where(enough, left * right / (left + right) * gap**2, 0.0)
    place = gain.argmax(axis=1)
    return gain[np.arange(gain.shape[0]), place], place.astype(np.int64)


def _filled(score: Floats, at: Ints) -> Floats:
    """Mean score of every node, from the users in it or below it."""
    size = 2 ** (DEPTH + 1) - 1
    sums, counts = np.bincount(at, weights=score, minlength=size), np.bincount(at, minlength=size).astype(np.float64)
    for node in range(size - 1, 0, -1):
        sums[(node - 1) // 2] += sums[node]
        counts[(node - 1) // 2] += counts[node]
    return np.asarray(sums / np.maximum(counts, 1), dtype=np.float64)


def _descend(tree: Tree, bins: npt.NDArray[np.uint8]) -> Floats:
    at = np.zeros(bins.shape[0], dtype=np.int64)
    rows = np.arange(bins.shape[0])
    for _ in range(DEPTH):
        inner = np.minimum(at, tree.feature.size - 1)
        split = (at < tree.feature.size) & (tree.feature[inner] >= 0)
        right = bins[rows, np.maximum(tree.feature[inner], 0)] > tree.threshold[inner]
        at = np.where(split, 2 * at + 1 + right, at)
    return tree.effect[at]


def _edges(column: Floats) -> Floats:
    return np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))


def _binned(covariates: Floats, edges: tuple[Floats, ...]) -> npt.NDArray[np.uint8]:
    """(N, P) bin of each value: values equal to an edge go to the bin below it."""
    columns = [np.searchsorted(cuts, column, side="left") for cuts, column in zip(edges, covariates.T, strict=True)]
    return np.column_stack(columns).astype(np.uint8)
