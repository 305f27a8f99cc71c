"""Turns a scene's style into what is on its wall (arches, hills, chips) or what falls on it (leaf shadows, panes)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sources.canvas import Canvas, Plane, smooth
from sources.style import Palette, Pattern, SceneStyle

Painter = Callable[[Canvas, SceneStyle, Palette, np.random.Generator], None]


def _above(canvas: Canvas, style: SceneStyle) -> Plane:
    return smooth(canvas.y, style.horizon + style.seam, style.horizon - style.seam)


def _none(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """A bare wall; the busier ones are painted in two fields, the upper one an accent."""
    if style.busyness > 0.5:
        slope, height = np.float32(rng.uniform(-0.5, 0.5)), rng.uniform(0.2, 0.45)
        canvas.paint(smooth(canvas.y + slope * (canvas.x - np.float32(0.5)), height + 0.008, height - 0.008),
                     palette.accents[2])  # fmt: skip


def _arches(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Nested round arches that stand on the horizon; the innermost is a niche, shaded on one side."""
    rings = 1 + round(2.4 * style.busyness)
    radius = rng.uniform(0.27, 0.4)
    centre = style.position + rng.uniform(-0.06, 0.06)
    spring = min(style.horizon - 0.05, max(radius + 0.05, rng.uniform(0.38, 0.52)))
    step = radius / (rings + rng.uniform(0.7, 1.6))
    rise = np.minimum(canvas.y - np.float32(spring), 0)
    distance = np.sqrt((canvas.x - np.float32(centre)) ** 2 + rise * rise)
    for ring in range(rings):
        reach = radius - ring * step
        canvas.paint(smooth(distance, reach + 0.005, reach - 0.005), palette.accents[(3, 0, 2, 1)[ring % 4]])
    inner = radius - (rings - 1) * step
    shift = rng.choice([-1.0, 1.0]) * inner * 0.35
    moved = np.sqrt((canvas.x - np.float32(centre + shift)) ** 2 + (rise + np.float32(0.2 * inner)) ** 2)
    shade = smooth(distance, inner + 0.005, inner - 0.005) * smooth(moved, inner * 0.6, inner * 1.3)
    canvas.light *= 1 - np.float32(0.15 + 0.3 * style.busyness) * shade


