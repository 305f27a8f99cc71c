"""Turns brands.toml of a data folder into each advertiser's brand: fonts, logo, colours; every fault of it at once."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.errors import AdloomError, DataError
from generators.products import Pixels, load_product
from generators.typesetting.brand import Brand, is_apart, is_hex, rgb_of
from generators.typesetting.contrast import Colour
from generators.typesetting.typeface import load_typeface

FILE = "brands.toml"
"""The file in a data folder. Its fonts and logos stand in the folder BRAND_FOLDER beside it."""

BRAND_FOLDER = "brand"

OTHERS = "*"
"""Names the kit of every advertiser without one of its own."""

Hex = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


class Kit(BaseModel):
    """One advertiser's table in brands.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    display_font: str | None = Field(
        default=None, description="font of headline, name and button; .ttf or .otf; Inter Display Bold where left out"
    )
    text_font: str | None = Field(default=None, description="font of the body; Inter Medium where left out")
    logos: tuple[str, ...] = Field(
        default=(),
        description="variants of the logo in one shape, say for light and for dark grounds; the one that stands out most is set, "
        "in place of the advertiser's name",
    )
    clear_space: float = Field(
        default=0.25, ge=0, le=1, description="what stays clear around the logo, in heights of the logo"
    )
    colours: tuple[Hex, ...] = Field(
        default=(), description="of the button, the most wanted first, where the concept names none"
    )
    inks: tuple[Hex, ...] = Field(
        default=("#ffffff", "#14161c"),
        min_length=1,
        description="that type on the picture may have; the one that needs the least help is taken",
    )
    plate: Hex | None = Field(
        default=None,
        description="of the plate behind type that is legible in no other way; dark or light where left out",
    )
    forbidden_colours: tuple[Hex, ...] = Field(
        default=(),
        description="that no button, type or plate may have, and no picture on more than a little of it; those of * hold "
        "for everybody",
    )


@dataclass(frozen=True)
class Brands:
    """The brands of a data folder: `of` an advertiser, and what each forbids, "#rrggbb" by name."""

    kits: Mapping[str, Brand] = field(default_factory=dict)
    forbidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plain: Brand = field(default_factory=Brand)

    def of(self, advertiser: str) -> Brand:
        """Its own, else that of all others, else the plain one."""
        return self.kits.get(advertiser, self.kits.get(OTHERS, self.plain))


def load_brands(folder: Path, *, font_path: Path | None = None, advertisers: Collection[str] = ()) -> Brands:
    """The brands of a data folder; none where it has no brands.toml.

    Args:
        folder: the data folder.
        font_path: a font for all type of brands that name none, instead of the shipped ones.
        advertisers: of the concepts: a kit whose name is nearly but not quite one of them is a slip.

    Raises:
        DataError: the file is no TOML, or lists every fault in it: unknown keys, colours, fonts, logos, names.
        SettingsError: `font_path` is no font.
    """
    plain = Brand.in_font(font_path)
    load_typeface(plain.display)
    path = folder / FILE
    if not path.is_file():
        return Brands(plain=plain)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"is not TOML ({error})", where=str(path), fix="Mend the line it names.") from error
    everybody = tables.get(OTHERS, {})
    barred = everybody.get("forbidden_colours", ()) if isinstance(everybody, dict) else ()
    reader = _Reader(folder, plain, [colour for colour in barred if is_hex(colour)])
    kits = {name: reader.brand(name, table) for name, table in tables.items()}
    faults = [*reader.faults, *_slips(tables, advertisers)]
    if faults:
        fix = "docs/brand-kit.md lists every key."
        raise DataError("; ".join(faults), where=str(path), fix=fix)
    return Brands(kits, {name: tuple(table.get("forbidden_colours", ())) for name, table in tables.items()}, plain)


