"""Turns a finished run, a user and a concept into the reasons of the score, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from contracts.errors import DataError
from features.words import in_words
from flows.job import Job
from flows.part_users import files_of
from flows.score_day import Day
from ranking.explanations import reasons
from ranking.ranker import Ranker


@dataclass(frozen=True)
class WordedReason:
    """What one feature adds to the score, and what its value says in words."""

    feature: str
    value: float | None
    adds: float
    words: str


@dataclass(frozen=True)
class ScoreExplained:
    """A score and its parts: base + sum of `adds` = score.

    Attributes:
        headline: of the concept.
        score, click_chance: as the run has them; the chance at slot 0.
        place: among the user's candidates, from 1.
        candidates: of the user.
        base: where every score starts.
        reasons: the largest first.
    """

    headline: str
    score: float
    click_chance: float
    place: int
    candidates: int
    base: float
    reasons: tuple[WordedReason, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**vars(self), "reasons": [vars(one) for one in self.reasons]}


def explain(job: Job, user_id: str, concept_id: str) -> ScoreExplained:
    """Why the run's ranker gave a user's candidate its score today.

    Raises:
        DataError: the batch has not run, or the concept was no candidate of this user.
    """
    if job.store.manifest("ranking") is None:
        raise DataError("its batch has not run", where=str(job.data), fix=f"Run first: adloom run {job.data}")
    pseudonym = user_id if job.pseudonyms is None else job.pseudonyms.of(user_id)
    daily = (
        pl.scan_parquet(files_of(job.run / "features" / "daily.parquet"))
        .filter(pl.col("user_id") == pseudonym)
        .collect()
    )
    ranker = Ranker.load(job.run / "ranking" / "ranker")
    if len(daily) and not set(ranker.features) <= set(daily.columns):
        daily = Day.read(job).rows(daily)  # of a large day only the candidates are kept
    row = daily.filter(pl.col("concept_id") == concept_id)
    if row.is_empty():
        raise DataError(
            "has no score: without consent or browsing there is none for anybody"
            if daily.is_empty()
            else f"was not among the {len(daily)} candidates: not active, sensitive, or not chosen for this user",
            where=f"user {user_id}" if daily.is_empty() else f"concept {concept_id}",
            fix="Give the id of a user with events."
            if daily.is_empty()
            else f"Give one of them, e.g. {daily['concept_id'][0]}.",
        )
    about = pl.read_parquet(job.run / "sources" / "concepts.parquet").filter(pl.col("concept_id") == concept_id)
    said = {"topics": about["topics"][0].to_list(), "advertiser": str(about["advertiser"][0])}
    base, found = reasons(ranker, row)
    score = ranker.score(row)
    return ScoreExplained(
        headline=str(about["headline"][0][0]),
        score=float(score[0]),
        click_chance=float(ranker.click_chance(score)[0]),
        place=int((ranker.score(daily) > score[0]).sum()) + 1,
        candidates=len(daily),
        base=base,
        reasons=tuple(
            WordedReason(one.feature, one.value, one.adds, in_words(one.feature, one.value, **said)) for one in found
        ),
    )
