"""Turns a scene, a product and an advertiser's words into a finished ad: everything sharp, legible and in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from generators.layout import DEFAULT_BOX, SQUARE, Layout
from generators.products import PixelBox, Pixels, ProductBox, composite, fit_product
from generators.typesetting.backdrop import Backdrop, add_grain, cover_crop, ground, prepare, spread
from generators.typesetting.brand import Brand
from generators.typesetting.contrast import Colour, FloatPicture, Legible, contrast_ratio, ink_on, make_legible
from generators.typesetting.logo import PlacedLogo, place_logo
from generators.typesetting.masthead import Logo
from generators.typesetting.notice import NAME as NOTICE
from generators.typesetting.notice import Notice, SetNotice, place_notice, set_notice
from generators.typesetting.set_lines import Line, union
from generators.typesetting.typeface import load_typeface
from generators.typesetting.wording import Copy, Plan, plan_type

_FINE = 4  # the button is drawn this much larger, then averaged down
_PALE = 1.5  # a button with less contrast to what surrounds it gets a thin outline

PLAIN = Brand()
"""The shipped fonts, no logo, and the colours of the concept."""


@dataclass(frozen=True)
class TypesetReport:
    """What was set where, in pixels of the finished picture.

    Attributes:
        size: width and height.
        boxes: of the ink of "wordmark", "headline", "body" and "label", of the "button", and of the "logo" and the "notice" with
            their clear space; only what was set.
        contrasts: WCAG contrast of each text with the pixels behind it, the 2nd percentile.
        inks: colour of each text.
        type_sizes: size of each text.
        product_at: the product's rectangle; None without a product.
        product_box: the box of the layout that copy keeps out of.
        shade: strength of the shade behind the type, 0 (none) to 1.
        plate: laid behind the type; None: none was needed.
        logo_at: the logo's rectangle; None: there is none. logo_contrast: with what is behind it.
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
    plate: PixelBox | None
    logo_at: PixelBox | None
    logo_contrast: float | None
    scene_spread: float
    button_colour: Colour
    lines: tuple[Line, ...]


def typeset(
    scene: Pixels | Backdrop,
    product: Pixels | None,
    copy: Copy,
    layout: Layout = SQUARE,
    size: int | tuple[int, int] | None = None,
    *,
    brand: Brand = PLAIN,
    scene_box: ProductBox = DEFAULT_BOX,
    seed: int = 0,
    plate: float = 0.0,
    where: str = "concept",
) -> tuple[Image.Image, TypesetReport]:
    """Sets one ad. The same arguments give the same bytes.

    Args:
        scene: square, uint8 (side, side, 3), with or without the product painted in at `scene_box`; or what
            `backdrop.prepare` made of it, which is to be preferred when it is set in several sizes.
        product: uint8 (h, w, 4) from `load_product`; None sets the ad without one.
        copy: the words.
        layout: the arrangement.
        size: width and height in pixels, or the width; None is the layout's own.
        brand: fonts, logo, colours.
        scene_box: where the scene was painted around the product.
        seed: of the film grain.
        plate: least strength of the shade behind the type, 0 to 1; more where the contrast needs it.
        where: names the concept in errors.

    Returns:
        The picture, mode RGB, and what was set where.

    Raises:
        DataError: a text does not fit legibly, has characters that the font lacks, or a colour is not "#rrggbb".
        SettingsError: a font of the brand is not one.
    """
    canvas_size = layout.canvas(size)
    plan = _plan(copy, layout, canvas_size, brand, where)
    notice = _notice(copy, plan, layout, canvas_size, brand, where)
    button = brand.button_colour(copy.colours, product, where)
    if not isinstance(scene, Backdrop):
        scene = prepare(scene, product, scene_box)
    picture = cover_crop(scene, canvas_size, layout.product)
    scene_spread = spread(picture)
    placed = fit_product(product, layout.product, canvas_size) if product is not None else None
    if placed is not None:
        picture = ground(picture, *placed)
    legible = make_legible(
        add_grain(picture, seed), plan.line_boxes(), least_shade=plate, inks=brand.inks, plate=brand.plate,
        plate_at=plate_box(plan, layout, canvas_size),
    )  # fmt: skip
    logo = place_logo(legible.picture, brand.logos, plan.logo) if plan.logo is not None else None
    under = legible.picture if logo is None else logo.picture
    typed, noticed = _set_type(under, plan, legible.ink, button), None
    if notice is not None:
        noticed = set_notice(typed, notice)
        typed = noticed.picture.copy()
        _ink(typed, notice.line, noticed.ink)
    finished = np.round(typed).astype(np.uint8)
    if placed is not None:
        finished = composite(finished, *placed)  # last, so that nothing can touch it
    at = placed[1] if placed is not None else None
    report = _report(plan, layout, canvas_size, at, legible, logo, scene_spread, button)
    if notice is not None and noticed is not None:
        report = _with_notice(report, notice, noticed)
    return Image.fromarray(finished), report


