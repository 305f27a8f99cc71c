"""Turns users' moments into the (user, concept) pairs worth scoring: first who may see what, then the few most promising."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from contracts.errors import DataError, SettingsError
from contracts.settings import RankingSettings
from ranking.covisits import strengths
from ranking.eligibility import Eligibility
from ranking.frames import Ints
from ranking.retrieval import MAX_CONCEPTS, NO_OPINION, Channel, Merits, retrieve

_BLOCK_CELLS = 1_000_000  # moments x concepts looked at together, by each thread


@dataclass(frozen=True, eq=False)
class Shortlist:
    """Candidates of moments as codes, in order of (row, column).

    Attributes:
        moments: user_id, at.
        concept_ids: (C,) ascending.
        row: (P,) place in `moments`.
        column: (P,) place in `concept_ids`.
    """

    moments: pl.DataFrame
    concept_ids: pl.Series
    row: Ints
    column: Ints

    def frame(self) -> pl.DataFrame:
        """user_id, at, concept_id, in this order."""
        return self.moments[self.row].with_columns(self.concept_ids.gather(self.column).alias("concept_id"))


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What is known of concepts, by which candidates are found for any moments.

    Attributes:
        eligibility: who may be shown what.
        vectors: (C, D) unit vectors of its concepts, zeros where one has no place.
        popularity: (C,) click rate over the largest, in (0, 1].
        leads: (I, C) how strongly items lead to concepts, see `ranking.covisits`; None: not known.
        settings: candidates, the shares and threads.
    """

    eligibility: Eligibility
    vectors: Merits
    popularity: Merits
    leads: sp.csr_array | None
    settings: RankingSettings

    @classmethod
    def of(
        cls,
        eligibility: Eligibility,
        placed: pl.DataFrame,
        popularity: pl.DataFrame,
        leads: sp.csr_array | None,
        settings: RankingSettings,
    ) -> Retrieval:
        """From concept vectors (concept_id, vector), rates (concept_id, click_rate), and leads to all concepts in the
        order of `eligibility.concepts`.

        Raises:
            SettingsError: the shares sum to more than 1.
            DataError: a concept has no vector, or there are too many concepts.
        """
        given = settings.covisit_share + settings.popularity_share
        if given > 1.0:
            raise SettingsError(
                f"sum to {given:.2f}, which leaves less than nothing for the embedding",
                where="ranking.covisit_share and popularity_share",
                fix="Let them sum to 1 at most.",
            )
        ids = eligibility.concepts.select("concept_id")
        known = ids.join(placed, on="concept_id", how="left", maintain_order="left")
        if known["vector"].null_count() or len(ids) >= MAX_CONCEPTS:
            raise DataError(
                f"{known['vector'].null_count()} of {len(ids):,} concepts have no vector (at most {MAX_CONCEPTS:,})",
                where="candidates",
                fix="Give one vector a concept.",
            )
        rates = ids.join(popularity, on="concept_id", how="left", maintain_order="left")["click_rate"].fill_null(0.0)
        most = float(rates.max() or 0.0) or 1.0  # type: ignore[arg-type]
        vectors = np.array(known["vector"].to_list(), dtype=np.float32).reshape(len(ids), -1)
        return cls(eligibility, _unit(vectors), (rates / most).to_numpy().astype(np.float32), leads, settings)

    def shortlists(
        self, moments: pl.DataFrame, vectors: npt.NDArray[np.floating], recent: sp.csr_array | None = None
    ) -> Iterator[Shortlist]:
        """At most `settings.candidates` concepts a moment, some thousand moments at a time, in order of (user_id, at).

        The channels, see `ranking.retrieval`: the cosine of the user's and the concept's vector (no opinion where
        either is zero), co-visits (the leads from the user's last items, where there are any) and popularity, with
        `covisit_share` and `popularity_share` of the candidates, the rest by cosine; concepts of advertisers with a
        floor, which must be candidates to be shown, come in beside them with the share of their floors. Each moment is treated by itself.

        Args:
            moments: user_id, at; N distinct rows.
            vectors: (N, D) user embeddings, zeros for an unknown user.
            recent: (N, I) last items, `Browsed.last_items`.

        Raises:
            DataError: the vectors do not match the moments, or a moment comes twice.
        """
        if len(vectors) != len(moments):
            raise DataError(
                f"{len(vectors)} user vectors for {len(moments)} moments",
                where="candidates",
                fix="Give one vector a row, in the order of the rows.",
            )
        if moments.select("user_id", "at").is_duplicated().any():
            raise DataError("a moment comes twice", where="candidates", fix="Give distinct (user_id, at).")
        order = moments.select("user_id", "at").with_row_index().sort("user_id", "at")["index"].to_numpy()
        moments, vectors = moments.select("user_id", "at")[order], vectors[order]
        recent = None if recent is None else recent[order]
        size = max(1, _BLOCK_CELLS // max(len(self.vectors), 1))
        parts = [slice(start, start + size) for start in range(0, len(moments), size)]
        with ThreadPoolExecutor(self.settings.threads) as pool:
            yield from pool.map(
                lambda part: self._shortlist(moments[part], vectors[part], None if recent is None else recent[part]),
                parts,
            )

    def shortlist(
        self, moments: pl.DataFrame, vectors: npt.NDArray[np.floating], recent: sp.csr_array | None = None
    ) -> pl.DataFrame:
        """The candidates as one table: user_id, at, concept_id, sorted by these; see `shortlists`."""
        found = [part.frame() for part in self.shortlists(moments, vectors, recent)]
        return pl.concat([self._nobody(moments), *found])

    def everything(self, moments: pl.DataFrame) -> pl.DataFrame:
        """All eligible pairs of moments, retrieved or not: user_id, at, concept_id, sorted by these."""
        distinct = moments.select("user_id", "at").unique().sort("user_id", "at")
        return self._of(distinct, np.nonzero(self.eligibility.mask(distinct))).frame()

    def _nobody(self, moments: pl.DataFrame) -> pl.DataFrame:
        return moments.select("user_id", "at").clear().with_columns(concept_id=pl.lit(None, pl.String))

    def _of(self, moments: pl.DataFrame, pairs: tuple[Ints, ...]) -> Shortlist:
        return Shortlist(moments, self.eligibility.concepts["concept_id"], pairs[0], pairs[1])

    def _shortlist(
        self, moments: pl.DataFrame, vectors: npt.NDArray[np.floating], recent: sp.csr_array | None
    ) -> Shortlist:
        mask, limit = self.eligibility.mask(moments), self.settings.candidates
        if len(self.vectors) <= limit:
            return self._of(moments, np.nonzero(mask))
        chosen = retrieve(mask, self._channels(vectors, recent), limit)
        row, place = np.nonzero(chosen >= 0)
        return self._of(moments, (row, chosen[row, place]))

    def _channels(self, vectors: npt.NDArray[np.floating], recent: sp.csr_array | None) -> list[Channel]:
        covisits = self.settings.covisit_share if recent is not None and self.leads is not None else 0.0
        popular = self.settings.popularity_share
        cosine = _unit(vectors.astype(np.float32)) @ self.vectors.T
        cosine[~vectors.any(axis=1)] = NO_OPINION
        cosine[:, ~self.vectors.any(axis=1)] = NO_OPINION
        found = [Channel(1.0 - covisits - popular, cosine)]
        if floors := {name: share for name, share in self.settings.advertiser_floors.items() if share > 0}:
            promised = self.eligibility.concepts["advertiser"].is_in(list(floors)).to_numpy()
            found.append(Channel(sum(floors.values()), np.where(promised, np.maximum(cosine, -1.0), NO_OPINION)))
        if covisits and recent is not None and self.leads is not None:
            strength = strengths(recent, self.leads)
            strength[strength <= 0] = NO_OPINION
            found.append(Channel(covisits, strength))
        # a whisper of popularity, so that those without vector and items are not left with too few candidates
        found.append(Channel(max(popular, 1e-4), self.popularity[None]))
        return [channel for channel in found if channel.share > 0]


def kept_share(wanted: pl.DataFrame, kept: pl.DataFrame) -> dict[str, Any]:
    """How many of the wanted pairs (user_id, at, concept_id) are among those kept: wanted, kept, share (null: none)."""
    keys = ["user_id", "at", "concept_id"]
    both = wanted.select(keys).join(kept.select(keys), on=keys, how="semi")
    return {"wanted": len(wanted), "kept": len(both), "share": len(both) / len(wanted) if len(wanted) else None}


def _unit(vectors: npt.NDArray[np.floating]) -> Merits:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0), dtype=np.float32)
