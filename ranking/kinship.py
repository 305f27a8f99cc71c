"""Turns concepts into who is whose kin: the same advertiser, or a topic in common, for many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ranking.frames import Floats, Ints
from ranking.policy import Policy

NOTHING = -2
"""Stands for no concept at all; -1 stands for a concept that is not known, which is nobody's kin."""

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Kinship:
    """Concepts by code, their place in `concept_ids`; the last row of each array stands for an unknown one.

    Attributes:
        concept_ids: (M,) distinct.
        advertisers: (M + 1,) codes; -1 for the unknown one.
        topics: (M + 1, W) sets of topics, 64 to a word.
        boosts: (M + 1,) log-odds that the policy adds.
        resting: (M + 1,) which are of an advertiser that rests.
    """

    concept_ids: pl.Series
    advertisers: Ints
    topics: npt.NDArray[np.uint64]
    boosts: Floats
    resting: Bools

    @classmethod
    def of(cls, concepts: pl.DataFrame, policy: Policy) -> Kinship:
        """From concept_id (distinct), advertiser and topics."""
        names = concepts["advertiser"].unique().sort()
        rank = concepts["advertiser"].replace_strict(names, pl.int_range(len(names), eager=True), return_dtype=pl.Int64)
        topics = concepts["topics"].explode().drop_nulls().unique().sort()
        bits = np.zeros((len(concepts) + 1, max(1, -(-len(topics) // 64))), dtype=np.uint64)
        held = concepts.select("topics").with_row_index("row").explode("topics").drop_nulls().unique()
        place = held["topics"].replace_strict(topics, pl.int_range(len(topics), eager=True), return_dtype=pl.Int64)
        bit = place.to_numpy()
        np.bitwise_or.at(bits, (held["row"].to_numpy(), bit // 64), np.uint64(1) << (bit % 64).astype(np.uint64))
        return cls(
            concepts["concept_id"],
            np.append(rank.to_numpy(), -1),
            bits,
            np.append(policy.boost_of(concepts["advertiser"]).to_numpy(), 0.0),
            np.append(concepts["advertiser"].is_in(list(policy.resting)).to_numpy(), False),
        )

    def codes(self, concept_ids: pl.Series) -> Ints:
        """Code of each concept, -1 for an unknown one."""
        places = pl.DataFrame({"concept_id": self.concept_ids}).with_row_index("place")
        asked = pl.DataFrame({"concept_id": concept_ids})
        found = asked.join(places, on="concept_id", how="left", maintain_order="left")["place"]
        return found.cast(pl.Int64).fill_null(-1).to_numpy()

    def same_advertiser(self, concept: Ints, other: Ints) -> Bools:
        """Whether two concepts, by code and broadcast, are of one advertiser; unknown ones and NOTHING are of none."""
        return np.asarray((self.advertisers[concept] == self.advertisers[_row(other)]) & (other >= 0))

    def common_topic(self, concept: Ints, other: Ints) -> Bools:
        """Whether two concepts, by code and broadcast, have a topic in common."""
        found = np.zeros(np.broadcast_shapes(concept.shape, other.shape), dtype=np.bool_)
        for words in self.topics.T:
            found |= (words[concept] & words[_row(other)]) != 0
        return found & (other >= 0)


def _row(concept: Ints) -> Ints:
    return np.maximum(concept, -1)
