"""Choosing without the truth: bias is seen when it shows, and noise is avoided when it does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from evaluation.bounds import standard_error
from evaluation.catalogue import draws_of, estimates, preferred
from evaluation.intervals import Terms
from evaluation.logs import LoggedSlates
from evaluation.tuning import least_error, paired_slope, slope


def candidates(bias: float, rows: int, seed: int = 0) -> tuple[list[Terms], np.ndarray]:
    """An unbiased noisy estimate of 0 and a calm one that is off by `bias`."""
    noise = np.random.default_rng(seed).normal(size=rows)
    return [Terms.mean(10 * noise), Terms.mean(bias + 0.1 * noise)], np.arange(rows)


@pytest.mark.parametrize("choose", [slope, paired_slope, least_error])
def test_a_plain_bias_is_never_worth_its_calm(choose: Callable[[Sequence[Terms], np.ndarray], int]) -> None:
    assert np.mean([choose(*candidates(3.0, 1000, seed)) for seed in range(40)]) < 0.05


def test_a_small_bias_is() -> None:
    for choose in (slope, paired_slope):
        assert (
            np.mean([choose(*candidates(0.02, 1000, seed)) for seed in range(40)]) > 0.8
        )  # 0.95; sd of a share of 40: 0.03


def test_the_order_is_found_where_it_is_not_given_and_undefined_candidates_are_passed_over() -> None:
    (noisy, calm), users = candidates(0.0, 500)
    undefined = Terms.ratio(np.ones(500), np.zeros(500))
    assert slope([calm, undefined, noisy], users) == 0
    assert slope([undefined], users) == paired_slope([undefined], users) == 0
    assert paired_slope([noisy, undefined, calm], users) in (0, 2)
    assert least_error([noisy, undefined, calm], users) in (0, 2)


def bandit(rows: int, off: float, seed: int) -> tuple[LoggedSlates, float]:
    """Ten concepts logged uniformly, a target that likes the good ones, a model that is off by `off`; and the truth."""
    rng = np.random.default_rng(seed)
    click, target = np.linspace(0.05, 0.5, 10), np.linspace(1, 4, 10) / np.linspace(1, 4, 10).sum()
    action = rng.integers(10, size=rows)
    model = np.clip(click + off, 0, 1)
    columns = (
        rng.random(rows) < click[action],
        np.full(rows, 0.1),
        target[action],
        model[action],
        np.full(rows, target @ model),
    )
    spread = (np.asarray(one, dtype=float).reshape(-1, 1) for one in columns)
    return LoggedSlates(np.arange(rows), np.ones((rows, 1), dtype=bool), *spread, left_out=0, unlogged_rows=0), float(
        target @ click
    )


def test_the_preferred_estimator_is_nearly_as_good_as_the_best_whatever_the_model() -> None:
    for off in (0.0, 0.3):
        errors: dict[str, list[float]] = {}
        for seed in range(60):
            log, truth = bandit(400, off, seed)
            found = estimates(log)
            for name in ("dm", "ips", "sndr"):
                errors.setdefault(name, []).append(abs(found[name].terms.value - truth))
            chosen = preferred(found, log.users)
            assert chosen is not None
            errors.setdefault("preferred", []).append(abs(found[chosen].terms.value - truth))
        mean = {name: float(np.mean(by)) for name, by in errors.items()}
        assert mean["preferred"] < 2.45 * min(mean["sndr"], mean["dm"] + 0.02)  # sqrt(6), SLOPE's own constant
        assert mean["dm"] < 0.01 if off == 0 else mean["dm"] > 0.2


def test_estimates_that_lean_on_a_model_carry_the_noise_of_its_making() -> None:
    log, _ = bandit(600, 0.02, 1)
    found = estimates(log)
    draws = draws_of(found, log.users, resamples=400, seed=1, name="t")
    assert standard_error(found["dm"].terms, log.users) < 1e-9  # the same expectation in every row
    assert draws["dm"].std() > 0.5 * draws["dr"].std() > 0
