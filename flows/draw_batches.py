"""Turns orders into pictures in a folder, batch after batch, each checked against all before it; every finished batch is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.errors import AdloomError, DataError
from contracts.settings import CheckSettings, GeneratorSettings
from contracts.store import write_json
from flows.choose_models import any_generator
from flows.choose_painter import painter_of
from flows.job import Job
from flows.stamp_pictures import Origin, write_picture
from generators.checking.gate import Gate
from generators.hands import share_out
from generators.knobs import Knobs
from generators.layout import LAYOUTS, SQUARE
from generators.painting.painters import Painter
from generators.products import load_product
from generators.renditions import renditions_of
from generators.scorer import Reviewed, Scorer
from generators.studio import Finished, Order, make
from generators.taste.taste import Taste
from generators.typesetting.brand import Brand
from generators.typesetting.brand_kits import load_brands
from generators.typesetting.typesetter import check_copy
from generators.typesetting.wording import Copy

DONE = "done"
"""Folder of the rows of finished batches, until all are."""


@dataclass(frozen=True)
class Goods:
    """What a concept's creatives are made of: the words, the product's pixels or None, the topics, the brand."""

    copy: Copy
    product: npt.NDArray[np.uint8] | None
    topics: tuple[str, ...]
    brand: Brand


def set_up(job: Job, knobs: Knobs | None = None) -> tuple[Painter, Scorer, bool]:
    """The painter and the scorer of a run, and whether they know its space; knobs: how a picture is drawn again."""
    choice = json.loads((job.run / "training" / "choice.json").read_text())
    if choice["origin"] != "none":
        home, space = job.run / "training" / "generator", choice["space_hash"]
        scorer = Scorer(Taste.load(home, space), Reviewed.load(home))
        return painter_of(job, home, space, knobs), scorer, True
    shipped = any_generator(job.models)
    assert shipped is not None, "the sample's weights come with the code"
    return painter_of(job, shipped, None, knobs), Scorer(None, None), False


def ready(job: Job, concepts: pl.DataFrame, slates: pl.DataFrame) -> tuple[dict[str, Goods], dict[str, AdloomError]]:
    """What each concept of a slate is made of, by concept_id; and those that cannot be drawn, with the fault."""
    goods: dict[str, Goods] = {}
    set_aside: dict[str, AdloomError] = {}
    gate = Gate(job.settings.checks)
    settings = job.settings.generators
    brands = load_brands(job.data, font_path=settings.font_path, advertisers=concepts["advertiser"].unique().to_list())
    for row in concepts.join(slates, on="concept_id", how="semi").sort("concept_id").iter_rows(named=True):
        name, brand = row["concept_id"], brands.of(row["advertiser"])
        copy = Copy(
            headline=row["headline"][0],
            body=row["body"],
            call_to_action=row["call_to_action"],
            advertiser=row["advertiser"],
            colours=brand.palette(row["colours"] or ()),
            notice=settings.ai_label,
        )
        try:
            check_copy(copy, SQUARE, settings.side, brand=brand, where=f"concept {name}")
            refuse_rude(gate, copy, name)
            picture = row["product_image"]
            goods[name] = Goods(
                copy, None if picture is None else load_product(job.data / picture), tuple(row["topics"]), brand
            )
        except DataError as error:
            set_aside[name] = error
    return goods, set_aside


def refuse_rude(gate: Gate, copy: Copy, concept: str) -> None:
    """Raises DataError when the words are rude: no scene could make them fit to be shown."""
    rude = gate.rude(copy)
    if rude:
        told = ", ".join(f'"{one.written}" in the {one.place}' for one in rude)
        fix = "Change it, or name it under allowed_words in the settings of checks."
        raise DataError(f"holds {told}", where=f"concept {concept}", fix=fix)


@dataclass(frozen=True)
class Studio:
    """What draws the pictures of a run: painter, scorer, what is said of their origin, and the settings.

    Attributes:
        knows_space: whether painter and scorer know the space of the run's vectors.
    """

    painter: Painter
    scorer: Scorer
    origin: Origin
    settings: GeneratorSettings
    knows_space: bool

    @classmethod
    def of(cls, job: Job) -> Studio:
        """Of a run whose training stage is finished."""
        painter, scorer, knows_space = set_up(job)
        settings = job.settings.generators
        return cls(painter, scorer, Origin.of(job.run, settings.way, painter.weights_hash), settings, knows_space)

    def draw(self, folder: Path, batch: Sequence[Order], gate: Gate) -> list[dict[str, Any]]:
        """Draws a batch into images/, scenes/ and renditions/ of a folder; returns its rows, see `keep`."""
        settings = self.settings
        for name in ("images", "scenes"):
            (folder / name).mkdir(exist_ok=True)
        finished = make(
            self.painter,
            batch,
            side=settings.side,
            redraws=settings.redraws,
            candidates=settings.candidates,
            appeal=self.scorer if self.scorer.knows_anything else None,
            gate=gate,
        )

        def kept(one: Finished) -> dict[str, Any]:
            return keep(folder, one.order.cohort, one.order.concept_id, one, settings.sizes, self.origin, gate)

        return list(share_out(kept, finished))


def batches_of(orders: Sequence[Order], size: int) -> dict[str, Sequence[Order]]:
    """Orders, so many at a time, by a name for each batch."""
    return {f"{start:06d}": orders[start : start + size] for start in range(0, len(orders), size)}


def draw_all(folder: Path, orders: Sequence[Order], studio: Studio, gate: Gate) -> list[dict[str, Any]]:
    """Draws batch after batch; a batch that an interrupted attempt finished is read back instead."""
    (folder / DONE).mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, batch in batches_of(orders, studio.settings.batch).items():
        record = folder / DONE / f"{name}.json"
        if record.exists():
            recall(gate, folder, json.loads(record.read_text()))
        else:
            write_json(record, studio.draw(folder, batch, gate))
        rows += json.loads(record.read_text())
    return rows


def recall(gate: Gate, folder: Path, rows: list[dict[str, Any]]) -> None:
    """Tells the gate what an interrupted attempt has passed, in the order in which it passed."""
    for row in sorted(rows, key=lambda row: row["redraws"]):
        if not row["checks"]:
            with Image.open(folder / row["file"]) as image:
                gate.remember(row["creative_id"], row["cohort"], image)


def checks_of(job: Job) -> CheckSettings:
    """The settings of the checks, with the colours that the brand kits forbid."""
    settings = job.settings.checks
    named = [settings.forbidden_colours, load_brands(job.data).forbidden]
    both = {name: tuple(c for one in named for c in one.get(name, ())) for one in named for name in one}
    return settings.model_copy(update={"forbidden_colours": both})


def keep(
    folder: Path, cohort: int, concept: str, finished: Finished, sizes: Sequence[str], origin: Origin, gate: Gate
) -> dict[str, Any]:
    """Writes a finished creative, its scene and, where it passed, its other sizes, all stamped; returns its row."""
    name, facts = finished.order.name, origin.facts(finished.order)
    made: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    for one in renditions_of(finished, sizes if not finished.checks else (), gate):
        if one.image is None:
            left_out.append({"format": one.layout, "reason": one.reason})
            continue
        file = f"renditions/{name}/{LAYOUTS[one.layout].slug}{one.suffix}"
        written = write_picture(folder / file, one.content, facts)
        wide, high = one.image.size
        made.append({"format": one.layout, "width": wide, "height": high, "file": file, "bytes": written})
    write_picture(folder / "images" / f"{name}.png", finished.image, facts)
    write_picture(folder / "scenes" / f"{name}.png", Image.fromarray(finished.scene), replace(facts, label=""))
    return {
        "creative_id": name,
        "cohort": cohort,
        "concept_id": concept,
        "seed": finished.order.seed,
        "file": f"images/{name}.png",
        "checks": finished.checks,
        "redraws": finished.redraws,
        "findings": [asdict(finding) for finding in finished.findings],
        "renditions": made,
        "left_out": left_out,
    }
