"""When the GPU's memory runs out, fewer scenes are painted at once, it is said, and no scene is lost or painted otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch

from contracts.errors import ModelError
from generators.painting.frugal import FrugalPainter
from generators.painting.painters import SceneRequest


class Cramped:
    """Paints its seed; cannot paint more than `room` scenes at once."""

    side, weights_hash = 4, "weights"

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []
        self.fault: RuntimeError = torch.OutOfMemoryError("CUDA out of memory")

    def paint(self, requests: Sequence[SceneRequest]) -> npt.NDArray[np.uint8]:
        self.tried.append(len(requests))
        if len(requests) > self.room:
            raise self.fault
        return np.stack([np.full((4, 4, 3), request.seed, np.uint8) for request in requests])


def requests(count: int) -> list[SceneRequest]:
    return [SceneRequest(None, None, None, seed) for seed in range(count)]


def test_it_halves_until_it_fits_and_keeps_every_scene_in_its_place() -> None:
    cramped, told = Cramped(3), list[str]()
    painter = FrugalPainter(cramped, rows=16, tell=told.append)
    scenes = painter.paint(requests(20))
    assert scenes[:, 0, 0, 0].tolist() == list(range(20))
    assert cramped.tried == [16, 8, 4, *[2] * 10]
    assert len(told) == 3
    assert "16 scenes at once; going on with 8" in told[0]


def test_it_remembers_what_fits() -> None:
    cramped, told = Cramped(3), list[str]()
    painter = FrugalPainter(cramped, rows=4, tell=told.append)
    painter.paint(requests(4))
    painter.paint(requests(6))
    assert cramped.tried == [4, 2, 2, 2, 2, 2]
    assert len(told) == 1


def test_where_memory_suffices_nothing_is_said() -> None:
    cramped, told = Cramped(100), list[str]()
    assert len(FrugalPainter(cramped, rows=4, tell=told.append).paint(requests(9))) == 9
    assert cramped.tried == [4, 4, 1]
    assert not told
    assert FrugalPainter(cramped, rows=4, tell=told.append).paint([]).shape == (0, 4, 4, 3)


def test_not_even_one_scene_is_a_clear_line() -> None:
    with pytest.raises(ModelError, match="does not suffice for one scene"):
        FrugalPainter(Cramped(0), rows=4, tell=lambda line: None).paint(requests(2))


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
                                  "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])  # fmt: skip
def test_what_cuda_s_libraries_say_for_it_counts_too(said: str) -> None:
    cramped = Cramped(3)
    cramped.fault = RuntimeError(said)
    scenes = FrugalPainter(cramped, rows=4, tell=lambda line: None).paint(requests(5))
    assert scenes[:, 0, 0, 0].tolist() == list(range(5))
    cramped.fault = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal"):
        FrugalPainter(cramped, rows=4, tell=lambda line: None).paint(requests(5))


def test_other_faults_pass_through() -> None:
    class Broken(Cramped):
        def paint(self, requests: Sequence[SceneRequest]) -> npt.NDArray[np.uint8]:
            raise ModelError("a user vector is not finite", where="scene request", fix="")

    with pytest.raises(ModelError, match="not finite"):
        FrugalPainter(Broken(9), rows=4, tell=lambda line: None).paint(requests(2))


def test_it_is_the_painter_it_wraps() -> None:
    painter = FrugalPainter(Cramped(9), rows=4, tell=lambda line: None)
    assert (painter.side, painter.weights_hash) == (4, "weights")
