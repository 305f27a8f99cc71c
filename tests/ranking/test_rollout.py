"""Expected clicks of a policy's own slates, against every slate counted out."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

import numpy as np
import polars as pl
import pytest

from contracts.settings import SlateSettings
from ranking.policy import Policy
from ranking.rollout import rolled_out
from ranking.slates import arranged, logit

AT = datetime(2026, 1, 1, tzinfo=UTC)
CONCEPTS = pl.DataFrame({"concept_id": list("abc"), "advertiser": list("xyz"), "topics": [["t"], ["u"], ["v"]]})


def test_the_mean_over_draws_is_the_mean_over_all_slates() -> None:
    policy = Policy(
        SlateSettings(temperature=0.7, exploration=0.1, topic_penalty=0.0, advertiser_penalty=0.0, slate_size=2)
    )
    chance = {"u": [0.3, 0.2, 0.6], "v": [0.1, 0.5, 0.2]}
    scores = pl.concat(
        pl.DataFrame({"user_id": user, "at": AT, "concept_id": list("abc"), "score": own, "click_chance": own})
        for user, own in chance.items()
    )
    rows = arranged(scores, ["user_id", "at"], policy)
    click = rows["click_chance"].to_numpy()
    found = rolled_out(rows, CONCEPTS, [click, 0.5 * click], policy=policy, draws=4000, rng=np.random.default_rng(0))
    for row, own in enumerate(chance.values()):
        utility, expected = logit(np.array(own)) / 0.7, np.zeros(2)
        for first, second in permutations(range(3), 2):
            left = [c for c in range(3) if c != first]
            one = 0.9 * np.exp(utility[first]) / np.exp(utility).sum() + 0.1 / 3
            two = 0.9 * np.exp(utility[second]) / np.exp(utility[left]).sum() + 0.1 / 2
            expected += one * two * np.array([own[first], 0.5 * own[second]])
        assert found[row, 0] == pytest.approx(expected[0], abs=1e-12)  # nothing is drawn before the first position
        assert found[row, 1] == pytest.approx(expected[1], abs=0.004)


def test_slates_are_worth_the_same_in_parts() -> None:
    rng = np.random.default_rng(3)
    scores = pl.concat(
        pl.DataFrame({"user_id": f"u{user}", "at": AT, "concept_id": list("abc")[: 1 + user % 3]}).with_columns(
            score=pl.Series(rng.random(1 + user % 3)), click_chance=pl.Series(rng.random(1 + user % 3))
        )
        for user in range(9)
    )
    policy = Policy(SlateSettings(slate_size=2))

    def worth(parts: list[pl.DataFrame]) -> list[float]:
        lot, found = np.random.default_rng(1), []
        for part in parts:
            rows = arranged(part, ["user_id", "at"], policy)
            chances = [rows["click_chance"].to_numpy()] * 2
            found.append(rolled_out(rows, CONCEPTS, chances, policy=policy, draws=3, rng=lot))
        return np.concatenate(found).ravel().tolist()

    assert worth(scores.partition_by("user_id", maintain_order=True)) == pytest.approx(worth([scores]), abs=1e-12)
