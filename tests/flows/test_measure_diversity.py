"""Variety is measured for each cohort and for what is in each user's slate, and too little of it is said."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from contracts.settings import CheckSettings
from contracts.tables import GENERAL_COHORT
from flows.measure_diversity import measure, warnings

PICTURES = {  # creative: cohort, concept, lightness L* is 0 for black, 100 for white
    "a": (GENERAL_COHORT, "tea", "black"),
    "b": (GENERAL_COHORT, "mug", "black"),
    "c": (0, "tea", "black"),
    "d": (0, "mug", "white"),
    "e": (1, "mug", "white"),
    "f": (1, "tea", "white"),
}
SLATES = [("ann", 0, "tea"), ("ann", 0, "mug"), ("bob", 1, "tea"), ("bob", 1, "mug"), ("cat", 2, "tea"), ("cat", 2, "mug"),
          ("dan", 0, "mug")]  # fmt: skip


def told(folder: Path, failed: str = "") -> dict:
    rows = []
    (folder / "scenes").mkdir(exist_ok=True)
    for name, (cohort, concept, colour) in PICTURES.items():
        Image.new("RGB", (16, 16), colour).save(folder / "scenes" / f"{name}.png")
        rows.append((name, cohort, concept, f"{name}.png", ["blank_or_flat"] if name == failed else []))
    columns = ["creative_id", "cohort", "concept_id", "file", "checks"]
    creatives = pl.DataFrame(rows, columns, orient="row", schema_overrides={"checks": pl.List(pl.String)})
    shown = pl.DataFrame(SLATES, ["user_id", "cohort", "concept_id"], orient="row")
    return measure(folder, creatives, shown, CheckSettings())


def test_cohorts_and_users_are_measured_by_what_they_see(tmp_path: Path) -> None:
    found = told(tmp_path)
    first, second = found["audiences"]
    assert (first["cohort"], first["pictures"], first["passed"]) == (0, 2, True)
    assert first["distance"] == pytest.approx(100, abs=0.01)
    assert (second["distance"], second["passed"]) == (0, False)
    users = found["users"]  # ann black and white, bob twice white, cat twice the general black; dan sees one
    assert users["counted"] == 3
    assert users["share_under"] == pytest.approx(2 / 3)
    assert (users["lowest"], users["median"], users["passed"]) == (0, 0, False)
    said = warnings(found, CheckSettings())
    assert "cohort 1" in said[0]
    assert "slate" in said[1]


def test_a_dropped_picture_is_not_seen(tmp_path: Path) -> None:
    found = told(tmp_path, failed="d")
    assert [row["pictures"] for row in found["audiences"]] == [1, 2]
    assert found["audiences"][0]["passed"] is None
    assert found["users"]["lowest"] == 0
    assert found["users"]["share_under"] == 1
