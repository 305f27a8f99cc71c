"""Turns sequences of items into events, and the last items of each into slates beside items drawn at random.

Nobody was shown anything: the slates are invented, so that a ranker has something to choose from. Adapters that use them
say so in their SOURCE.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from contracts.seeds import stream
from contracts.tables import Events, Impressions

SLATE_SIZE = 10
GAP = timedelta(seconds=60)
"""Between two items of a user: order stands for time."""


def sequence_events(
    sequences: Mapping[str, Sequence[str]], topics: pl.DataFrame, begin: datetime, held_out: int
) -> pl.DataFrame:
    """Every item but the last `held_out` of each user, as a view; one who has no more keeps the first.

    Args:
        sequences: user -> items in order, without repeats.
        topics: item_id, topics.
        begin: the time of every user's last item; the others lie `GAP` apart before it.
        held_out: items kept for slates.
    """
    users: list[str] = []
    items: list[str] = []
    at: list[datetime] = []
    for user, found in sequences.items():
        kept = found[: max(len(found) - held_out, 1)]
        users += [user] * len(kept)
        items += kept
        at += [begin - GAP * (len(found) - place) for place in range(len(kept))]
    frame = pl.DataFrame({"user_id": users, "at": at, "item_id": items},
                         schema={"user_id": pl.String, "at": pl.Datetime("us", "UTC"), "item_id": pl.String})  # fmt: skip
    joined = frame.join(topics, on="item_id", how="left", maintain_order="left")
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return Events.validate(
        joined.select(
            "user_id", "at", action=pl.lit("view"), item_id="item_id", topics=pl.col("topics").fill_null(nothing),
            dwell_seconds=pl.lit(None, dtype=pl.Float64), device=pl.lit(None, dtype=pl.String),
        )
    )  # fmt: skip


def sequence_slates(
    sequences: Mapping[str, Sequence[str]],
    pool: Sequence[str],
    begin: datetime,
    *,
    held_out: int,
    name: str,
    given: Mapping[str, Sequence[str]] | None = None,
) -> pl.DataFrame:
    """For each of the last `held_out` items of a user: a slate of it, clicked, and items the user never had, not clicked.

    The one clicked stands in a slot drawn at random, so that its place says nothing. A user needs one item more than are
    held out.

    Args:
        sequences: user -> items in order, without repeats.
        pool: items to draw from, by a stream of its own for each user.
        begin: as for `sequence_events`.
        held_out: slates of a user, the last item in the last.
        name: of the data set, for the draw.
        given: user -> items to take in place of drawn ones for the last slate, as published.
    """
    names = np.array(pool, dtype=object)
    rows: list[tuple[str, str, datetime, int, str, bool]] = []
    for user, found in sequences.items():
        if len(found) <= held_out:
            continue
        rng = stream(0, f"{name} slates", user)
        own = set(found)
        for back in range(held_out, 0, -1):
            drawn = list(given[user][: SLATE_SIZE - 1]) if given is not None and back == 1 and user in given else []
            while len(drawn) < min(SLATE_SIZE - 1, len(pool) - len(own)):
                new = [item for item in dict.fromkeys(names[rng.integers(0, len(names), 2 * SLATE_SIZE)].tolist())
                       if item not in own and item not in drawn]  # fmt: skip
                drawn += new[: SLATE_SIZE - 1 - len(drawn)]
            place = int(rng.integers(0, len(drawn) + 1))
            at = begin - GAP * back
            shown = [*drawn[:place], found[-back], *drawn[place:]]
            rows += [(f"{user}-{back}-{slot}", user, at, slot, item, slot == place) for slot, item in enumerate(shown)]
    schema: dict[str, Any] = {"impression_id": pl.String, "user_id": pl.String, "at": pl.Datetime("us", "UTC"), "slot": pl.Int32,
              "concept_id": pl.String, "clicked": pl.Boolean}  # fmt: skip
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return Impressions.validate(
        frame.select(
            "impression_id", "user_id", "at", "slot", "concept_id", creative_id=pl.lit(None, dtype=pl.String),
            clicked="clicked", propensity=pl.lit(None, dtype=pl.Float64), policy=pl.lit(None, dtype=pl.String),
        )
    )  # fmt: skip
