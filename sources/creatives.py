"""Turns concepts into their historic creatives: many scenes, the same product, saved as files, with their looks."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from contracts.seeds import stream
from sources.campaigns import Concepts
from sources.law import Floats
from sources.look import look, standout
from sources.placing import boxes_array, load_cutout, place_product, sample_box
from sources.scenes import Picture, draw_scene, sample_style

QUALITY = 92


@dataclass(frozen=True)
class Creatives:
    """The logged creatives, K for each of C concepts, those of a concept side by side.

    Attributes:
        ids: C * K names. looks: (C * K, 5). standouts: (C * K,). boxes: (C * K, 4). per_concept: K.
        files: C * K paths relative to the data folder.
    """

    ids: tuple[str, ...]
    files: tuple[str, ...]
    looks: Floats
    standouts: Floats
    boxes: Floats
    per_concept: int


def draw_creative(product: Path, side: int, rng: np.random.Generator) -> tuple[Picture, Floats]:
    """One historic creative, uint8 (side, side, 3), and its product's box (4,): left, top, width, height."""
    cutout = load_cutout(product)
    box = sample_box(rng, cutout, side)
    return place_product(draw_scene(sample_style(rng), side), cutout, box), boxes_array([box])[0]


def write_creatives(
    out: Path, concepts: Concepts, per_concept: int, side: int, seed: int, drawn: Callable[[int], None]
) -> Creatives:
    """Draws and saves `per_concept` creatives of each concept as JPEG; looks are of the pixels as saved.

    Args:
        out: the data folder. side: in pixels. seed: of the world. drawn: told how many are done, after each concept.
    """
    (out / "images" / "creatives").mkdir(parents=True, exist_ok=True)
    ids: list[str] = []
    files: list[str] = []
    looks, standouts, boxes = [], [], []
    for index, concept in enumerate(concepts.ids):
        saved, places = [], []
        for number in range(per_concept):
            name = f"{concept}-{number:03d}"
            picture, box = draw_creative(concepts.products[index], side, stream(seed, "creative", name))
            file = f"images/creatives/{name}.jpg"
            saved.append(_save(picture, out / file))
            places.append(box)
            ids.append(name)
            files.append(file)
        pixels = np.stack(saved)
        looks.append(look(pixels))
        standouts.append(standout(pixels, np.stack(places)))
        boxes.append(np.stack(places))
        drawn((index + 1) * per_concept)
    return Creatives(
        tuple(ids), tuple(files), np.concatenate(looks), np.concatenate(standouts), np.concatenate(boxes), per_concept
    )


def pictures_table(creatives: Creatives, concepts: Concepts) -> pl.DataFrame:
    """Rows of the pictures table."""
    return pl.DataFrame(
        {
            "creative_id": creatives.ids,
            "concept_id": np.repeat(np.array(concepts.ids), creatives.per_concept),
            "file": creatives.files,
            "box_left": creatives.boxes[:, 0],
            "box_top": creatives.boxes[:, 1],
            "box_width": creatives.boxes[:, 2],
            "box_height": creatives.boxes[:, 3],
            "labelled": None,
        }
    )


def looks_table(creatives: Creatives) -> pl.DataFrame:
    """The truth about each creative: its look (five numbers) and how far its product stands out."""
    return pl.DataFrame(
        {
            "creative_id": creatives.ids,
            "look": pl.Series(creatives.looks, dtype=pl.Array(pl.Float64, creatives.looks.shape[1])),
            "standout": creatives.standouts,
        }
    )


def _save(picture: Picture, path: Path) -> Picture:
    """Writes a JPEG with full colour resolution and gives back the pixels as anyone will read them."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
    path.write_bytes(buffer.getvalue())
    buffer.seek(0)
    with Image.open(buffer) as reread:
        return np.asarray(reread.convert("RGB"))
