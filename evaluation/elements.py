"""Turns click rates of creatives and what they are made of into what each element, and each pair of them, is worth."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.stats import f as f_distribution
from scipy.stats import t

from contracts.errors import DataError
from evaluation.intervals import Floats

MOST_CREATIVES = 1_500
"""Creatives up to which the model is fitted: its matrix has one row and column for each."""


@dataclass(frozen=True, slots=True)
class Component:
    """A factor, or a pair of them ("layout x colour"): its share of the variance of click rates between creatives."""

    name: str
    share: float


@dataclass(frozen=True, slots=True)
class ElementEffect:
    """What creatives with one level of a factor have above the mean click rate.

    Attributes:
        effect: their mean - the mean of all; low, high: its t interval, by the spread within levels.
        shrunk: the best linear unbiased prediction, what to expect of a new creative with that level; often near 0.
    """

    factor: str
    level: str
    creatives: int
    effect: float
    low: float
    high: float
    shrunk: float


@dataclass(frozen=True, slots=True)
class Elements:
    """What the elements of C creatives say about their click rates.

    Attributes:
        r2: of the additive model, least squares, in sample; what it would be by chance is (parameters - 1) / (C - 1).
        adjusted_r2: less what as many columns of noise would explain.
        p: F test of the additive model against none.
        held_out_additive: share of the variance between creatives that main effects predict of a creative left out.
        held_out_pairs: the same with all pairs of factors; neither is above 0 when elements tell nothing.
        components: shares of variance by factor and by pair, "unexplained", what no pair holds, and, where it is known,
            "chance", what impressions leave open.
        effects: of every level.
        aliased: factors and pairs left out, since among these creatives they say the same as one that is there.
        mean: click rate.
    """

    r2: float
    adjusted_r2: float
    p: float
    held_out_additive: float
    held_out_pairs: float
    components: tuple[Component, ...]
    effects: tuple[ElementEffect, ...]
    aliased: tuple[str, ...]
    mean: float


def element_effects(
    rate: npt.ArrayLike,
    factors: Mapping[str, Sequence[str]],
    *,
    noise: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Elements:
    """Effects of elements and of their pairs, as random effects whose sizes are learned (variance components).

        rate = mean + sum_f effect_f[level] + sum_{f < g} effect_fg[level, level] + rest,   each effect_k ~ N(0, v_k)

    The v_k by restricted maximum likelihood (Patterson and Thompson 1971), effects as best linear unbiased predictions
    (Henderson 1975); left-out predictions in closed form, with the v_k held. Least squares
    gives hundreds of pairs no chance; here a pair that tells nothing gets a variance of 0.

    Args:
        rate: (C,) click rates.
        factors: by name, the (C,) level of each creative; factors with one level are left out.
        noise: (C,) sampling variance of each rate where impressions are known, which weighs the creatives; else it is part
            of what is unexplained.
        confidence: of the intervals.

    Raises:
        DataError: fewer than 10 creatives, more than MOST_CREATIVES, or no factor that varies.
    """
    y = np.asarray(rate, dtype=np.float64)
    used = {name: np.unique(np.asarray(levels), return_inverse=True) for name, levels in factors.items()}
    used = {name: pair for name, pair in used.items() if pair[0].size > 1}
    if not 10 <= y.size <= MOST_CREATIVES or not used:
        what = f"{y.size} creatives with {len(used)} elements that vary"
        raise DataError(
            what, where="elements", fix=f"Give 10 to {MOST_CREATIVES:,} creatives and an element that varies."
        )
    known = np.zeros(y.size) if noise is None else np.asarray(noise, dtype=np.float64)
    mains = {name: _alike(codes) for name, (_, codes) in used.items()}
    pairs = {f"{a} x {b}": mains[a] * mains[b] for a, b in itertools.combinations(mains, 2)}
    kernels, aliased = _distinct(mains | pairs)
    additive = _fit(y, [same for name, same in kernels.items() if name in mains], known)
    full = _fit(y, list(kernels.values()), known)
    weights = full.precision
    r2, adjusted, p = _least_squares(y, [codes for _, codes in used.values()], weights)
    sizes = {name: v * (1 - same.mean()) for v, (name, same) in zip(full.variances, kernels.items(), strict=False)}
    sizes |= {"unexplained": full.variances[-1]} | ({} if noise is None else {"chance": float(weights @ known)})
    total = sum(sizes.values())
    components = [Component(name, float(size / total)) for name, size in sizes.items()]
    variances = dict(zip(kernels, full.variances, strict=False))
    effects = [
        effect
        for name, (levels, codes) in used.items()
        for effect in _levels(name, levels, codes, y, full, variances.get(name, 0.0), confidence)
    ]
    return Elements(
        r2, adjusted, p, additive.held_out, full.held_out, tuple(components), tuple(effects), aliased, full.mean
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    """Variances of each component and, last, of the rest; each creative's precision, of sum 1; the mean; and (y - mean)
    weighted by the inverse covariance."""

    variances: Floats
    precision: Floats
    mean: float
    weighted: Floats
    held_out: float


def _levels(
    name: str, levels: npt.NDArray[np.str_], codes: npt.NDArray[np.intp], y: Floats, full: _Fit, variance: float,
    confidence: float,
) -> list[ElementEffect]:  # fmt: skip
    weights = full.precision
    counts, mass = np.bincount(codes), np.bincount(codes, weights=weights)
    means = np.bincount(codes, weights=weights * y) / mass
    spare = max(y.size - counts.size, 1)
    spread = float(weights @ (y - means[codes]) ** 2) / spare
    reach = float(t.ppf((1 + confidence) / 2, spare)) * np.sqrt(spread * (1 / mass - 1))
    gap = means - weights @ y
    shrunk = variance * np.bincount(codes, weights=full.weighted)
    return [
        ElementEffect(name, str(level), int(counts[at]), float(gap[at]), float(gap[at] - reach[at]),
                      float(gap[at] + reach[at]), float(shrunk[at]))
        for at, level in enumerate(levels)
    ]  # fmt: skip


def _distinct(kernels: Mapping[str, Floats]) -> tuple[dict[str, Floats], tuple[str, ...]]:
    """The kernels that differ from those before them and from every creative by itself, and the names of the others."""
    kept: dict[str, Floats] = {}
    aliased = []
    for name, same in kernels.items():
        if same.sum() == len(same) or any(np.array_equal(same, other) for other in kept.values()):
            aliased.append(name)
        else:
            kept[name] = same
    return kept, tuple(aliased)


def _fit(y: Floats, alike: list[Floats], noise: Floats) -> _Fit:
    scale = float(y.var()) or 1.0
    z, known = (y - y.mean()) / np.sqrt(scale), noise / scale
    kernels = np.stack([*alike, np.eye(y.size)])

    def parts(at: Floats) -> tuple[Floats, Floats, float, float, Floats]:
        sizes = np.exp(at)
        factor = cho_factor(np.tensordot(sizes, kernels, 1) + np.diag(known), lower=True)
        inverse = cho_solve(factor, np.eye(y.size))
        ones = inverse.sum(axis=0)
        mean = float(ones @ z / ones.sum())
        return sizes, inverse, mean, float(np.log(np.diag(factor[0])).sum()), inverse @ (z - mean)

    def loss(at: Floats) -> tuple[float, Floats]:
        sizes, inverse, mean, log_root, weighted = parts(at)
        ones = inverse.sum(axis=0)
        value = log_root + 0.5 * np.log(ones.sum()) + 0.5 * float((z - mean) @ weighted)
        cut = inverse - np.outer(ones, ones) / ones.sum()
        slope = 0.5 * (np.einsum("kij,ji->k", kernels, cut) - np.einsum("i,kij,j->k", weighted, kernels, weighted))
        return value, slope * sizes

    start = np.log(np.full(len(kernels), 1.0 / (len(kernels) + 1)))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-16.0, 4.0)] * len(kernels))
    sizes, inverse, mean, _, weighted = parts(found.x)
    ones = inverse.sum(axis=0)
    projection = inverse - np.outer(ones, ones) / ones.sum()
    left_out = (projection @ z) / np.diag(projection)  # the mean too is learned without the creative
    precision = 1 / (known + sizes[-1])
    precision /= precision.sum()
    others = (z - precision @ z) / (1 - precision)  # what the mean of the others would leave
    sizes = np.where(sizes > 1e-6, sizes, 0.0)
    return _Fit(
        sizes * scale, precision, float(mean * np.sqrt(scale) + y.mean()), weighted / np.sqrt(scale),
        1 - float(precision @ left_out**2 / (precision @ others**2)),
    )  # fmt: skip


def _alike(codes: npt.NDArray[np.intp]) -> Floats:
    """(C, C) 1 where two creatives share the level."""
    return np.asarray(codes[:, None] == codes, dtype=np.float64)


def _least_squares(y: Floats, codes: list[npt.NDArray[np.intp]], weights: Floats) -> tuple[float, float, float]:
    """R2, adjusted R2 and the F test's p of the additive model, weighted."""
    columns = [own[:, None] == np.arange(1, own.max() + 1) for own in codes]
    design = np.column_stack([np.ones(y.size), *columns]).astype(np.float64)
    root = np.sqrt(weights)
    fitted = design @ np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
    rank = int(np.linalg.matrix_rank(design))
    total, left = float(weights @ (y - weights @ y) ** 2), float(weights @ (y - fitted) ** 2)
    spare = y.size - rank
    if total == 0 or spare < 1 or left <= 0:
        return float("nan"), float("nan"), float("nan")
    r2 = 1 - left / total
    ratio = (r2 / (rank - 1)) / ((1 - r2) / spare)
    return r2, 1 - (1 - r2) * (y.size - 1) / spare, float(f_distribution.sf(ratio, rank - 1, spare))
