"""Claims about the first model: it keeps what the ranker would choose, says what it loses, and gives way where it would not pay."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from ranking.cascade import MIN_USERS, Cascade, distil

TOPICS = 12


def world(users: int = 600, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray[Any, Any], ...]:
    """Scores that follow a user's place in the space and each concept's appeal, and noise that nothing tells of."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(16, 16)))[0][:TOPICS]
    taste = rng.dirichlet(np.full(TOPICS, 0.2), users)
    vectors, topic = taste @ axes, rng.integers(0, TOPICS, 200)
    score = 3 * taste[:, topic] + rng.normal(0, 0.4, 200) + noise * rng.normal(size=(users, 200))
    return score, 1 / (1 + np.exp(3 - score)), vectors, axes[topic]


def learned(noise: float = 0.0, max_loss: float = 0.001) -> Cascade | None:
    score, chance, vectors, place = world(noise=noise)
    return distil(score, chance, vectors, place, limit=200, max_loss=max_loss)


def ndcg(score: np.ndarray[Any, Any], chance: np.ndarray[Any, Any], kept: np.ndarray[Any, Any]) -> float:
    discount = 1 / np.log2(np.arange(2, 12))
    lost = [
        1 - (chance[user][own[np.argsort(-score[user][own])][:10]] @ discount)
        / (chance[user][np.argsort(-score[user])[:10]] @ discount)
        for user in range(len(score)) for own in [kept[user][kept[user] >= 0]]
    ]  # fmt: skip
    return float(np.mean(lost))


def test_it_keeps_few_candidates_and_the_loss_it_states_holds_for_other_users() -> None:
    score, chance, vectors, place = world(users=2_000)
    model = distil(score[:600], chance[:600], vectors[:600], place, limit=200, max_loss=0.001)
    assert model is not None
    assert model.keep <= 40
    lost = ndcg(score[600:], chance[600:], model.select(vectors[600:], np.ones((1400, 200), dtype=np.bool_)))
    assert model.loss + 2 * model.error <= 0.001
    assert lost <= 0.0015


def test_the_loss_is_that_of_ndcg_as_a_loop_finds_it() -> None:
    model = learned(noise=0.3, max_loss=0.05)
    assert model is not None
    score, chance, vectors, _ = world(noise=0.3)
    kept = model.select(vectors[1::2], np.ones((300, 200), dtype=np.bool_))
    assert model.loss == pytest.approx(ndcg(score[1::2], chance[1::2], kept), rel=1e-9)
    assert model.loss > 0


def test_the_harder_the_scores_are_to_tell_the_more_are_kept_and_then_none_are_cut() -> None:
    easy, hard = learned(), learned(noise=0.1)
    assert easy is not None
    assert hard is None or hard.keep > easy.keep
    assert learned(noise=3.0) is None
    score, chance, vectors, place = world(users=MIN_USERS - 1)
    assert distil(score, chance, vectors, place, limit=200, max_loss=0.5) is None


def test_only_candidates_are_kept_and_users_do_not_depend_on_one_another() -> None:
    model = learned()
    assert model is not None
    _, _, vectors, _ = world()
    allowed = np.random.default_rng(1).random((600, 200)) < 0.3
    chosen = model.select(vectors, allowed)
    for user in (0, 17, 599):
        own = chosen[user][chosen[user] >= 0]
        assert allowed[user, own].all()
        assert len(own) == min(model.keep, allowed[user].sum())
        np.testing.assert_array_equal(model.select(vectors[user : user + 1], allowed[user : user + 1])[0], chosen[user])


def test_cutting_a_table_keeps_the_selected_pairs_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = learned()
    assert model is not None
    _, _, vectors, _ = world()
    allowed = np.random.default_rng(1).random((50, 200)) < 0.5
    row, column = np.nonzero(allowed)
    names = pl.Series([f"c{index:03d}" for index in range(200)])
    pairs = pl.DataFrame({"user_id": [f"u{user:03d}" for user in row], "at": 0, "concept_id": names.gather(column)})
    monkeypatch.setattr("ranking.cascade._BLOCK", 7)
    kept = model.cut(pairs, names, vectors[:50])
    chosen = model.select(vectors[:50], allowed)
    expected = [(f"u{user:03d}", names[int(one)]) for user in range(50) for one in chosen[user] if one >= 0]
    assert kept.select("user_id", "concept_id").rows() == expected


def test_equal_samples_give_equal_models_and_the_hash_knows_weights_and_number() -> None:
    one, other = learned(), learned()
    assert one is not None
    assert other is not None
    assert one.hash == other.hash
    more = Cascade(one.anchors, one.weights, one.keep + 1, one.loss, one.error, one.of)
    bent = Cascade(one.anchors, one.weights * np.float32(1.01), one.keep, one.loss, one.error, one.of)
    assert len({one.hash, more.hash, bent.hash}) == 3
