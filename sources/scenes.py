"""Turns a scene style into a small product-photography backdrop: wall, surface, pattern and soft light."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contracts.seeds import stream
from sources.canvas import Canvas, Plane, smooth
from sources.colour import Floats
from sources.patterns import LIGHT_PAINTERS, WALL_PAINTERS
from sources.style import Palette, SceneStyle, mix_palette, sample_style

__all__ = ["SceneStyle", "draw_scene", "ground_shadow", "sample_style"]

Picture = npt.NDArray[np.uint8]


def draw_scene(style: SceneStyle, side: int) -> Picture:
    """The scene as sRGB, uint8 (side, side, 3): the same style gives the same bytes, at any side the same scene.

    Args:
        style: what to draw.
        side: in pixels, an even number of 16 or more; drawn at twice that and averaged down in linear light.
    """
    rng = stream(style.detail, "scene detail")
    palette = mix_palette(style)
    canvas = Canvas(side, palette.wall)
    toward = canvas.x if style.light_x < 0.5 else 1 - canvas.x
    canvas.paint(smooth(0.6 * toward + 0.4 * canvas.y, 0.1, 1.0), palette.far)
    if style.pattern in WALL_PAINTERS:
        WALL_PAINTERS[style.pattern](canvas, style, palette, rng)
    _lay_surface(canvas, style, palette)
    _shine(canvas, style, rng)
    if style.pattern in LIGHT_PAINTERS:
        LIGHT_PAINTERS[style.pattern](canvas, style, palette, rng)
    return canvas.finish(_key_colour(style.warmth))


def _lay_surface(canvas: Canvas, style: SceneStyle, palette: Palette) -> None:
    """The table or floor, paler towards the viewer, and the dim line where the wall meets it."""
    surface = smooth(canvas.y, style.horizon - style.seam, style.horizon + style.seam)
    canvas.light += surface * (1 - canvas.light)
    canvas.paint(surface, palette.surface)
    canvas.paint(surface * smooth(canvas.y, style.horizon, 1.05), palette.near_surface)
    closeness = 1 / (1 + ((canvas.y - np.float32(style.horizon)) / np.float32(0.05 + style.seam)) ** 2)
    canvas.light *= 1 - np.float32(0.16 if style.seam < 0.03 else 0.06) * closeness


def _shine(canvas: Canvas, style: SceneStyle, rng: np.random.Generator) -> None:
    """The key light, kept at a mean of one so that the light does not decide the lightness of the picture."""
    x, y, strength = canvas.x, canvas.y, np.float32(style.strength)
    key: Plane
    if style.light == "soft":
        key = _pool(x, y, style.light_x, style.light_y - 0.15, 1.0, 0.9)
        shape = key * np.float32(1.3)
    elif style.light == "sunbeam":
        lean = np.float32(rng.uniform(0.5, 1.1) * (1 if style.light_x < 0.5 else -1))
        across = x - lean * y - np.float32(style.position - float(lean) * 0.55)
        width, edge = rng.uniform(0.14, 0.26), rng.uniform(0.05, 0.12)
        key = smooth(np.abs(across), width + edge, width - edge / 2)
        if rng.random() < 0.45:
            key = np.maximum(key, np.float32(0.8) * smooth(np.abs(across + np.float32(2.1 * width)), 0.09, 0.03))
        shape = key * np.float32(0.75)
    elif style.light == "backlit":
        key = _pool(x, y, style.position, style.horizon - 0.24, 0.34, 0.32)
        shape = key * np.float32(1.3)
    else:
        key = _pool(x, y, style.position, style.horizon - 0.1, 0.42, 0.52)
        key = smooth(key, 0.12, 0.85)
        shape = key * np.float32(1.6)
    field = 1 + strength * (shape - shape.mean())
    canvas.light *= np.maximum(field, np.float32(0.22))
    canvas.tint += key * (np.float32(0.5) * strength)


def _pool(x: Plane, y: Plane, centre_x: float, centre_y: float, wide: float, high: float) -> Plane:
    """A soft pool of light, 1 at its centre: (1 + r^2)^-1.5, the falloff of a lamp above a plane."""
    u, v = (x - np.float32(centre_x)) / np.float32(wide), (y - np.float32(centre_y)) / np.float32(high)
    distance = 1 + u * u + v * v
    pool: Plane = 1 / (distance * np.sqrt(distance))
    return pool


def _key_colour(warmth: float) -> Floats:
    """Linear (3,) tint of the key light with the luminance of white: 1 is a low sun, -1 a blue sky."""
    colour = np.array([1 + 0.16 * warmth, 1.0, 1 - 0.28 * warmth])
    tint: Floats = colour / (colour @ np.array([0.2126, 0.7152, 0.0722]))
    return tint


def ground_shadow(scene: Picture, left: float, top: float, width: float, height: float) -> Picture:
    """A copy of the scene (side, side, 3) with a soft contact shadow under a product that stands in the given box.

    The box is in fractions of the side; the shadow is an ellipse on its lower edge.
    """
    side = scene.shape[0]
    centre = (np.arange(side, dtype=np.float32) + 0.5) / side
    u = (centre[None, :] - np.float32(left + width / 2)) / np.float32(0.46 * width)
    v = (centre[:, None] - np.float32(top + 0.965 * height)) / np.float32(0.075 * height)
    shade = 1 / (1 + (u * u + v * v) ** 2)
    return np.asarray(np.round(scene * (1 - np.float32(0.38) * shade)[..., None]), dtype=np.uint8)
