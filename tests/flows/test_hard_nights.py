"""A disk that fills up and a GPU that is too small cost time, and no finished picture."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import flows.draw_batches as drawing
from contracts.errors import DiskError, ModelError
from contracts.store import tree_hashes
from flows.job import Job
from flows.run_batch import STAGES
from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import SceneRequest
from tests.flows.small_run import copied, small_settings

STAGE = STAGES[4]
BATCH = 10


@pytest.fixture
def job(shared_run: Job, tmp_path: Path) -> Job:
    """A run that is to be drawn."""
    return copied(shared_run, tmp_path, small_settings(generators={"batch": BATCH, "renders": 3, "sizes": ["320x50"]}))


def draw(job: Job) -> Path:
    return job.store.perform(STAGE.key(job), lambda folder: STAGE.work(job, folder)).folder


def test_a_full_disk_is_one_line_and_what_was_finished_is_not_drawn_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, whole, make, drawn = [], drawing.write_picture, drawing.make, list[int]()

    def write(path: Path, *others: object) -> int:
        if "images" in path.parts:
            written.append(path.name)
        if len(written) > BATCH + 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "write_picture", write)
    with pytest.raises(DiskError, match="the disk is full"):
        draw(job)
    part = job.run / "generators.part"
    kept = {path.name: path.read_bytes() for path in (part / "images").iterdir() if path.name in written[:BATCH]}
    assert len(kept) == BATCH
    assert len(list((part / "done").iterdir())) == 1

    def counted(painter: object, orders: Sequence[object], **settings: object) -> object:
        drawn.append(len(orders))
        return make(painter, orders, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(drawing, "write_picture", whole)
    monkeypatch.setattr(drawing, "make", counted)
    folder = draw(job)
    creatives = pl.read_parquet(folder / "creatives.parquet")
    assert sum(drawn) == len(creatives) - BATCH
    assert all((folder / "images" / name).read_bytes() == content for name, content in kept.items())
    assert {f"{name}.png" for name in creatives["creative_id"]} == set(tree_hashes(folder / "images"))


@pytest.mark.parametrize("room", [3, 0])
def test_a_gpu_that_is_too_small_paints_fewer_at_once_and_says_so(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    whole = LatentPainter.paint

    def cramped(self: LatentPainter, requests: Sequence[SceneRequest]) -> np.ndarray:
        if len(requests) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, requests)

    monkeypatch.setattr(LatentPainter, "paint", cramped)
    if not room:
        with pytest.raises(ModelError, match="does not suffice for one scene") as raised:
            draw(job)
        assert "device to cpu" in (raised.value.fix or "")
        return
    creatives = pl.read_parquet(draw(job) / "creatives.parquet")
    assert len(creatives) > BATCH
    said = [line for line in capsys.readouterr().err.splitlines() if "memory" in line]
    assert [line.split("going on with ")[1] for line in said] == ["8.", "4.", "2."]
