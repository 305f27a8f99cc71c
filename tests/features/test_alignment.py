"""A refit stands where the old space stood, as far as a rotation can do that, and says what it broke."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from contracts.errors import DataError
from contracts.seeds import stream
from features.alignment import align
from features.space import Space


def random_space(names: list[str], seed: int = 0, dimensions: int = 6) -> Space:
    vectors = stream(seed, "alignment").normal(size=(len(names), dimensions))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return Space(tuple(names), unit, ("t",), unit[:1])


def turn(space: Space, seed: int = 1) -> Space:
    rotation, _ = np.linalg.qr(stream(seed, "rotation").normal(size=(space.dimensions, space.dimensions)))
    turned: dict[str, Any] = {
        name: (getattr(space, name) @ rotation).astype(np.float32) for name in ("vectors", "topic_vectors")
    }
    return replace(space, **turned)


NAMES = [f"i{n:02}" for n in range(40)]


def test_a_planted_rotation_is_undone_and_the_old_space_is_kept() -> None:
    old = random_space(NAMES)
    turned = turn(old)
    assert np.abs(turned.vectors - old.vectors).max() > 0.1
    back, found = align(turned, old)
    assert back.hash == old.hash
    assert found.same
    assert found.turned
    assert found.cosine == pytest.approx(1.0, abs=1e-6)
    assert found.neighbours_kept == 1.0
    assert found.items["residual"].abs().max() < 1e-5


def test_items_lost_gained_and_moved_are_named() -> None:
    old = random_space(NAMES)
    new = turn(old)
    moved = new.vectors.copy()
    moved[3] = -moved[3]
    new = replace(new, item_ids=(*NAMES[:-2], "new-a", "new-b"), vectors=moved)
    back, found = align(new, old)
    assert (found.lost, found.gained, found.shared) == (tuple(NAMES[-2:]), ("new-a", "new-b"), 38)
    assert not found.same
    assert found.items["item_id"][0] == "i03"
    assert found.items["residual"][0] > 1.5
    assert found.items["residual"][1:].max() < 0.1
    assert back.hash not in (old.hash, new.hash)


def test_the_rotation_is_scipys_orthogonal_procrustes() -> None:
    old, new = random_space(NAMES), random_space([*NAMES[5:], "z"], seed=3)
    rotation, _ = orthogonal_procrustes(new.vectors[:35].astype(float), old.vectors[5:].astype(float))
    back, found = align(new, old)
    np.testing.assert_allclose(back.vectors, new.vectors @ rotation, atol=1e-6)
    np.testing.assert_allclose(back.topic_vectors, new.topic_vectors @ rotation, atol=1e-6)
    np.testing.assert_allclose(back.vectors @ back.vectors.T, new.vectors @ new.vectors.T, atol=1e-6)
    residual = 1 - (back.vectors[:35] * old.vectors[5:]).sum(axis=1)
    by_name = dict(found.items.select("item_id", "residual").iter_rows())
    np.testing.assert_allclose([by_name[name] for name in NAMES[5:]], residual, atol=1e-6)


def test_neighbours_kept_are_those_of_a_plain_count() -> None:
    old, new = random_space(NAMES), random_space(NAMES, seed=9)
    _, found = align(new, old)

    def nearest(space: Space, row: int) -> set[int]:
        cosine = space.vectors.astype(float) @ space.vectors[row].astype(float)
        return set(sorted((k for k in range(40) if k != row), key=lambda k: -cosine[k])[:10])

    kept = [len(nearest(old, row) & nearest(new, row)) / 10 for row in range(40)]
    assert found.neighbours_kept == pytest.approx(np.mean(kept))
    assert found.neighbours_kept < 0.5


def test_too_few_shared_items_turn_nothing() -> None:
    old, new = random_space(NAMES), random_space([*NAMES[:3], *(f"z{n}" for n in range(20))], seed=2)
    same, found = align(new, old)
    assert not found.turned
    assert same.hash == new.hash
    _, nothing = align(random_space(["x", "y"], seed=4), old)
    assert (nothing.shared, nothing.cosine, nothing.neighbours_kept, nothing.items.height) == (0, None, None, 0)


def test_a_map_of_texts_turns_with_its_space() -> None:
    old = random_space(NAMES)
    new = replace(turn(old), text_map=np.eye(6, dtype=np.float32))
    back, found = align(new, old)
    assert back.text_map is not None
    assert not found.same
    np.testing.assert_allclose(new.vectors @ back.text_map, back.vectors, atol=1e-6)


def test_spaces_of_other_dimensions_are_refused() -> None:
    with pytest.raises(DataError, match="6 and 5 dimensions"):
        align(random_space(NAMES), random_space(NAMES, dimensions=5))
