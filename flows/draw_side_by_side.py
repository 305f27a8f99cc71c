"""Turns batches drawn by workers, side by side, into the pictures that one machine draws one after another, to the byte.

A worker knows nothing of the other batches. So each batch is drawn as if it were the first; then, in their order, its pictures
are compared with all before them. A batch of which one repeats an earlier picture is drawn again by a worker who is told of
those; any other batch is as it would have been.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from PIL import Image

from contracts.store import digest_of, write_json
from flows.draw_batches import DONE, Studio, batches_of, checks_of, ready, recall
from flows.job import Job
from flows.keep_log import log
from flows.spread_work import Workers, workers_of
from generators.checking.findings import Finding, failed
from generators.checking.gate import Gate
from generators.checking.likeness import Album
from generators.studio import Order

DRAWN = "drawn"
"""Folder of what workers have drawn, until it is compared."""

_ROWS = "rows.json"
_REPEAT = "near_duplicate"
_open: dict[str, tuple[Studio, Gate]] = {}


def draw_side_by_side(job: Job, folder: Path, orders: Sequence[Order], gate: Gate) -> list[dict[str, Any]]:
    """As `draw_batches.draw_all`, on the job's cluster."""
    for name in (DONE, "images", "scenes"):
        (folder / name).mkdir(exist_ok=True)
    batches = batches_of(orders, job.settings.generators.batch)
    site = (
        job.elsewhere(),
        digest_of([job.store.digest("training"), job.settings.model_dump(mode="json")]),
        torch.get_num_threads(),
    )
    rows: list[dict[str, Any]] = []
    again = 0

    def draw(workers: Workers, names: Sequence[str], album: Album | None, suffix: str) -> Iterator[Path]:
        parts = {name + suffix: (*site, [replace(one, product=None) for one in batches[name]], album) for name in names}
        return workers.spread(draw_part, parts, folder / DRAWN, gpu=True)

    with workers_of(job.cluster) as workers:
        drawn = draw(workers, [name for name in batches if not _record(folder, name).exists()], None, "")
        for name in batches:
            record = _record(folder, name)
            if record.exists():
                recall(gate, folder, json.loads(record.read_text()))
            else:
                part = next(drawn)
                settled = settle(part, folder, gate)
                if settled is None:
                    again += 1
                    part = next(draw(workers, [name], gate.album, "-again"))
                    settled = json.loads((part / _ROWS).read_text())
                _take(part, folder)
                write_json(record, settled)
                if part.name != name:
                    recall(gate, folder, settled)
            rows += json.loads(record.read_text())
    if again:
        log.info("%s of %s batches were drawn again, as they repeated a picture of another", again, len(batches))
    return rows


def draw_part(
    job: Job, made_with: str, threads: int, orders: Sequence[Order], album: Album | None, folder: Path
) -> None:
    """Draws one batch into a folder of its own, with rows.json.

    Args:
        job: whose training stage is finished.
        made_with: differs when weights or settings do.
        threads: of torch.
        orders: without their products, which are read here.
        album: pictures that may not be repeated.
        folder: where to.
    """
    torch.set_num_threads(threads)
    if made_with not in _open:
        _open.clear()
        _open[made_with] = Studio.of(job), Gate.open(checks_of(job))
    studio, gate = _open[made_with]
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
    mine = concepts.filter(pl.col("concept_id").is_in([one.concept_id for one in orders]))
    goods, _ = ready(job, mine, mine.select("concept_id"))
    batch = [replace(one, product=goods[one.concept_id].product) for one in orders]
    rows = studio.draw(folder, batch, replace(gate, album=deepcopy(album) if album else Album()))
    write_json(folder / _ROWS, rows)


def settle(part: Path, folder: Path, gate: Gate) -> list[dict[str, Any]] | None:
    """The rows of a batch drawn as if it were the first, as they are after all that the gate remembers, which it then does
    too; None: a picture that passed repeats an earlier one.

    What failed for a worker fails here too, for the same or for one more reason: pictures to compare with are only added.
    """
    rows: list[dict[str, Any]] = json.loads((part / _ROWS).read_text())
    trial = replace(gate, album=deepcopy(gate.album))
    for row in sorted(rows, key=lambda row: row["redraws"]):
        passed = not row["checks"]
        file = part / row["file"]
        with Image.open(file if file.exists() else folder / row["file"]) as image:
            repeats = asdict(trial.compare(image, row["cohort"]))
            row["findings"] = [repeats if one["check"] == _REPEAT else one for one in row["findings"]]
            row["checks"] = failed([Finding(**one) for one in row["findings"]])
            if passed and row["checks"]:
                return None
            if passed:
                trial.remember(row["creative_id"], row["cohort"], image)
    gate.album = trial.album
    return rows


def _take(part: Path, folder: Path) -> None:
    """Moves the pictures of a part to where they belong."""
    for path in sorted(part.rglob("*")):
        target = folder / path.relative_to(part)
        if path.is_file() and path.name != _ROWS:
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)


def _record(folder: Path, name: str) -> Path:
    return folder / DONE / f"{name}.json"
