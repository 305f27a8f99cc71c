"""Turns bytes of pixels into the numbers that networks see, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def to_float(pixels: Tensor) -> Tensor:
    """uint8 0..255 into float32 [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_bytes(pixels: Tensor) -> Tensor:
    """float [-1, 1] into uint8 0..255, rounded and clipped; undoes `to_float` exactly."""
    return ((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
