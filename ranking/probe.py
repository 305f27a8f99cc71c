"""Turns user vectors and the holders of a topic into how well a classifier can tell who holds it: an AUC, an interval.

The vectors leave the building, the topic does not: an AUC of 0.5 says that the probes learned nothing about the topic
from the vectors, 1 that they tell every holder from every other user. It is a floor, not a ceiling: whoever has more
users, or a better classifier, may guess better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contracts.errors import DataError
from contracts.seeds import seed_of, stream
from ranking.frames import Floats, Ints

Bools = npt.NDArray[np.bool_]
_Classifier = Callable[[Floats, Bools, Floats, int], Floats]

MIN_USERS_OF_A_CLASS = 30
"""Fewer holders, or fewer others, are not probed: with 30 of each an AUC of 0.5 has a standard error of 0.075 even for
one fixed classifier, so that no interval could tell a harmless space from a leaking one."""

_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Probe:
    """How well held-out users' membership of a topic is guessed from their vectors, by the better of two classifiers.

    Attributes:
        auc: the chance that a holder is scored above another user, in [0, 1]; 0.5 is guessing.
        low: lower end of the interval of `auc`.
        high: upper end. The interval allows for the choice of the better classifier, see `probe`.
        users: how many were probed.
        holders: how many of them hold the topic.
        classifier: the better one, "logistic regression" or "gradient boosting".
    """

    auc: float
    low: float
    high: float
    users: int
    holders: int
    classifier: str


def probe(
    vectors: npt.ArrayLike, holders: npt.ArrayLike, *, seed: int, folds: int = 5, confidence: float = 0.95
) -> Probe | None:
    """How well a classifier that never saw a user can tell from the user's vector whether she holds a topic.

    Two classifiers, so that a weak one is no false comfort: logistic regression on standardised coordinates, and
    gradient-boosted trees (LightGBM) for what no straight cut finds. Both learn on all folds but one, the scaling
    included, and score the users of that one.

    The AUC is the mean of the folds' own AUCs, so that only scores of one and the same model are compared. Pooled, the
    scores of several models mix their offsets, which pushes the AUC of an uninformative space below 0.5 (Parker et al.
    2007; Airola et al. 2011).

    The interval: each fold's variance is DeLong's, see `delong`. The folds share training users, so their AUCs are not
    independent: with no signal every pair of users of two folds is used in both directions, and the mean of K folds
    varies twice as much as K independent ones. So 1/K is replaced by 1/K + 1/(K - 1) (Nadeau and Bengio 2003), which is
    about right without a signal and wide with a strong one:

        variance = (1/K + 1/(K - 1)) * mean of the folds' variances

    It is taken on the logit scale (Pepe 2003, section 5.2), so it stays in [0, 1], and never reaches further than a
    perfect separation of so few users allows, see `interval`. Of two classifiers the larger AUC is reported with its
    own interval at (1 + confidence) / 2 (Bonferroni): both intervals hold together with at least `confidence`, hence so
    does the one chosen. The AUC itself is the larger of two and leans upwards, by less than a standard error.

    Equal users in another order give an equal result: rows are sorted by their content before anything is drawn.

    Args:
        vectors: (U, D) user embeddings, finite, any unit.
        holders: (U,) true where a user holds the topic.
        seed: of the run.
        folds: K, at least 2; every fold holds its share of holders and of others.
        confidence: of the interval, in (0, 1).

    Returns:
        The better probe; None when there are too few of either class, for which `too_few` gives the reason.

    Raises:
        DataError: shapes that do not fit, a coordinate that is not finite, or folds or confidence out of range.
    """
    values, holds = _checked(vectors, holders, folds, confidence)
    if too_few(holds, folds=folds) is not None:
        return None
    order = np.lexsort((holds, *values.T))
    values, holds = values[order], holds[order]
    fold = _folds(holds, folds, seed)
    found: list[Probe] = []
    for name, classifier in _CLASSIFIERS.items():
        auc, variance = _cross_validated(classifier, values, holds, fold, seed)
        fewest = min(int(holds.sum()), int((~holds).sum()))
        low, high = interval(auc, variance, fewest, confidence=1 - (1 - confidence) / len(_CLASSIFIERS))
        found.append(Probe(auc, low, high, holds.size, int(holds.sum()), name))
    return max(found, key=lambda one: one.auc)


def too_few(holders: npt.ArrayLike, *, folds: int = 5) -> str | None:
    """Why these users cannot be probed, one sentence; None when they can.

    There must be `MIN_USERS_OF_A_CLASS` holders and as many others, and two of each in a fold.

    Args:
        holders: (U,) true where a user holds the topic.
        folds: as given to `probe`.
    """
    holds = np.asarray(holders, dtype=np.bool_)
    least = max(MIN_USERS_OF_A_CLASS, 2 * folds)
    holding, users = int(holds.sum()), holds.size
    if holding < least:
        return f"Only {holding:,} of {users:,} users hold the topic; a probe needs at least {least:,}."
    if users - holding < least:
        return f"Only {users - holding:,} of {users:,} users do not hold the topic; a probe needs at least {least:,}."
    return None


def delong(holders: Bools, score: Floats) -> tuple[float, float]:
    """The AUC of scores and its variance for one fixed classifier, a tie counting half.

    DeLong, DeLong and Clarke-Pearson 1988, by the mid-ranks of Sun and Xu 2014: O(U log U). With m holders, n others
    and mid-ranks T among all and t within the class,

        wins_i = (T_i - t_i) / n        share of the others below holder i
        losses_j = 1 - (T_j - t_j) / m  share of the holders above other j
        auc = mean(wins),  variance = var(wins) / m + var(losses) / n    (sample variances)

    Args:
        holders: (U,) at least two true and two false.
        score: (U,) finite.
    """
    above, below = score[holders], score[~holders]
    m, n = above.size, below.size
    ranks = rankdata(np.concatenate([above, below]))
    wins = (ranks[:m] - rankdata(above)) / n
    losses = 1.0 - (ranks[m:] - rankdata(below)) / m
    return float(wins.mean()), float(wins.var(ddof=1) / m + losses.var(ddof=1) / n)


def interval(auc: float, variance: float, fewest: int, *, confidence: float) -> tuple[float, float]:
    """Both ends of a two-sided interval of an AUC, within [0, 1]: logit(auc) +- z * sqrt(variance) / (auc (1 - auc)).

    At a perfect separation the variance is 0 and says nothing. Then k = `fewest` disjoint pairs, one user of each
    class, were all ordered rightly, which has the chance theta ** k if the true AUC is theta: so the low end is
    (tail) ** (1 / k), in the way of Clopper and Pearson 1934. No interval ends nearer to its AUC's own corner than
    this, whatever the variance; the same holds mirrored at 0.

    Args:
        auc: in [0, 1].
        variance: of `auc`.
        fewest: users of the smaller class.
        confidence: in (0, 1).
    """
    tail = (1 - confidence) / 2
    low = high = auc
    if 0 < auc < 1:
        centre = math.log(auc / (1 - auc))
        reach = NormalDist().inv_cdf(1 - tail) * math.sqrt(variance) / (auc * (1 - auc))
        low, high = _expit(centre - reach), _expit(centre + reach)
    perfect = tail ** (1 / fewest)
    return min(low, perfect), max(high, 1 - perfect)


def _linear(vectors: Floats, holders: Bools, unseen: Floats, _seed: int) -> Floats:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    model.fit(vectors, holders)
    return np.asarray(model.decision_function(unseen), dtype=np.float64)


def _boosted(vectors: Floats, holders: Bools, unseen: Floats, seed: int) -> Floats:
    parameters = {
        "objective": "binary",
        "num_leaves": 8,
        "learning_rate": 0.05,
        "min_data_in_leaf": 20,
        "lambda_l2": 1.0,
        "seed": seed_of(seed, "ranking", "probe", "boosting") % 2**31,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    scale = make_pipeline(StandardScaler())  # else LightGBM takes tiny coordinates for zero
    data = lightgbm.Dataset(scale.fit_transform(vectors), label=holders.astype(np.float64), params={"verbosity": -1})
    model = lightgbm.train(parameters, data, num_boost_round=_ROUNDS)
    scores = model.predict(scale.transform(unseen), raw_score=True, num_threads=1)
    return np.asarray(scores, dtype=np.float64)


_CLASSIFIERS: dict[str, _Classifier] = {"logistic regression": _linear, "gradient boosting": _boosted}


def _cross_validated(
    classifier: _Classifier, vectors: Floats, holders: Bools, fold: Ints, seed: int
) -> tuple[float, float]:
    """The mean of the folds' AUCs and its variance, folds that share training users allowed for."""
    found: list[tuple[float, float]] = []
    for number in np.unique(fold):
        test = fold == number
        score = classifier(vectors[~test], holders[~test], vectors[test], seed)
        found.append(delong(holders[test], score))
    aucs, variances = np.asarray(found).T
    share = 1 / len(found) + 1 / (len(found) - 1)
    return float(aucs.mean()), float(share * variances.mean())