def _discs(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """A few large discs on the wall, each with a soft shadow: paper suns."""
    count = 1 + round(3.5 * style.busyness)
    cut = _above(canvas, style)
    for index in range(count):
        radius = rng.uniform(0.2, 0.32) if index == 0 else rng.uniform(0.06, 0.16)
        x = style.position + rng.uniform(-0.15, 0.1) if index == 0 else rng.uniform(0.05, 0.95)
        y = rng.uniform(0.3, 0.5) if index == 0 else rng.uniform(0.08, style.horizon - 0.05)
        where, shadow = canvas.ellipse(x + 0.02, y + 0.03, radius * 1.02, radius * 1.02, edge=0.08)
        canvas.light[where] *= 1 - np.float32(0.22) * shadow * cut[where[0]]
        colour = palette.accents[(2, 3, 1, 0)[index % 4]]
        where, mask = canvas.ellipse(x, y, radius, radius)
        canvas.light[where] += mask * cut[where[0]] * (1 - canvas.light[where])
        canvas.paint_ellipse(x, y, radius, radius, colour, cut=cut)


def _ridges(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator, waviness: float) -> None:
    count = 2 + round(3.4 * style.busyness)
    top = rng.uniform(0.25, 0.45)
    order = (0, 2, 3, 1, 2)
    flip = rng.random() < 0.5
    for index in range(count):
        base = top + (style.horizon + 0.02 - top) * index / count
        rate, phase = rng.uniform(0.6, 1.0) * waviness, rng.uniform(0, 6.3)
        swell = rng.uniform(0.03, 0.075)
        edge = base + swell * np.sin(6.283 * rate * canvas.x + phase) + 0.3 * swell * np.sin(11.0 * rate * canvas.x)
        below = canvas.y - edge.astype(np.float32)
        picked = palette.accents[order[(count - 1 - index if flip else index) % 5]]
        canvas.paint(smooth(below, -0.006, 0.006), picked)
        canvas.light *= 1 - np.float32(0.12) * smooth(below, -0.05, 0.0) * (below < 0)


def _hills(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Paper hills one behind another, now and then with a sun."""
    if rng.random() < 0.6:
        radius = rng.uniform(0.08, 0.15)
        canvas.paint_ellipse(rng.uniform(0.15, 0.75), rng.uniform(0.18, 0.36), radius, radius, palette.bright)
    _ridges(canvas, style, palette, rng, waviness=0.8)


def _waves(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Flowing bands that rise to one side."""
    turn = rng.uniform(-0.9, 0.9)
    flow = canvas.y + np.float32(turn) * (canvas.x - np.float32(0.5))
    flow = flow + np.float32(rng.uniform(0.05, 0.1)) * np.sin(
        np.float32(6.283 * rng.uniform(0.5, 1.1)) * canvas.x + np.float32(rng.uniform(0, 6.3))
    )
    count = 2 + round(3.4 * style.busyness)
    start, gap = rng.uniform(0.1, 0.3), rng.uniform(0.55, 0.8) / count
    for index in range(count):
        at = start + index * gap
        canvas.paint(smooth(flow, at - 0.005, at + 0.005), palette.accents[(2, 0, 3, 1)[index % 4]])


def _terrazzo(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Large rounded chips of stone, loosely spread: on the wall, so that the surface stays quiet."""
    count = round(12 + 26 * style.busyness)
    cut = _above(canvas, style)
    columns = 6
    for index in range(count):
        x = (index % columns + rng.uniform(0.1, 0.9)) / columns
        y = (index // columns + rng.uniform(0.1, 0.9)) * style.horizon / max(1, -(-count // columns))
        size = rng.uniform(0.022, 0.062)
        canvas.paint_ellipse(
            x, y, size, size * rng.uniform(0.55, 0.95), palette.accents[int(rng.integers(4))],
            angle=rng.uniform(0, 3.1), edge=0.008, opacity=0.9, cut=cut,
        )  # fmt: skip


def _stripes(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Broad painted stripes, upright or leaning."""
    angle = rng.choice([0.0, 0.0, rng.uniform(0.4, 0.9), -rng.uniform(0.4, 0.9)])
    width = 0.2 - 0.11 * style.busyness
    along = canvas.x * np.float32(np.cos(angle)) + canvas.y * np.float32(np.sin(angle))
    wave = np.sin(along * np.float32(np.pi / width) + np.float32(rng.uniform(0, 6.3)))
    softness = rng.uniform(0.15, 0.9)
    canvas.paint(smooth(wave, -softness, softness), palette.accents[2 if rng.random() < 0.6 else 0])


def _folds(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """A hanging cloth: soft upright folds that only the light shows."""
    width = 0.22 - 0.1 * style.busyness
    bend = np.float32(0.25) * np.sin(np.float32(2.2) * canvas.x + np.float32(rng.uniform(0, 6.3)))
    lean = canvas.x + np.float32(rng.uniform(-0.12, 0.12)) * canvas.y
    turn = lean * np.float32(2 * np.pi / width) + np.float32(6) * bend
    fold = np.sin(turn) + np.float32(0.35) * np.sin(2 * turn + np.float32(1.0))
    depth = np.float32(0.08 + 0.34 * style.busyness)
    canvas.light *= 1 + depth * fold * _above(canvas, style)
    canvas.paint(smooth(fold, 0.0, 1.6) * np.float32(0.5), palette.accents[0])


def _bokeh(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Out-of-focus lights."""
    cut = _above(canvas, style)
    strength = 0.25 + 0.45 * style.busyness
    for index in range(round(7 + 13 * style.busyness)):
        radius = rng.uniform(0.035, 0.11)
        colour = palette.bright if index % 3 else palette.accents[2]
        canvas.paint_ellipse(
            rng.uniform(-0.05, 1.05), rng.uniform(0.0, style.horizon), radius, radius, colour,
            edge=rng.uniform(0.012, 0.05), opacity=strength * rng.uniform(0.4, 1.0), cut=cut,
        )  # fmt: skip


def _plinths(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Blocks and rounded columns that stand behind the product on both sides."""
    for index in range(2 + round(2.4 * style.busyness)):
        half = rng.uniform(0.07, 0.13)
        x = (rng.uniform(0.05, 0.32), rng.uniform(0.74, 0.98), rng.uniform(0.35, 0.6), rng.uniform(0.0, 1.0))[index % 4]
        top = style.horizon - rng.uniform(0.1, 0.48)
        corner = half if rng.random() < 0.45 else 0.012
        dx = np.abs(canvas.x - np.float32(x)) - np.float32(half - corner)
        dy = np.float32(top + corner) - canvas.y
        distance = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2) - np.float32(corner)
        mask = smooth(distance, 0.005, -0.005)
        canvas.light *= 1 - np.float32(0.2) * smooth(distance, 0.06, 0.0) * (1 - mask)
        canvas.paint(mask, palette.accents[(2, 0, 3, 1)[index % 4]])
        side = (canvas.x - np.float32(x)) / np.float32(half)
        lit = -side if style.light_x < x else side
        canvas.light *= 1 + mask * np.clip(lit, -1, 1) * np.float32(0.16)


def _leaves(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """The soft shadow of one or two palm fronds that reach in from an upper corner."""
    sheet = Canvas(canvas.size // 4, palette.wall)  # shadows are soft: half the sub-pixels will do
    shade = np.zeros((sheet.size, sheet.size), dtype=np.float32)
    left = rng.random() < 0.5
    edge = 0.05 - 0.028 * style.busyness
    for _ in range(1 + (style.busyness > 0.35)):
        x, y = (-0.05 if left else 1.05), rng.uniform(-0.05, 0.35)
        heading = rng.uniform(-0.15, 0.65) if left else np.pi - rng.uniform(-0.15, 0.65)
        reach, leaflets = rng.uniform(0.6, 0.85), 9
        for index in range(2 * leaflets):
            along = (index // 2 + 1.2) / (leaflets + 1)
            lean = (0.95 - 0.45 * along) * (1 if index % 2 else -1)
            length = 0.16 * (1.15 - 0.75 * abs(along - 0.4)) * reach / 0.75
            bend = heading + 0.35 * along * (1 if left else -1)
            stem_x, stem_y = x + reach * along * np.cos(bend), y + reach * along * np.sin(bend)
            tip = bend + lean
            where, mask = sheet.ellipse(
                float(stem_x + 0.9 * length * np.cos(tip)), float(stem_y + 0.9 * length * np.sin(tip)),
                float(length), 0.022, float(tip), edge,
            )  # fmt: skip
            shade[where] = np.maximum(shade[where], mask)
    depth = np.float32(0.18 + 0.42 * style.busyness)
    canvas.light *= 1 - depth * shade.repeat(canvas.size // sheet.size, 0).repeat(canvas.size // sheet.size, 1)


def _window(canvas: Canvas, style: SceneStyle, palette: Palette, rng: np.random.Generator) -> None:
    """Sunlight through a window: slanted panes on a darker wall."""
    slant, rise = rng.uniform(0.15, 0.45) * rng.choice([-1.0, 1.0]), rng.uniform(-0.25, 0.25)
    columns, rows = 2 + int(rng.random() < 0.4), 2 + int(style.busyness > 0.5)
    wide, high = rng.uniform(0.5, 0.75), rng.uniform(0.5, 0.7)
    u = (canvas.x + np.float32(slant) * canvas.y - np.float32(rng.uniform(0.2, 0.35) + max(0.0, slant) * 0.5)) * (
        np.float32(columns / wide)
    )
    v = (canvas.y + np.float32(rise) * canvas.x - np.float32(rng.uniform(0.05, 0.15) + rise * 0.5)) * (
        np.float32(rows / high)
    )
    blur, bar = 0.1 - 0.05 * style.busyness, 0.1

    def panes(at: Plane, count: int) -> Plane:
        inside = np.minimum(at, count - at)
        to_bar = np.float32(0.5) - np.abs(at - np.floor(at) - np.float32(0.5))
        return smooth(np.minimum(inside, to_bar + (inside < 0)), bar / 2 - blur / 2, bar / 2 + blur)

    lit = panes(u, columns) * panes(v, rows)
    depth = np.float32(0.25 + 0.75 * style.busyness)
    canvas.light *= (1 - np.float32(0.35) * depth) + depth * lit
    canvas.tint += lit * np.float32(0.6)


WALL_PAINTERS: dict[Pattern, Painter] = {
    "none": _none, "arches": _arches, "discs": _discs, "waves": _waves, "terrazzo": _terrazzo, "stripes": _stripes,
    "bokeh": _bokeh, "hills": _hills, "plinths": _plinths, "folds": _folds,
}  # fmt: skip
LIGHT_PAINTERS: dict[Pattern, Painter] = {"leaves": _leaves, "window": _window}
