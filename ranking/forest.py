"""Turns the text of a LightGBM model into scores equal to the byte, an order of magnitude sooner than its own predict.

QuickScorer (Lucchese et al. 2015): every leaf of a tree is a bit, from left to right. A test that fails takes the leaves of
its left side away, whatever the order of the tests; the lowest bit that stays is the leaf. So nothing branches: a test
is one comparison and one "and" for many rows at a time, which a compiler turns into vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from contracts.compiled import compiled_with_arrays
from ranking.frames import Floats, Ints

Values = npt.NDArray[np.floating[Any]]
Words = npt.NDArray[np.unsignedinteger[Any]]

_ROWS = 128  # scored together: their masks stay in the fastest memory
_PART = 16_384  # rows a task
_ZERO, _NAN = 1, 2  # LightGBM's missing types; NaN is sent where the test says, or counts as 0 where there is no type
_ZERO_UP_TO = float(np.float32(1e-35))  # LightGBM takes a value no further from 0 for 0
# De Bruijn sequences: (1 << leaf) * sequence, shifted, is another number for every leaf
_SEQUENCES = {32: (np.uint32, 0x077CB531, 27), 64: (np.uint64, 0x03F79D71B4CB0A89, 58)}


def scorer(text: str) -> Callable[[npt.NDArray[Any], int], Floats]:
    """What turns (rows, features) and a number of threads into raw scores (rows,), from a model's text.

    A `Forest`, or, for trees that it does not know, LightGBM's own predict: the same scores, later.
    """
    forest = Forest.of(text)
    if forest is not None:
        return lambda values, threads: forest.score(values.T, threads)
    booster = lightgbm.Booster(model_str=text)
    return lambda values, threads: np.asarray(
        booster.predict(values, raw_score=True, num_threads=threads), dtype=np.float64
    )


@dataclass(frozen=True, eq=False)
class Forest:
    """The trees, test by test.

    Attributes:
        feature: (S,) which feature each test asks for.
        threshold: (S,) float64; a value that is not above it goes left.
        nan_left: (S,) whether a value that is not known goes left.
        mask: (S,) the leaves that stay where the test sends a row to the right.
        begin: (T + 1,) where the tests of each tree begin.
        leaf: (T, 32 or 64) values of the leaves, by their place in the sequence.
        width: features that a row has.
    """

    feature: Ints
    threshold: Floats
    nan_left: npt.NDArray[np.bool_]
    mask: Words
    begin: Ints
    leaf: Floats
    width: int

    @classmethod
    def of(cls, text: str) -> Forest | None:
        """From a model's text; None for trees of more than 64 leaves, or of other than plain numbers."""
        head, *trees = text.split("\nend of trees", maxsplit=1)[0].split("\nTree=")
        about, fields = _fields(head), [_fields(tree) for tree in trees]
        most = max((int(tree["num_leaves"]) for tree in fields), default=1)
        if most > 64 or about["num_tree_per_iteration"] != "1" or not all(map(_plain, fields)):
            return None
        bits = 32 if most <= 32 else 64
        word, sequence, shift = _SEQUENCES[bits]
        feature, threshold, nan_left, mask, begin = [], [], [], [], [0]
        leaf = np.zeros((len(fields), bits))
        for place, tree in enumerate(fields):
            thresholds = np.array(tree.get("threshold", "").split(), dtype=np.float64)
            kinds = np.array(tree.get("decision_type", "").split(), dtype=np.int64)
            left, right = (
                np.array(tree.get(side, "").split(), dtype=np.int64) for side in ("left_child", "right_child")
            )
            order, spans = _leaves(left, right)
            feature += tree.get("split_feature", "").split()
            tiny = np.where(thresholds < 0, np.nextafter(-_ZERO_UP_TO, -np.inf), _ZERO_UP_TO)
            threshold += np.where(np.abs(thresholds) <= _ZERO_UP_TO, tiny, thresholds).tolist()
            nan_left += np.where((kinds >> 2 & 3) == _NAN, kinds & 2 != 0, thresholds >= 0).tolist()
            mask += [(1 << bits) - 1 - ((1 << high) - (1 << low)) for low, high in spans]
            begin.append(len(feature))
            values = np.array(tree["leaf_value"].split(), dtype=np.float64)
            slots = [((sequence << one) & ((1 << bits) - 1)) >> shift for one in range(len(order))]
            leaf[place, slots] = values[order]
        return cls(
            np.array(feature, dtype=np.int64),
            np.array(threshold),
            np.array(nan_left, dtype=np.bool_),
            np.array(mask, dtype=word),
            np.array(begin),
            leaf,
            int(about["max_feature_idx"]) + 1,
        )

    def score(self, columns: Values, threads: int) -> Floats:
        """Raw scores, (rows,): sums over the trees in their order, the same on any number of threads.

        Args:
            columns: (features, rows) float32 or float64, each feature in one piece of memory; NaN is not known.
            threads: at least 1.

        Raises:
            ValueError: another number of features than the model has.
        """
        if len(columns) != self.width:
            raise ValueError(f"{len(columns)} features for a model of {self.width}")
        columns = np.ascontiguousarray(columns)
        bits = self.leaf.shape[1]
        word, sequence, shift = _SEQUENCES[bits]
        tests = (self.feature, self._thresholds(columns.dtype), self.nan_left, self.mask, self.begin, self.leaf)
        rows = columns.shape[1]
        out = np.empty(rows)

        def part(low: int) -> None:
            high = min(low + _PART, rows)
            _score(columns, low, high, *tests, word(sequence), word(shift), word((1 << bits) - 1), out)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, range(0, rows, _PART)))
        return out

    def _thresholds(self, dtype: np.dtype[Any]) -> Values:
        """In the precision of the values: the largest that is not above, so that every comparison has the same outcome."""
        with np.errstate(over="ignore"):
            near = self.threshold.astype(dtype)
        return np.where(near.astype(np.float64) > self.threshold, np.nextafter(near, dtype.type(-np.inf)), near)


