"""Turns several opinions on many concepts into the few of each user that are worth scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.compiled import compiled_with_arrays
from ranking.frames import Ints

Merits = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

_COLUMN_BITS = 20
MAX_CONCEPTS = 1 << _COLUMN_BITS
# merits are told apart in steps of a millionth, so that how many rows are multiplied at a time cannot decide between equals
_STEPS = np.float32(1 << 20)
MAX_CHANNELS = 4
NO_OPINION = np.float32(-2.0)
_BUCKET_BITS = 12
_BUCKETS = (1 << 21 - _BUCKET_BITS) + 2  # the last is of columns that are not wanted
_FEW = 24  # keys that insertion puts into order sooner than any other way


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
        channels: one to MAX_CHANNELS; the shares need not sum to 1.
        limit: >= 1.
    """
    count, width = allowed.shape
    limit = min(limit, width)
    chosen = np.full((count, limit), -1, dtype=np.int64)
    if count and limit:
        silent = Channel(1.0, np.full((1, width), NO_OPINION))  # one kind of call is compiled, whatever their number
        heard = [*channels, *[silent] * (MAX_CHANNELS - len(channels))]
        merits = tuple(np.ascontiguousarray(channel.merits, dtype=np.float32) for channel in heard)
        _choose(allowed, merits, np.array([channel.share for channel in heard]), limit, chosen)
    return chosen


@compiled_with_arrays
def _choose(
    allowed: Bools, merits: tuple[Merits, ...], shares: npt.NDArray[np.float64], limit: int, chosen: Ints
) -> None:
    """Fills `chosen` (n, limit): whichever channel asks earliest takes its next column, until enough are taken.

    Args:
        allowed, shares, limit: see `retrieve`.
        merits: of the channels, each (n, C) or (1, C), which is put in order but once.
        chosen: -1 everywhere.
    """
    count, width = allowed.shape
    wishes = np.empty((len(merits), width), dtype=np.int64)
    ends, place, rank, time = np.zeros((4, len(merits)), dtype=np.int64)
    keys, bucket = np.empty((2, width), dtype=np.int64)
    starts = np.empty(_BUCKETS + 1, dtype=np.int64)
    everything, taken = np.ones(width, dtype=np.bool_), np.empty(width, dtype=np.bool_)
    for row in range(count):
        for number in range(len(merits)):
            own = merits[number]
            if len(own) == count:
                ends[number] = _rank(allowed[row], own[row], limit, wishes[number], keys, bucket, starts)
            elif row == 0:
                ends[number] = _rank(everything, own[0], width, wishes[number], keys, bucket, starts)
            place[number], rank[number], time[number] = -1, 0, 0
        taken[:] = False
        found = 0
        for each in range(len(merits)):
            _next(allowed[row], wishes[each], ends, shares, each, place, rank, time)
        while found < limit:
            first = -1
            for each in range(len(merits)):
                if place[each] < ends[each] and (first < 0 or time[each] < time[first]):
                    first = each
            if first < 0:
                break
            column = wishes[first, place[first]]
            if not taken[column]:
                taken[column] = True
                found += 1
            _next(allowed[row], wishes[first], ends, shares, first, place, rank, time)
        found = 0
        for column in range(width):
            if taken[column]:
                chosen[row, found] = column
                found += 1


@compiled_with_arrays
def _next(
    allowed: Bools,
    wishes: Ints,
    ends: Ints,
    shares: npt.NDArray[np.float64],
    number: int,
    place: Ints,
    rank: Ints,
    time: Ints,
) -> None:
    """Moves a channel on to its next column that is allowed, and says when it asks for it."""
    place[number] += 1
    while place[number] < ends[number] and not allowed[wishes[place[number]]]:
        place[number] += 1
    rank[number] += 1
    time[number] = np.int64(np.rint(rank[number] / shares[number] * 256))


@compiled_with_arrays
def _rank(allowed: Bools, merit: Merits, limit: int, wishes: Ints, keys: Ints, bucket: Ints, starts: Ints) -> int:
    """Puts the `limit` allowed columns of most merit into `wishes`, best first; how many there are.

    Merits are counted into buckets; from the bucket on that brings the number to the limit, columns are put into theirs, and
    each bucket into order.

    Args:
        allowed, merit: (C,).
        limit: at least 1.
        wishes, keys, bucket, starts: (C,), (C,), (C,) and (_BUCKETS + 1,), to work in.
    """
    width = len(merit)
    starts[:] = 0
    for column in range(width):
        steps = np.int64(np.rint(merit[column] * _STEPS))
        known = allowed[column] and merit[column] > NO_OPINION
        keys[column] = column - (steps << _COLUMN_BITS)
        here = ((np.int64(_STEPS) - steps) >> _BUCKET_BITS) if known else _BUCKETS - 1  # best first
        bucket[column] = here
        starts[here + 1] += 1
    last = 0
    while last < _BUCKETS - 1:
        starts[last + 1] += starts[last]
        last += 1
        if starts[last] >= limit:
            break
    for column in range(width):
        here = bucket[column]
        if here < last:
            wishes[starts[here]] = keys[column]
            starts[here] += 1
    low = 0  # a bucket's start is now its end
    for here in range(last):
        high = starts[here]
        if high - low > _FEW:
            wishes[low:high].sort()
        else:
            for at in range(low + 1, high):
                key, back = wishes[at], at
                while back > low and wishes[back - 1] > key:
                    wishes[back] = wishes[back - 1]
                    back -= 1
                wishes[back] = key
        low = high
    count = min(low, limit)
    for at in range(count):
        wishes[at] &= MAX_CONCEPTS - 1
    return count
