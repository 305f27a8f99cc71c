"""Approval without a person: only where past decisions bound the error, at the rate that is stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from review.tiers import Stratum, auto_approvals, decisions_needed, tiers, upper_bound

RUNNING, COFFEE = Stratum("running", "diffusion", ""), Stratum("coffee", "diffusion", "")


def test_the_bound_is_the_rule_of_three_without_rejections() -> None:
    assert upper_bound(0, 300, alpha=0.05) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert upper_bound(0, 300, alpha=0.05) == pytest.approx(3 / 300, rel=0.01)
    assert decisions_needed(0.05) == 59
    assert upper_bound(5, 5, alpha=0.05) == upper_bound(0, 0, alpha=0.05) == 1.0


@settings(deadline=None, max_examples=25)
@given(rate=st.floats(0.005, 0.3), count=st.integers(5, 400), alpha=st.sampled_from([0.05, 0.1]))
def test_the_bound_is_missed_no_more_often_than_stated(rate: float, count: int, alpha: float) -> None:
    """Exactly, by summing over every outcome: the chance that the bound lies under the true rate is at most alpha."""
    from scipy.stats import binom

    outcomes = np.arange(count + 1)
    bounds = np.array([upper_bound(int(k), count, alpha=alpha) for k in outcomes])
    assert binom.pmf(outcomes, count, rate)[bounds < rate].sum() <= alpha + 1e-12


def test_in_simulated_reviews_wrong_strata_pass_no_more_often_than_stated() -> None:
    """Six strata at once, all a little worse than tolerated: in at most 5 % of the worlds does any of them pass."""
    rng = np.random.default_rng(3)
    strata = [Stratum(f"topic {number}", "diffusion", "") for number in range(6)]
    passed = 0
    worlds = 600
    for _ in range(worlds):
        rejected = rng.random((6, 150)) < 0.051
        told = [(stratum, bool(one)) for stratum, row in zip(strata, rejected, strict=True) for one in row]
        passed += any(tier.passes for tier in tiers(told, most_error=0.05).values())
    assert passed / worlds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / worlds)
    good = [(stratum, False) for stratum in strata for _ in range(150)]
    assert all(tier.passes for tier in tiers(good, most_error=0.05).values())


def test_a_stratum_that_people_reject_in_never_passes_and_the_comment_names_the_bound() -> None:
    told = [(RUNNING, False)] * 400 + [(COFFEE, number % 4 == 0) for number in range(400)]
    known = tiers(told, most_error=0.02)
    assert (known[RUNNING].passes, known[COFFEE].passes) == (True, False)
    waiting = {"a": RUNNING, "b": COFFEE, "c": Stratum("hiking", "diffusion", "")}
    (only,) = auto_approvals(waiting, known, people_share=0.0, seed=1)
    assert only.creative_id == "a"
    assert "rejected 0 of 400" in only.comment
    assert f"{known[RUNNING].bound:.2%}" in only.comment


def test_people_still_see_a_share_of_what_passes_and_the_same_ones_each_time() -> None:
    known = tiers([(RUNNING, False)] * 400, most_error=0.02)
    waiting = {f"p{number}": RUNNING for number in range(2000)}
    found = auto_approvals(waiting, known, people_share=0.1, seed=1)
    share = np.mean([one.to_people for one in found])
    assert 0.08 < share < 0.12
    assert found == auto_approvals(dict(reversed(waiting.items())), known, people_share=0.1, seed=1)