def _fields(block: str) -> dict[str, str]:
    """name=value by line; a line of one word has no value."""
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value for name, _, value in pairs}


def _plain(tree: dict[str, str]) -> bool:
    """Whether it asks for numbers only, knows no zero as missing, and its leaves are constants."""
    kinds = [int(kind) >> 2 & 3 for kind in tree.get("decision_type", "").split()]
    return tree["num_cat"] == "0" and tree.get("is_linear", "0") == "0" and _ZERO not in kinds


def _leaves(left: Ints, right: Ints) -> tuple[list[int], list[tuple[int, int]]]:
    """The leaves from left to right, and for each test the span of them that lies on its left side.

    Args:
        left, right: children of each test; ~leaf for a leaf.
    """
    order: list[int] = []
    spans = [(0, 0)] * len(left)
    todo = [(0, False)] if len(left) else [(~0, False)]
    began: dict[int, int] = {}
    while todo:
        node, back = todo.pop()
        if node < 0:
            order.append(~node)
        elif back:
            spans[node] = (began[node], len(order))
            todo.append((int(right[node]), False))
        else:
            began[node] = len(order)
            todo += [(node, True), (int(left[node]), False)]
    return order, spans


@compiled_with_arrays
def _score(
    columns: Values,
    low: int,
    high: int,
    feature: Ints,
    threshold: Values,
    nan_left: npt.NDArray[np.bool_],
    mask: Words,
    begin: Ints,
    leaf: Floats,
    sequence: Any,
    shift: Any,
    everything: Any,
    out: Floats,
) -> None:
    standing = np.empty(_ROWS, mask.dtype)
    total, one = np.empty(_ROWS), everything & 1
    for start in range(low, high, _ROWS):
        count = min(_ROWS, high - start)
        total[:] = 0.0
        for tree in range(len(begin) - 1):
            standing[:] = everything
            for test in range(begin[tree], begin[tree + 1]):
                values = columns[feature[test], start : start + count]
                limit, kept = threshold[test], mask[test]
                if nan_left[test]:
                    for row in range(count):
                        standing[row] &= kept if values[row] > limit else everything
                else:
                    for row in range(count):
                        standing[row] &= everything if values[row] <= limit else kept
            for row in range(count):
                lowest = standing[row] & (~standing[row] + one)
                total[row] += leaf[tree, (lowest * sequence & everything) >> shift]
        out[start : start + count] = total[:count]
