"""Turns one run seed into an independent stream for every stage and every row that draws at random."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def seed_of(run_seed: int, *names: str | int) -> int:
    """A 63-bit seed for the thing called `names`, e.g. `seed_of(7, "slates", user_id)`.

    The order of work never changes a result, since a row's seed depends on its name alone. SHA-256 of the
    length-prefixed names: the same on every machine and in every version of Python.
    """
    digest = hashlib.sha256(run_seed.to_bytes(16, "little", signed=True))
    for name in names:
        encoded = str(name).encode()
        digest.update(len(encoded).to_bytes(4, "little"))
        digest.update(encoded)
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def stream(run_seed: int, *names: str | int) -> np.random.Generator:
    """The NumPy generator of the thing called `names`."""
    return np.random.Generator(np.random.PCG64(seed_of(run_seed, *names)))


def seeds_of(run_seed: int, stage: str, names: Iterable[str]) -> npt.NDArray[np.int64]:
    """One seed per name, shape (len(names),)."""
    return np.fromiter((seed_of(run_seed, stage, name) for name in names), dtype=np.int64)