def _folds(holders: Bools, folds: int, seed: int) -> Ints:
    """(U,) the fold of each row, 0 to folds - 1; each class is dealt out evenly, from opposite ends."""
    rng = stream(seed, "ranking", "probe", "folds")
    fold = np.empty(holders.size, dtype=np.int64)
    for value in (True, False):
        rows = rng.permutation(np.flatnonzero(holders == value))
        places = np.arange(rows.size) % folds
        fold[rows] = places if value else folds - 1 - places
    return fold


def _checked(vectors: npt.ArrayLike, holders: npt.ArrayLike, folds: int, confidence: float) -> tuple[Floats, Bools]:
    values, holds = np.asarray(vectors, dtype=np.float64) + 0.0, np.asarray(holders)  # -0 becomes 0
    faults: list[tuple[str, str]] = []
    if holds.dtype != np.bool_:
        faults.append((f"holders of type {holds.dtype}", "Give true or false for each user."))
    if values.ndim != 2 or values.shape[-1] == 0 or holds.shape != values.shape[:1]:
        faults.append((f"vectors of shape {values.shape} for holders of shape {holds.shape}", "Give (U, D) and (U,)."))
    if not np.isfinite(values).all():
        faults.append(("a coordinate that is not a finite number", "Leave out users without a vector."))
    if folds < 2:
        faults.append((f"{folds} folds", "Give at least 2."))
    if not 0 < confidence < 1:
        faults.append((f"a confidence of {confidence:g}", "Give a share between 0 and 1, such as 0.95."))
    if faults:
        what, fix = zip(*faults, strict=True)
        raise DataError("; ".join(what), where="probe of a topic", fix=" ".join(fix))
    return values, holds


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
