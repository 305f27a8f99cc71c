"""Turns a log into the estimates it allows: every estimator with its needs, its tuned parameter, and the one to prefer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import estimators as of
from evaluation import slate_estimators as of_slates
from evaluation.intervals import Ints, Terms, bootstrap
from evaluation.logs import Floats, LoggedSlates
from evaluation.tuning import least_error, paired_slope, slope

PRIMARY = ("sndr", "snips")
"""The estimators the verdict rests on: the first where there is a click model, else the second. Both are consistent, so
their intervals can be trusted; the estimator with the least expected error may be a biased one."""
UNBIASED = ("ips", "snips", "dr", "sndr", "cascade_dr")
"""Estimators that must agree, up to noise, where the propensities are right and the log covers the new policy."""
_STEPS = 8


def _uniform(log: LoggedSlates) -> bool:
    """Whether every choice at a slot was equally likely, up to rounding."""
    if log.propensity is None:
        return False
    lowest = np.where(log.present, log.propensity, np.inf).min(axis=0)
    return bool((log.propensity.max(axis=0) <= 1.01 * lowest).all())


_NEEDS: dict[str, tuple[Callable[[LoggedSlates], bool], str]] = {
    "propensities": (lambda log: log.propensity is not None, "the log carries no propensities"),
    "target": (lambda log: log.target_propensity is not None, "the new policy's chances are not known"),
    "model": (lambda log: log.predicted is not None and log.expected is not None, "no click model was given"),
    "uniform": (_uniform, "the logged choices were not uniformly random, which replay needs"),
    "slates": (lambda log: log.present.shape[1] > 1, "slates of one slot: the same as {}"),
    "embeddings": (lambda log: log.marginal_ratio is not None, "no weights of concept embeddings were given"),
    "rollout": (lambda log: log.expected_slate is not None, "no model of the new policy's whole slates was given"),
}


@dataclass(frozen=True, slots=True)
class Estimator:
    """An estimator as the report lists it.

    Attributes:
        name, label, explanation: for machines, for the page, in a few words.
        needs: what the log must have, names of `_NEEDS`, in the order they are told.
        function: (log, parameter) to its terms; the parameter is passed over where there is no grid.
        grid: candidates of the parameter, from the least biased to the calmest; None: no parameter.
        choose: picks the place of the candidate to take, from their terms and users.
        like: what it is with one slot per slate, where it is then left out.
    """

    name: str
    label: str
    explanation: str
    needs: tuple[str, ...]
    function: Callable[[LoggedSlates, float], Terms]
    grid: Callable[[LoggedSlates], Floats] | None = None
    choose: Callable[[Sequence[Terms], Ints], int] = paired_slope
    like: str = ""

    def missing(self, log: LoggedSlates) -> str | None:
        """Why it cannot be computed from this log; None when it can."""
        return next(
            (reason.format(self.like) for met, reason in map(_NEEDS.__getitem__, self.needs) if not met(log)), None
        )

    def estimate(self, log: LoggedSlates) -> Estimate:
        """Its terms, with its parameter chosen. DataError where `missing` says why."""
        if self.grid is None:
            return Estimate(self, None, self.function(log, float("nan")))
        tried = [(float(parameter), self.function(log, float(parameter))) for parameter in self.grid(log)]
        return Estimate(self, *tried[self.choose([terms for _, terms in tried], log.users)])


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an estimator makes of a log; `parameter` None where it has none."""

    estimator: Estimator
    parameter: float | None
    terms: Terms


def clips(log: LoggedSlates) -> Floats:
    """(C,) cut-offs from the largest weight down to 1, equal steps of their logarithm; infinity first."""
    return np.concatenate([[np.inf], np.geomspace(max(_widest(log), 2.0), 1.0, _STEPS + 1)[1:]])


def _switches(log: LoggedSlates) -> Floats:
    """(C,) thresholds: `clips`, then 0, the direct method."""
    return np.append(clips(log), 0.0)


def _shrinkages(log: LoggedSlates) -> Floats:
    """(C,) lambdas of DRos, of the order of squared weights; infinity first, 0 last."""
    top = max(_widest(log), 2.0) ** 2
    return np.concatenate([[np.inf], np.geomspace(top, 1e-2, _STEPS), [0.0]])


def _harmonics(log: LoggedSlates) -> Floats:
    """(1,) the shrinkage of Metelli et al. 2021: sqrt(2 log(1 / delta) / (3 n mean(w^2))), delta = 0.05."""
    second = float(np.square(log.slate_weights()).mean())
    return np.array([min(1.0, np.sqrt(2 * np.log(20.0) / (3 * len(log) * max(second, 1e-300))))])


_WEIGHED, _MODELLED = ("propensities", "target"), ("propensities", "target", "model")

