"""New items in a frozen space: placed by their co-visits, then by their topics, while nothing in it moves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.settings import Settings
from features.alignment import align
from features.covisits import fit_space
from features.embeddings import embeddings
from features.newcomers import PRIOR_COVISITS, welcome
from features.space import Space

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
KNOBS: dict[str, Any] = {"window": 10, "action_weights": Settings().features.action_weights}
Make = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def sample() -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(SAMPLE / "events.parquet"), pl.read_parquet(SAMPLE / "concepts.parquet")


@pytest.fixture(scope="module")
def left_out(sample: tuple[pl.DataFrame, pl.DataFrame]) -> tuple[Space, pl.Series, np.ndarray[Any, Any]]:
    """A space fitted without a fifth of the items, those items, and where the fit with them would have put them."""
    events, _ = sample
    gone = events["item_id"].unique().sort().gather_every(5)
    full = fit_space(events, dimensions=32, **KNOBS)
    space = fit_space(events.filter(~pl.col("item_id").is_in(gone.implode())), dimensions=32, **KNOBS)
    turned, _ = align(full, space)
    return space, gone, turned.vectors[[turned.item_ids.index(name) for name in gone]]


def cosine_to_truth(
    space: Space, sample: tuple[pl.DataFrame, pl.DataFrame], gone: pl.Series, truth: np.ndarray[Any, Any], seen: int
) -> float:
    """Mean cosine of the new items' places to their true ones, when each was visited `seen` times so far."""
    events, concepts = sample
    new = events.filter(pl.col("item_id").is_in(gone.implode()))
    some = new.filter(pl.int_range(pl.len()).shuffle(seed=1).over("item_id") < seen)
    known = pl.concat([events.filter(~pl.col("item_id").is_in(gone.implode())), some])
    topics = new.unique("item_id", keep="first", maintain_order=True).select("item_id", "topics").sort("item_id")
    places = welcome(space, known, concepts, **KNOBS).place(topics)
    return float(((places / np.linalg.norm(places, axis=1, keepdims=True)) * truth).sum(axis=1).mean())


def test_the_more_is_seen_of_a_new_item_the_nearer_it_is_to_where_a_fit_would_put_it(
    sample: tuple[pl.DataFrame, pl.DataFrame], left_out: Any
) -> None:
    cosines = [cosine_to_truth(left_out[0], sample, left_out[1], left_out[2], seen) for seen in (0, 5, 20, 1000)]
    assert cosines == sorted(cosines), cosines
    assert cosines[0] > 0.6
    assert cosines[-1] > 0.82


def test_nothing_in_the_space_moves_for_a_guest(sample: Any, left_out: Any, tmp_path: Path) -> None:
    space, gone, _ = left_out
    welcomed = welcome(space, *sample, **KNOBS)
    assert welcomed.guests == len(gone)
    assert welcomed.item_ids[-len(gone) :] == tuple(gone)
    assert welcomed.hash == space.hash
    assert np.array_equal(welcomed.vectors[: -len(gone)], space.vectors)
    assert welcomed.coverage(sample[0]) == space.coverage(sample[0]) < 1.0
    welcomed.save(tmp_path)
    assert Space.load(tmp_path).item_ids == space.item_ids
    assert welcome(welcomed, *sample, **KNOBS).item_ids == welcomed.item_ids
    np.testing.assert_allclose(np.linalg.norm(welcomed.vectors, axis=1), 1.0, atol=1e-6)


def test_a_place_equals_plain_python(make: Make) -> None:
    space = make["space"]()
    rows = [
        (user, at, "view", item, topics)
        for user, visits in {"a": ["i0", "new", "i1"], "b": ["new", "i0", "i2"], "c": ["i1", "i2", "i0"]}.items()
        for at, item in enumerate(visits)
        for topics in [["coffee"] if item == "new" else []]
    ]
    knobs: dict[str, Any] = {"window": 2, "action_weights": {"view": 1.0}}
    welcomed = welcome(space, make["events"](rows), make["concepts"]().with_columns(headline=pl.lit(None)), **knobs)
    counts: Counter[tuple[str, str]] = Counter()
    for user in "abc":
        mine = [row[3] for row in rows if row[0] == user]
        for a, left in enumerate(mine):
            for b, right in enumerate(mine):
                if left != right and abs(a - b) <= 2:
                    counts[left, right] += 1 / abs(a - b)
    names, known = ("i0", "i1", "i2", "new"), ("i0", "i1", "i2")
    context = {name: sum(counts[other, name] for other in names) ** 0.75 for name in known}
    mass = sum(counts["new", name] for name in known)
    mutual = np.array([
        max(0.0, math.log(counts["new", name] / mass / (context[name] / sum(context.values()))))
        if counts["new", name] else 0.0
        for name in known
    ])  # fmt: skip
    vectors = space.vectors.astype(float)
    folded = np.linalg.solve(vectors.T @ vectors + len(known) / 3 * np.eye(3), vectors.T @ mutual)
    place = mass * folded / np.linalg.norm(folded) + PRIOR_COVISITS * space.topic_vectors[0]
    np.testing.assert_allclose(welcomed.vectors[3], place / np.linalg.norm(place), atol=1e-6)


def test_an_item_without_covisits_is_left_to_its_topics_and_one_without_topics_to_nothing(make: Make) -> None:
    space = make["space"]()
    events = make["events"](
        [("a", 1, "view", "i0", []), ("b", 1, "view", "alone", ["coffee"]), ("c", 1, "view", "bare", [])]
    )
    welcomed = welcome(space, events, make["concepts"](), **KNOBS)
    assert welcomed.guests == 0
    assert welcomed.standing(events).to_list() == ["own", "topics", "nowhere"]
    stranger = make["events"]([("d", 1, "view", "x", ["unheard of"])])
    assert not welcomed.place(stranger).any()
    assert welcome(space, events.clear(), make["concepts"](), **KNOBS).guests == 0


def test_a_user_of_new_items_alone_has_an_embedding_by_their_covisits(make: Make) -> None:
    space = make["space"]()
    rows = [("a", at, "view", item, []) for at, item in enumerate(["new", "i1", "new", "i1"])]
    rows += [("b", at, "view", item, []) for at, item in enumerate(["i0", "i2", "i0", "i2"])]
    events = make["events"]([*rows, ("fan", 9, "view", "new", [])])
    welcomed = welcome(space, events, make["concepts"](), **KNOBS)
    assert welcomed.standing(events)[-1] == "guest"
    knobs: dict[str, Any] = {"half_life_days": 7.0, "delay_seconds": 0.0, "action_weights": {"view": 1.0}}
    as_of = events["at"].max() + pl.duration(hours=1)
    moment = pl.select(as_of).item()
    assert "fan" not in embeddings(events, space, as_of=moment, **knobs)["user_id"]
    found = embeddings(events, welcomed, as_of=moment, **knobs).filter(pl.col("user_id") == "fan")["vector"][0]
    cosines = space.vectors @ np.array(found.to_list())
    assert cosines[1] > 0.95
    assert cosines.argmax() == 1
