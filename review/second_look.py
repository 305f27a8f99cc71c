"""Turns what a reviewer decided a while ago into pictures that come up in the queue again, unmarked: planted duplicates.

Whether a word would be given again is only seen when it is given again. A picture is due when its reviewer has decided on these very
bytes once, and on at least `LEAST_BETWEEN` others since; among those due, the order is drawn by a hash, the same on every page.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from review.filters import Shown
from review.shelf import Creative
from review.standing import Decision, Standing

LEAST_BETWEEN = 20
"""Decisions by the same person between two looks at a picture; a word changed sooner is a correction, not a second look."""

UNDECIDED_LOOK = Standing()
"""What a reviewer is told of a picture that is shown again: nothing."""


def due(said: Sequence[Decision], now: Mapping[tuple[str, str], Creative]) -> list[Creative]:
    """What is to be shown again to a person.

    Args:
        said: the person's approvals and rejections that were not undone, in order.
        now: the creatives that may be shown, by (run_id, creative_id).
    """
    times = Counter((one.run_id, one.creative_id) for one in said)
    found = []
    for one in said[: max(len(said) - LEAST_BETWEEN, 0)]:
        key = (one.run_id, one.creative_id)
        creative = now.get(key)
        if times[key] == 1 and creative is not None and creative.file_hash == one.file_hash:
            found.append((hashlib.sha256(f"{one.reviewer} {key} {one.file_hash}".encode()).digest(), creative))
    return [creative for _, creative in sorted(found, key=lambda pair: pair[0])]


def mixed(queue: Sequence[Shown], again: Iterable[Creative], share: float) -> list[Shown]:
    """The queue with one picture in every 1 / share that is shown again, as if nobody had decided on it."""
    if share <= 0:
        return list(queue)
    gap = max(round(1 / share) - 1, 1)
    rest, found = iter(again), list[Shown]()
    for place, shown in enumerate(queue, 1):
        found.append(shown)
        if place % gap == 0 and (one := next(rest, None)) is not None:
            found.append((one, UNDECIDED_LOOK))
    return found
