"""Turns a training file (logged pictures, vectors and clicks) into batches that depend only on (seed, step).

Letters: P pictures, S side, C concepts, U users, I impressions, D dimensions, B rows of a batch.

The file is safetensors: `pictures` uint8 (P, S, S, 3), `masks` uint8 (P, S, S) (255 = product pixels, held fixed; all
0 where the product's box is not known), `picture_concept` int32 (P,), `concept_vectors` float32 (C, D),
`user_vectors` float32 (U, D), `impression_picture` int32 (I,), `impression_user` int32 (I,), `clicked` uint8 (I,) in
{0, 1}; and, as text metadata, the hash of the embedding space and the name of the split.

Pictures are never flipped, cropped or jittered: a mirrored product is another product, and a change of colour would
change what the click said about the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from contracts.errors import DataError
from contracts.seeds import stream
from generators.pixels import to_float

FORMAT = "adloom-examples-1"
_REMAKE = "Write the training file again from the data folder"
_SHAPES: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "pictures": ("uint8", ("P", "S", "S", 3)),
    "masks": ("uint8", ("P", "S", "S")),
    "picture_concept": ("int32", ("P",)),
    "concept_vectors": ("float32", ("C", "D")),
    "user_vectors": ("float32", ("U", "D")),
    "impression_picture": ("int32", ("I",)),
    "impression_user": ("int32", ("I",)),
    "clicked": ("uint8", ("I",)),
}
_INDICES = (("picture_concept", "C"), ("impression_picture", "P"), ("impression_user", "U"))


@dataclass(frozen=True, eq=False)
class Examples:
    """A training file in memory; the arrays are described at the top of this file.

    Raises:
        DataError: listing every array with a wrong type, shape, index, value or NaN.
    """

    pictures: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    picture_concept: npt.NDArray[np.int32]
    concept_vectors: npt.NDArray[np.float32]
    user_vectors: npt.NDArray[np.float32]
    impression_picture: npt.NDArray[np.int32]
    impression_user: npt.NDArray[np.int32]
    clicked: npt.NDArray[np.uint8]
    space_hash: str
    split: str

    def __post_init__(self) -> None:
        faults = _faults(self.arrays())
        if not self.space_hash:
            faults.append("space_hash is empty")
        if faults:
            raise DataError("; ".join(faults), where="training examples", fix=_REMAKE)

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in _SHAPES}

    @property
    def side(self) -> int:
        """S, the side of a picture in pixels."""
        return int(self.pictures.shape[1])

    @property
    def dimensions(self) -> int:
        """D of the embedding space."""
        return int(self.user_vectors.shape[1])


def write_examples(examples: Examples, file: Path) -> None:
    """Write a training file, by way of a temporary name."""
    temporary = file.with_name(file.name + ".part")
    metadata = {"format": FORMAT, "space_hash": examples.space_hash, "split": examples.split}
    save_file({name: np.ascontiguousarray(a) for name, a in examples.arrays().items()}, temporary, metadata=metadata)
    temporary.replace(file)


def read_examples(file: Path) -> Examples:
    """Read and check a training file.

    Raises:
        DataError: the file is missing, cut short, of another format, or holds a fault (all are named).
    """
    if not file.is_file():
        raise DataError("no such training file", where=str(file), fix=_REMAKE)
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            arrays = {name: opened.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise DataError(f"not a whole safetensors file ({error})", where=str(file), fix=_REMAKE) from error
    if metadata.get("format") != FORMAT:
        raise DataError(f"format {metadata.get('format')!r} instead of {FORMAT!r}", where=str(file), fix=_REMAKE)
    missing = [field.name for field in fields(Examples) if field.name not in arrays and field.name not in metadata]
    if missing:
        raise DataError(f"missing {', '.join(missing)}", where=str(file), fix=_REMAKE)
    try:
        known = {name: arrays[name] for name in _SHAPES}
        return Examples(**known, space_hash=metadata["space_hash"], split=metadata["split"])
    except DataError as error:
        raise DataError(error.what, where=str(file), fix=_REMAKE) from None


def _faults(arrays: dict[str, npt.NDArray[np.generic]]) -> list[str]:
    """Everything that is wrong with the arrays, one line each."""
    sizes: dict[str, int] = {}
    faults = []
    for name, (dtype, shape) in _SHAPES.items():
        array = arrays[name]
        if array.dtype != np.dtype(dtype):
            faults.append(f"{name} is {array.dtype}, not {dtype}")
        expected = tuple(sizes.get(s, s) if isinstance(s, str) else s for s in shape)
        fits = array.ndim == len(shape)
        for letter, size in zip(shape, array.shape, strict=False):
            fits = fits and size == (sizes.setdefault(letter, size) if isinstance(letter, str) else letter)
        if not fits:
            faults.append(f"{name} has shape {array.shape}, not {expected}".replace("'", ""))
        elif array.size == 0:
            faults.append(f"{name} is empty")
    if faults:
        return faults
    for name, letter in _INDICES:
        wrong = int(((arrays[name] < 0) | (arrays[name] >= sizes[letter])).sum())  # type: ignore[operator]
        if wrong:
            faults.append(f"{name} has {wrong} indices outside 0..{sizes[letter] - 1}")
    for name in ("concept_vectors", "user_vectors"):
        wrong = int((~np.isfinite(arrays[name])).any(axis=1).sum())
        if wrong:
            faults.append(f"{name} has {wrong} rows that are not finite")
    if not np.isin(arrays["clicked"], (0, 1)).all():
        faults.append("clicked holds values other than 0 and 1")
    return faults


@dataclass(frozen=True, eq=False)
class Batch:
    """B impressions: picture (B, 3, S, S) in [-1, 1], mask (B, 1, S, S) in {0, 1}, user and concept (B, D), click (B,)
    int64 in {1 not clicked, 2 clicked} (see `network.Click`)."""

    picture: Tensor
    mask: Tensor
    user: Tensor
    concept: Tensor
    click: Tensor


class ExampleBatches:
    """Batches of impressions, drawn with replacement, a set share of them clicked.

    Clicks are rare (a few per cent) and carry most of what is known about taste, so they are drawn more often. What
    that does to the learned distributions: p(picture | concept, user, clicked) is unchanged, since all rows with one
    click state are drawn alike. Where the click is unknown, the network learns the picture distribution of a log with
    the share s of clicks instead of the true rate r; guidance from there to "clicked" then multiplies by
    P(click | user, picture)^weight computed with its log-odds shifted by log(s (1 - r) / (r (1 - s))): the same
    ordering of pictures, a gentler slope for pictures that are clicked much.

    Args:
        examples: the training file.
        rows: B.
        seed: of the draws; the batch of a step depends on (seed, step) alone, so that resuming is exact.
        clicked_share: of clicked rows in a batch, in (0, 1); at least one row of each kind.

    Raises:
        DataError: nothing was clicked, or everything was.
    """

    def __init__(self, examples: Examples, *, rows: int, seed: int, clicked_share: float = 0.5) -> None:
        self.examples, self.rows, self.seed = examples, rows, seed
        self._clicked = np.flatnonzero(examples.clicked)
        self._other = np.flatnonzero(examples.clicked == 0)
        if not len(self._clicked) or not len(self._other):
            what = "no impression was clicked" if not len(self._clicked) else "every impression was clicked"
            raise DataError(what, where="training examples", fix="Learn from a longer log, with clicks and without")
        self.clicked_rows = min(max(round(rows * clicked_share), 1), rows - 1)

    def impressions(self, step: int) -> npt.NDArray[np.int64]:
        """Indices of the impressions of a step (B,), clicked ones first."""
        random = stream(self.seed, "batch", step)
        clicked = random.choice(self._clicked, self.clicked_rows)
        return np.concatenate([clicked, random.choice(self._other, self.rows - self.clicked_rows)])

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        return rows_of(self.examples, self.impressions(step))


def rows_of(examples: Examples, impressions: npt.NDArray[np.int64]) -> Batch:
    """The impressions with these indices (B,) as tensors."""
    picture = examples.impression_picture[impressions]
    pixels = torch.from_numpy(examples.pictures[picture]).permute(0, 3, 1, 2)  # (B, 3, S, S)
    return Batch(
        picture=to_float(pixels),
        mask=torch.from_numpy(examples.masks[picture] >= 128).float()[:, None],
        user=torch.from_numpy(examples.user_vectors[examples.impression_user[impressions]]),
        concept=torch.from_numpy(examples.concept_vectors[examples.picture_concept[picture]]),
        click=torch.from_numpy(examples.clicked[impressions].astype(np.int64) + 1),
    )
