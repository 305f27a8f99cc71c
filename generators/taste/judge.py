"""Turns clicks of users whom the scorer never saw into what a picture is expected to earn: the judge, and its doubt.

What chooses among candidate scenes (`taste`) must not be what vouches for them: a picture kept since a model likes it
is liked too much by that model. The judge is the same kind of model, learned from other people (`of_judge`). How much
its figures depend on who was asked is found by the score bootstrap (Kline and Santos 2012): had user u been drawn c_u
times, the parameters would have moved by

    H^-1 sum_u (c_u - 1) g_u,     g_u = gradient of the log-likelihood of u's clicks,  H = Hessian of the penalised loss

one Newton step from the fit instead of a new fit. The ideal-point model is linear in its parameters but for q >= 0,
which is kept by cutting at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from contracts.errors import ModelError
from contracts.seeds import seed_of, stream
from generators.examples import Examples
from generators.taste.taste import PENALTY, ClickModel, Floats, fit_clicks

RESAMPLES = 200
"""Resamples of users; their spread is the judge's standard error, itself known to about 5 %."""

_ROWS = 8192  # impressions worked on at once

MIN_CLICKS = 50
"""Fewer clicks teach nobody's taste."""

_SPLIT = 1  # not the run's seed: who is whose must never change


def of_judge(user_ids: Sequence[str]) -> npt.NDArray[np.bool_]:
    """(N,) whether a user's clicks are the judge's to learn from; the others' are the scorer's. Half of all users."""
    return np.fromiter((seed_of(_SPLIT, "judge", name) & 1 for name in user_ids), dtype=np.bool_, count=len(user_ids))


@dataclass(frozen=True)
class Judge:
    """Click models of the same people, the first one of all of them, the others of resamples.

    Attributes:
        fits: (1 + RESAMPLES) models.
        users, impressions, clicks: what the first one learned from.
    """

    fits: tuple[ClickModel, ...]
    users: int
    impressions: int
    clicks: int

    def chances(self, user_vectors: Floats, concept: int, concept_vector: Floats, features: Floats) -> Floats:
        """(1 + RESAMPLES, U, P) click chance of each picture of a concept for each user, see `ClickModel.chances`."""
        return np.stack([fit.chances(user_vectors, concept, concept_vector, features) for fit in self.fits])


def fit_judge(
    examples: Examples, features: Floats, people: npt.NDArray[np.int64], *, seed: int, resamples: int = RESAMPLES
) -> Judge:
    """Learns the judge.

    Args:
        examples: logged pictures, vectors and clicks, of the judge's users alone.
        features: (P, F) `look.picture_looks` of the pictures.
        people: (I,) number of the user of each impression.
        seed: of the run.
        resamples: of users, drawn with replacement.

    Raises:
        ModelError: fewer than MIN_CLICKS clicks, or none missing.
    """
    clicks, rows = int(examples.clicked.sum()), len(examples.clicked)
    if min(clicks, rows - clicks) < MIN_CLICKS:
        raise ModelError(
            f"{clicks} clicks in {rows} impressions of pictures teach no judge",
            where="the judge's half of the users",
            fix=f"Give a log with at least {MIN_CLICKS} clicked and unclicked impressions of its pictures.",
        )
    first = fit_clicks(
        features,
        user_vectors=examples.user_vectors,
        concept_vectors=examples.concept_vectors,
        impression_picture=examples.impression_picture,
        impression_user=examples.impression_user,
        picture_concept=examples.picture_concept,
        clicked=examples.clicked,
        space_hash=examples.space_hash,
        penalty=PENALTY,
    )
    others = _resampled(first, examples, features, people, stream(seed, "judge"), resamples)
    return Judge((first, *others), len(np.unique(people)), rows, clicks)


def _resampled(
    fit: ClickModel,
    examples: Examples,
    features: Floats,
    people: npt.NDArray[np.int64],
    rng: np.random.Generator,
    resamples: int,
) -> list[ClickModel]:
    """Click models of resampled people, a Newton step from `fit`.

    The parameters are the concepts' biases and B others: match, common, bend, curvature. No two biases meet in one
    impression, so their part of the Hessian is a diagonal, and the step is solved by its Schur complement: what a
    concept more costs does not grow with their number.
    """
    taste, concepts = fit.taste, len(fit.bias)
    looks = (features - taste.centre) / taste.scale
    users = examples.user_vectors - taste.user_centre
    norms = np.linalg.norm(examples.user_vectors, axis=1), np.linalg.norm(examples.concept_vectors, axis=1)
    shared = np.concatenate([[fit.match], taste.common, taste.bend.ravel(), taste.curvature]).astype(np.float64)
    count = int(people.max()) + 1
    drawn = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(resamples)]) - 1.0
    ridge = _ridge(fit, users)
    own, mixed, rest = np.full(concepts, ridge[0]), np.zeros((concepts, len(shared))), np.diag(ridge[concepts:])
    own_scores, scores = np.zeros((resamples, concepts)), np.zeros((resamples, len(shared)))
    order = np.argsort(examples.picture_concept[examples.impression_picture], kind="stable")
    for start in range(0, len(order), _ROWS):
        part = order[start : start + _ROWS]
        picture, moment = examples.impression_picture[part], examples.impression_user[part]
        concept, look, user = examples.picture_concept[picture], looks[picture], users[moment]
        dot = (examples.user_vectors[moment] * examples.concept_vectors[concept]).sum(axis=1)
        cosine = dot / np.maximum(norms[0][moment] * norms[1][concept], 1e-8)
        bent = (look[:, :, None] * user[:, None, :]).reshape(len(look), -1)
        design = np.concatenate([cosine[:, None], look, bent, -0.5 * look**2], axis=1, dtype=np.float64)
        chance = 1 / (1 + np.exp(-(fit.bias[concept] + design @ shared)))
        weight, pulls = chance * (1 - chance), drawn[:, people[part]] * (examples.clicked[part] - chance)
        weighted = design * weight[:, None]
        first = np.flatnonzero(np.diff(concept, prepend=-1))
        own[concept[first]] += np.add.reduceat(weight, first)
        mixed[concept[first]] += np.add.reduceat(weighted, first, axis=0)
        own_scores[:, concept[first]] += np.add.reduceat(pulls, first, axis=1)
        rest += weighted.T @ design
        scores += pulls @ design
    lean = mixed / own[:, None]
    moved = np.linalg.solve(rest - mixed.T @ lean, (scores - own_scores @ lean).T).T
    biases = fit.bias + own_scores / own - moved @ lean.T
    return [_model(fit, row.astype(np.float32)) for row in np.concatenate([biases, shared + moved], axis=1)]


def _ridge(fit: ClickModel, users: Floats) -> npt.NDArray[np.float64]:
    """(K,) second derivative of the penalties of `fit_clicks`, in the units of a saved model."""
    scale = float(users.std()) + 1e-6
    width, bends = len(fit.taste.common), fit.taste.bend.size
    parts = [(len(fit.bias), 0.2), (1, 0.2), (width, 0.2), (bends, 2 * PENALTY * scale**2), (width, 1e-3)]
    return np.concatenate([np.full(size, value) for size, value in parts])


def _model(fit: ClickModel, row: Floats) -> ClickModel:
    """The click model with these parameters, (K,)."""
    taste = fit.taste
    sizes = np.cumsum([len(fit.bias), 1, len(taste.common), taste.bend.size])
    bias, match, common, bend, curvature = np.split(row, sizes)
    moved = replace(taste, common=common, bend=bend.reshape(taste.bend.shape), curvature=np.maximum(curvature, 0))
    return ClickModel(moved, bias, float(match[0]))
