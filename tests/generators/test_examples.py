"""Training files are checked whole, and a batch depends on (seed, step) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError
from generators.examples import ExampleBatches, Examples, read_examples, rows_of, write_examples
from generators.pixels import to_bytes, to_float


def some_examples(*, impressions: int = 40, side: int = 16, seed: int = 0) -> Examples:
    random = np.random.default_rng(seed)
    return Examples(
        pictures=random.integers(0, 256, (6, side, side, 3), dtype=np.uint8),
        masks=(random.random((6, side, side)) < 0.2).astype(np.uint8) * 255,
        picture_concept=random.integers(0, 3, 6).astype(np.int32),
        concept_vectors=random.normal(size=(3, 5)).astype(np.float32),
        user_vectors=random.normal(size=(4, 5)).astype(np.float32),
        impression_picture=random.integers(0, 6, impressions).astype(np.int32),
        impression_user=random.integers(0, 4, impressions).astype(np.int32),
        clicked=(np.arange(impressions) % 8 == 0).astype(np.uint8),
        space_hash="a-space",
        split="all",
    )


def test_a_training_file_reads_back_as_written(tmp_path: Path) -> None:
    written = some_examples()
    write_examples(written, tmp_path / "examples.safetensors")
    read = read_examples(tmp_path / "examples.safetensors")
    for name, array in written.arrays().items():
        assert np.array_equal(array, read.arrays()[name]), name
        assert array.dtype == read.arrays()[name].dtype, name
    assert (read.space_hash, read.split, read.side, read.dimensions) == ("a-space", "all", 16, 5)


FAULTS = {
    "pictures is float32": lambda e: {"pictures": e.pictures.astype(np.float32)},
    "masks has shape": lambda e: {"masks": e.masks[:, :8]},
    "picture_concept has 1 indices outside 0..2": lambda e: {"picture_concept": np.array([0, 1, 2, 3, 0, 1], np.int32)},
    "impression_picture has 40 indices outside 0..5": lambda e: {"impression_picture": e.impression_picture - 9},
    "impression_user has 40 indices outside 0..3": lambda e: {"impression_user": e.impression_user + 4},
    "user_vectors has 1 rows that are not finite": lambda e: {
        "user_vectors": np.where(np.arange(4)[:, None] == 2, np.nan, e.user_vectors).astype(np.float32)
    },
    "user_vectors has shape (4, 3)": lambda e: {"user_vectors": e.user_vectors[:, :3].copy()},
    "clicked holds values": lambda e: {"clicked": e.clicked * 2},
    "clicked has shape (39,)": lambda e: {"clicked": e.clicked[1:]},
    "clicked is empty": lambda e: {
        name: getattr(e, name)[:0] for name in ("clicked", "impression_user", "impression_picture")
    },
    "space_hash is empty": lambda e: {"space_hash": ""},
}


@pytest.mark.parametrize("what", FAULTS)
def test_every_fault_of_a_training_file_is_named(what: str) -> None:
    examples = some_examples()
    with pytest.raises(DataError, match=what.replace("(", r"\(").replace(")", r"\)").replace(".", r"\.")):
        replace(examples, **FAULTS[what](examples))


def test_all_faults_are_named_at_once() -> None:
    examples = some_examples()
    with pytest.raises(DataError) as caught:
        replace(examples, pictures=examples.pictures.astype(np.int16), clicked=examples.clicked[1:])
    assert "pictures is int16" in caught.value.what
    assert "clicked has shape" in caught.value.what


def test_a_training_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "examples.safetensors"
    write_examples(some_examples(), file)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(DataError, match="not a whole safetensors file"):
        read_examples(file)
    with pytest.raises(DataError, match="no such training file"):
        read_examples(tmp_path / "other.safetensors")


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    examples = some_examples()
    one, other = (ExampleBatches(examples, rows=8, seed=3) for _ in range(2))
    one.batch(0)  # an earlier draw changes nothing
    assert np.array_equal(one.impressions(5), other.impressions(5))
    assert not np.array_equal(one.impressions(5), one.impressions(6))
    assert not np.array_equal(one.impressions(5), ExampleBatches(examples, rows=8, seed=4).impressions(5))


def test_a_batch_holds_the_share_of_clicks_asked_for_and_all_clicked_rows_turn_up_alike() -> None:
    examples = some_examples(impressions=400)
    batches = ExampleBatches(examples, rows=8, seed=0, clicked_share=0.25)
    drawn = np.stack([batches.impressions(step) for step in range(500)])
    assert (examples.clicked[drawn].sum(axis=1) == 2).all()
    counts = np.bincount(drawn[:, :2].ravel(), minlength=400)[examples.clicked == 1]  # 50 rows, 20 draws each
    assert counts.min() > 3
    assert abs(counts.std() - 20**0.5) < 1.5


def test_a_log_without_clicks_teaches_nothing() -> None:
    examples = some_examples()
    with pytest.raises(DataError, match="no impression was clicked"):
        ExampleBatches(replace(examples, clicked=np.zeros_like(examples.clicked)), rows=4, seed=0)
    with pytest.raises(DataError, match="every impression was clicked"):
        ExampleBatches(replace(examples, clicked=np.ones_like(examples.clicked)), rows=4, seed=0)


def test_rows_bring_the_picture_user_concept_and_click_of_their_impression() -> None:
    examples = some_examples()
    batch = rows_of(examples, np.array([8, 9]))
    for row, impression in enumerate((8, 9)):
        picture = examples.impression_picture[impression]
        pixels = to_bytes(batch.picture[row]).permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, examples.pictures[picture])
        assert np.array_equal(batch.mask[row, 0].numpy() * 255, examples.masks[picture])
        assert np.array_equal(batch.user[row].numpy(), examples.user_vectors[examples.impression_user[impression]])
        assert np.array_equal(batch.concept[row].numpy(), examples.concept_vectors[examples.picture_concept[picture]])
    assert batch.click.tolist() == [2, 1]


@given(st.floats(-3, 3, width=32))
def test_bytes_are_the_nearest_of_256_levels(value: float) -> None:
    level = int(to_bytes(torch.tensor([value]))[0])
    assert abs(level - min(max((value + 1) * 127.5, 0), 255)) <= 0.5001


def test_bytes_survive_the_way_to_floats_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(levels)), levels)
