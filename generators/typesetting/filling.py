"""Turns a scene with a product painted in it into the scene without: what it hid is continued from what is around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from contracts.compiled import compiled
from generators.products import Pixels

Floats = npt.NDArray[np.float32]
Holes = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]

_PATCH = 2  # radius: patches of 5 x 5 pixels are compared
_WHOLE_SEARCH = 64  # scenes up to this side are searched whole, larger ones near what a smaller copy of them found
_AT_ONCE = 128  # targets compared at once: their distances stay in the cache
_ROUNDS = 4  # of search and vote where a scene is searched whole; one where it is searched nearby
_LEVEL = (
    150.0  # levels of 255 that a patch costs when it is taken from a whole side higher or lower: horizons stay level
)


def clear_product(scene: Pixels, mask: npt.NDArray[np.float32]) -> Pixels:
    """The scene without what the mask covers, its rim and the shadow at its foot.

    Enlarged, the small product would peep out around the sharp one, or stand as a ghost beside it in another format.
    Stripes, arches and edges are continued: every 5 x 5 patch that touches the gap takes the pixels of the most
    similar patch of the scene, all of them vote, and that is repeated (Wexler, Shechtman and Irani, "Space-time
    completion of video", IEEE TPAMI 29(3), 2007), from coarse to fine. The first guess is a diffusion.

    Args:
        scene: uint8 (side, side, 3).
        mask: float32 (side, side), the product's cover, 0 to 1.
    """
    hidden = hidden_by(mask)
    if not hidden.any() or hidden.mean() > 0.8:
        return scene.copy()
    sizes = [scene.shape[0]]
    while sizes[-1] > 40:
        sizes.append(sizes[-1] // 2)
    guess: Floats | None = None
    for side in reversed(sizes):
        small, hole = _reduced(scene, hidden, side)
        guess = diffuse(small, hole) if guess is None else np.where(hole[..., None], _resized(guess, side), small)
        guess = _vote(guess, hole)
    assert guess is not None
    return np.where(hidden[..., None], np.clip(np.round(guess), 0, 255).astype(np.uint8), scene)


def hidden_by(mask: npt.NDArray[np.float32]) -> Holes:
    """What a product of this cover hides, (side, side): itself, a thin rim, and the soft shadow around its foot."""
    side = mask.shape[0]
    rim = 2 * max(1, round(side / 48)) + 1
    covered = mask > 0.02
    stamp = Image.fromarray((covered * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(rim))
    hidden = np.asarray(stamp) > 0
    if not covered.any():
        return hidden
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    half = max((columns[-1] + 1 - columns[0]) / 2, 1.0)
    centre, foot, tall = (columns[0] + columns[-1] + 1) / 2, rows[-1] + 1, rows[-1] + 1 - rows[0]
    y, x = np.mgrid[0:side, 0:side] + 0.5
    shadow = ((x - centre) / (1.55 * half)) ** 2 + ((y - foot) / (0.15 * tall + 0.02 * side)) ** 2 < 1
    return np.asarray(hidden | shadow, dtype=np.bool_)


def _reduced(scene: Pixels, hidden: Holes, side: int) -> tuple[Floats, Holes]:
    """Scene and hole at another side; a pixel that saw any of the hole belongs to it."""
    if scene.shape[0] == side:
        return scene.astype(np.float32), hidden
    share = _resized(hidden.astype(np.float32)[..., None], side, Image.Resampling.BOX)[..., 0]
    return _resized(scene.astype(np.float32), side, Image.Resampling.BOX), share > 0.01


def _resized(planes: Floats, side: int, how: Image.Resampling = Image.Resampling.BILINEAR) -> Floats:
    done = [np.asarray(Image.fromarray(plane).resize((side, side), how)) for plane in np.moveaxis(planes, 2, 0)]
    return np.stack(done, axis=-1).astype(np.float32)


def diffuse(scene: Floats, hidden: Holes) -> Floats:
    """The hole filled by a diffusion that runs mostly sideways, so that a horizon goes on behind the product."""
    field, other = _fill_rows(scene, hidden), scene.copy()
    for _ in range(scene.shape[0]):
        _diffused(field, np.asarray(hidden), other)
        _diffused(other, np.asarray(hidden), field)
    return field


@compiled
def _diffused(field: Floats, hidden: Holes, out: Floats) -> None:
    """One step of the diffusion, into the hole of `out`; beyond an edge there is what is at it."""
    last = field.shape[0] - 1
    for y in range(field.shape[0]):
        above, below = max(y - 1, 0), min(y + 1, last)
        for x in range(field.shape[1]):
            if hidden[y, x]:
                left, right = max(x - 1, 0), min(x + 1, last)
                for channel in range(3):
                    sideways = field[y, left, channel] + field[y, right, channel]
                    upright = field[above, x, channel] + field[below, x, channel]
                    out[y, x, channel] = sideways * np.float32(0.4) + upright * np.float32(0.1)


def _fill_rows(scene: Floats, hidden: Holes) -> Floats:
    """A first guess: each row interpolated across its gap; rows hidden whole take the mean of the rest."""
    field = scene.copy()
    columns = np.arange(scene.shape[1])
    rest = scene[~hidden].mean(axis=0)
    for row in np.flatnonzero(hidden.any(axis=1)):
        known = ~hidden[row]
        for channel in range(3):
            values = np.interp(columns, columns[known], scene[row, known, channel]) if known.any() else rest[channel]
            field[row, :, channel] = np.where(known, scene[row, :, channel], values)
    return field


def _vote(guess: Floats, hole: Holes) -> Floats:
    """The guess after some rounds of search and vote at this side."""
    side = guess.shape[0]
    span = 2 * _PATCH + 1
    centres = np.zeros_like(hole)
    inner = slice(_PATCH, side - _PATCH)
    touched = np.asarray(Image.fromarray((hole * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(span))) > 0
    centres[inner, inner] = touched[inner, inner]
    known = np.zeros_like(hole)
    known[inner, inner] = ~touched[inner, inner]
    at, sources = np.argwhere(centres), np.argwhere(known)
    if len(sources) < 16:
        return guess
    deep = _depth(hole)[at[:, 0], at[:, 1]]
    trust = np.float32(1.3) ** -deep  # patches near what is known weigh more
    whole = side <= _WHOLE_SEARCH
    for _ in range(_ROUNDS if whole else 1):
        found = _nearest(guess, at, sources) if whole else _nearest_by_halves(guess, at, sources)
        guess = _blend(guess, hole, at, found, trust)
    return guess


def _depth(hole: Holes) -> Floats:
    """How many pixels each one lies inside the hole, (side, side)."""
    depth, left = np.zeros(hole.shape, np.float32), hole
    while left.any():
        depth += left
        inside = np.pad(left, 1, mode="edge")
        left = left & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return depth


def _patches(field: Floats, at: Places) -> Floats:
    """The patches around these pixels and their height in the scene, as rows, (N, 5 * 5 * 3 + 1)."""
    span = 2 * _PATCH + 1
    windows = np.lib.stride_tricks.sliding_window_view(field, (span, span), axis=(0, 1))
    rows = windows[at[:, 0] - _PATCH, at[:, 1] - _PATCH].reshape(len(at), -1)
    level = at[:, :1].astype(np.float32) * _cost_of_level(field.shape[0])
    return np.concatenate([rows, level], axis=1)


def _cost_of_level(side: int) -> np.float32:
    """What a row higher or lower costs, as the root of a sum of squares."""
    return np.float32(_LEVEL * (2 * _PATCH + 1) * np.sqrt(3) / side)


def _nearest(field: Floats, at: Places, sources: Places) -> Places:
    """For every target the centre of the most similar source patch (N, 2): all are compared."""
    wanted, offered = _patches(field, at), _patches(field, sources)
    offered = np.column_stack([offered, (offered**2).sum(axis=1)])
    wanted = np.column_stack([-2 * wanted, np.ones(len(at), np.float32)])
    found = np.empty(len(at), np.intp)
    for first in range(0, len(at), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        found[part] = (wanted[part] @ offered.T).argmin(axis=1)  # squared distance, less what is the same for all
    nearest: Places = sources[found]
    return nearest


def _nearest_by_halves(field: Floats, at: Places, sources: Places) -> Places:
    """As `_nearest`, but found at half the side and then corrected by up to a pixel."""
    side = field.shape[0]
    half = _resized(field, side // 2, Image.Resampling.BOX)
    rough_sources, _ = _halves(sources, side // 2)
    rough_at, back = _halves(at, side // 2)
    start = 2 * _nearest(half, rough_at, rough_sources)[back] + at % 2
    allowed = np.zeros((side, side), dtype=np.bool_)
    allowed[sources[:, 0], sources[:, 1]] = True
    chosen = np.empty_like(start)
    _correct(field, at, start, allowed, _cost_of_level(side), chosen)
    return chosen


def _halves(at: Places, side: int) -> tuple[Places, Places]:
    """These pixels at half the side, each once, and which of those each one became."""
    rough = np.clip(at // 2, _PATCH, side - _PATCH - 1)
    flat, back = np.unique(rough[:, 0] * side + rough[:, 1], return_inverse=True)
    return np.column_stack([flat // side, flat % side]), back


@compiled
def _correct(
    field: Floats, at: Places, start: Places, allowed: Holes, cost_of_level: np.float32, chosen: Places
) -> None:
    """The most similar patch of those that begin up to a pixel from `start`; of forbidden ones alone, the first."""
    last = field.shape[0] - _PATCH - 1
    for one in range(len(at)):
        y, x = at[one]
        best = np.float32(np.inf)
        for step in range(9):
            down = min(max(start[one, 0] + step // 3 - 1, _PATCH), last)
            right = min(max(start[one, 1] + step % 3 - 1, _PATCH), last)
            cost = np.float32(1e12)
            if allowed[down, right]:
                cost = (np.float32(down - y) * cost_of_level) ** 2
                for row in range(-_PATCH, _PATCH + 1):
                    for column in range(-_PATCH, _PATCH + 1):
                        for channel in range(3):
                            apart = field[down + row, right + column, channel] - field[y + row, x + column, channel]
                            cost += apart * apart
                    if cost >= best:
                        break
            if cost < best:
                best = cost
                chosen[one, 0], chosen[one, 1] = down, right


def _blend(guess: Floats, hole: Holes, at: Places, found: Places, trust: Floats) -> Floats:
    """Every pixel of the hole as the weighted mean of what the patches over it say."""
    total, weight = np.zeros_like(guess), np.zeros(hole.shape, np.float32)
    _add(guess, at, found, trust, total, weight)
    voted = hole & (weight > 0)
    return np.where(voted[..., None], total / np.maximum(weight, np.float32(1e-9))[..., None], guess)


@compiled
def _add(guess: Floats, at: Places, found: Places, trust: Floats, total: Floats, weight: Floats) -> None:
    """Adds what each patch says of the pixels around its target, and its weight."""
    for row in range(-_PATCH, _PATCH + 1):
        for column in range(-_PATCH, _PATCH + 1):
            for one in range(len(at)):
                y, x = at[one, 0] + row, at[one, 1] + column
                weight[y, x] += trust[one]
                for channel in range(3):
                    total[y, x, channel] += guess[found[one, 0] + row, found[one, 1] + column, channel] * trust[one]
