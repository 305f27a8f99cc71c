"""The item space: learned once, equal every time, and safe on disk."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError, ModelError
from contracts.seeds import stream
from features.covisits import fit_space
from features.space import Space

WEIGHTS = {"view": 1.0, "cart": 3.0}
Make = dict[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def browsing(make: Make) -> pl.DataFrame:
    """Users who each love one of three topics of ten items."""
    draw = stream(4, "space")
    rows = []
    for user in range(120):
        love = user % 3
        for k in range(20):
            topic = love if draw.random() < 0.9 else int(draw.integers(3))
            item = topic * 10 + int(draw.integers(10))
            rows.append(
                (f"u{user}", 10**15 + user * 7 + k * 10**9, ("view", "cart")[k % 2], f"i{item:02}", [f"t{topic}"])
            )
    return make["events"](rows)


@pytest.fixture(scope="module")
def space(browsing: pl.DataFrame) -> Space:
    return fit_space(browsing, dimensions=8, window=5, action_weights=WEIGHTS)


def test_items_of_a_topic_stand_together(space: Space) -> None:
    topic = np.array([int(name[1:]) // 10 for name in space.item_ids])
    cosines = space.vectors @ space.vectors.T
    same = topic[:, None] == topic[None, :]
    assert cosines[same].mean() > cosines[~same].mean() + 0.4
    assert (space.vectors @ space.topic_vectors.T).argmax(axis=1).tolist() == topic.tolist()


def test_vectors_have_unit_length(space: Space) -> None:
    assert space.vectors.shape == (30, 8)
    assert space.vectors.dtype == space.topic_vectors.dtype == np.float32
    for vectors in (space.vectors, space.topic_vectors):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_space_does_not_depend_on_the_order_of_rows(browsing: pl.DataFrame, space: Space) -> None:
    shuffled = browsing.sample(fraction=1.0, shuffle=True, seed=8)
    again = fit_space(shuffled, dimensions=8, window=5, action_weights=WEIGHTS)
    assert again.hash == space.hash
    assert again.vectors.tobytes() == space.vectors.tobytes()


def test_other_events_give_another_hash(browsing: pl.DataFrame, space: Space) -> None:
    assert fit_space(browsing.head(2000), dimensions=8, window=5, action_weights=WEIGHTS).hash != space.hash


def test_a_full_space_equals_plain_python(make: Make) -> None:
    draw = stream(6, "tiny")
    rows = [(f"u{n % 4}", 10**15 + n, ("view", "cart")[n % 3 == 0], f"i{draw.integers(5)}", ["t"]) for n in range(60)]
    space = fit_space(make["events"](rows), dimensions=7, window=3, action_weights=WEIGHTS)
    counts: Counter[tuple[int, int]] = Counter()
    for user in range(4):
        mine = [row for row in rows if row[0] == f"u{user}"]
        for a in range(len(mine)):
            for b in range(a + 1, min(a + 4, len(mine))):
                i, j = int(mine[a][3][1:]), int(mine[b][3][1:])
                if i != j:
                    weight = math.sqrt(WEIGHTS[mine[a][2]] * WEIGHTS[mine[b][2]]) / (b - a)
                    counts[i, j] += weight
                    counts[j, i] += weight
    matrix = np.array([[counts[i, j] for j in range(5)] for i in range(5)])
    mass = matrix.sum(axis=1)
    context = mass**0.75 / (mass**0.75).sum()
    with np.errstate(divide="ignore"):
        mutual = np.maximum(np.log(matrix / (mass[:, None] * context[None, :])), 0.0)
    left, values, _ = np.linalg.svd(mutual)
    factors = left * np.sqrt(values)
    factors /= np.linalg.norm(factors, axis=1, keepdims=True)
    assert space.item_ids == ("i0", "i1", "i2", "i3", "i4")
    assert space.vectors.shape == (5, 7)
    assert not space.vectors[:, 5:].any()
    np.testing.assert_allclose(space.vectors @ space.vectors.T, factors @ factors.T, atol=1e-5)


def test_the_truncated_space_equals_the_first_columns_of_the_full_one(browsing: pl.DataFrame) -> None:
    few = fit_space(browsing, dimensions=3, window=5, action_weights=WEIGHTS).vectors
    full = fit_space(browsing, dimensions=30, window=5, action_weights=WEIGHTS).vectors[:, :3]
    np.testing.assert_allclose(np.abs(few), np.abs(full / np.linalg.norm(full, axis=1, keepdims=True)), atol=1e-4)


def test_an_item_never_visited_with_another_is_left_to_its_topics(make: Make, browsing: pl.DataFrame) -> None:
    lonely = make["events"]([("hermit", 10**15, "view", "lonely", ["t1"])])
    space = fit_space(pl.concat([browsing, lonely]), dimensions=8, window=5, action_weights=WEIGHTS)
    assert "lonely" not in space.item_ids
    row, column, share = space.entries(lonely)
    assert (row.tolist(), column.tolist(), share.tolist()) == ([0], [len(space.item_ids) + 1], [1.0])


def test_no_covisit_at_all_is_an_error(make: Make) -> None:
    events = make["events"]([("a", 1, "view", "x", ["t"]), ("b", 2, "view", "y", ["t"]), ("a", 3, "view", "x", ["t"])])
    for frame in (events, events.clear()):
        with pytest.raises(DataError, match="two different items"):
            fit_space(frame, dimensions=4, window=5, action_weights=WEIGHTS)


def test_concepts_are_placed_by_item_then_topics_then_nowhere(make: Make) -> None:
    space = make["space"]()
    vectors = space.place_concepts(make["concepts"]())
    assert vectors.dtype == np.float32
    expected = [
        space.topic_vectors[0],
        (space.topic_vectors[1] + space.topic_vectors[2]) / 2,
        np.zeros(3),
        space.vectors[1],
    ]
    np.testing.assert_allclose(vectors, expected, atol=1e-7)


def test_coverage_is_the_share_of_events_with_a_vector_of_their_own(make: Make) -> None:
    events = make["events"]([("u", 1, "view", name, ["coffee"]) for name in ("i0", "i1", "new", "newer")])
    assert make["space"]().coverage(events) == 0.5
    assert make["space"]().coverage(events.clear()) == 1.0


def test_a_saved_space_comes_back_to_the_byte(space: Space, tmp_path: Path) -> None:
    space.save(tmp_path / "one")
    loaded = Space.load(tmp_path / "one")
    assert (loaded.hash, loaded.item_ids, loaded.topics) == (space.hash, space.item_ids, space.topics)
    assert loaded.vectors.tobytes() == space.vectors.tobytes()
    loaded.save(tmp_path / "two")
    for name in ("space.safetensors", "space.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def _rename_item(path: Path) -> None:
    names = json.loads(path.read_text())
    names["item_ids"][0] = "somebody else"
    path.write_text(json.dumps(names))


def _drop_item(path: Path) -> None:
    names = json.loads(path.read_text())
    del names["item_ids"][0]
    path.write_text(json.dumps(names))


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("space.safetensors", _cut),
        ("space.safetensors", _flip),
        ("space.safetensors", Path.unlink),
        ("space.safetensors", lambda path: path.write_bytes(b"")),
        ("space.json", _cut),
        ("space.json", _rename_item),
        ("space.json", _drop_item),
        ("space.json", Path.unlink),
        ("space.json", lambda path: path.write_text("{}")),
        ("space.json", lambda path: path.write_text("[]")),
        ("space.json", lambda path: path.write_bytes(b"\xff\xfe")),
    ],
)
def test_a_damaged_space_is_refused(space: Space, tmp_path: Path, file: str, damage: Callable[[Path], None]) -> None:
    space.save(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(ModelError, match="space"):
        Space.load(tmp_path)
