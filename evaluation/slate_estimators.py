"""Turns logged slates into estimates under other assumptions of how the slots of a slate act on each other.

Notation as in `estimators`. rho_k = target_k / logged_k is the ratio of one slot: of the chances of the concept at the slot
whatever stands above it, where the log has them (slot_propensity, target_slot_propensity), else of the sequential
propensities, given the logged earlier slots. With the latter, `independent_ips` and `pseudo_inverse` are exact where the
choice at a slot does not hang on the earlier ones, and else a first-order expansion of the target's value around the
logging policy's: each slot is changed alone, the others stay as logged.
"""

from __future__ import annotations

import numpy as np

from contracts.errors import DataError
from evaluation.intervals import Terms
from evaluation.logs import Floats, LoggedSlates


def independent_ips(log: LoggedSlates) -> Terms:
    """Item-position IPS: mean_i sum_k rho_k r_k. Assumes that a click depends on the concept and its slot alone.

    Li et al. 2018 (item-position click model). Weights do not multiply down the slate, so it is much calmer than IPS; wrong
    where slots act on each other. DataError without propensities.
    """
    return Terms.mean((slot_ratios(log) * log.clicked).sum(axis=1))


def pseudo_inverse(log: LoggedSlates) -> Terms:
    """Pseudo-inverse: mean_i R_i * (1 + sum_k (rho_k - 1)), R_i = sum_k r_k. Assumes that a slate's expected clicks are a sum
    of one term per slot, whichever term that is; which click belongs to which slot is not used.

    Swaminathan et al. 2017 for a logging policy whose slots are drawn independently, where
    q' Gamma^+ 1_s = 1 + sum_k (rho_k - 1). DataError without propensities.
    """
    weight = 1 + np.where(log.present, slot_ratios(log) - 1, 0.0).sum(axis=1)
    return Terms.mean(weight * log.clicked.sum(axis=1))


def cascade_doubly_robust(log: LoggedSlates) -> Terms:
    """Cascade-DR: mean_i [ V_i + sum_k w_k (r_k - q_k) ], V_i the model's expected clicks of the target's whole slate.

    Kiyohara et al. 2022 with the sequential propensities: the model's value of the slots still to come,
    Q_k = q_k + V_{k+1}, cancels from one slot to the next and leaves the value at the top. Unbiased when the weights are
    right and V is the value of the target under q, whatever q; unlike `estimators.doubly_robust` no weight multiplies the
    model's expectations. DataError without propensities, model or column expected_slate.
    """
    predicted, _ = log.model()
    if log.expected_slate is None:
        raise DataError("no model of whole slates was given", where="cascade-DR", fix="Give column expected_slate.")
    return Terms.mean(log.expected_slate + (log.weights() * (log.clicked - predicted)).sum(axis=1))


def slot_ratios(log: LoggedSlates) -> Floats:
    """(S, K) rho_k, see above; 0 in absent slots. DataError without propensities."""
    if log.slot_propensity is None or log.target_slot_propensity is None:
        return np.where(log.present, log.ratios(), 0.0)
    return np.where(log.present, log.target_slot_propensity / np.where(log.present, log.slot_propensity, 1.0), 0.0)
