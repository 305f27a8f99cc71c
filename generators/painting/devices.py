"""Turns a wish for a device into one that is there, and tells in which precision it is fastest."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from contracts.errors import ModelError

Precision = Literal["fp32", "bf16"]


def find_device(wish: str) -> str:
    """ "cpu" or "cuda". Raises ModelError where CUDA is asked for and there is none."""
    available = torch.cuda.is_available()
    if wish == "cuda" and not available:
        raise ModelError("no CUDA device", where="device", fix="Use device auto or cpu")
    return "cuda" if available and wish != "cpu" else "cpu"


def fastest_precision(device: str) -> Precision:
    """What to compute in on a device: bf16 on CUDA and on CPUs with AMX tiles, else fp32 (where bf16 is emulated)."""
    has_tiles = device == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return "bf16" if has_tiles else "fp32"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the GPU's memory did not suffice: PyTorch's own, or what CUDA's libraries raise for it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA error: out of memory" in said
        or "CUDNN_STATUS_ALLOC_FAILED" in said
        or "CUBLAS_STATUS_ALLOC_FAILED" in said
    )


def mixed_precision(device: str, precision: Precision) -> AbstractContextManager[object]:
    """The context in which a network runs."""
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
