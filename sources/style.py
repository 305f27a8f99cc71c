"""Turns a random stream into the style of one historic ad scene: its palette, light, pattern and layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sources.canvas import Colour
from sources.colour import paint_colour

Light = Literal["soft", "sunbeam", "backlit", "spotlight"]
Pattern = Literal[
    "none", "arches", "discs", "waves", "terrazzo", "stripes", "bokeh", "leaves", "hills", "window", "plinths", "folds"
]
Harmony = Literal["one", "near", "opposite", "apart"]
LIGHTS: tuple[Light, ...] = get_args(Light)
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
HARMONIES: tuple[Harmony, ...] = get_args(Harmony)
_PATTERN_SHARES = (0.10, 0.11, 0.09, 0.08, 0.08, 0.08, 0.08, 0.10, 0.08, 0.07, 0.07, 0.06)


@dataclass(frozen=True)
class SceneStyle:
    """All that a scene is drawn from. Positions are fractions of the side, from the upper left; hues are degrees.

    Attributes:
        lightness, chroma, hue: the wall, in OKLCH (0 to 1, 0 to about 0.2, 0 to 360).
        accent_hue: the second colour.
        surface_lightness, surface_chroma, surface_hue: the table or floor.
        warmth: colour of the key light, -1 (cool sky) to 1 (low sun).
        light, light_x, light_y, strength: which light, where it comes from or falls, and how strong (0 to 1).
        pattern: what is on the wall or falls on it.
        busyness: 0 (calm) to 1: contrast, number and size of the shapes.
        position: across, where the product is expected to stand; shapes gather round it.
        horizon: down, where wall meets surface; `seam` is half the width of that edge (small: a table's edge;
            large: a sweep of paper).
        detail: seed of the places and sizes of single shapes.
    """

    lightness: float
    chroma: float
    hue: float
    accent_hue: float
    surface_lightness: float
    surface_chroma: float
    surface_hue: float
    warmth: float
    light: Light
    light_x: float
    light_y: float
    strength: float
    pattern: Pattern
    busyness: float
    position: float
    horizon: float
    seam: float
    detail: int


@dataclass(frozen=True)
class Palette:
    """The paints of a scene, each (3,) linear sRGB: the wall and its far side, the surface, and accents."""

    wall: Colour
    far: Colour
    surface: Colour
    near_surface: Colour
    accents: tuple[Colour, Colour, Colour, Colour]
    bright: Colour


def _accent_hue(harmony: Harmony, hue: float, rng: np.random.Generator) -> float:
    side = rng.choice([-1.0, 1.0])
    turn = {"one": 6.0, "near": rng.uniform(22, 55), "opposite": rng.uniform(150, 180), "apart": rng.uniform(95, 130)}
    return float((hue + side * turn[harmony]) % 360)


def _wall_hue(rng: np.random.Generator) -> float:
    """Even round the circle, thinned at the acid yellow-greens that few art directors choose."""
    hue = rng.uniform(0, 360)
    return float(rng.uniform(0, 360)) if 100 < hue < 135 and rng.random() < 0.5 else float(hue)


def _calm_chroma(lightness: float, chroma: float, hue: float) -> float:
    """Holds back what looks synthetic: electric greens and cyans, acid and muddy yellows, glowing pastels."""
    from_green = abs((hue - 165 + 180) % 360 - 180)
    limit = 0.125 + 0.065 * min(1.0, max(0.0, (from_green - 20) / 70))
    from_yellow = abs((hue - 108 + 180) % 360 - 180)
    if from_yellow < 32 and lightness < 0.66:
        limit = min(limit, 0.05 + 0.1 * max(0.0, lightness - 0.36) + 0.0016 * from_yellow)
    if 92 < hue % 360 < 150 or lightness > 0.74:
        limit = min(limit, 0.12)
    return min(chroma, limit)


def sample_style(rng: np.random.Generator) -> SceneStyle:
    """One style from the wide space of historic scenes: lightness, hue, chroma and busyness nearly independent."""
    hue = _wall_hue(rng)
    lightness = float(rng.uniform(0.31, 0.94))
    chroma = _calm_chroma(lightness, float(0.008 + 0.182 * rng.beta(1.25, 1.45)), hue)
    harmony: Harmony = HARMONIES[int(rng.choice(len(HARMONIES), p=(0.32, 0.30, 0.26, 0.12)))]
    accent_hue = _accent_hue(harmony, hue, rng)
    neutral = rng.random() < 0.3  # stone, plaster or pale wood
    surface_hue = float(rng.uniform(55, 85)) if neutral and rng.random() < 0.4 else hue
    if not neutral and rng.random() < 0.35:
        surface_hue = accent_hue
    step = float(rng.uniform(0.02, 0.15) * rng.choice([-1.0, 1.0]))
    return SceneStyle(
        lightness=lightness,
        chroma=chroma,
        hue=hue,
        accent_hue=accent_hue,
        surface_lightness=float(np.clip(lightness + step, 0.2, 0.95)),
        surface_chroma=float(chroma * (0.35 if neutral else rng.uniform(0.65, 1.0))),
        surface_hue=surface_hue,
        warmth=float(rng.uniform(-0.6, 1.0)),
        light=LIGHTS[int(rng.choice(len(LIGHTS), p=(0.36, 0.24, 0.22, 0.18)))],
        light_x=float(rng.uniform(0.0, 1.0)),
        light_y=float(rng.uniform(0.0, 0.5)),
        strength=float(rng.uniform(0.25, 0.9)),
        pattern=PATTERNS[int(rng.choice(len(PATTERNS), p=_PATTERN_SHARES))],
        busyness=float(rng.beta(1.2, 1.2)),
        position=float(rng.uniform(0.45, 0.72)),
        horizon=float(rng.uniform(0.60, 0.82)),
        seam=float(rng.choice([0.006, 0.012, 0.05, 0.09], p=[0.35, 0.2, 0.2, 0.25])),
        detail=int(rng.integers(2**31)),
    )


def mix_palette(style: SceneStyle) -> Palette:
    """The paints of a style: accents leave the wall's lightness by up to 0.4 as the style gets busier."""
    reach = 0.05 + 0.34 * style.busyness
    up, down = min(reach, 0.97 - style.lightness), min(reach, style.lightness - 0.16)
    away = up if up >= down or (style.lightness < 0.6 and style.detail % 3 == 0) else -down
    other = -0.45 * away

    def paint(lightness: float, chroma: float, hue: float) -> Colour:
        return paint_colour(lightness, _calm_chroma(lightness, chroma, hue), hue)

    turn = (style.accent_hue - style.hue + 180) % 360 - 180
    opposed = abs(turn) > 80
    vivid = style.chroma * (0.75 if opposed else 0.9 + 0.25 * style.busyness)
    between = style.hue + (turn * 0.35 if not opposed else 14.0)
    return Palette(
        wall=paint_colour(style.lightness, style.chroma, style.hue),
        far=paint_colour(style.lightness - 0.05, style.chroma * 1.04, style.hue + (8 if turn >= 0 else -8)),
        surface=paint(style.surface_lightness, style.surface_chroma, style.surface_hue),
        near_surface=paint(style.surface_lightness + 0.05, style.surface_chroma * 0.95, style.surface_hue),
        accents=(
            paint(style.lightness + 0.35 * away, style.chroma, between),
            paint(style.lightness + other, vivid * 0.9, between),
            paint(style.lightness + 0.7 * away, vivid, style.accent_hue),
            paint(style.lightness + away, vivid * 0.8, style.accent_hue),
        ),
        bright=paint_colour(min(0.97, style.lightness + reach), style.chroma * 0.6, style.accent_hue),
    )
