"""Coverage, novelty and diversity of slates small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from evaluation.assortment import assortment

CONCEPTS = pl.DataFrame({"concept_id": ["a", "b", "c", "d"], "topics": [["x"], ["x", "y"], ["z"], []]})
LOGGED = pl.DataFrame({"concept_id": ["a", "b"], "logged": [11, 3]})
AT = {"confidence": 0.95, "resamples": 200, "seed": 1}


def slates(rows: list[tuple[str, int, int, str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["user_id", "slate", "position", "concept_id"], orient="row")


def test_by_hand() -> None:
    shown = slates([("u", 0, 0, "a"), ("u", 0, 1, "b"), ("v", 0, 0, "a"), ("v", 0, 1, "c"), ("v", 0, 2, "d")])
    found = assortment(shown, CONCEPTS, LOGGED, k=2, **AT)
    assert found.coverage.value == 3 / 4  # d stands beyond k
    bits = [-np.log2(count / 18) for count in (12, 4, 12, 1)]  # (n + 1) / (14 + 4)
    assert found.novelty.value == pytest.approx(np.mean(bits))
    assert found.diversity.value == pytest.approx((0.5 + 1.0) / 2)  # a and b share one topic of two, a and c none


def test_the_interval_of_coverage_starts_at_what_was_seen_and_the_order_of_rows_is_nothing() -> None:
    rng = np.random.default_rng(0)
    rows = [(f"u{n:03d}", 0, k, "abcd"[rng.choice(4, p=[0.6, 0.3, 0.099, 0.001])]) for n in range(60) for k in (0, 1)]
    found = assortment(slates(rows), CONCEPTS, LOGGED, k=2, **AT)
    assert found.coverage.interval is not None
    assert found.coverage.interval.low == found.coverage.value
    assert found == assortment(slates(rows).sample(fraction=1, shuffle=True, seed=2), CONCEPTS, LOGGED, k=2, **AT)


def test_slates_of_one_concept_have_no_diversity_and_one_user_no_interval() -> None:
    found = assortment(slates([("u", 0, 0, "a"), ("u", 1, 0, "b")]), CONCEPTS, LOGGED, k=3, **AT)
    assert found.diversity.value is None
    assert found.coverage.interval is None
    assert found.novelty.interval is None


def test_unknown_concepts_and_no_slates_are_refused() -> None:
    with pytest.raises(DataError, match="zz is not in the catalogue"):
        assortment(slates([("u", 0, 0, "zz")]), CONCEPTS, LOGGED, k=3, **AT)
    with pytest.raises(DataError, match="no slates"):
        assortment(slates([("u", 0, 5, "a")]), CONCEPTS, LOGGED, k=3, **AT)
