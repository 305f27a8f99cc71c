"""Turns approvals, rejections and preferences into a model of what reviewers approve: Bradley and Terry over features.

A picture i has a quality q_i = v . phi_i from its features; a reviewer r prefers i to j with odds exp(q_i - q_j)
(Bradley and Terry 1952). An approval is won against the reviewer's bar for the concept, a rejection lost against it:

    P(i preferred to j) = s(v . (phi_i - phi_j)),    P(r approves i) = s(v . phi_i - bar_r - bar_c),    s the sigmoid

so that a strict reviewer and a hard concept move the bars and not the taste, and only differences within a concept and a
reviewer teach v. phi are the standardised picture features and their squares, so that a look may have an optimum. v and the bars
have Gaussian priors (ridge); the posterior is that of Laplace: mode by Newton's method, covariance the inverse Hessian.
The model is convex: the mode is unique.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contracts.errors import ModelError
from generators.records import load_record, save_record
from generators.taste.look import LOOK

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FILE = "approval.safetensors"
LEARNED = "what was learned from reviewers"
LEARN_AGAIN = "Learn again: adloom learn RUN; or go back: adloom models use generator VERSION."

TERMS = (*LOOK, *(f"{name}_squared" for name in LOOK))
"""Names of phi, in order."""


@dataclass(frozen=True)
class Verdicts:
    """What reviewers said. P pictures, R reviewers, C concepts.

    Attributes:
        features: (P, F) of `look.picture_looks`.
        concept: (P,) index of each picture's concept.
        picture, reviewer: (N,) of each approval or rejection; approved: (N,) which it was.
        better, worse: (M,) pictures of each preference.
    """

    features: npt.NDArray[np.float32]
    concept: Ints
    picture: Ints
    reviewer: Ints
    approved: npt.NDArray[np.bool_]
    better: Ints
    worse: Ints

    @property
    def reviewers(self) -> int:
        """R."""
        return int(self.reviewer.max(initial=-1)) + 1

    @property
    def concepts(self) -> int:
        """C."""
        return int(self.concept.max(initial=-1)) + 1


@dataclass(frozen=True)
class Approval:
    """A fitted model. F picture features, K = 2 F terms.

    Attributes:
        centre, scale: (F,) that features are standardised by.
        weights: (K,) v, log-odds per unit of phi. covariance: (K, K) of v.
        bar: log-odds that the mean reviewer's bar takes off for the mean concept.
        reviewer_bars: (R,) how much stricter each reviewer is; reviewer_errors: (R,) standard deviations.
        decisions, preferences: it was fitted on.
    """

    centre: Doubles
    scale: Doubles
    weights: Doubles
    covariance: Doubles
    bar: float
    reviewer_bars: Doubles
    reviewer_errors: Doubles
    decisions: int
    preferences: int

    def quality(self, features: npt.NDArray[np.float32]) -> Doubles:
        """(P,) v . phi, log-odds."""
        return np.asarray(_terms(features, self.centre, self.scale) @ self.weights)

    def odds(self, features: npt.NDArray[np.float32]) -> Doubles:
        """(P,) log-odds that the mean reviewer approves, for the mean concept, with doubt about v averaged out.

        With m the mean log-odds and s^2 their variance: m / sqrt(1 + pi s^2 / 8) (MacKay 1992), so that a picture far
        from all that was judged is worth no more than a guess.
        """
        terms = _terms(features, self.centre, self.scale)
        variance = np.einsum("pk,kl,pl->p", terms, self.covariance, terms)
        return np.asarray((terms @ self.weights - self.bar) / np.sqrt(1 + np.pi * variance / 8))

    def chance(self, features: npt.NDArray[np.float32]) -> Doubles:
        """(P,) the chance of `odds`."""
        return sigmoid(self.odds(features))

    def log_chance(self, features: npt.NDArray[np.float32]) -> Doubles:
        """(P,) log of `chance`, exact where it is tiny."""
        return np.asarray(-np.logaddexp(0, -self.odds(features)))

    def intervals(self, z: float = 1.96) -> list[tuple[str, float, float, float]]:
        """(term, weight, low, high) of every term, the surest first."""
        errors = np.sqrt(np.diag(self.covariance))
        rows = [
            (name, float(w), float(w - z * e), float(w + z * e))
            for name, w, e in zip(TERMS, self.weights, errors, strict=True)
        ]
        order = np.argsort(-np.abs(self.weights) / errors, kind="stable")
        return [rows[place] for place in order]

    def save(self, folder: Path) -> None:
        """Writes approval.safetensors."""
        save_record(self, folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Approval | None:
        """Reads it back; None where nothing was learned from reviewers. Raises ModelError when it is damaged."""
        found = load_record(cls, folder / FILE, what=LEARNED, fix=LEARN_AGAIN)
        if found is not None and found.weights.shape != (len(TERMS),):
            raise ModelError(f"{LEARNED} is of other picture features", where=str(folder / FILE), fix=LEARN_AGAIN)
        return found


def sigmoid(odds: npt.ArrayLike) -> Doubles:
    """1 / (1 + exp(-odds)) without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(odds, np.float64) / 2)))


