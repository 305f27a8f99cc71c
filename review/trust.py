"""Turns the log of decisions into how far reviewers can be trusted: each with himself, and with each other."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import polars as pl

from contracts.decisions import Kind
from review.agreement import Agreement, Consistency, cohen_kappa, consistency, fleiss_kappa
from review.second_look import LEAST_BETWEEN
from review.tiers import AUTO

LEAST_SHARED = 10
"""Pictures that two people must both have judged before their kappa is told."""


@dataclass(frozen=True)
class Pair:
    """Two reviewers' agreement: Cohen's kappa on the pictures that both judged."""

    first: str
    second: str
    agreement: Agreement


@dataclass(frozen=True)
class Trust:
    """What the log says of its reviewers.

    Attributes:
        decisions: approvals and rejections by people that were not undone.
        rates: (reviewer, decisions, share approved).
        repeats: each reviewer on pictures shown to him again: the same file, at least LEAST_BETWEEN decisions later or under
            another creative_id.
        pairs: agreement of every two who judged LEAST_SHARED pictures in common.
        all: Fleiss' kappa over pictures that two or more judged.
        disputed: creative_ids on which people say opposite things, most disputed first.
    """

    decisions: int
    rates: tuple[tuple[str, int, float], ...]
    repeats: tuple[Consistency, ...]
    pairs: tuple[Pair, ...]
    all: Agreement
    disputed: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines; unknown numbers are null."""
        found: dict[str, Any] = _no_nan(asdict(self))
        return found


def _no_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _no_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_no_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def verdicts_of(decisions: pl.DataFrame) -> pl.DataFrame:
    """Approvals and rejections by people that were not undone, in order, by the contract of `decisions`."""
    undone = decisions.filter(pl.col("kind") == Kind.UNDO)["undoes"]
    return decisions.filter(
        pl.col("kind").is_in([Kind.APPROVE, Kind.REJECT])
        & ~pl.col("decision_id").is_in(undone.implode())
        & (pl.col("reviewer") != AUTO)
    ).sort("decision_id")


def _looks(said: pl.DataFrame) -> tuple[list[str], list[str], list[str]]:
    """Reviewers, files and verdicts of all looks, in order; a word corrected soon after takes the first one's place."""
    kept: list[tuple[str, str, str]] = []
    count: Counter[str] = Counter()
    last: dict[tuple[str, ...], tuple[int, int]] = {}  # place in kept, and how many the person had decided on by then
    for who, run, creative, file, kind in said.select(
        "reviewer", "run_id", "creative_id", "file_hash", "kind"
    ).iter_rows():
        key = (who, run, creative, file)
        place, before = last.get(key, (len(kept), -LEAST_BETWEEN))
        count[who] += 1
        if count[who] - before > LEAST_BETWEEN:
            place = len(kept)
        kept[place : place + 1] = [(who, file, kind)]
        last[key] = (place, count[who])
    return [one[0] for one in kept], [one[1] for one in kept], [one[2] for one in kept]


def trust_of(decisions: pl.DataFrame, *, seed: int = 0, resamples: int = 2000) -> Trust:
    """Consistency and agreement from the table `decisions`; every interval is of 95 %.

    Args:
        decisions: of one run or of many.
        seed: of the bootstrap; resamples: in it.
    """
    said = verdicts_of(decisions)
    people = sorted(said["reviewer"].unique())
    rates = (
        said.group_by("reviewer").agg(count=pl.len(), share=(pl.col("kind") == Kind.APPROVE).mean()).sort("reviewer")
    )
    own = consistency(*_looks(said))
    last = said.unique(["reviewer", "file_hash"], keep="first", maintain_order=True)
    by_person = {
        name: dict(last.filter(pl.col("reviewer") == name).select("file_hash", "kind").iter_rows()) for name in people
    }
    pairs = []
    for one, other in combinations(people, 2):
        both = [name for name in by_person[one] if name in by_person[other]]
        if len(both) >= LEAST_SHARED:
            agreement, _ = cohen_kappa([by_person[one][n] for n in both], [by_person[other][n] for n in both])
            pairs.append(Pair(one, other, agreement))
    counts = last.group_by("file_hash", maintain_order=True).agg(
        approved=(pl.col("kind") == Kind.APPROVE).sum(),
        rejected=(pl.col("kind") == Kind.REJECT).sum(),
        creative_id=pl.col("creative_id").first(),
    )
    split = counts.filter((pl.col("approved") > 0) & (pl.col("rejected") > 0))
    split = split.sort(pl.min_horizontal("approved", "rejected"), descending=True, maintain_order=True)
    return Trust(
        decisions=len(said),
        rates=tuple((str(name), int(count), float(share)) for name, count, share in rates.iter_rows()),
        repeats=tuple(own),
        pairs=tuple(pairs),
        all=fleiss_kappa(counts.select("approved", "rejected").to_numpy(), seed=seed, resamples=resamples),
        disputed=tuple(split["creative_id"]),
    )