class _Reader:
    """Makes brands of tables, and collects what is wrong with them."""

    def __init__(self, folder: Path, plain: Brand, barred: Collection[str]) -> None:
        self._folder, self._plain, self._barred = folder, plain, _colours(barred)
        self.faults: list[str] = []

    def brand(self, name: str, table: Any) -> Brand:
        """The brand of a table; the plain one where it is at fault."""
        known = len(self.faults)
        kit = self._kit(name, table)
        if kit is None:
            return self._plain
        display = self._font(name, "display_font", kit.display_font, self._plain.display)
        text = self._font(name, "text_font", kit.text_font, self._plain.text)
        logos = tuple(logo for file in kit.logos if (logo := self._logo(name, file)) is not None)
        shapes = [logo.shape[1] / logo.shape[0] for logo in logos]
        if shapes and max(shapes) > 1.03 * min(shapes):
            self.faults.append(f'"{name}".logos: the variants are not of one shape')
        forbidden = (*_colours(kit.forbidden_colours), *self._barred)
        for key in kit.model_fields_set & {"colours", "inks", "plate"}:
            self._allowed(name, key, getattr(kit, key), forbidden)
        inks = tuple(ink for ink in _colours(kit.inks) if is_apart(ink, forbidden))
        if not inks and "inks" not in kit.model_fields_set:
            self.faults.append(f'"{name}".inks: white and black are both forbidden, so name an ink')
        if len(self.faults) > known:
            return self._plain
        return Brand(
            display=display, text=text, logos=logos, clear_space=kit.clear_space, colours=_colours(kit.colours),
            inks=inks, plate=None if kit.plate is None else _colours((kit.plate,))[0], forbidden=forbidden,
        )  # fmt: skip

    def _kit(self, name: str, table: Any) -> Kit | None:
        try:
            return Kit.model_validate(table)
        except ValidationError as error:
            for fault in error.errors():
                key = ".".join(str(part) for part in fault["loc"])
                said = fault["msg"][:1].lower() + fault["msg"][1:]
                if fault["type"] == "extra_forbidden":
                    near = difflib.get_close_matches(key, Kit.model_fields, n=1, cutoff=0.0)[0]
                    said = f"unknown key, the nearest known one is {near}"
                elif fault["type"] == "string_pattern_mismatch":
                    said = f'"{fault["input"]}" is not "#rrggbb"'
                self.faults.append(f'"{name}"{"." if key else ""}{key}: {said}')
            return None

    def _font(self, name: str, key: str, file: str | None, usual: Path) -> Path:
        if file is None:
            return usual
        path = self._inside(name, key, file)
        try:
            if path is not None:
                load_typeface(path)
        except AdloomError as error:
            self.faults.append(f'"{name}".{key}: {file} {error.what}')
        return path or usual

    def _logo(self, name: str, file: str) -> Pixels | None:
        path = self._inside(name, "logos", file)
        try:
            return None if path is None else load_product(path)
        except AdloomError as error:
            said = error.what.replace("product picture", "it")
            self.faults.append(f'"{name}".logos: {file}: {said}')
            return None

    def _inside(self, name: str, key: str, file: str) -> Path | None:
        """The path of a file in the brand folder: only what stands there is watched for changes."""
        home = (self._folder / BRAND_FOLDER).resolve()
        path = (self._folder / file).resolve()
        if not path.is_relative_to(home):
            self.faults.append(f'"{name}".{key}: {file} is not in the folder {BRAND_FOLDER}/ beside {FILE}')
            return None
        return path

    def _allowed(
        self, name: str, key: str, colours: str | tuple[str, ...] | None, forbidden: tuple[Colour, ...]
    ) -> None:
        for colour in (colours,) if isinstance(colours, str) else colours or ():
            if not is_apart(_colours((colour,))[0], forbidden):
                self.faults.append(f'"{name}".{key}: {colour} is a forbidden colour, or too near one')


def _colours(texts: Collection[str]) -> tuple[Colour, ...]:
    return tuple(rgb_of(text, where=FILE) for text in texts)


def _slips(tables: Collection[str], advertisers: Collection[str]) -> list[str]:
    """Names that are nearly those of advertisers that have no kit: they would be passed over in silence."""
    without = {name.casefold(): name for name in advertisers if name not in tables}
    slips = []
    for name in tables:
        near = difflib.get_close_matches(name.casefold(), without, n=1, cutoff=0.85)
        if name not in advertisers and name != OTHERS and near:
            slips.append(f'"{name}": no concept is of this advertiser; "{without[near[0]]}" has no kit')
    return slips
