"""Turns several opinions on many concepts into the few of each user that are worth scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranking.frames import Ints

Merits = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_COLUMN_BITS = 20
MAX_CONCEPTS = 1 << _COLUMN_BITS
_STEPS = float(1 << 20)  # merits are told apart in steps of a millionth, so that how many rows are multiplied at a time
# cannot decide between equals
NO_OPINION = np.float32(-2.0)
_ABSENT = np.iinfo(np.int64).min


@dataclass(frozen=True, eq=False)
class Channel:
    """One opinion.

    Attributes:
        share: of the candidates, above 0.
        merits: (n, C) or (1, C) in [-1, 1], higher is better; NO_OPINION where there is none.
    """

    share: float
    merits: Merits


def retrieve(allowed: Bools, channels: Sequence[Channel], limit: int) -> Ints:
    """The columns that the channels choose together, (n, min(limit, C)), ascending, then -1 where there are fewer.

    Each channel ranks the allowed columns (ties: the smaller column first). The column at rank r (from 1) of a channel
    with a share s asks to be taken at r / s; each column is taken at the earliest it asks for, ties by channel, then
    by column, until `limit` distinct ones are. So each channel brings its share, what two agree on is taken once, and
    what a channel has no opinion on is left to the others.

    Args:
        allowed: (n, C) which may be taken.
        channels: at least one; the shares need not sum to 1.
        limit: >= 1.
    """
    count, width = allowed.shape
    limit = min(limit, width)
    if not count or not limit:
        return np.full((count, limit), -1, dtype=np.int64)
    asked = [_asked(allowed, channel, number, limit) for number, channel in enumerate(channels)]
    wishes = np.sort(np.concatenate(asked, axis=1), axis=1)  # by column, then by time; absent ones first
    column = wishes >> 41
    first = np.ones(wishes.shape, dtype=np.bool_)
    first[:, 1:] = column[:, 1:] != column[:, :-1]
    time = wishes & ((1 << 41) - 1)
    order = np.where(first & (wishes != _ABSENT), (time << _COLUMN_BITS) | column, np.iinfo(np.int64).max)
    taken = np.partition(order, limit - 1, axis=1)[:, :limit]
    chosen = np.where(taken == np.iinfo(np.int64).max, MAX_CONCEPTS, taken & (MAX_CONCEPTS - 1))
    chosen.sort(axis=1)
    return np.where(chosen == MAX_CONCEPTS, -1, chosen)


def _asked(allowed: Bools, channel: Channel, number: int, limit: int) -> Ints:
    """(n, limit) `column << 41 | time asked for << 2 | channel`; _ABSENT where the channel has no opinion."""
    width = allowed.shape[1]
    steps = np.rint(channel.merits * np.float32(_STEPS)).astype(np.int64)
    keys = (steps << _COLUMN_BITS) | (MAX_CONCEPTS - 1 - np.arange(width))
    keys = np.where(allowed & (channel.merits > NO_OPINION), keys, _ABSENT)
    best = keys if limit == width else np.partition(keys, width - limit, axis=1)[:, width - limit :]
    best = np.sort(best, axis=1)[:, ::-1]
    column = MAX_CONCEPTS - 1 - (best & (MAX_CONCEPTS - 1))
    times = np.rint(np.arange(1, limit + 1) / channel.share * 256).astype(np.int64)
    return np.where(best == _ABSENT, _ABSENT, (column << 41) | (times << 2) | number)
