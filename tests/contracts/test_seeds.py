"""Seeds: every name has its own stream, the same everywhere, whatever is drawn before it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.seeds import seed_of, seeds_of, stream


def test_a_known_name_has_a_known_seed_on_every_machine() -> None:
    assert seed_of(7, "slates", "user-1") == 1303640124360711890


@given(st.integers(0, 2**62), st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True))
def test_different_names_have_different_seeds_in_range(run_seed: int, names: list[str]) -> None:
    seeds = seeds_of(run_seed, "stage", names)
    assert len(set(seeds.tolist())) == len(names)
    assert (seeds >= 0).all()


def test_names_are_not_glued_together() -> None:
    assert seed_of(7, "ab", "c") != seed_of(7, "a", "bc")


def test_a_stream_does_not_depend_on_other_streams() -> None:
    first = stream(7, "a").random(3)
    stream(7, "b").random(100)
    assert np.array_equal(first, stream(7, "a").random(3))
