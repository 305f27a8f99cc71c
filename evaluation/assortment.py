"""Turns slates into how varied they are beside being clicked: coverage, novelty, diversity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from contracts.errors import DataError
from contracts.seeds import stream
from evaluation.intervals import Floats, Interval, Ints, Terms, interval
from evaluation.metric_intervals import basic


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its user-clustered interval; None where it is not defined."""

    value: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Assortment:
    """What a set of slates shows.

    Attributes:
        coverage: share of the catalogue that stands in at least one slate.
        novelty: mean of -log2 of the shown concepts' share of logged impressions, in bits: 0 is what everybody saw already.
        diversity: mean over slates of the mean distance of two of its concepts, 1 - (common topics / topics of either).
    """

    coverage: Figure
    novelty: Figure
    diversity: Figure


def assortment(
    slates: pl.DataFrame,
    concepts: pl.DataFrame,
    logged: pl.DataFrame,
    *,
    k: int,
    confidence: float,
    resamples: int,
    seed: int,
) -> Assortment:
    """Coverage (Ge et al. 2010), novelty as mean self-information (Zhou et al. 2010), diversity within slates (Ziegler et al.
    2005, with the Jaccard distance of topics), of the first k places.

    A concept's share of impressions is (n + 1) / (N + C), so one never logged is novel and not infinitely so. Coverage counts
    what was seen: draws of users see fewer concepts, so its interval is the mirrored one.

    Args:
        slates: user_id, slate (any number), position from 0, concept_id.
        concepts: concept_id, topics (list): the whole catalogue, C rows.
        logged: concept_id, logged: impressions in the log; concepts that are not in it have none.
        k: places that count.
        confidence, resamples, seed: of the intervals.

    Raises:
        DataError: no slates, or a concept that is not in the catalogue.
    """
    shown = slates.filter(pl.col("position") < k).sort("user_id", "slate", "position")
    if shown.is_empty():
        raise DataError("no slates", where="assortment", fix="Give at least one slate.")
    counted = concepts.select("concept_id", "topics").join(logged, on="concept_id", how="left", maintain_order="left")
    numbered = counted.with_row_index("code")
    rows = shown.join(numbered.select("concept_id", "code"), on="concept_id", how="left", maintain_order="left")
    if rows["code"].null_count():
        lost = rows.filter(pl.col("code").is_null())["concept_id"][0]
        raise DataError(f"concept {lost} is not in the catalogue", where="assortment", fix="Give all concepts.")
    code, users = rows["code"].to_numpy().astype(np.int64), rows["user_id"].rle_id().to_numpy().astype(np.int64)
    counts = numbered["logged"].fill_null(0).to_numpy().astype(np.float64)
    bits = -np.log2((counts + 1) / (counts.sum() + counts.size))
    at = {"confidence": confidence, "resamples": resamples, "seed": seed}
    novelty = Terms.mean(bits[code])
    slate = rows.select(pl.struct("user_id", "slate").rle_id()).to_series().to_numpy()
    return Assortment(
        coverage=_coverage(code, users, counts.size, confidence, resamples, seed),
        novelty=Figure(novelty.value, interval(novelty, users, name="novelty", **at)),  # type: ignore[arg-type]
        diversity=_diversity(code, slate, users, _topics(numbered), at),
    )


def _coverage(code: Ints, users: Ints, concepts: int, confidence: float, resamples: int, seed: int) -> Figure:
    pairs = np.unique(np.stack([users, code]), axis=1)
    people, value = int(users.max()) + 1, np.unique(code).size / concepts
    if people < 2:
        return Figure(value, None)
    rng = stream(seed, "evaluation", "bootstrap", "coverage")
    draws = np.empty(resamples)
    for number in range(resamples):
        drawn = np.zeros(people, dtype=np.bool_)
        drawn[rng.integers(people, size=people)] = True
        seen = np.zeros(concepts, dtype=np.bool_)
        seen[pairs[1][drawn[pairs[0]]]] = True
        draws[number] = seen.mean()
    return Figure(value, basic(value, draws, confidence, lowest=value, highest=1.0))


def _diversity(code: Ints, slate: Ints, users: Ints, topics: Floats, at: dict[str, float]) -> Figure:
    """Every pair of places of a slate, place by place apart."""
    size = topics.sum(axis=1)
    total, pairs = np.zeros(int(slate.max()) + 1), np.zeros(int(slate.max()) + 1)
    for apart in range(1, int(np.bincount(slate).max())):
        first = np.flatnonzero(slate[apart:] == slate[:-apart])
        one, other = code[first], code[first + apart]
        common = np.einsum("ij,ij->i", topics[one], topics[other])
        either = size[one] + size[other] - common
        distance = 1 - np.divide(common, either, out=np.zeros_like(common), where=either > 0)
        np.add.at(total, slate[first], distance)
        np.add.at(pairs, slate[first], 1.0)
    known = pairs > 0
    if not known.any():
        return Figure(None, None)
    owner = users[np.concatenate(([True], slate[1:] != slate[:-1]))][known]
    terms = Terms.mean(total[known] / pairs[known])
    return Figure(terms.value, interval(terms, owner, name="diversity", **at))  # type: ignore[arg-type]


def _topics(concepts: pl.DataFrame) -> Floats:
    """(C, T) 1 where the concept has the topic."""
    long = concepts.select("code", "topics").explode("topics").drop_nulls("topics").unique()
    names = long["topics"].unique().sort()
    found = np.zeros((concepts.height, max(len(names), 1)))
    found[long["code"].to_numpy(), names.search_sorted(long["topics"]).to_numpy()] = 1.0 if len(names) else 0.0
    return found