def check_copy(copy: Copy, layout: Layout, size: int | None, *, brand: Brand = PLAIN, where: str) -> None:
    """Raises what `typeset` would raise for these words, without setting them on anything. Arguments as there."""
    canvas_size = layout.canvas(size)
    _notice(copy, _plan(copy, layout, canvas_size, brand, where), layout, canvas_size, brand, where)
    brand.button_colour(copy.colours, None, where)


def _plan(copy: Copy, layout: Layout, size: tuple[int, int], brand: Brand, where: str) -> Plan:
    faces = load_typeface(brand.display), load_typeface(brand.text)
    logo = None
    if brand.logos:
        high, wide = brand.logos[0].shape[:2]
        logo = Logo(wide / high, brand.clear_space)
    return plan_type(copy, layout, size, *faces, where, logo)


def _notice(copy: Copy, plan: Plan, layout: Layout, size: tuple[int, int], brand: Brand, where: str) -> Notice | None:
    taken = [layout.product.pixels(size), *(line.box for line in plan.lines)]
    taken += [plan.button] if plan.button is not None else []
    taken += [plan.logo.clear] if plan.logo is not None else []
    face, plate = load_typeface(brand.text), plate_box(plan, layout, size)
    return place_notice(copy.notice, layout, size, face, taken, [plate], where=where)


def plate_box(plan: Plan, layout: Layout, size: tuple[int, int]) -> PixelBox:
    """Where a plate would lie: around the copy, its margin no wider than half the way to the next thing or the edge."""
    inked = [line.box for line in plan.lines] + ([plan.logo.clear] if plan.logo is not None else [])
    largest = max(line.size for line in plan.lines)
    box, pad = union(inked), round(max(0.045 * min(size), 0.32 * largest))
    left, top, right, bottom = box.left, box.top, size[0] - box.right, size[1] - box.bottom
    for other in [layout.product.pixels(size)] + ([plan.button] if plan.button is not None else []):
        level = other.top < box.bottom + pad and box.top - pad < other.bottom
        upright = other.left < box.right + pad and box.left - pad < other.right
        if level and other.left >= box.right:
            right = min(right, other.left - box.right)
        elif level and other.right <= box.left:
            left = min(left, box.left - other.right)
        elif upright and other.top >= box.bottom:
            bottom = min(bottom, other.top - box.bottom)
        elif upright and other.bottom <= box.top:
            top = min(top, box.top - other.bottom)
    left, top, right, bottom = (max(0, min(pad, gap // 2)) for gap in (left, top, right, bottom))
    return PixelBox(box.left - left, box.top - top, box.right + right, box.bottom + bottom)


def _set_type(backdrop: FloatPicture, plan: Plan, ink: Colour, button: Colour) -> FloatPicture:
    finished = backdrop.copy()
    for line in plan.lines:
        _ink(finished, line, ink)
    if plan.label is not None and plan.button is not None:
        _draw_button(finished, plan.button, button)
        _ink(finished, plan.label, ink_on(button))
    return finished


def _ink(picture: FloatPicture, line: Line, ink: Colour) -> None:
    """Sets the line on the picture itself; what would leave it is cut off."""
    high, wide = picture.shape[:2]
    left, top = max(line.x, 0), max(line.y, 0)
    right, bottom = min(line.x + line.mask.shape[1], wide), min(line.y + line.mask.shape[0], high)
    cover = line.mask[top - line.y : bottom - line.y, left - line.x : right - line.x, None]
    part = picture[top:bottom, left:right]
    part += cover * (np.array(ink, dtype=np.float32) - part)


def _draw_button(picture: FloatPicture, box: PixelBox, colour: Colour) -> None:
    """Sets on the picture itself a rounded button, a faint shadow under it, and an outline if it would melt into the picture."""
    tall = box.bottom - box.top
    reach = tall // 2  # as far as the shadow goes
    left, top = max(box.left - reach, 0), max(box.top - reach, 0)
    part = picture[top : box.bottom + reach, left : box.right + reach]
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
    plan: Plan, layout: Layout, size: tuple[int, int], at: PixelBox | None, legible: Legible, logo: PlacedLogo | None,
    scene_spread: float, button: Colour,
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
    if plan.logo is not None:
        boxes["logo"] = plan.logo.clear
    return TypesetReport(
        size=size,
        boxes=boxes,
        contrasts=measured,
        inks=inks,
        type_sizes={line.name: line.size for line in lines},
        product_at=at,
        product_box=layout.product.pixels(size),
        shade=legible.strength,
        plate=legible.plate,
        logo_at=plan.logo.box if plan.logo is not None else None,
        logo_contrast=logo.contrast if logo is not None else None,
        scene_spread=scene_spread,
        button_colour=button,
        lines=lines,
    )


def _with_notice(report: TypesetReport, notice: Notice, noticed: SetNotice) -> TypesetReport:
    """The report with the label that says that a model drew it."""
    return replace(
        report,
        boxes={**report.boxes, NOTICE: notice.clear},
        contrasts={**report.contrasts, NOTICE: noticed.contrast},
        inks={**report.inks, NOTICE: noticed.ink},
        type_sizes={**report.type_sizes, NOTICE: notice.line.size},
        lines=(*report.lines, notice.line),
    )