ESTIMATORS: tuple[Estimator, ...] = (
    Estimator("on_policy", "Logged policy", "what happened", (), lambda log, _: of.on_policy(log)),
    Estimator("sndr", "SNDR", "model corrected by reweighted clicks, self-normalised", _MODELLED,
              lambda log, _: of.self_normalised_doubly_robust(log)),
    Estimator("dr", "DR", "model corrected by reweighted clicks", _MODELLED, lambda log, _: of.doubly_robust(log)),
    Estimator("cascade_dr", "Cascade-DR", "the same, with the model's value of whole slates",
              (*_MODELLED, "slates", "rollout"), lambda log, _: of_slates.cascade_doubly_robust(log), like="DR"),
    Estimator("switch_dr", "Switch-DR", "DR; beyond a weight the model alone", _MODELLED, of.switch_doubly_robust, _switches),
    Estimator("dr_os", "DRos", "DR, corrections shrunk by their weight", _MODELLED, of.optimistic_doubly_robust, _shrinkages),
    Estimator("sg_dr", "Sub-Gaussian DR", "DR with bounded weights", _MODELLED, of.sub_gaussian_doubly_robust, _harmonics),
    Estimator("snips", "SNIPS", "reweighted clicks, self-normalised", _WEIGHED, lambda log, _: of.snips(log)),
    Estimator("ips", "IPS", "reweighted clicks", _WEIGHED, lambda log, _: of.ips(log)),
    Estimator("clipped_ips", "Clipped IPS", "reweighted clicks, large weights cut off", _WEIGHED, of.clipped_ips, clips, least_error),
    Estimator("sg_ips", "Sub-Gaussian IPS", "reweighted clicks, bounded weights", _WEIGHED, of.sub_gaussian_ips, _harmonics),
    Estimator("mips", "MIPS", "weights of the concept's embedding", ("propensities", "target", "embeddings"),
              lambda log, _: of.marginalised_ips(log)),
    Estimator("independent_ips", "Independent IPS", "weights of each slot alone", (*_WEIGHED, "slates"),
              lambda log, _: of_slates.independent_ips(log), like="IPS"),
    Estimator("pseudo_inverse", "Pseudo-inverse", "clicks of a slate as a sum over its slots", (*_WEIGHED, "slates"),
              lambda log, _: of_slates.pseudo_inverse(log), like="IPS"),
    Estimator("replay", "Replay", "clicks where the log did the same", (*_WEIGHED, "uniform"), lambda log, _: of.replay(log)),
    Estimator("dm", "Direct method", "the click model alone", ("model",), lambda log, _: of.direct_method(log)),
)  # fmt: skip
"""In the order of the report."""

_LEARNED = ("switch_dr", "dr_os", "sg_dr", "dm")
_NOT_PREFERRED = ("on_policy", "replay", "independent_ips", "pseudo_inverse", "clipped_ips", "sg_ips")


def estimates(log: LoggedSlates) -> dict[str, Estimate]:
    """Every estimate that the log allows, by name, in the order of the report."""
    return {one.name: one.estimate(log) for one in ESTIMATORS if one.missing(log) is None}


def draws_of(found: dict[str, Estimate], users: Ints, *, resamples: int, seed: int, name: str) -> dict[str, Floats]:
    """(resamples,) values of every estimate under the same resamples of users.

    A reward model was learned from a log, and learning is noise that resampling its predictions does not show: the direct
    method would look far surer than it is. Its influence function, that of a flexible model, is the one of doubly robust
    (Newey 1994; Hahn 1998), so estimates that lean on the model move around their value as DR moves around its own.
    """
    draws = bootstrap({key: one.terms for key, one in found.items()}, users, resamples=resamples, seed=seed, name=name)
    if "dr" in found:
        noise = draws["dr"] - found["dr"].terms.value
        draws |= {key: found[key].terms.value + noise for key in _LEARNED if key in found}
    return draws


def primary(log: LoggedSlates) -> Estimator | None:
    """The estimator the verdict rests on; None when the log allows none."""
    by_name = {estimator.name: estimator for estimator in ESTIMATORS}
    for name in PRIMARY:
        if by_name[name].missing(log) is None:
            return by_name[name]
    return None


def preferred(found: dict[str, Estimate], users: Ints) -> str | None:
    """The estimator with the least expected error, by `tuning.slope` over all of them, the noisiest first.

    Not among the candidates: the logged mean, which is no estimate of the target; replay, independent IPS and
    pseudo-inverse, which assume more of the log or of people than SLOPE can check; IPS with bounded weights, which shrinks
    towards 0, nobody's guess of a click rate. None where no candidate is left.
    """
    names = [name for name in found if name not in _NOT_PREFERRED]
    if not any(name in UNBIASED for name in names):
        return None
    return names[slope([found[name].terms for name in names], users)]


def _widest(log: LoggedSlates) -> float:
    return float(log.weights().max())
