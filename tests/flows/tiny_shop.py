"""A shop of a few people and three concepts, whose whole batch takes seconds: for tests that run it again and again."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl

from sources.world import write_world

CONCEPTS = 3
SETTINGS = """
[ranking]
threads = 1
rounds = 10
[generators]
renders = 2
steps = 1
side = 256
candidates = 1
redraws = 0
batch = 2
min_cohort_users = 10
first_training_steps = 1
sizes = ["320x50"]
[evaluation]
bootstraps = 50
[nights]
first_pause_seconds = 0.1
"""


def write_tiny_shop(folder: Path) -> Path:
    """Writes the shop's data folder, and `settings.toml` beside it; returns the data folder."""
    write_world(folder, users=40, days=10, seed=5, pictures_per_concept=2, side=64)
    shutil.rmtree(folder / "truth")
    kept = pl.read_parquet(folder / "concepts.parquet").sort("concept_id").head(CONCEPTS)
    kept.write_parquet(folder / "concepts.parquet")
    for name in ("impressions", "pictures"):
        table = pl.read_parquet(folder / f"{name}.parquet")
        table.join(kept, on="concept_id", how="semi", maintain_order="left").write_parquet(folder / f"{name}.parquet")
    (folder.parent / "settings.toml").write_text(SETTINGS)
    return folder
