"""Claims about replaying a log: chances and worths as a plain loop finds them, and a valid estimate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import exp

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError
from contracts.settings import SlateSettings
from ranking.policy import Policy
from ranking.replay import logged_policy
from ranking.slates import sample_slates
from tests.ranking.policies import catalogue, chances_by_hand, plain

START = datetime(2025, 1, 1, tzinfo=UTC)
OFFSETS = (0.0, -0.7, -1.0)


def sigmoid(value: float) -> float:
    return 1.0 / (1.0 + exp(-value))


def world(slates: int = 30, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Logged slates of 1 to 4 with candidate sets of 0 to 6, some concepts no candidate; log-odds equal score."""
    rng = np.random.default_rng(seed)
    logged, scores = [], []
    for index in range(slates):
        user, at = f"u{index % 7}", START + timedelta(hours=index // 2)
        scores += [(user, at, f"c{c}", rng.normal()) for c in rng.permutation(8)[: rng.integers(0, 7)]]
        shown = rng.permutation(8)[: rng.integers(1, 5)]
        logged += [(f"{index}-{slot}", user, at, slot, f"c{c}") for slot, c in enumerate(shown)]
    when = {"at": pl.Datetime("us", "UTC")}
    log = pl.DataFrame(
        logged, schema=["impression_id", "user_id", "at", "slot", "concept_id"], schema_overrides=when, orient="row"
    )
    frame = pl.DataFrame(
        scores, schema=["user_id", "at", "concept_id", "score"], schema_overrides=when, orient="row"
    ).with_columns(click_chance=1.0 / (1.0 + (-pl.col("score")).exp()))
    return log.sample(fraction=1.0, shuffle=True, seed=1), frame.sample(fraction=1.0, shuffle=True, seed=2)


RULES: list[Policy] = [
    plain(temperature=0.0),
    plain(temperature=0.35),
    plain(temperature=2.0),
    Policy(SlateSettings(temperature=0.6, exploration=0.1, topic_penalty=0.7, advertiser_penalty=0.4)),
    Policy(SlateSettings(advertiser_slots=1, exploration=0.05), boosts={"y": 0.9}),
    Policy(SlateSettings(temperature=0.0, exploration=0.3, advertiser_penalty=1.5), boosts={"x": 0.4}),
    Policy(SlateSettings(exploration=0.2, topic_penalty=0.5), boosts={"x": -1.75}, resting=("z",)),
]


def by_hand(logged: pl.DataFrame, scores: pl.DataFrame, policy: Policy) -> dict[str, tuple[float, ...]]:
    """impression_id -> target_propensity, predicted, expected and best chance, one at a time."""
    found = {}
    for (user, at), rows in logged.group_by("user_id", "at"):
        mine = scores.filter((pl.col("user_id") == user) & (pl.col("at") == at))
        left = dict(mine.sort(-pl.col("score"), "concept_id").select("concept_id", "score").iter_rows())
        known, before = dict(left), list[str]()
        for name, slot, concept in rows.sort("slot").select("impression_id", "slot", "concept_id").iter_rows():
            offset = OFFSETS[min(slot, 2)]
            chances = chances_by_hand(left, before, catalogue(), policy)
            worth = {c: sigmoid(s + offset) for c, s in left.items()}
            expected = sum(chances[c] * worth[c] for c in left)
            slots, advertiser = (
                policy.settings.advertiser_slots,
                dict(catalogue().select("concept_id", "advertiser").iter_rows()),
            )
            awake = {c for c in left if advertiser[c] not in policy.resting}
            free = {c for c in awake if not slots or [advertiser[o] for o in before].count(advertiser[c]) < slots}
            predicted = sigmoid(known[concept] + offset) if concept in known else expected
            best = max((worth[c] for c in free), default=0.0)
            found[name] = (chances.get(concept, 0.0), predicted, expected, best)
            before.append(concept)
            left.pop(concept, None)
    return found


@pytest.mark.parametrize("policy", RULES)
def test_it_agrees_with_a_plain_loop(policy: Policy) -> None:
    logged, scores = world()
    answer = logged_policy(logged, scores, catalogue(), policy=policy, slot_offsets=OFFSETS)
    assert answer["impression_id"].equals(logged["impression_id"])
    oracle = by_hand(logged, scores, policy)
    columns = ["target_propensity", "predicted_chance", "expected_chance", "best_chance"]
    np.testing.assert_allclose(
        answer.select(columns).to_numpy(), [oracle[name] for name in logged["impression_id"]], rtol=1e-12, atol=1e-15
    )
    shown = logged.join(scores, on=["user_id", "at", "concept_id"], how="left", maintain_order="left")
    assert answer["candidate"].equals(shown["score"].is_not_null().alias("candidate"))
    assert not answer["candidate"].all()
    assert (answer.filter(~pl.col("candidate"))["target_propensity"] == 0.0).all()


@pytest.mark.parametrize("policy", RULES)
def test_its_own_slates_get_back_their_propensities(policy: Policy) -> None:
    _, scores = world()
    moment = scores["at"][0]
    now = scores.filter(pl.col("at") == moment)
    slates = sample_slates(now, catalogue(), policy=policy, seed=7)
    logged = slates.select(
        pl.format("{}-{}", "user_id", "position").alias("impression_id"),
        "user_id",
        pl.lit(moment, pl.Datetime("us", "UTC")).alias("at"),
        pl.col("position").alias("slot"),
        "concept_id",
    )
    answer = logged_policy(logged, now, catalogue(), policy=policy)
    np.testing.assert_allclose(answer["target_propensity"], slates["propensity"], rtol=1e-14)


def test_positions_past_the_size_are_never_filled() -> None:
    logged, scores = world()
    whole, short = (logged_policy(logged, scores, catalogue(), policy=RULES[3], size=size) for size in (None, 2))
    first = (logged["slot"] < 2).to_numpy()
    assert short.filter(first).equals(whole.filter(first))
    assert short.filter(~first)["target_propensity"].sum() == 0.0
    assert short.filter(~first)["expected_chance"].sum() == 0.0
    assert short["predicted_chance"].equals(whole["predicted_chance"])


def test_weights_by_the_replay_give_the_value_of_the_other_policy() -> None:
    """A uniform log of 20,000 slates: IPS with these chances is the exact value of the replayed policy."""
    odds, n = np.array([-1.0, 0.2, 0.9]), 20_000
    rng = np.random.default_rng(3)
    shown = np.argsort(rng.random((n, 3)), axis=1)[:, :2]
    clicked = rng.random((n, 2)) < 1 / (1 + np.exp(-(odds[shown] + np.array(OFFSETS[:2]))))
    when = pl.Series([START + timedelta(seconds=index) for index in range(n)], dtype=pl.Datetime("us", "UTC"))
    logged = pl.DataFrame(
        {
            "impression_id": [str(index) for index in range(2 * n)],
            "user_id": ["u"] * (2 * n),
            "at": when.gather(np.repeat(np.arange(n), 2)),
            "slot": np.tile([0, 1], n),
            "concept_id": [f"c{c}" for c in shown.ravel()],
        }
    )
    scores = pl.DataFrame({"user_id": ["u"] * n, "at": when}).join(
        pl.DataFrame({"concept_id": ["c0", "c1", "c2"], "score": odds, "click_chance": 1 / (1 + np.exp(-odds))}),
        how="cross",
    )
    answer = logged_policy(logged, scores, catalogue(), policy=plain(temperature=0.5), slot_offsets=OFFSETS)
    weight = (answer["target_propensity"].to_numpy().reshape(n, 2) / np.array([1 / 3, 1 / 2])).cumprod(axis=1)
    estimate = (weight * clicked).sum(axis=1)
    u = np.exp(odds / 0.5)
    truth = 0.0
    for a in range(3):
        truth += u[a] / u.sum() * sigmoid(odds[a])
        for b in {0, 1, 2} - {a}:
            truth += u[a] / u.sum() * u[b] / (u.sum() - u[a]) * sigmoid(odds[b] + OFFSETS[1])
    assert estimate.mean() == pytest.approx(truth, abs=4.5 * estimate.std() / np.sqrt(n))
    assert clicked.sum(axis=1).mean() < truth - 0.1  # the logging policy is worth less


def test_repeated_rows_are_refused_and_an_empty_log_is_fine() -> None:
    logged, scores = world()
    with pytest.raises(DataError, match="impression_id comes twice"):
        logged_policy(pl.concat([logged, logged]), scores, catalogue(), policy=RULES[0])
    with pytest.raises(DataError, match="concept_id comes twice"):
        logged_policy(logged, pl.concat([scores, scores]), catalogue(), policy=RULES[0])
    assert logged_policy(logged.clear(), scores, catalogue(), policy=RULES[0], size=2).is_empty()
    assert (logged_policy(logged, scores.clear(), catalogue(), policy=RULES[1])["target_propensity"] == 0.0).all()
