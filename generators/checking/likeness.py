"""Turns pictures into perceptual hashes and distances: which repeat another, and how varied a set of them is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from generators.colour import srgb_to_lab

_THUMB = 32
_COARSE = 8


def perceptual_hash(image: Image.Image) -> int:
    """64 bits that change little when a picture is resized or compressed, and much when it is another one.

    40 bits: signs, against their median, of the 40 lowest frequencies but the mean of the lightness (DCT-II of
    32 x 32, as in pHash). 24 bits: mean lightness, blueness (Cb) and redness (Cr), each in 8 steps of a thermometer
    code, since two pictures that differ in colour alone are two pictures.
    """
    small = image.convert("RGB").convert("YCbCr").resize((_THUMB, _THUMB), Image.Resampling.BOX)
    light, blue, red = (np.asarray(plane, dtype=np.float64) for plane in small.split())
    frequencies = _DCT @ light @ _DCT.T
    low = np.array([frequencies[row, column] for row, column in _LOW])
    bits = list(low > np.median(low))
    for mean, steps in ((light.mean(), _LIGHT_STEPS), (blue.mean(), _HUE_STEPS), (red.mean(), _HUE_STEPS)):
        bits += list(mean > steps)
    return sum(1 << place for place, bit in enumerate(bits) if bit)


@dataclass(frozen=True, slots=True)
class Twin:
    """The picture of an album that is most like another one: its name, and by how many of 64 bits it differs."""

    name: str
    bits: int


class Album:
    """The hashes of pictures that may not be repeated, by name and cohort."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._hashes = np.zeros(64, np.uint64)
        self._cohorts = np.zeros(64, np.int64)

    def add(self, name: str, cohort: int, known: int) -> None:
        """Remembers a picture by its `perceptual_hash`."""
        count = len(self._names)
        if count == len(self._hashes):
            self._hashes, self._cohorts = np.tile(self._hashes, 2), np.tile(self._cohorts, 2)
        self._hashes[count], self._cohorts[count] = known, cohort
        self._names.append(name)

    def nearest(self, known: int, cohort: int | None = None) -> Twin | None:
        """The most similar picture, the earliest of equals; of one cohort only, if given. None: there is none."""
        count = len(self._names)
        bits = np.bitwise_count(self._hashes[:count] ^ np.uint64(known)).astype(np.int64)
        if cohort is not None:
            bits = np.where(self._cohorts[:count] == cohort, bits, 65)
        if not count or bits.min() > 64:
            return None
        place = int(bits.argmin())
        return Twin(self._names[place], int(bits[place]))


def colours_of(image: Image.Image) -> npt.NDArray[np.float32]:
    """What a picture looks like from afar: CIELAB of its 8 x 8 means, (64, 3)."""
    small = image.convert("RGB").resize((_COARSE, _COARSE), Image.Resampling.BOX)
    return srgb_to_lab(np.asarray(small, dtype=np.uint8)).reshape(-1, 3)


def distances(pictures: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Distance between any two of the `colours_of` N pictures (N, 64, 3): root mean square CIE76 difference of patches, (N, N).

    About 2 is just noticeable side by side; black beside white is 100.
    """
    flat = np.asarray(pictures, np.float64).reshape(len(pictures), -1)
    return np.stack([np.sqrt(((flat - one) ** 2).sum(axis=1) * 3 / flat.shape[1]) for one in flat])


def _dct_matrix(size: int) -> npt.NDArray[np.float64]:
    """Orthonormal DCT-II, (size, size)."""
    row, column = np.arange(size)[:, None], np.arange(size)[None, :]
    matrix: npt.NDArray[np.float64] = np.cos(np.pi * row * (2 * column + 1) / (2 * size)) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


_DCT = _dct_matrix(_THUMB)
_LOW = sorted(((r, c) for r in range(10) for c in range(10) if r + c), key=lambda at: (at[0] + at[1], at))[:40]
_LIGHT_STEPS = np.linspace(40, 215, 8)
_HUE_STEPS = 128 + np.array([-28.0, -16.0, -8.0, -2.5, 2.5, 8.0, 16.0, 28.0])
