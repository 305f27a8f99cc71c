"""Off-policy estimators on a slate problem small enough to enumerate, so that expectations are exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from evaluation import catalogue, estimators, slate_estimators
from evaluation.diagnostics import model_balance
from evaluation.logs import LoggedSlates, logged_slates

AT = datetime(2025, 3, 1, tzinfo=UTC)
LOGGED, TARGET = np.array([0.2, 0.5, -0.4]), np.array([1.5, -1.0, 0.3])
Chance = Callable[[int, int, int | None], float]


def chance(concept: int, slot: int, before: int | None) -> float:
    """The click law: depends on the concept, the slot and what stood above it (a cascade)."""
    return [0.5, 0.2, 0.35][concept] * (0.7 if slot else 1.0) * (0.6 if before == 0 else 1.0)


def wrong_model(concept: int, slot: int, before: int | None) -> float:
    return [0.1, 0.6, 0.3][concept] * (0.9 if slot else 1.0)


def policy(utility: np.ndarray, before: int | None) -> dict[int, float]:
    left = [c for c in range(3) if c != before]
    worth = np.exp(utility[left])
    return dict(zip(left, worth / worth.sum(), strict=True))


def expected(model: Chance, slot: int, before: int | None) -> float:
    return sum(p * model(c, slot, before) for c, p in policy(TARGET, before).items())


def true_value(utility: np.ndarray, slots: int) -> float:
    first = policy(utility, None)
    value = sum(p * chance(c, 0, None) for c, p in first.items())
    if slots == 2:
        value += sum(p * q * chance(d, 1, c) for c, p in first.items() for d, q in policy(utility, c).items())
    return value


def every_slate(model: Chance, slots: int = 2) -> tuple[LoggedSlates, np.ndarray]:
    """Every possible logged slate with its clicks, and its probability under the logging policy."""
    rows, probabilities = [], []
    for concepts in itertools.permutations(range(3), slots):
        for clicks in itertools.product((False, True), repeat=slots):
            probability, name = 1.0, f"s{len(probabilities):03d}"
            for slot, (concept, clicked) in enumerate(zip(concepts, clicks, strict=True)):
                before = concepts[0] if slot else None
                p, t = policy(LOGGED, before)[concept], policy(TARGET, before)[concept]
                click = chance(concept, slot, before)
                probability *= p * (click if clicked else 1 - click)
                rows.append(
                    (name, AT, slot, clicked, p, t, model(concept, slot, before), expected(model, slot, before))
                )
            probabilities.append(probability)
    columns = ["user_id", "at", "slot", "clicked", "propensity", "target_propensity", "predicted_chance"]
    frame = pl.DataFrame(rows, schema=[*columns, "expected_chance"], orient="row")
    return logged_slates(frame), np.array(probabilities)


@pytest.mark.parametrize("slots", [1, 2])
def test_the_enumeration_covers_everything_and_the_logged_mean_is_the_logged_value(slots: int) -> None:
    log, probability = every_slate(chance, slots)
    assert probability.sum() == pytest.approx(1)
    assert estimators.on_policy(log).contributions @ probability == pytest.approx(true_value(LOGGED, slots))
    assert true_value(TARGET, slots) != pytest.approx(true_value(LOGGED, slots), abs=0.02)


@pytest.mark.parametrize("slots", [1, 2])
def test_ips_is_exactly_unbiased(slots: int) -> None:
    log, probability = every_slate(chance, slots)
    assert estimators.ips(log).contributions @ probability == pytest.approx(true_value(TARGET, slots), abs=1e-12)


@pytest.mark.parametrize("model", [chance, wrong_model])
@pytest.mark.parametrize("slots", [1, 2])
def test_doubly_robust_is_exactly_unbiased_even_with_a_wrong_model(model: Chance, slots: int) -> None:
    log, probability = every_slate(model, slots)
    found = estimators.doubly_robust(log).contributions @ probability
    assert found == pytest.approx(true_value(TARGET, slots), abs=1e-12)
    assert model_balance(log) @ probability == pytest.approx(0, abs=1e-12)


def test_the_direct_method_inherits_the_faults_of_a_wrong_model() -> None:
    log, probability = every_slate(wrong_model, 1)
    assert abs(estimators.direct_method(log).contributions @ probability - true_value(TARGET, 1)) > 0.1
    log, probability = every_slate(chance, 1)
    assert estimators.direct_method(log).contributions @ probability == pytest.approx(true_value(TARGET, 1))


def test_self_normalised_estimators_are_exact_on_the_expected_log() -> None:
    """With each slate repeated by its probability, ratios of means are ratios of expectations."""
    log, probability = every_slate(wrong_model)
    for estimate in (estimators.snips, estimators.self_normalised_doubly_robust):
        sums = probability @ estimate(log).columns()
        c = (len(sums) - 1) // 3
        value = float((sums[:c] * sums[2 * c : 3 * c] / sums[c : 2 * c]).sum())
        assert value == pytest.approx(true_value(TARGET, 2), abs=1e-12)


def test_doubly_robust_has_no_variance_with_a_perfect_model_of_certain_clicks() -> None:
    def certain(concept: int, slot: int, before: int | None) -> float:
        return float(concept != 1)

    log, _ = every_slate(certain, 1)
    agrees = (log.clicked == log.predicted).all(axis=1)  # slates that can happen
    assert estimators.doubly_robust(log).contributions[agrees].std() == pytest.approx(0, abs=1e-12)
    assert estimators.ips(log).contributions[agrees].std() > 0.1


def test_a_good_model_makes_doubly_robust_calmer_than_ips() -> None:
    log, probability = every_slate(chance)
    value = true_value(TARGET, 2)
    variances = [
        probability @ (estimate(log).contributions - value) ** 2
        for estimate in (estimators.doubly_robust, estimators.ips)
    ]
    assert variances[0] < 0.8 * variances[1]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 1.0))
def test_self_normalised_estimators_do_not_change_when_weights_are_scaled(scale: float) -> None:
    log, _ = every_slate(wrong_model)
    assert log.target_propensity is not None
    scaled = replace(log, target_propensity=log.target_propensity * scale)
    for estimate in (estimators.snips, estimators.self_normalised_doubly_robust):
        assert estimate(scaled).value == pytest.approx(estimate(log).value, rel=1e-9)
    if scale < 0.99:
        assert estimators.ips(scaled).value < estimators.ips(log).value


def test_the_logged_policy_judged_by_itself_is_its_own_mean() -> None:
    log, _ = every_slate(chance)
    same = replace(log, target_propensity=log.propensity)
    for estimate in (estimators.ips, estimators.snips):
        assert estimate(same).value == pytest.approx(estimators.on_policy(log).value)


def test_clipping_only_lowers_ips_and_a_high_clip_changes_nothing() -> None:
    log, _ = every_slate(chance)
    assert estimators.clipped_ips(log, 1.0).value < estimators.ips(log).value
    assert estimators.clipped_ips(log, 1e9).value == estimators.ips(log).value


def test_weights_multiply_down_the_slate_and_shorter_slates_stop() -> None:
    rows = [("a", AT, 0, True, 0.5, 0.25), ("a", AT, 1, False, 0.5, 1.0), ("b", AT, 0, True, 0.2, 0.8)]
    log = logged_slates(_frame(rows))
    assert log.weights().tolist() == [[0.5, 1.0], [4.0, 0.0]]
    assert log.earlier_weights().tolist() == [[1.0, 0.5], [1.0, 0.0]]
    assert log.slate_weights().tolist() == [1.0, 4.0]


def test_without_propensities_reweighting_is_refused_and_the_rest_still_works() -> None:
    rows = [("a", AT, 0, True, None, 0.5), ("b", AT, 0, False, 0.3, 0.5)]
    log = logged_slates(_frame(rows))
    for estimate in (estimators.ips, estimators.snips):
        with pytest.raises(DataError, match="1 rows carry no propensity"):
            estimate(log)
    assert estimators.on_policy(log).value == 0.5
    assert catalogue.primary(log) is None


def test_without_a_model_the_doubly_robust_ones_are_refused_and_snips_is_primary() -> None:
    log = logged_slates(_frame([("a", AT, 0, True, 0.5, 0.5)]))
    with pytest.raises(DataError, match="no click model"):
        estimators.doubly_robust(log)
    chosen = catalogue.primary(log)
    assert chosen is not None
    assert chosen.name == "snips"


@pytest.mark.parametrize("propensity", [0.0, 1.5, -0.1, float("nan")])
def test_impossible_propensities_are_refused(propensity: float) -> None:
    with pytest.raises(DataError, match="propensity"):
        logged_slates(_frame([("a", AT, 0, True, propensity, 0.5)]))


def test_slates_with_a_gap_or_a_double_are_left_out_and_counted() -> None:
    whole, gap, double = ("a", AT, 0, True, 0.5, 0.5), ("b", AT, 1, True, 0.5, 0.5), ("c", AT, 0, True, 0.5, 0.5)
    log = logged_slates(_frame([double, gap, whole, double]))
    assert len(log) == 1
    assert log.left_out == 2


def test_a_log_without_propensities_keeps_slates_whose_slots_were_not_written_down() -> None:
    rows = [("a", AT, 0, True, None, None), ("a", AT, 0, False, None, None), ("b", AT, 3, True, None, None)]
    log = logged_slates(_frame(rows).with_columns(pl.col("propensity", "target_propensity").cast(pl.Float64)))
    assert (len(log), log.left_out, log.unlogged_rows) == (2, 0, 3)
    assert estimators.on_policy(log).value == 1.0


def test_a_target_that_no_logged_slate_agrees_with_gives_no_self_normalised_value() -> None:
    log = logged_slates(_frame([("a", AT, 0, True, 0.5, 0.0), ("b", AT, 0, True, 0.5, 0.0)]))
    assert np.isnan(estimators.snips(log).value)
    assert estimators.ips(log).value == 0.0


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("model", [chance, wrong_model])
def test_switch_and_shrunk_doubly_robust_go_from_the_direct_method_to_doubly_robust(slots: int, model: Chance) -> None:
    log, _ = every_slate(model, slots)
    direct, robust = estimators.direct_method(log).contributions, estimators.doubly_robust(log).contributions
    for estimate in (estimators.switch_doubly_robust, estimators.optimistic_doubly_robust):
        assert estimate(log, 0.0).contributions == pytest.approx(direct)
        assert estimate(log, np.inf).contributions == pytest.approx(robust)


def test_optimistic_shrinkage_weighs_a_single_slot_as_in_the_paper() -> None:
    log, _ = every_slate(wrong_model, 1)
    w, (q, e) = log.weights(), log.model()
    expected_terms = (e + 3.0 * w / (w**2 + 3.0) * (log.clicked - q)).sum(axis=1)
    assert estimators.optimistic_doubly_robust(log, 3.0).contributions == pytest.approx(expected_terms)
    switched = (e + np.where(w <= 1.0, w, 0.0) * (log.clicked - q)).sum(axis=1)
    assert estimators.switch_doubly_robust(log, 1.0).contributions == pytest.approx(switched)


@pytest.mark.parametrize("slots", [1, 2])
def test_sub_gaussian_weights_are_bounded_and_vanish_into_the_plain_ones(slots: int) -> None:
    log, _ = every_slate(wrong_model, slots)
    assert estimators.sub_gaussian_ips(log, 0.0).value == pytest.approx(estimators.ips(log).value)
    assert estimators.sub_gaussian_doubly_robust(log, 0.0).value == pytest.approx(estimators.doubly_robust(log).value)
    assert estimators.sub_gaussian_ips(log, 0.25).contributions.max() <= slots / 0.25
    assert estimators.sub_gaussian_ips(log, 1.0).value == pytest.approx(estimators.on_policy(log).value)


def test_replay_is_exact_on_uniform_logs_and_left_out_on_others() -> None:
    rows = [(f"u{c}{click}", AT, 0, click, 1 / 3, float(c == 1)) for c in range(3) for click in (True, False)]
    log = logged_slates(_frame(rows))
    assert estimators.replay(log).value == 0.5
    replay = next(one for one in catalogue.ESTIMATORS if one.name == "replay")
    assert replay.missing(log) is None
    biased, _ = every_slate(chance, 1)
    assert "not uniformly random" in str(replay.missing(biased))


def test_cascade_doubly_robust_is_exactly_unbiased_even_with_a_wrong_model() -> None:
    log, probability = every_slate(wrong_model)
    model_value = sum(
        p * (wrong_model(c, 0, None) + sum(q * wrong_model(d, 1, c) for d, q in policy(TARGET, c).items()))
        for c, p in policy(TARGET, None).items()
    )
    whole = replace(log, expected_slate=np.full(len(log), model_value))
    found = slate_estimators.cascade_doubly_robust(whole).contributions @ probability
    assert found == pytest.approx(true_value(TARGET, 2), abs=1e-12)


def _separate_slots() -> tuple[LoggedSlates, np.ndarray, float]:
    """Slots drawn independently, clicks by concept and slot alone: what independent IPS and pseudo-inverse assume."""
    logged, target = np.array([0.6, 0.4]), np.array([0.2, 0.8])
    click = np.array([[0.5, 0.2], [0.3, 0.1]])  # slot, concept
    rows, probabilities = [], []
    for number, (a, b, r, t) in enumerate(itertools.product((0, 1), (0, 1), (True, False), (True, False))):
        chosen, clicked = (a, b), (r, t)
        probability = 1.0
        for slot in range(2):
            p = click[slot, chosen[slot]]
            probability *= logged[chosen[slot]] * (p if clicked[slot] else 1 - p)
            rows.append((f"s{number:02d}", AT, slot, clicked[slot], logged[chosen[slot]], target[chosen[slot]]))
        probabilities.append(probability)
    return logged_slates(_frame(rows)), np.array(probabilities), float((click @ target).sum())


def test_independent_and_pseudo_inverse_are_exactly_unbiased_under_their_assumptions_and_calmer_than_ips() -> None:
    log, probability, truth = _separate_slots()
    spread = {}
    for estimate in (slate_estimators.independent_ips, slate_estimators.pseudo_inverse, estimators.ips):
        terms = estimate(log).contributions
        assert terms @ probability == pytest.approx(truth, abs=1e-12)
        spread[estimate.__name__] = float(probability @ (terms - truth) ** 2)
    assert spread["independent_ips"] < spread["ips"]


def test_the_pseudo_inverse_weight_is_that_of_the_matrix_it_is_named_after() -> None:
    """q' Gamma^+ 1_s with Gamma = E[1_s 1_s'] enumerated, Swaminathan et al. 2017."""
    logged, target = np.array([0.6, 0.4]), np.array([0.2, 0.8])
    slates = list(itertools.product((0, 1), (0, 1)))
    marks = np.array([[a == 0, a == 1, b == 0, b == 1] for a, b in slates], dtype=float)
    gamma = marks.T @ (np.array([logged[a] * logged[b] for a, b in slates])[:, None] * marks)
    weights = np.concatenate([target, target]) @ np.linalg.pinv(gamma) @ marks.T
    rows = [(f"s{n}", AT, k, True, logged[s[k]], target[s[k]]) for n, s in enumerate(slates) for k in (0, 1)]
    ours = slate_estimators.pseudo_inverse(logged_slates(_frame(rows))).contributions / 2
    assert ours == pytest.approx(weights)


def test_chances_of_a_slot_alone_take_the_place_of_sequential_ones_where_the_log_has_them() -> None:
    log, _ = every_slate(chance)
    flat = np.full_like(log.clicked, 0.5)
    given = replace(log, slot_propensity=flat, target_slot_propensity=flat)
    assert slate_estimators.independent_ips(given).value == pytest.approx(estimators.on_policy(log).value)
    assert slate_estimators.independent_ips(log).value != pytest.approx(estimators.on_policy(log).value)


def test_marginal_weights_are_unbiased_where_concepts_of_one_embedding_are_clicked_alike() -> None:
    logged, target, click = np.array([0.5, 0.2, 0.3]), np.array([0.1, 0.6, 0.3]), np.array([0.4, 0.4, 0.1])
    group = np.array([0, 0, 1])  # concepts 0 and 1 look the same
    ratio = np.array([target[group == g].sum() / logged[group == g].sum() for g in group])
    rows = [(f"u{c}{'ab'[not r]}", AT, 0, r, logged[c], target[c]) for c in range(3) for r in (True, False)]
    frame = _frame(rows).with_columns(marginal_ratio=pl.Series([ratio[c] for c in range(3) for _ in (0, 1)]))
    log = logged_slates(frame)
    probability = np.array([logged[c] * (click[c] if r else 1 - click[c]) for c in range(3) for r in (True, False)])
    terms = estimators.marginalised_ips(log).contributions
    assert terms @ probability == pytest.approx(target @ click)
    assert (
        probability @ (terms - target @ click) ** 2
        < probability @ (estimators.ips(log).contributions - target @ click) ** 2
    )


def test_every_estimator_says_what_it_lacks_and_tuned_ones_choose_among_their_grid() -> None:
    bare = logged_slates(_frame([("a", AT, 0, True, None, None), ("b", AT, 0, False, None, None)]).with_columns(
        pl.col("propensity", "target_propensity").cast(pl.Float64)))  # fmt: skip
    assert list(catalogue.estimates(bare)) == ["on_policy"]
    log, _ = every_slate(chance)
    found = catalogue.estimates(log)
    assert {"sndr", "dr", "switch_dr", "dr_os", "sg_dr", "snips", "ips", "clipped_ips", "sg_ips", "independent_ips",
            "pseudo_inverse", "dm"} <= set(found)  # fmt: skip
    for one in found.values():
        assert one.estimator.grid is None or one.parameter in one.estimator.grid(log)
        assert one.estimator.function.__doc__ or one.estimator.label


def test_one_row_a_moment_is_a_slate_of_its_own_whatever_its_slot() -> None:
    log = logged_slates(_frame([("a", AT, 2, True, 0.5, 0.5), ("b", AT, 1, False, 0.5, 0.5)]))
    assert (len(log), log.left_out, log.present.shape) == (2, 0, (2, 1))


def _frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    names = ["user_id", "at", "slot", "clicked", "propensity", "target_propensity"]
    return pl.DataFrame(rows, schema=names, orient="row")
