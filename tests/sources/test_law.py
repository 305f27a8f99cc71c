"""The click law: an ideal point for looks, a known slot effect, and effects of a size that can be found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from sources.law import TOPICS, ClickLaw, expected_look_utility, sigmoid, topic_vectors

LAW = ClickLaw()
_number = st.floats(min_value=-4, max_value=4)
_five = st.lists(_number, min_size=5, max_size=5)


@settings(max_examples=50, deadline=None)
@given(_five, _five, st.floats(0, 1), st.integers(0, 11), st.floats(0, 0.99))
def test_the_chance_is_the_written_formula(tau, look, match, slot, standout) -> None:
    odds = LAW.bias + LAW.topic_strength * match - LAW.slot_fall * math.log(1 + slot) + LAW.standout_strength * standout
    odds -= LAW.taste_strength / 2 * sum((g - t) ** 2 for g, t in zip(look, tau, strict=True))
    chance = LAW.click_chance(
        np.array([tau]), np.array([look]), np.array([match]), np.array([slot]), np.array([standout])
    )
    assert chance[0] == pytest.approx(1 / (1 + math.exp(-odds)), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(_five, _five)
def test_nothing_pleases_more_than_the_favourite_look(tau, look) -> None:
    tastes = np.array([tau, tau])
    own, other = LAW.look_utility(tastes, np.array([tau, look]), np.full(2, 0.5))
    assert own >= other


def test_extremes_do_not_pay() -> None:
    tau = np.tile([1.0, 0, 0, 0, 0], (3, 1))
    looks = np.array([[0.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0], [4.0, 0, 0, 0, 0]])
    short, right, far = LAW.look_utility(tau, looks, np.zeros(3))
    assert right > short > far


def test_later_slots_topics_and_contrast_move_the_chance_the_right_way() -> None:
    tau = look = np.zeros((4, 5))
    by_slot = LAW.click_chance(tau, look, np.zeros(4), np.arange(4), np.zeros(4))
    assert (np.diff(by_slot) < 0).all()
    assert (np.diff(LAW.click_chance(tau, look, np.linspace(0, 1, 4), 0, np.zeros(4))) > 0).all()
    assert (np.diff(LAW.click_chance(tau, look, np.zeros(4), 0, np.linspace(0, 0.9, 4))) > 0).all()


def test_the_best_candidate_is_what_a_loop_finds() -> None:
    rng = np.random.default_rng(1)
    tau, looks, standouts, match = (
        rng.standard_normal((6, 5)), rng.standard_normal((40, 5)), rng.uniform(0, 1, 40), rng.uniform(0, 1, 6)
    )  # fmt: skip
    best, index = LAW.best_chance(tau, looks, standouts, match)
    for user in range(6):
        chances = LAW.click_chance(np.tile(tau[user], (40, 1)), looks, np.full(40, match[user]), 0, standouts)
        assert index[user] == chances.argmax()
        assert best[user] == pytest.approx(chances.max())
    utilities = LAW.candidate_utilities(tau, looks, standouts)
    assert utilities[2, 3] == pytest.approx(LAW.look_utility(tau[2], looks[3], standouts[3]))
    assert expected_look_utility(utilities) == pytest.approx(utilities.mean(axis=1))


def test_topic_vectors_share_their_weight_and_refuse_strangers() -> None:
    vectors = topic_vectors([["coffee"], ["running", "cycling"]])
    assert vectors.shape == (2, len(TOPICS))
    assert vectors[0, TOPICS.index("coffee")] == 1
    assert vectors[1, :2].tolist() == [0.5, 0.5]
    with pytest.raises(DataError, match="astrology"):
        topic_vectors([["astrology"]])
    with pytest.raises(DataError, match="no topic"):
        topic_vectors([[]])


def test_the_sigmoid_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        assert sigmoid([-800.0, 0.0, 800.0]).tolist() == [0.0, 0.5, 1.0]
