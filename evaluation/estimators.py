"""Turns logged slates into off-policy estimates of another policy's worth, in expected clicks per slate.

Notation: slate i, slot k; r_k clicked; q_k the model's click chance of the logged concept; e_k the model's click
chance of what the target policy would choose at k after the logged earlier slots;
w_k = prod_{j<=k} target_j / logged_j, w_{-1} = 1.
All assume that a click at slot k depends on slots 0..k only (the cascade assumption). With one slot per slate they are
the textbook estimators of a contextual bandit. Those that assume something else of slates: `slate_estimators`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from contracts.errors import DataError
from evaluation.intervals import Terms
from evaluation.logs import Floats, LoggedSlates


def on_policy(log: LoggedSlates) -> Terms:
    """Mean clicks per slate under the logging policy: mean_i sum_k r_k. Needs nothing but the log."""
    return Terms.mean(log.clicked.sum(axis=1))


def replay(log: LoggedSlates) -> Terms:
    """Clicks where the log did what the target would do: sum_k (n_k / n) * sum_i m_k r_k / sum_i m_k, m_k = prod_{j<=k}
    target_j: 1 or 0 for a deterministic target, its expectation over the target's draw for another.

    Li et al. 2011. Unbiased only where the logged choices were uniformly random. DataError without target chances.
    """
    if log.target_propensity is None:
        raise DataError("the target policy's chances are missing", where="replay", fix="Give column target_propensity.")
    matched = log.cumulated(log.target_propensity)
    return Terms(matched * log.clicked, matched, log.present.astype(np.float64))


def direct_method(log: LoggedSlates) -> Terms:
    """Direct method: mean_i sum_k e_k. As good as the model, and blind to its faults; needs no propensities.

    Beygelzimer and Langford 2009. e_k is conditioned on the *logged* earlier slots, so slots after the first also carry
    the logging policy's habits. DataError without a model.
    """
    _, expected = log.model()
    return Terms.mean(expected.sum(axis=1))


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


def sub_gaussian_ips(log: LoggedSlates, shrinkage: float) -> Terms:
    """IPS with the weights' harmonic correction: mean_i sum_k v_k r_k, v = w / (1 - s + s w), 0 <= s <= 1.

    Metelli et al. 2021 (power mean of exponent -1). s = 0 is IPS; s > 0 bounds every weight by 1 / s, so that
    errors have a sub-Gaussian tail; s of order 1 / sqrt(n) keeps it consistent. DataError without propensities.
    """
    return Terms.mean((_harmonic(log.weights(), shrinkage) * log.clicked).sum(axis=1))


def marginalised_ips(log: LoggedSlates) -> Terms:
    """MIPS: mean_i sum_k m_k r_k, m_k = prod_{j<=k} p_target(embedding_j) / p_logged(embedding_j).

    Saito and Joachims 2022: weights of the concept's embedding instead of the concept, m = E_logged[w | user, embedding].
    Unbiased where clicks depend on a concept through its embedding alone; calmer, since many concepts share embeddings.
    DataError without column marginal_ratio.
    """
    if log.marginal_ratio is None:
        raise DataError("no marginal weights were given", where="marginalised_ips", fix="Give column marginal_ratio.")
    return Terms.mean((log.cumulated(log.marginal_ratio) * log.clicked).sum(axis=1))


def doubly_robust(log: LoggedSlates) -> Terms:
    """Doubly robust, slot by slot: mean_i sum_k [ w_{k-1} e_k + w_k (r_k - q_k) ].

    Dudík et al. 2011; per decision: Jiang and Li 2016. Unbiased when the weights are right, whatever the model; the better
    the model, the smaller the variance. DataError without propensities or model.
    """
    return _partly_corrected(log, np.ones_like)


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


def switch_doubly_robust(log: LoggedSlates, threshold: float) -> Terms:
    """Switch-DR: doubly robust where w <= threshold, the model alone beyond it.

    Wang et al. 2017: `doubly_robust` with trust s(w) = [w <= threshold] (see `_partly_corrected`). Threshold 0
    is the direct method, infinity is doubly robust. Errors as `doubly_robust`.
    """
    return _partly_corrected(log, lambda weights: (weights <= threshold).astype(np.float64))


def optimistic_doubly_robust(log: LoggedSlates, shrinkage: float) -> Terms:
    """DRos, doubly robust with optimistic shrinkage: corrections are weighted by lambda w / (w^2 + lambda).

    Su et al. 2020: trust s(w) = lambda / (w^2 + lambda). Lambda 0 is the direct method, infinity is doubly
    robust. Errors as `doubly_robust`.
    """

    def trust(weights: Floats) -> Floats:
        return np.ones_like(weights) if np.isinf(shrinkage) else shrinkage / np.maximum(weights**2 + shrinkage, 1e-300)

    return _partly_corrected(log, trust)


def sub_gaussian_doubly_robust(log: LoggedSlates, shrinkage: float) -> Terms:
    """Doubly robust with the weights of `sub_gaussian_ips`: mean_i sum_k [ v_{k-1} e_k + v_k (r_k - q_k) ].

    Metelli et al. 2021. Errors as `doubly_robust`.
    """
    predicted, expected = log.model()
    weights, earlier = (_harmonic(found, shrinkage) for found in (log.weights(), log.earlier_weights()))
    return Terms.mean((earlier * expected + weights * (log.clicked - predicted)).sum(axis=1))


def _partly_corrected(log: LoggedSlates, trust: Callable[[Floats], Floats]) -> Terms:
    """mean_i sum_k [ (1 + s_{k-1} (w_{k-1} - 1)) e_k + s_k w_k (r_k - q_k) ], s_k = trust(w_k) in [0, 1].

    s = 1 is doubly robust, s = 0 the direct method: where a weight is not trusted, the slot counts as it was logged.
    """
    predicted, expected = log.model()
    weights, earlier = log.weights(), log.earlier_weights()
    kept = 1 + trust(earlier) * (earlier - 1)
    return Terms.mean((kept * expected + trust(weights) * weights * (log.clicked - predicted)).sum(axis=1))


def _harmonic(weights: Floats, shrinkage: float) -> Floats:
    """w / (1 - s + s w), and 0 at w = 0 for every s."""
    below = 1 - shrinkage + shrinkage * weights
    return np.divide(weights, below, out=np.zeros_like(weights), where=weights > 0)
