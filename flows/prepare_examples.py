"""Turns checked tables and their pictures into the training file of the generator, and whose it is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from PIL import Image

from contracts.errors import DataError
from contracts.settings import FeatureSettings
from features.embeddings import embeddings_at
from features.space import Space, Vectors
from flows.part_users import whole_users
from flows.place_users import browsing_settings
from flows.refit_space import welcomed
from generators.examples import Examples
from generators.products import ProductBox, load_product, product_mask
from generators.taste.judge import of_judge

MOST_SEEN = 1_000_000
"""Impressions of pictures that are learned from, about: those of all users, or of as many evenly spaced ones."""

PART_MOMENTS = 200_000
"""Moments whose users' events are read at once, about."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """The generator's training file, and whose each impression is.

    Attributes:
        examples: what there is to learn from.
        user_ids: everyone in it.
        people: (I,) place in `user_ids` of each impression.
    """

    examples: Examples
    user_ids: tuple[str, ...]
    people: npt.NDArray[np.int64]

    def half(self, *, judges: bool) -> Prepared | None:
        """The impressions of the judge's users alone, or of the scorer's; None where there are none."""
        mine = (of_judge(self.user_ids) == judges)[self.people]
        if not mine.any():
            return None
        columns = ("impression_picture", "impression_user", "clicked")
        kept = {name: getattr(self.examples, name)[mine] for name in columns}
        return Prepared(replace(self.examples, **kept), self.user_ids, self.people[mine])


def prepare_examples(
    data: Path,
    tables: Path,
    space: Space,
    settings: FeatureSettings,
    *,
    side: int,
    before: dt.datetime | None,
    split: str,
) -> Prepared:
    """Everything that the generator learns from: logged pictures, who saw them, who clicked; of a long log some users'.

    Args:
        data: the data folder, for the pictures' files.
        tables: folder of the checked tables.
        space: in which users and concepts stand.
        settings: how browsing is weighed.
        side: pictures are resized to this, pixels.
        before: only impressions before this moment; None: all.
        split: a name for the record.

    Raises:
        DataError: the data holds no pictures, or no impression of one.
    """
    events = pl.scan_parquet(tables / "events.parquet")
    concepts, pictures = (pl.read_parquet(tables / f"{name}.parquet") for name in ("concepts", "pictures"))
    seen = pl.scan_parquet(tables / "impressions.parquet").select("user_id", "at", "slot", "creative_id", "clicked")
    if pictures.is_empty():
        raise DataError(
            "there is no pictures table, so nothing to learn a picture from",
            where=str(data),
            fix="Add pictures.parquet (creative_id, concept_id, file), see data/README.md.",
        )
    past = events
    if before is not None:
        seen, past = seen.filter(pl.col("at") < before), events.filter(pl.col("at") < before)
    space = welcomed(space, past, concepts, settings)
    numbers = pictures.with_row_index("picture").select("creative_id", "picture")
    shown = _some(seen.join(numbers.lazy(), on="creative_id").drop("creative_id"), MOST_SEEN).sort(
        "at", "user_id", "slot"
    )
    if shown.is_empty():
        raise DataError(
            "no impression names a creative of the pictures table",
            where=str(data),
            fix="Fill impressions.creative_id with keys of the pictures table.",
        )
    moments = shown.select("user_id", "at").unique(maintain_order=True).with_row_index("moment")
    shown = shown.join(moments, on=["user_id", "at"], maintain_order="left")
    rows = pictures.join(
        concepts.with_row_index("concept").select("concept_id", "concept", "product_image"),
        on="concept_id",
        maintain_order="left",
    )
    pixels, masks = read_pictures(data, rows, side)
    examples = Examples(
        pictures=pixels,
        masks=masks,
        picture_concept=rows["concept"].to_numpy().astype(np.int32),
        concept_vectors=space.place_concepts(concepts),
        user_vectors=_vectors(events, space, moments, settings),
        impression_picture=shown["picture"].to_numpy().astype(np.int32),
        impression_user=shown["moment"].to_numpy().astype(np.int32),
        clicked=shown["clicked"].to_numpy().astype(np.uint8),
        space_hash=space.hash,
        split=split,
    )
    user_ids = moments["user_id"].unique().sort()
    people = shown["user_id"].replace_strict(user_ids, pl.int_range(len(user_ids), eager=True), return_dtype=pl.Int64)
    return Prepared(examples, tuple(user_ids), people.to_numpy())


def _some(shown: pl.LazyFrame, most: int) -> pl.DataFrame:
    """The impressions of as many users, evenly spaced in order of id, as have about `most`."""
    counts = shown.group_by("user_id").len().sort("user_id").collect(engine="streaming")
    users, total = counts["user_id"], int(counts["len"].sum())
    if total > most:
        places = np.linspace(0, len(users) - 1, max(1, len(users) * most // total)).astype(np.int64)
        shown = shown.filter(pl.col("user_id").is_in(users[places].implode()))
    return shown.collect(engine="streaming")


def _vectors(events: pl.LazyFrame, space: Space, moments: pl.DataFrame, settings: FeatureSettings) -> Vectors:
    """(N, D) embeddings at moments (user_id, at); the events of some users are in memory at a time."""
    found = np.empty((len(moments), space.dimensions), np.float32)
    events = events.select("user_id", "at", "action", "item_id", "topics")
    for some in whole_users(moments.with_row_index("row").sort("user_id", "at"), PART_MOMENTS):
        users = some["user_id"].unique()
        known = events.filter(pl.col("user_id").is_in(users.implode())).collect(engine="streaming")
        vectors = embeddings_at(known, space, some, **browsing_settings(settings))
        found[some["row"].to_numpy()] = vectors
    return found


def read_pictures(data: Path, rows: pl.DataFrame, side: int) -> tuple[Bytes, Bytes]:
    """Logged pictures at the training size, and where their product stands.

    Args:
        data: the data folder.
        rows: file, product_image and box_left, box_top, box_width, box_height; P rows.
        side: S.

    Returns:
        uint8 (P, S, S, 3), and uint8 (P, S, S): 255 on the product's pixels; all 0 where the box is not known.
    """
    pixels = np.zeros((len(rows), side, side, 3), np.uint8)
    masks = np.zeros((len(rows), side, side), np.uint8)
    products: dict[str, Bytes] = {}
    for index, row in enumerate(rows.iter_rows(named=True)):
        pixels[index] = read_picture(data / row["file"], side)
        box = [row[f"box_{name}"] for name in ("left", "top", "width", "height")]
        image = row["product_image"]
        if image is None or any(value is None for value in box):
            continue
        if image not in products:
            products[image] = load_product(data / image, trim=False)
        covered = product_mask(products[image], ProductBox(*box), side)
        masks[index] = np.where(covered > 0.5, 255, 0)
    return pixels, masks


def read_picture(path: Path, side: int) -> Bytes:
    """A picture, cropped to its central square and resized, uint8 (side, side, 3)."""
    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    except OSError as error:
        raise DataError(
            f"the picture cannot be read ({error})", where=str(path), fix="Replace it, or take its row out of pictures."
        ) from error
    width, height = image.size
    edge = min(width, height)
    left, top = (width - edge) // 2, (height - edge) // 2
    square = image.resize((side, side), Image.Resampling.LANCZOS, box=(left, top, left + edge, top + edge))
    return np.asarray(square, np.uint8)
