"""Of a long log the generator learns from some users, each with all that is known of them."""

from __future__ import annotations

import numpy as np
import pytest

import flows.prepare_examples
from features.space import Space
from flows.job import Job
from flows.prepare_examples import Prepared, prepare_examples


def prepared(job: Job) -> Prepared:
    space = Space.load(job.run / "features" / "space")
    return prepare_examples(
        job.data, job.run / "sources", space, job.settings.features, side=32, before=None, split="all"
    )


def seen_by(found: Prepared, person: str) -> list[tuple[int, int, bytes]]:
    """What someone saw, whether it was clicked, and where the user stood."""
    mine = np.flatnonzero(found.people == found.user_ids.index(person))
    made = found.examples
    vectors = made.user_vectors[made.impression_user[mine]]
    return sorted(
        (int(picture), int(clicked), vector.tobytes())
        for picture, clicked, vector in zip(made.impression_picture[mine], made.clicked[mine], vectors, strict=True)
    )


def test_of_a_long_log_some_users_are_taken_whole(shared_run: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = prepared(shared_run)
    rows = len(everything.people)
    monkeypatch.setattr(flows.prepare_examples, "MOST_SEEN", rows // 3)
    monkeypatch.setattr(flows.prepare_examples, "PART_MOMENTS", 7)
    some = prepared(shared_run)
    assert rows / 4 < len(some.people) < rows / 2.4
    assert set(some.user_ids) < set(everything.user_ids)
    for person in some.user_ids[::5]:
        assert seen_by(some, person) == seen_by(everything, person)
