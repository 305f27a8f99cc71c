"""Claims about chances: they are the formula, sum to one over all slates, and draws are as frequent as they say."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from contracts.settings import SlateSettings
from ranking.kinship import NOTHING, Kinship
from ranking.plackett_luce import Filling, draw
from ranking.policy import Policy
from tests.ranking.policies import catalogue, chances_by_hand, plain

CONCEPTS = catalogue()
EIGHTHS = st.integers(-200, 200).map(lambda number: number / 8)  # so that sums are exact and ties are ties
RULES = st.builds(
    Policy,
    settings=st.builds(
        SlateSettings,
        temperature=st.sampled_from([0.0, 0.05, 0.6, 3.0]),
        exploration=st.sampled_from([0.0, 0.1, 1.0]),
        topic_penalty=st.sampled_from([0.0, 0.75]),
        advertiser_penalty=st.sampled_from([0.0, 1.25]),
        advertiser_slots=st.integers(0, 2),
    ),
    boosts=st.sampled_from([{}, {"y": 0.5}, {"x": 2.0, "z": -0.25}]),
    resting=st.sampled_from([(), ("y",)]),
)
EVERYTHING: dict[str, Any] = {
    "temperature": 0.7, "exploration": 0.15, "topic_penalty": 0.9, "advertiser_penalty": 0.5, "advertiser_slots": 2,
}  # fmt: skip


def filling(odds: npt.ArrayLike, policy: Policy) -> Filling:
    values = np.atleast_2d(np.asarray(odds, dtype=np.float64))
    return Filling(values, np.tile(np.arange(values.shape[1]), (len(values), 1)), Kinship.of(CONCEPTS, policy), policy)


def chance_of(slate: tuple[int, ...], odds: list[float], policy: Policy) -> float:
    """Of a whole slate, by the product of the chances of its choices; a slate may end where nothing is left."""
    one, total = filling(odds, policy), 1.0
    for column in slate:
        total *= float(one.chances()[0, column])
        one.take(np.array([column]), np.array([column]))
    return total


@effort(max_examples=80, deadline=None)
@given(odds=st.lists(EIGHTHS, min_size=1, max_size=5), size=st.integers(1, 4), policy=RULES)
def test_the_chances_of_all_slates_sum_to_one(odds: list[float], size: int, policy: Policy) -> None:
    def full(slate: tuple[int, ...]) -> bool:
        one = filling(odds, policy)
        for column in slate:
            one.take(np.array([column]), np.array([column]))
        return len(slate) == size or not one.left.any()

    slates = [s for length in range(1, size + 1) for s in permutations(range(len(odds)), length) if full(s)]
    assert sum(chance_of(slate, odds, policy) for slate in slates) == pytest.approx(1.0, abs=1e-12)


@effort(max_examples=80, deadline=None)
@given(
    odds=st.lists(EIGHTHS, min_size=1, max_size=10),
    policy=RULES,
    shown=st.lists(st.integers(0, 9), min_size=1, max_size=4),
)
def test_each_chance_is_the_formula_whatever_was_shown_before(
    odds: list[float], policy: Policy, shown: list[int]
) -> None:
    """Concepts beyond the candidates may have been shown too: they have no column, but they have kin."""
    one, left, before = filling(odds, policy), {f"c{c}": value for c, value in enumerate(odds)}, []
    for concept in shown:
        expected = chances_by_hand(left, before, CONCEPTS, policy)
        found = one.chances()[0]
        np.testing.assert_allclose(found, [expected.get(f"c{c}", 0.0) for c in range(len(odds))], rtol=1e-9, atol=1e-15)
        one.take(np.array([concept if concept < len(odds) else -1]), np.array([concept]))
        before.append(f"c{concept}")
        left.pop(f"c{concept}", None)


def test_the_chance_holds_where_exp_overflows() -> None:
    odds, policy = np.array([0.2, -1.0, 0.7, -np.inf]), plain(temperature=0.5)
    near, far = filling(odds, policy).chances(), filling(odds + 1e4, policy).chances()
    np.testing.assert_allclose(far, near, rtol=1e-9)
    assert near[0, 3] == 0.0


def test_what_is_absent_repeated_or_used_up_has_chance_zero() -> None:
    one = filling([[0.0, 1.0, -np.inf], [-np.inf] * 3], plain(temperature=1.0))
    assert one.chances()[1].tolist() == [0.0] * 3
    one.take(np.array([1, -1]), np.array([1, NOTHING]))
    np.testing.assert_array_equal(one.chances(), [[1.0, 0.0, 0.0], [0.0] * 3])
    column, chance = one.choose(np.array([0.9, 0.9]))
    assert column.tolist() == [0, -1]
    assert chance.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rules", [{}, EVERYTHING, {"temperature": 0.0, "exploration": 0.3, "advertiser_penalty": 2.0}])
def test_draws_are_as_frequent_as_their_chances(rules: dict[str, Any]) -> None:
    odds, n, policy = [0.3, -0.4, 0.9, -1.5, 0.5, 0.1], 40_000, Policy(SlateSettings(**rules), boosts={"y": 0.4})
    uniforms = np.random.default_rng(5).random((n, 3))
    chosen, chance = draw(filling(np.tile(odds, (n, 1)), policy), uniforms)
    for slate in permutations(range(6), 3):
        hit = (chosen == slate).all(axis=1)
        expected = chance_of(slate, odds, policy)
        assert hit.mean() == pytest.approx(expected, abs=4.5 * np.sqrt(expected * (1 - expected) / n) + 1e-12)
        np.testing.assert_allclose(chance[hit].prod(axis=1), expected)


def test_a_penalty_that_was_ignored_in_the_chance_would_be_seen() -> None:
    """The test above can fail: plain chances are far from the frequencies of diverse draws."""
    odds, n = [0.3, -0.4, 0.9, -1.5, 0.5, 0.1], 40_000
    chosen, _ = draw(
        filling(np.tile(odds, (n, 1)), Policy(SlateSettings(**EVERYTHING))),
        np.random.default_rng(5).random((n, 3)),
    )
    plainly = [chance_of(slate, odds, plain(temperature=0.7)) for slate in permutations(range(6), 3)]
    found = [(chosen == slate).all(axis=1).mean() for slate in permutations(range(6), 3)]
    assert np.abs(np.array(found) - plainly).sum() > 0.2


def test_no_advertiser_has_more_than_its_slots_and_the_slate_is_then_shorter() -> None:
    policy = plain(advertiser_slots=1, temperature=1.0)
    chosen, chance = draw(filling(np.zeros((500, 10)), policy), np.random.default_rng(1).random((500, 5)))
    assert (chosen[:, 3:] == -1).all()
    assert (chance[:, 3:] == 0).all()
    assert all(len({c % 3 for c in row[:3]}) == 3 for row in chosen)


def test_penalties_spread_a_slate_over_topics_and_advertisers() -> None:
    uniforms = np.random.default_rng(1).random((2_000, 3))
    odds = np.where(np.arange(10) % 3 == 0, 1.0, 0.0)
    kinds = [
        np.mean([len({c % 3 for c in row}) for row in draw(filling(np.tile(odds, (2_000, 1)), policy), uniforms)[0]])
        for policy in (plain(temperature=0.6), plain(temperature=0.6, advertiser_penalty=1.5))
    ]
    assert kinds[1] > kinds[0] + 0.3


def test_no_uniform_chooses_what_has_no_chance() -> None:
    edges = [0.0, 0.5, 1.0 - 2**-53]
    for odds in product([-np.inf, -800.0, 0.0], repeat=4):
        values = np.tile(odds, (len(edges), 1))
        column, chance = filling(values, plain(temperature=1.0)).choose(np.array(edges))
        if np.isinf(odds).all():
            assert (column == -1).all()
        else:
            assert (chance > 0).all()
