"""Turns the run's tables into the candidates of any moments, and into how many later clicks they would have missed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from contracts.settings import Settings
from features.embeddings import embeddings_at
from features.space import Space
from flows.place_users import browsing_settings
from ranking.candidates import Retrieval, kept_share
from ranking.covisits import Browsed, leads
from ranking.eligibility import Eligibility
from ranking.popularity import popularity

RECALL_CLICKS = 20_000
"""Of the held-out clicks, evenly spaced in time, so many are asked for."""

_LEADS, _ITEMS = "leads.npz", "items.parquet"


@dataclass(frozen=True, eq=False)
class Finder:
    """Candidates of moments.

    Attributes:
        retrieval: of the concepts, learned before the held-out part of the log.
        browsed: the events, where co-visits are looked at.
        events: the events.
        placed: concept_id, vector.
        test_from: end of what it was learned from.
        settings: of the run.
    """

    retrieval: Retrieval
    browsed: Browsed | None
    events: pl.DataFrame | pl.LazyFrame
    placed: pl.DataFrame
    test_from: dt.datetime
    settings: Settings

    @classmethod
    def of(
        cls,
        events: pl.DataFrame | pl.LazyFrame,
        impressions: pl.DataFrame,
        concepts: pl.DataFrame,
        placed: pl.DataFrame,
        test_from: dt.datetime,
        settings: Settings,
        *,
        taught: Path | None = None,
    ) -> Finder:
        """From the run's tables and concept vectors (concept_id, vector).

        Popularity and co-visits are those before `test_from`; caps and budgets count up to each moment.

        Args:
            taught: where a finder of all events has left what they `teach`; the events may then be some users'.
        """
        ranking, delay = settings.ranking, settings.features.delay_seconds
        eligibility = Eligibility.of(concepts, impressions, ranking, delay_seconds=delay)
        past = pl.col("at") < test_from
        learned = impressions.filter(past)
        browsed, strength = None, None
        if len(eligibility.concepts) > ranking.candidates and ranking.covisit_share:
            seen = events.lazy().select("user_id", "at", "item_id").collect()
            if taught is not None:
                browsed = Browsed.of(seen, pl.read_parquet(taught / _ITEMS)["item_id"])
                strength = sp.csr_array(sp.load_npz(taught / _LEADS))
            else:
                browsed = Browsed.of(seen)
                clicks = learned.filter("clicked").select("user_id", "at", "concept_id")
                items = seen.lazy().filter(past).select("user_id", "at", concept_id="item_id")
                items = items.join(
                    concepts.lazy().select("concept_id"), on="concept_id", how="semi", maintain_order="left"
                )
                visits = pl.concat([clicks, items.collect()])
                strength = leads(browsed, visits, eligibility.concepts, delay_seconds=delay)
        rates = popularity(learned, concepts).select("concept_id", "click_rate")
        return cls(
            Retrieval.of(eligibility, placed, rates, strength, ranking), browsed, events, placed, test_from, settings
        )

    def teach(self, folder: Path) -> None:
        """Leaves what was learned from the events of all, for finders of some users' candidates."""
        if self.browsed is not None and self.retrieval.leads is not None:
            sp.save_npz(folder / _LEADS, self.retrieval.leads, compressed=False)
            self.browsed.items.to_frame("item_id").write_parquet(folder / _ITEMS)

    @property
    def cuts(self) -> bool:
        """Whether there are more concepts than candidates, so that some are left out."""
        return len(self.retrieval.vectors) > self.settings.ranking.candidates

    @property
    def width(self) -> int:
        """Candidates of a moment at most, and at least 1."""
        return max(1, min(len(self.retrieval.vectors), self.settings.ranking.candidates))

    def shortlist(self, moments: pl.DataFrame, vectors: npt.NDArray[np.floating]) -> pl.DataFrame:
        """user_id, at, concept_id of the moments' candidates; `vectors` are the users' embeddings then."""
        delay = self.settings.features.delay_seconds
        recent = None if self.browsed is None else self.browsed.last_items(moments, delay_seconds=delay)
        return self.retrieval.shortlist(moments, vectors, recent)

    def clicks_kept(self, log: pl.DataFrame, space: Space) -> dict[str, Any]:
        """Share of a log's clicks, on concepts that might have been shown then, that are among the candidates."""
        clicked = spaced(log.filter("clicked").sort("at", "user_id", "slot"), RECALL_CLICKS)
        clicked = clicked.select("user_id", "at", "concept_id")
        clicked = clicked.filter(pl.Series(self.retrieval.eligibility.allows(clicked), dtype=pl.Boolean))
        moments = clicked.select("user_id", "at").unique(maintain_order=True)
        theirs = self.events.lazy().join(moments.lazy(), on="user_id", how="semi", maintain_order="left")
        vectors = embeddings_at(theirs.collect(), space, moments, **browsing_settings(self.settings.features))
        return kept_share(clicked, self.shortlist(moments, vectors))


def spaced(table: pl.DataFrame, most: int) -> pl.DataFrame:
    """At most so many rows, evenly spaced."""
    if len(table) <= most:
        return table
    return table[np.linspace(0, len(table) - 1, most).astype(np.int64)]
