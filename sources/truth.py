"""Turns the `truth/` folder of a planted world into a judge: the true click chance of any user, picture and moment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import DataError
from sources.law import ClickLaw, Floats, topic_vectors
from sources.look import Pictures, look, standout
from sources.population import blend_mixes

Names = Sequence[str] | pl.Series | npt.NDArray[np.str_]
Moments = datetime | Sequence[datetime] | pl.Series | npt.NDArray[np.datetime64]
"""One moment for all rows, or one per row; UTC."""


@dataclass(frozen=True)
class Truth:
    """What is known of a planted world. Only evaluation may look; no method may.

    Attributes:
        law: the click law. user_rows, concept_rows: where each id stands in the arrays.
        tau: (N, 5). mix_before, mix_after: (N, 12). switch_at, ramp: (N,) microseconds (the first since 1970).
        concept_topics: (C, 12).
        creatives: creative_id, concept_id, look (array of 5), standout.
    """

    law: ClickLaw
    user_rows: dict[str, int]
    concept_rows: dict[str, int]
    tau: Floats
    mix_before: Floats
    mix_after: Floats
    switch_at: npt.NDArray[np.int64]
    ramp: npt.NDArray[np.int64]
    concept_topics: Floats
    creatives: pl.DataFrame

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a data folder is a planted world."""
        return (folder / "truth" / "law.json").is_file()

    @classmethod
    def load(cls, folder: Path) -> Truth:
        """Reads the truth of the planted world in a data folder.

        Raises:
            DataError: the folder has no truth, or it is damaged.
        """
        if not cls.exists(folder):
            raise DataError("no truth here", where=str(folder), fix="Only a planted world has one; see `adloom world`.")
        try:
            known = json.loads((folder / "truth" / "law.json").read_text(encoding="utf-8"))
            users = pl.read_parquet(folder / "truth" / "users.parquet")
            looks = pl.read_parquet(folder / "truth" / "pictures.parquet")
            pictures = pl.read_parquet(folder / "pictures.parquet", columns=["creative_id", "concept_id"])
            concepts = pl.read_parquet(folder / "concepts.parquet", columns=["concept_id", "topics"])
            return cls(
                law=ClickLaw(**known["click_law"]),
                user_rows={name: row for row, name in enumerate(users["user_id"])},
                concept_rows={name: row for row, name in enumerate(concepts["concept_id"])},
                tau=users["tau"].to_numpy(),
                mix_before=users["mix_before"].to_numpy(),
                mix_after=users["mix_after"].to_numpy(),
                switch_at=users["switch_at"].cast(pl.Int64).to_numpy(),
                ramp=(users["ramp_seconds"] * 1e6).round().cast(pl.Int64).to_numpy(),
                concept_topics=topic_vectors(concepts["topics"].to_list()),
                creatives=pictures.join(looks, on="creative_id", how="left", maintain_order="left"),
            )
        except (KeyError, TypeError, ValueError, OSError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"the truth is damaged ({error})", where=str(folder / "truth"), fix="Write the planted world again."
            ) from error

    def tastes(self, user_ids: Names) -> Floats:
        """Visual tastes (N, 5) of the users. Raises DataError for a user that this world does not have."""
        taste: Floats = self.tau[_rows(user_ids, self.user_rows, "user_id")]
        return taste

    def topic_match(self, user_ids: Names, at: Moments, concept_ids: Names) -> Floats:
        """Inner product of each user's topic mix at that moment and the concept's topics, (N,)."""
        users = _rows(user_ids, self.user_rows, "user_id")
        concepts = _rows(concept_ids, self.concept_rows, "concept_id")
        mixes = blend_mixes(
            self.mix_before[users], self.mix_after[users], self.switch_at[users], self.ramp[users],
            _microseconds(at, len(users)),
        )  # fmt: skip
        match: Floats = (mixes * self.concept_topics[concepts]).sum(axis=1)
        return match

    def click_chance(
        self, user_ids: Names, at: Moments, concept_ids: Names, slot: npt.ArrayLike, looks: Floats, standouts: Floats
    ) -> Floats:
        """True click chance (N,) of row-by-row users, moments, concepts, slots, looks (N, 5) and standouts (N,)."""
        match = self.topic_match(user_ids, at, concept_ids)
        return self.law.click_chance(self.tastes(user_ids), looks, match, slot, standouts)

    def picture_value(
        self, user_ids: Names, pictures: Pictures, concept_ids: Names, boxes: Floats, at: Moments,
        slot: npt.ArrayLike = 0,
    ) -> Floats:  # fmt: skip
        """True click chance (N,) of any new pictures, from their pixels.

        Args:
            user_ids: N users. concept_ids: N concepts, or one for all.
            pictures: uint8 (N, H, W, 3), or (1, H, W, 3) for all users.
            boxes: (N, 4) or (1, 4) the product's left, top, width, height as fractions; NaN where there is none.
            at: one moment or N. slot: one or N.
        """
        count = len(user_ids)
        concepts = list(concept_ids) * (count if len(concept_ids) == 1 else 1)
        looks = np.broadcast_to(look(pictures), (count, 5))
        standouts = np.broadcast_to(standout(pictures, np.asarray(boxes, dtype=np.float64)), (count,))
        return self.click_chance(user_ids, at, concepts, slot, looks, standouts)

    def oracle_scores(self, user_ids: Names, at: Moments, concept_ids: Names, slot: npt.ArrayLike = 0) -> Floats:
        """True click chance (N,) averaged over the logged creatives of each concept: an ideal ranker's score.

        Args:
            user_ids, concept_ids: N each. at: one moment or N.
            slot: one or N; (K, 1) for K of them at once, whose answer is (K, N).
        """
        match = self.topic_match(user_ids, at, concept_ids)
        tau = self.tastes(user_ids)
        concepts = np.asarray(list(concept_ids))
        slots = np.broadcast_to(np.asarray(slot), np.broadcast_shapes(np.shape(slot), match.shape))
        scores = np.zeros(slots.shape)
        for (name,), shown in self.creatives.group_by("concept_id", maintain_order=True):
            rows = np.flatnonzero(concepts == name)
            for look_row, standout_row in zip(shown["look"].to_numpy(), shown["standout"].to_numpy(), strict=True):
                chance = self.law.click_chance(tau[rows], look_row, match[rows], slots[..., rows], standout_row)
                scores[..., rows] += chance / len(shown)
        return scores

    def best_of(self, user_ids: Names, at: Moments, concept_ids: Names, looks: Floats, standouts: Floats) -> Floats:
        """Best attainable click chance (N,) in slot 0 when each user may get any of the M candidate pictures."""
        match = self.topic_match(user_ids, at, concept_ids)
        return self.law.best_chance(self.tastes(user_ids), looks, standouts, match)[0]


def _rows(names: Names, places: dict[str, int], column: str) -> npt.NDArray[np.int64]:
    try:
        return np.fromiter((places[name] for name in names), dtype=np.int64, count=len(names))
    except KeyError as error:
        raise DataError(
            f"{column} {error} is not of this planted world", where="truth", fix="Judge only what this world holds."
        ) from error


def _microseconds(at: Moments, count: int) -> npt.NDArray[np.int64]:
    values = pl.Series([at] if isinstance(at, datetime) else at)
    moments = values.cast(pl.Datetime("us", values.dtype.time_zone if isinstance(values.dtype, pl.Datetime) else None))
    return np.broadcast_to(moments.cast(pl.Int64).to_numpy(), (count,))
