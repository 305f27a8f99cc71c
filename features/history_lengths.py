"""Turns events and moments into how long each user's history was then."""

from __future__ import annotations

import numpy as np
import polars as pl

from features.history import Groups, Ints, codes, micros, seen


def history_lengths(events: pl.DataFrame, moments: pl.DataFrame, *, delay_seconds: float) -> Ints:
    """How many events of the user were known at each moment: those with at < moment - delay_seconds, (N,).

    Args:
        events: table `events`, may run on after the moments.
        moments: columns user_id, at; N rows, any order.
        delay_seconds: >= 0.
    """
    users = moments["user_id"].unique().sort()
    log = events.select("user_id", "at").sort("at")
    times = micros(log["at"])
    by_user = Groups.of(codes(log["user_id"], users), np.arange(len(log), dtype=np.int64), len(log))
    start, stop = by_user.span(codes(moments["user_id"], users), seen(times, micros(moments["at"]), delay_seconds))
    return stop - start
