"""Turns pictures with a hole into pictures without one: what is around it flows in, coarse to fine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def fill_holes(pictures: Tensor, holes: Tensor) -> Tensor:
    """The pictures with the holes filled smoothly from their surroundings (push-pull: Gortler et al. 1996, section 5).

    Args:
        pictures: (B, 3, S, S), S a power of two times a small number.
        holes: (B, 1, S, S), 1 in the holes, 0 elsewhere; a picture that is all hole comes back grey (0).
    """
    known = 1 - holes
    return known * pictures + holes * _pull(pictures * known, known)


def _pull(weighted: Tensor, known: Tensor) -> Tensor:
    """(B, 3, S, S) of colours times weights, and the weights (B, 1, S, S), into colours everywhere."""
    here = weighted / known.clamp(min=1e-6)
    side = weighted.shape[-1]
    if side % 2 or side < 2:
        mean = weighted.mean((2, 3), keepdim=True) / known.mean((2, 3), keepdim=True).clamp(min=1e-6)
        return torch.where(known > 0, here, mean)
    coarse = _pull(functional.avg_pool2d(weighted, 2), functional.avg_pool2d(known, 2))
    around = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    cover = known.clamp(max=1)
    return cover * here + (1 - cover) * around
