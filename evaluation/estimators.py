"""Turns logged slates into off-policy estimates of another policy's worth, in expected clicks per slate.

Notation: slate i, slot k; r_k clicked; q_k the model's click chance of the logged concept; e_k the model's click
chance of what the target policy would choose at k after the logged earlier slots;
w_k = prod_{j<=k} target_j / logged_j, w_{-1} = 1.
All estimators assume that a click at slot k depends on slots 0..k only (the cascade assumption).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.intervals import Terms
from evaluation.logs import LoggedSlates

PRIMARY = ("sndr", "snips")
"""The estimators the verdict rests on: the first where there is a click model, else the second."""


def on_policy(log: LoggedSlates) -> Terms:
    """Mean clicks per slate under the logging policy: mean_i sum_k r_k. Needs nothing but the log."""
    return Terms.mean(log.clicked.sum(axis=1))


def ips(log: LoggedSlates) -> Terms:
    """Inverse propensity scoring, slot by slot: mean_i sum_k w_k r_k. Unbiased where the log covers the target policy.

    Horvitz and Thompson 1952; per-decision weights: Precup et al. 2000; slates: McInerney et al. 2020 (RIPS). DataError
    without propensities.
    """
    return Terms.mean((log.weights() * log.clicked).sum(axis=1))


def clipped_ips(log: LoggedSlates, clip: float) -> Terms:
    """IPS with weights cut off: mean_i sum_k min(w_k, clip) r_k. Biased low, calmer.

    Bottou et al. 2013; Ionides 2008. DataError without propensities.
    """
    return Terms.mean((np.minimum(log.weights(), clip) * log.clicked).sum(axis=1))


def snips(log: LoggedSlates) -> Terms:
    """Self-normalised IPS, slot by slot: sum_k (n_k / n) * sum_i w_k r_k / sum_i w_k, n_k slates having slot k.

    Swaminathan and Joachims 2015; per slot: McInerney et al. 2020. Does not change when all weights of a slot are
    multiplied by a constant; biased by O(1/n), bounded by the slate's length. DataError without propensities.
    """
    weights = log.weights()
    return Terms(weights * log.clicked, weights, log.present.astype(np.float64))


def direct_method(log: LoggedSlates) -> Terms:
    """Direct method: mean_i sum_k e_k. As good as the model, and blind to its faults; needs no propensities.

    Beygelzimer and Langford 2009. e_k is conditioned on the *logged* earlier slots, so slots after the first also carry
    the logging policy's habits. DataError without a model.
    """
    _, expected = log.model()
    return Terms.mean(expected.sum(axis=1))


def doubly_robust(log: LoggedSlates) -> Terms:
    """Doubly robust, slot by slot: mean_i sum_k [ w_{k-1} e_k + w_k (r_k - q_k) ].

    Dudík et al. 2011; cascade-DR: Kiyohara et al. 2022, with a model of the click at k alone. Unbiased when the weights
    are right, whatever the model; the better the model, the smaller the variance. DataError without propensities or
    model.
    """
    predicted, expected = log.model()
    return Terms.mean((log.earlier_weights() * expected + log.weights() * (log.clicked - predicted)).sum(axis=1))


def self_normalised_doubly_robust(log: LoggedSlates) -> Terms:
    """SNDR: doubly robust with w_{k-1} and w_k each divided by their mean over the slates that have slot k.

    Thomas and Brunskill 2016 (weighted doubly robust). Errors as `doubly_robust`.
    """
    predicted, expected = log.model()
    weights, earlier = log.weights(), log.earlier_weights()
    present = log.present.astype(np.float64)
    return Terms(
        np.concatenate([earlier * expected, weights * (log.clicked - predicted)], axis=1),
        np.concatenate([earlier, weights], axis=1),
        np.concatenate([present, present], axis=1),
    )


@dataclass(frozen=True, slots=True)
class Estimator:
    """An estimator as the report lists it: `function(log, clip)` gives its terms."""

    name: str
    label: str
    explanation: str
    needs_propensities: bool
    needs_model: bool
    function: Callable[[LoggedSlates, float], Terms]

    def missing(self, log: LoggedSlates) -> str | None:
        """Why it cannot be computed from this log; None when it can."""
        if self.needs_propensities and log.propensity is None:
            return "the log carries no propensities"
        if self.needs_propensities and log.target_propensity is None:
            return "the new policy's chances are not known"
        if self.needs_model and (log.predicted is None or log.expected is None):
            return "no click model was given"
        return None


ESTIMATORS: tuple[Estimator, ...] = (
    Estimator("on_policy", "Logged policy", "what happened", False, False, lambda log, clip: on_policy(log)),
    Estimator("sndr", "SNDR", "model corrected by reweighted clicks, self-normalised", True, True,
              lambda log, clip: self_normalised_doubly_robust(log)),
    Estimator("dr", "DR", "model corrected by reweighted clicks", True, True, lambda log, clip: doubly_robust(log)),
    Estimator("snips", "SNIPS", "reweighted clicks, self-normalised", True, False, lambda log, clip: snips(log)),
    Estimator("ips", "IPS", "reweighted clicks", True, False, lambda log, clip: ips(log)),
    Estimator("clipped_ips", "Clipped IPS", "reweighted clicks, large weights cut off", True, False, clipped_ips),
    Estimator("dm", "Direct method", "the click model alone", False, True, lambda log, clip: direct_method(log)),
)  # fmt: skip
"""In the order of the report."""


def primary(log: LoggedSlates) -> Estimator | None:
    """The estimator the verdict rests on; None when the log allows none."""
    by_name = {estimator.name: estimator for estimator in ESTIMATORS}
    for name in PRIMARY:
        if by_name[name].missing(log) is None:
            return by_name[name]
    return None