def _terms(features: npt.NDArray[np.float32], centre: Doubles, scale: Doubles) -> Doubles:
    standard = np.clip((features.astype(np.float64) - centre) / scale, -5, 5)
    return np.concatenate([standard, (standard**2 - 1) / np.sqrt(2)], axis=1)  # Hermite: uncorrelated for normal looks


def fit_approval(
    verdicts: Verdicts,
    *,
    centre: npt.ArrayLike,
    scale: npt.ArrayLike,
    weight_deviation: float = 0.5,
    bar_deviation: float = 1.0,
) -> Approval:
    """Fits the model by Newton's method; deterministic.

    Args:
        verdicts: what reviewers said.
        centre, scale: (F,) of the features, from pictures before any selection, so that terms mean the same every round.
        weight_deviation: prior standard deviation of each weight. bar_deviation: of each bar.

    Raises:
        ValueError: nothing was said; or `scale` is not positive, so that nothing could be learned of a feature.
    """
    if not len(verdicts.picture) and not len(verdicts.better):
        raise ValueError("nothing was said")
    centre, scale = np.asarray(centre, np.float64), np.asarray(scale, np.float64)
    if not (np.isfinite(centre).all() and (scale > 0).all()):
        raise ValueError(f"features are standardised by finite centres and positive scales, not by {scale}")
    terms = _terms(verdicts.features, centre, scale)
    count, wide = len(verdicts.picture), terms.shape[1]
    reviewers, concepts = verdicts.reviewers, verdicts.concepts
    size = wide + 1 + reviewers + concepts
    rows = np.zeros((count + len(verdicts.better), size))
    rows[:count, :wide] = terms[verdicts.picture]
    rows[:count, wide] = -1
    rows[np.arange(count), wide + 1 + verdicts.reviewer] = -1
    rows[np.arange(count), wide + 1 + reviewers + verdicts.concept[verdicts.picture]] = -1
    rows[count:, :wide] = terms[verdicts.better] - terms[verdicts.worse]
    won = np.concatenate([verdicts.approved.astype(np.float64), np.ones(len(verdicts.better))])
    precision = np.full(size, 1 / bar_deviation**2)
    precision[:wide] = 1 / weight_deviation**2
    precision[wide] = 1 / 3.0**2
    mode = np.zeros(size)
    for _ in range(60):
        chance = sigmoid(rows @ mode)
        slope = rows.T @ (won - chance) - precision * mode
        hessian = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(precision)
        step = np.linalg.solve(hessian, slope)
        start, factor = _posterior(rows, won, precision, mode), 1.0
        while _posterior(rows, won, precision, mode + factor * step) < start and factor > 1e-6:
            factor /= 2
        mode = mode + factor * step
        if np.abs(factor * step).max() < 1e-10:
            break
    covariance = np.linalg.inv(hessian)
    bars = slice(wide + 1, wide + 1 + reviewers)
    return Approval(
        centre=centre,
        scale=scale,
        weights=mode[:wide],
        covariance=covariance[:wide, :wide],
        bar=float(mode[wide]),
        reviewer_bars=mode[bars],
        reviewer_errors=np.sqrt(np.diag(covariance)[bars]),
        decisions=count,
        preferences=len(verdicts.better),
    )


def _posterior(rows: Doubles, won: Doubles, precision: Doubles, mode: Doubles) -> float:
    """Log posterior up to a constant."""
    odds = rows @ mode
    return float((won * odds - np.logaddexp(0, odds)).sum() - 0.5 * (precision * mode**2).sum())


def preferences_of(ratings: Sequence[tuple[str, str, int, int]]) -> list[tuple[int, int]]:
    """(better, worse) pictures from ratings of 1 to 5: of one reviewer, within one concept, the higher wins.

    Args:
        ratings: (reviewer, concept, picture, rating).
    """
    found = []
    for index, (who, concept, picture, rating) in enumerate(ratings):
        for other_who, other_concept, other, other_rating in ratings[index + 1 :]:
            if (who, concept) == (other_who, other_concept) and rating != other_rating and picture != other:
                found.append((picture, other) if rating > other_rating else (other, picture))
    return found


def cross_checked(verdicts: Verdicts, *, centre: npt.ArrayLike, scale: npt.ArrayLike, folds: int = 5) -> float:
    """How well approvals are told from rejections on pictures that were not learned from: AUC, 0.5 is a guess.

    All decisions on a picture lie in the same fold; ties count half. NaN where only one kind of decision was made.
    """
    score = np.zeros(len(verdicts.picture))
    side = verdicts.picture % folds
    for number in range(folds):
        learn, test = side != number, side == number
        if not learn.any() or not test.any():
            continue
        pairs = (verdicts.better % folds != number) & (verdicts.worse % folds != number)
        part = replace(
            verdicts, picture=verdicts.picture[learn], reviewer=verdicts.reviewer[learn], approved=verdicts.approved[learn],
            better=verdicts.better[pairs], worse=verdicts.worse[pairs],
        )  # fmt: skip
        fitted = fit_approval(part, centre=centre, scale=scale)
        score[test] = fitted.odds(verdicts.features)[verdicts.picture[test]]
    good, bad = score[verdicts.approved], score[~verdicts.approved]
    if not len(good) or not len(bad):
        return float("nan")
    return float(((good[:, None] > bad[None]) + 0.5 * (good[:, None] == bad[None])).mean())
