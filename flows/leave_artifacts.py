"""Turns a run into the artifacts of its flow run: rows read, figures, a sheet of pictures, a link to the report."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from contracts.tables import GENERAL_COHORT
from flows.check_sources import read_counts
from flows.job import Job

COLUMNS, ROWS, CELL = 6, 4, 160
"""Pictures across and down the sheet, and the largest side of each, pixels."""


def leave_artifacts(job: Job, finished: Collection[str]) -> None:
    """Leaves what the finished stages have to show with the flow run that is under way."""
    from prefect.artifacts import (  # noqa: PLC0415 - slow to import
        create_image_artifact,
        create_link_artifact,
        create_markdown_artifact,
        create_table_artifact,
    )

    create_table_artifact(key="intake", table=read_counts(job.run / "sources"), description="Rows read")
    if "generators" in finished and (sheet := picture_sheet(job.run / "generators")):
        picture = base64.b64encode(sheet).decode()
        create_image_artifact(
            key="pictures", image_url=f"data:image/jpeg;base64,{picture}", description="Pictures that passed the checks"
        )
    if "evaluation" in finished:
        evaluation = job.run / "evaluation"
        report = json.loads((evaluation / "report.json").read_text(encoding="utf-8"))
        create_markdown_artifact(key="verdict", markdown=report["verdict"]["sentence"])
        create_table_artifact(key="figures", table=figures(report), description="Figures of the report")
        create_link_artifact(
            key="report",
            link=(evaluation / "report.html").resolve().as_uri(),
            link_text="report.html",
            description="Report",
        )


def figures(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures that a morning needs, one to a row: name, value; what the report has no number for is left out."""
    primary, trust = report["primary"], report["trust"]
    overlap = trust["overlap"] or {}
    rows = {
        "new policy, clicks per slate": primary["value"],
        "logged policy, clicks per slate": primary["logged"],
        "difference": primary["difference"],
        "difference, interval": primary["difference_interval"],
        "held-out slates": trust["slates"],
        "users": trust["users"],
        "slates the reweighted log is worth": overlap.get("effective_size"),
        "noise floor": trust["noise_floor"],
    }
    return [{"figure": name, "value": _short(value)} for name, value in rows.items() if value is not None]


def picture_sheet(folder: Path) -> bytes | None:
    """A JPEG of the first personal creatives that passed, then general ones; None when none passed.

    Args:
        folder: of the generators stage.
    """
    creatives = pl.read_parquet(folder / "creatives.parquet").filter(pl.col("checks").list.len() == 0)
    ordered = creatives.sort(pl.col("cohort") == GENERAL_COHORT, "creative_id")
    files = [folder / file for file in ordered["file"].head(COLUMNS * ROWS)]
    if not files:
        return None
    rows = -(-len(files) // COLUMNS)
    sheet = Image.new("RGB", (min(len(files), COLUMNS) * CELL, rows * CELL), "white")
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            small = opened.convert("RGB")
        small.thumbnail((CELL - 8, CELL - 8))
        left, top = number % COLUMNS * CELL, number // COLUMNS * CELL
        sheet.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['low']:.4g} to {value['high']:.4g}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
