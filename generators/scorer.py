"""Turns what is learned from clicks and from reviewers into how candidate scenes are chosen among.

    kept ~ exp( sharpness * appeal(user, f) + tilt(f) )

over the candidates of an order: the painter's p0(f), times P(click | user, f)^sharpness, times q(f) / p0(f) of generators/taste/tilt.py.
It is drawn, not maximised, so that what the tilt keeps of diversity is kept here too. Where nothing was learned from
reviewers, the most appealing scene is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from contracts.seeds import stream
from contracts.store import file_hash
from generators.painting.painters import Floats, scene_looks
from generators.products import Pixels
from generators.studio import Order
from generators.taste.approval import Approval
from generators.taste.taste import Taste
from generators.taste.tilt import FILE as TILT_FILE
from generators.taste.tilt import Tilt
from generators.taste.variety import thumbnails


@dataclass(frozen=True)
class Reviewed:
    """What was learned from reviewers: what they approve, how far to lean to it, and a name for both."""

    approval: Approval
    tilt: Tilt
    digest: str

    @classmethod
    def load(cls, folder: Path) -> Reviewed | None:
        """From the folder of a generator; None where it learned nothing from reviewers. Raises ModelError on damage."""
        approval, tilt = Approval.load(folder), Tilt.load(folder)
        if approval is None or tilt is None:
            return None
        return cls(approval, tilt, file_hash(folder / TILT_FILE))


@dataclass(frozen=True)
class Scorer:
    """Chooses among candidate scenes.

    Attributes:
        taste: of users; None: not known in this space.
        reviewed: of reviewers; None: nothing learned yet.
        sharpness: of the taste beside the reviewers' word.
    """

    taste: Taste | None
    reviewed: Reviewed | None
    sharpness: float = 4.0

    @property
    def knows_anything(self) -> bool:
        """Whether there is a reason to keep one scene rather than another."""
        return self.taste is not None or self.reviewed is not None

    def __call__(self, order: Order, scenes: Pixels) -> Floats:
        """(N,) the candidate (N, S, S, 3) with the largest value is kept."""
        features = scene_looks(scenes, order.product)
        worth = np.zeros(len(scenes), np.float32)
        if self.taste is not None:
            worth = self.taste.appeal(None if order.user is None else order.user[None], features)[0]
        if self.reviewed is None:
            return worth
        leaning = self.reviewed.tilt.log_weights(thumbnails(scenes), self.reviewed.approval.log_chance(features))
        noise = stream(order.seed, "kept scene").gumbel(size=len(scenes))
        return np.asarray(self.sharpness * worth + leaning + noise, np.float32)
