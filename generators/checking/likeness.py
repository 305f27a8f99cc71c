"""Turns pictures into distances: which repeat another, and how varied a set of them is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from generators.colour import Floats, srgb_to_lab
from generators.layout import DEFAULT_BOX
from generators.products import Pixels

_COARSE = 8
_FINE = 16  # cells of a scene, each way


@dataclass(frozen=True, slots=True)
class Twin:
    """The picture of an album that is most like another one: its name, and their distance (see `distances`)."""

    name: str
    distance: float


class Album:
    """What pictures that may not be repeated look like from afar, by name and cohort."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._looks = np.zeros((64, _COARSE * _COARSE, 3), np.float32)
        self._cohorts = np.zeros(64, np.int64)

    def add(self, name: str, cohort: int, known: Floats) -> None:
        """Remembers a picture by its `colours_of`."""
        count = len(self._names)
        if count == len(self._looks):
            self._looks, self._cohorts = np.tile(self._looks, (2, 1, 1)), np.tile(self._cohorts, 2)
        self._looks[count], self._cohorts[count] = known, cohort
        self._names.append(name)

    def nearest(self, known: Floats, cohort: int | None = None) -> Twin | None:
        """The most similar picture, the earliest of equals; of one cohort only, if given. None: there is none."""
        count = len(self._names)
        at = np.arange(count) if cohort is None else np.flatnonzero(self._cohorts[:count] == cohort)
        if not len(at):
            return None
        apart = np.sqrt(((self._looks[at] - known) ** 2).sum(axis=2).mean(axis=1))
        place = int(apart.argmin())
        return Twin(self._names[int(at[place])], float(apart[place]))


def colours_of(image: Image.Image) -> Floats:
    """What a picture looks like from afar: CIELAB of its 8 x 8 means, (64, 3)."""
    small = image.convert("RGB").resize((_COARSE, _COARSE), Image.Resampling.BOX)
    return srgb_to_lab(np.asarray(small, dtype=np.uint8)).reshape(-1, 3)


def colours_around(scene: Pixels) -> Floats:
    """What a scene uint8 (S, S, 3) looks like from afar around the product's box: CIELAB of the 16 x 16 means there, (K, 3)."""
    small = Image.fromarray(scene).resize((_FINE, _FINE), Image.Resampling.BOX)
    starts = np.arange(_FINE) / _FINE
    ends = starts + 1 / _FINE
    high = (ends > DEFAULT_BOX.top) & (starts < DEFAULT_BOX.bottom)
    wide = (ends > DEFAULT_BOX.left) & (starts < DEFAULT_BOX.right)
    return srgb_to_lab(np.asarray(small, dtype=np.uint8))[~(high[:, None] & wide)]


def distances(pictures: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Distance between any two of N pictures (N, K, 3): root mean square CIE76 difference of their K patches, (N, N).

    About 2 is just noticeable side by side; black beside white is 100.
    """
    flat = np.asarray(pictures, np.float64).reshape(len(pictures), -1)
    return np.stack([np.sqrt(((flat - one) ** 2).sum(axis=1) * 3 / flat.shape[1]) for one in flat])
