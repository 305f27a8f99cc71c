"""Turns the product drawings (SVG) into the pictures (PNG) that concepts show, and the catalogue into records."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "products"
SIDE = 512
"""Side of a rendered drawing, pixels."""


@dataclass(frozen=True, slots=True)
class Ad:
    """One advertiser's copy for a product."""

    advertiser: str
    headline: str
    body: str
    call_to_action: str


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the planted world; `colour` is its main colour, "#rrggbb"."""

    name: str
    topic: str
    title: str
    colour: str
    ads: tuple[Ad, ...]


@cache
def catalogue() -> tuple[Product, ...]:
    """Every product, in the order of catalogue.toml."""
    rows = tomllib.loads((FOLDER / "catalogue.toml").read_text(encoding="utf-8"))["product"]
    return tuple(Product(**{**row, "ads": tuple(Ad(**ad) for ad in row["ads"])}) for row in rows)


def product_names() -> tuple[str, ...]:
    """Names of all products, in the order of the catalogue."""
    return tuple(product.name for product in catalogue())


def product_image_path(name: str) -> Path:
    """The rendered drawing of a product, RGBA, SIDE x SIDE pixels."""
    return FOLDER / f"{name}.png"


def render(svg: Path, side: int = SIDE) -> bytes:
    """PNG bytes of a drawing, RGBA, `side` x `side` pixels. Needs resvg-py, a development dependency."""
    import resvg_py  # noqa: PLC0415 - not installed where Adloom only runs

    return bytes(resvg_py.svg_to_bytes(svg_path=str(svg), width=side, height=side, skip_system_fonts=True))


def main() -> None:
    """Renders every drawing again: python -m sources.drawings."""
    for name in product_names():
        product_image_path(name).write_bytes(render(FOLDER / f"{name}.svg"))


if __name__ == "__main__":
    main()
