"""Turns a scene, a product and an advertiser's words into a finished ad: everything sharp, legible and in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from contracts.errors import DataError
from generators.backdrop import add_grain, cover_crop, ground, spread
from generators.contrast import (
    LEAST_CONTRAST,
    LIGHT_INK,
    Colour,
    FloatPicture,
    Legible,
    contrast_ratio,
    ink_on,
    make_legible,
)
from generators.filling import clear_product
from generators.layout import DEFAULT_BOX, SQUARE, Layout
from generators.products import PixelBox, Pixels, ProductBox, composite, fit_product, product_mask
from generators.typeface import DISPLAY_FONT, TEXT_FONT, load_typeface
from generators.wording import Copy, Line, Plan, plan_type

_FINE = 4  # the button is drawn this much larger, then averaged down
_PALE = 1.5  # a button with less contrast to what surrounds it gets a thin outline
_SLATE: Colour = (38, 44, 58)  # the button's colour when neither brand nor product has one


@dataclass(frozen=True)
class TypesetReport:
    """What was set where, in pixels of the finished picture.

    Attributes:
        size: width and height.
        boxes: of the ink of "wordmark", "headline", "body" and "label", and of the "button"; only what was set.
        contrasts: WCAG contrast of each text with the pixels behind it, the 2nd percentile.
        inks: colour of each text.
        type_sizes: size of each text.
        product_at: the product's rectangle; None without a product.
        product_box: the box of the layout that copy keeps out of.
        shade: strength of the shade behind the type, 0 (none) to 1.
        scene_spread: how much the scene alone varies, see `backdrop.spread`.
        button_colour: as set.
        lines: every line of type as drawn, with its cover.
    """

    size: tuple[int, int]
    boxes: Mapping[str, PixelBox]
    contrasts: Mapping[str, float]
    inks: Mapping[str, Colour]
    type_sizes: Mapping[str, float]
    product_at: PixelBox | None
    product_box: PixelBox
    shade: float
    scene_spread: float
    button_colour: Colour
    lines: tuple[Line, ...]


def typeset(
    scene: Pixels,
    product: Pixels | None,
    copy: Copy,
    layout: Layout = SQUARE,
    size: int | tuple[int, int] | None = None,
    *,
    scene_box: ProductBox = DEFAULT_BOX,
    seed: int = 0,
    plate: float = 0.0,
    font_path: Path | None = None,
    where: str = "concept",
) -> tuple[Image.Image, TypesetReport]:
    """Sets one ad. The same arguments give the same bytes.

    Args:
        scene: square, uint8 (side, side, 3), with or without the product painted in at `scene_box`.
        product: uint8 (h, w, 4) from `load_product`; None sets the ad without one.
        copy: the words.
        layout: the arrangement.
        size: width and height in pixels, or the width; None is the layout's own.
        scene_box: where the scene was painted around the product.
        seed: of the film grain.
        plate: least strength of the shade behind the type, 0 to 1; more where the contrast needs it.
        font_path: one font for all type, instead of the shipped Inter.
        where: names the concept in errors.

    Returns:
        The picture, mode RGB, and what was set where.

    Raises:
        DataError: a text does not fit legibly, has characters that the font lacks, or a colour is not "#rrggbb".
        SettingsError: `font_path` is not a font.
    """
    canvas_size = layout.canvas(size)
    display, text = load_typeface(font_path or DISPLAY_FONT), load_typeface(font_path or TEXT_FONT)
    plan = plan_type(copy, layout, canvas_size, display, text, where)
    button = button_colour(copy.colours, product, where)
    picture = _background(scene, product, layout, canvas_size, scene_box)
    scene_spread = spread(picture)
    placed = fit_product(product, layout.product, canvas_size) if product is not None else None
    if placed is not None:
        picture = ground(picture, *placed)
    legible = make_legible(add_grain(picture, seed), plan.line_boxes(), least_shade=plate)
    finished = np.round(_set_type(legible.picture, plan, legible.ink, button)).astype(np.uint8)
    if placed is not None:
        finished = composite(finished, *placed)  # last, so that nothing can touch it
    image = Image.fromarray(finished)
    at = placed[1] if placed is not None else None
    report = _report(plan, layout, canvas_size, at, legible, scene_spread, button)
    return image, report


def check_copy(copy: Copy, layout: Layout, size: int, *, font_path: Path | None = None, where: str) -> None:
    """Raises what `typeset` would raise for these words, without setting them on anything. Arguments as there."""
    faces = load_typeface(font_path or DISPLAY_FONT), load_typeface(font_path or TEXT_FONT)
    plan_type(copy, layout, layout.canvas(size), *faces, where)
    button_colour(copy.colours, None, where)


def _background(
    scene: Pixels, product: Pixels | None, layout: Layout, size: tuple[int, int], scene_box: ProductBox
) -> FloatPicture:
    if product is not None:
        scene = clear_product(scene, product_mask(product, scene_box, scene.shape[0]))
    return cover_crop(scene, size, scene_box, layout.product)


def button_colour(colours: tuple[str, ...], product: Pixels | None, where: str) -> Colour:
    """The brand's first colour; without one the product's most telling colour, for white type; without that, slate.

    Raises:
        DataError: the colour is not "#rrggbb".
    """
    if colours:
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", colours[0]):
            raise DataError(f'colour "{colours[0]}" is not "#rrggbb"', where=where, fix='Write it like "#1a7f5a".')
        value = int(colours[0][1:], 16)
        return value >> 16, value >> 8 & 255, value & 255
    if product is None:
        return _SLATE
    return _telling_colour(product)


def _telling_colour(product: Pixels) -> Colour:
    """The mean of the strongest group of hues of the opaque pixels, darkened until white type on it is legible."""
    small = np.asarray(Image.fromarray(product).resize((64, 64), Image.Resampling.BOX), dtype=np.float64)
    pixels = small.reshape(-1, 4)
    pixels = pixels[pixels[:, 3] > 200, :3]
    if not len(pixels):
        return _SLATE
    high, low = pixels.max(axis=1), pixels.min(axis=1)
    chroma = high - low
    weight = chroma**2
    if weight.sum() < 24.0**2 * len(pixels) * 0.05:
        return _SLATE
    red, green, blue = pixels.T
    angle = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) % (2 * np.pi)
    sector = (angle / (2 * np.pi) * 12).astype(int) % 12
    strongest = int(np.argmax(np.bincount(sector, weights=weight, minlength=12)))
    chosen = sector == strongest
    mean = np.average(pixels[chosen], axis=0, weights=weight[chosen])
    while float(contrast_ratio(mean, LIGHT_INK)) < LEAST_CONTRAST + 0.3:
        mean = mean * 0.96
    first, second, third = (round(float(value)) for value in mean)
    return first, second, third


def _set_type(backdrop: FloatPicture, plan: Plan, ink: Colour, button: Colour) -> FloatPicture:
    finished = backdrop
    for line in plan.lines:
        finished = _ink(finished, line, ink)
    if plan.label is not None and plan.button is not None:
        finished = _draw_button(finished, plan.button, button)
        finished = _ink(finished, plan.label, ink_on(button))
    return finished


def _ink(picture: FloatPicture, line: Line, ink: Colour) -> FloatPicture:
    """A copy with the line on it; what would leave the picture is cut off."""
    high, wide = picture.shape[:2]
    left, top = max(line.x, 0), max(line.y, 0)
    right, bottom = min(line.x + line.mask.shape[1], wide), min(line.y + line.mask.shape[0], high)
    cover = line.mask[top - line.y : bottom - line.y, left - line.x : right - line.x, None]
    out = picture.copy()
    part = out[top:bottom, left:right]
    out[top:bottom, left:right] = part + cover * (np.array(ink, dtype=np.float32) - part)
    return out


def _draw_button(picture: FloatPicture, box: PixelBox, colour: Colour) -> FloatPicture:
    """A copy with a rounded button, a faint shadow under it, and an outline if it would melt into the picture."""
    tall = box.bottom - box.top
    reach = tall // 2  # as far as the shadow goes
    left, top = max(box.left - reach, 0), max(box.top - reach, 0)
    out = picture.copy()
    part = out[top : box.bottom + reach, left : box.right + reach]
    high, wide = part.shape[:2]
    here = PixelBox(box.left - left, box.top - top, box.right - left, box.bottom - top)
    shadow = Image.new("L", (wide, high), 0)
    drop = round(0.1 * tall)
    lowered = (here.left + drop, here.top + 2 * drop, here.right - drop, here.bottom + drop)
    ImageDraw.Draw(shadow).rounded_rectangle(lowered, radius=tall // 2, fill=255)
    soft = np.asarray(shadow.filter(ImageFilter.GaussianBlur(0.16 * tall)), dtype=np.float32)[..., None]
    around = part[max(here.top - 2, 0) : here.bottom + 2, max(here.left - 2, 0) : here.right + 2].reshape(-1, 3)
    pale = float(np.median(contrast_ratio(around, colour))) < _PALE
    part *= 1 - soft * np.float32(0.22 / 255)
    if pale:
        rim = _rounded((high, wide), here, max(1.0, 0.025 * tall))[..., None] * np.float32(0.75)
        part += rim * (np.array(ink_on(colour), dtype=np.float32) - part)
    part += _rounded((high, wide), here, 0.0)[..., None] * (np.array(colour, dtype=np.float32) - part)
    return out


def _rounded(shape: tuple[int, int], box: PixelBox, grow: float) -> npt.NDArray[np.float32]:
    """The cover of a box with half-round ends, `grow` pixels larger on every side, float32 of `shape`, 0 to 1."""
    margin = int(np.ceil(grow)) + 1
    wide, tall = box.right - box.left + 2 * margin, box.bottom - box.top + 2 * margin
    stamp = Image.new("L", (wide * _FINE, tall * _FINE), 0)
    inset = (margin - grow) * _FINE
    ends = (inset, inset, wide * _FINE - inset - 1, tall * _FINE - inset - 1)
    ImageDraw.Draw(stamp).rounded_rectangle(ends, radius=(tall * _FINE - 2 * inset) / 2, fill=255)
    cover = Image.new("L", (shape[1], shape[0]), 0)
    cover.paste(stamp.reduce(_FINE), (box.left - margin, box.top - margin))
    return np.asarray(cover, dtype=np.float32) / np.float32(255)


def _report(
    plan: Plan, layout: Layout, size: tuple[int, int], at: PixelBox | None, legible: Legible, scene_spread: float,
    button: Colour,
) -> TypesetReport:  # fmt: skip
    boxes = plan.boxes()
    measured = {
        name: min(value for key, value in legible.contrasts.items() if key.startswith(f"{name} ")) for name in boxes
    }
    inks = dict.fromkeys(boxes, legible.ink)
    lines = plan.lines if plan.label is None else (*plan.lines, plan.label)
    if plan.label is not None and plan.button is not None:
        boxes |= {"label": plan.label.box, "button": plan.button}
        inks["label"] = ink_on(button)
        measured["label"] = float(contrast_ratio(button, inks["label"]))
    reserved = layout.product
    return TypesetReport(
        size=size,
        boxes=boxes,
        contrasts=measured,
        inks=inks,
        type_sizes={line.name: line.size for line in lines},
        product_at=at,
        product_box=PixelBox(
            round(reserved.left * size[0]),
            round(reserved.top * size[1]),
            round(reserved.right * size[0]),
            round(reserved.bottom * size[1]),
        ),
        shade=legible.strength,
        scene_spread=scene_spread,
        button_colour=button,
        lines=lines,
    )
