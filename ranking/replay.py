"""Turns a logged slate into what another policy would have done with it: the chance and the worth of each choice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.special import expit

from contracts.errors import DataError
from ranking.frames import Floats, Ints, integers, run_lengths
from ranking.kinship import NOTHING, Kinship
from ranking.policy import Policy
from ranking.slates import arranged, blocks

_SLATE = ("user_id", "at")
_TARGET, _PREDICTED, _EXPECTED, _BEST = range(4)  # columns of the answers


def logged_policy(
    logged: pl.DataFrame,
    scores: pl.DataFrame,
    concepts: pl.DataFrame,
    *,
    policy: Policy,
    size: int | None = None,
    slot_offsets: npt.ArrayLike = (0.0,),
) -> pl.DataFrame:
    """What the policy says of each logged impression, given the earlier slots of its slate.

    The chances are those of `ranking.plackett_luce.Filling`, diversity, slots of an advertiser, exploration and boosts
    included, with the logged concepts of the earlier slots in the place of the policy's own choices. A logged concept
    that is not a candidate lowers its kin as any other does.

    Args:
        logged: impression_id (distinct), user_id, at, slot, concept_id: whole slates, in any order.
        scores: user_id, at, concept_id (distinct), score, click_chance (slot 0): all candidates of each logged
            slate's moment; other moments are passed over.
        concepts: concept_id, advertiser, topics.
        policy: what decides the chances.
        size: positions the policy fills; in later ones of a logged slate target_propensity, expected_chance and
            best_chance are 0. None: all.
        slot_offsets: (slots,) log-odds of a click at a slot less those at slot 0, `Ranker.slot_offsets`; beyond
            the end the last one holds.

    Returns:
        A row per logged impression, in the order of `logged`: impression_id,
        target_propensity: chance in [0, 1] that the policy chooses the logged concept here, given the logged earlier
            ones; 0 for a concept that is not among the candidates or was shown before in the slate,
        candidate: whether the concept is among the candidates,
        predicted_chance: calibrated click chance of the logged concept in this slot; where it is not a candidate,
            expected_chance stands in (its weight is 0),
        expected_chance: sum over the candidates left of the policy's chance times the click chance in this slot,
        best_chance: the greatest of those click chances; 0 where nothing is left.

    Raises:
        DataError: an impression_id, or a concept of a moment, comes twice.
    """
    for table, keys in ((logged, ["impression_id"]), (scores, [*_SLATE, "concept_id"])):
        if table.select(keys).is_duplicated().any():
            raise DataError(f"{', '.join(keys)} comes twice", where="replay of the log", fix="Drop the repeated rows.")
    slates = logged.select(_SLATE).unique().sort(_SLATE).with_row_index("slate")
    candidates = arranged(scores.join(slates, on=_SLATE), ["slate"], policy).with_columns(
        pl.int_range(pl.len()).over("slate").alias("column")
    )
    kinship = Kinship.of(concepts, policy)
    shown = (
        logged.select("impression_id", *_SLATE, "slot", "concept_id")
        .with_columns(pl.Series("code", kinship.codes(logged["concept_id"])))
        .join(slates, on=_SLATE)
        .join(candidates.select("slate", "concept_id", "column"), on=["slate", "concept_id"], how="left")
        .sort("slate", "slot", "impression_id")
        .with_columns(pl.int_range(pl.len()).over("slate").alias("place"))
    )
    counts = candidates.group_by("slate").len()
    lengths = slates.join(counts, on="slate", how="left", maintain_order="left")["len"].fill_null(0)
    answers = _answers(
        shown,
        candidates,
        lengths.cast(pl.Int64).to_numpy(),
        kinship,
        policy,
        np.asarray(slot_offsets, dtype=np.float64),
    )
    if size is not None:
        past = shown["place"].to_numpy() >= size
        for column in (_TARGET, _EXPECTED, _BEST):
            answers[past, column] = 0.0
    known = shown["column"].is_not_null()
    return logged.select("impression_id").join(
        shown.select(
            "impression_id",
            pl.Series("target_propensity", answers[:, _TARGET]),
            known.alias("candidate"),
            pl.Series("predicted_chance", answers[:, _PREDICTED]),
            pl.Series("expected_chance", answers[:, _EXPECTED]),
            pl.Series("best_chance", answers[:, _BEST]),
        ),
        on="impression_id",
        how="left",
        maintain_order="left",
    )


def _answers(
    shown: pl.DataFrame, candidates: pl.DataFrame, lengths: Ints, kinship: Kinship, policy: Policy, slot_offsets: Floats
) -> Floats:
    """(impressions, 4) in the order of `shown`: target_propensity, predicted, expected, best chance."""
    answers = np.zeros((shown.height, 4))
    columns, slots, codes = integers(shown, "column"), integers(shown, "slot"), integers(shown, "code")
    shown_lengths = run_lengths(shown, ["slate"])
    shown_starts = np.cumsum(shown_lengths) - shown_lengths
    for block in blocks(candidates, lengths, kinship):
        start, count = shown_starts[block.slates], shown_lengths[block.slates]
        places = np.arange(int(count.max()))
        there = places < count[:, None]  # (N, K)
        index = np.where(there, start[:, None] + places, 0)
        chosen = np.where(there, columns[index], -1)
        concept = np.where(there, codes[index], NOTHING)
        filling = block.filling(kinship, policy)
        for place in places:
            here = np.flatnonzero(there[:, place])
            at = index[here, place]
            offset = slot_offsets[np.minimum(slots[at], len(slot_offsets) - 1)]
            chance = expit(block.log_odds[here] + offset[:, None])  # 0 where there is no candidate
            answers[at] = _answer(filling.chances()[here], chance, filling.left[here], chosen[here, place])
            filling.take(chosen[:, place], concept[:, place])
    return answers


def _answer(chances: Floats, chance: Floats, left: npt.NDArray[np.bool_], chosen: Ints) -> Floats:
    """(n, 4) for one place: chances of choice, click chances, which candidates are left (n, C), and the choice (n,)."""
    expected = (chances * chance).sum(axis=1)
    best = np.where(left, chance, 0.0).max(axis=1, initial=0.0)
    target, predicted = np.zeros(len(chosen)), expected.copy()
    known = np.flatnonzero(chosen >= 0)
    target[known] = chances[known, chosen[known]]
    predicted[known] = chance[known, chosen[known]]
    return np.column_stack([target, predicted, expected, best])
