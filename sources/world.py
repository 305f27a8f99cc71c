"""Turns a number of users, days and a seed into a planted world: a data folder whose truth is known. All simulated."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.errors import RunError, SettingsError
from contracts.tables import INPUT_TABLES, polars_schema
from sources.browsing import Browsing, browse, events_table
from sources.campaigns import concepts_table, planted_concepts
from sources.creatives import Creatives, looks_table, pictures_table, write_creatives
from sources.impressions import Shown, impression_ids, impressions_table, show
from sources.law import LAW_SEED, LOOKS, TOPICS, ClickLaw
from sources.logging_policy import LoggingPolicy
from sources.population import Users, blocks_of, draw_users, planted_items

Progress = Callable[[str, int, int], None]
"""Told what is being made ("creatives" or "users"), how many are done, and of how many."""

START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
MIN_DAYS, MAX_SLATE = 4, 12

_SOURCE = """# SIMULATED DATA

Everything in this folder is **simulated**: the people, their browsing, the advertisers, the pictures, the impressions
and the clicks. It was drawn from known laws by the planted world ({users} users, {days} days, seed {seed}), so that
methods can be checked against the truth. Results on it say how well a method finds a planted effect; they say nothing
about real people or real click-through rates. The folder `truth/` holds what no method may read: tastes, looks and true
click chances.
"""


@dataclass(frozen=True)
class WorldSummary:
    """What was written: counts of rows, and the click rate of the log (0 to 1)."""

    folder: Path
    users: int
    events: int
    impressions: int
    clicks: int
    creatives: int
    click_rate: float


def write_world(
    out: Path, users: int, days: int, seed: int, pictures_per_concept: int = 12, side: int = 128, slate_size: int = 4,
    slates: int = 8, progress: Progress | None = None,
) -> WorldSummary:  # fmt: skip
    """Writes events, concepts, impressions, users, pictures, images/, truth/ and SOURCE.md into the folder `out`.

    It is built beside `out` as a hidden folder and renamed when complete, so a world is whole or not there. The same
    arguments give the same bytes. Items, concepts and the click law are the same in every world; users, browsing,
    creatives and clicks depend on the seed.

    Args:
        out: a folder that is new or empty. users: 1 or more. days: 4 or more. seed: any whole number.
        pictures_per_concept: creatives of each of the 48 concepts. side: of the creatives in pixels, even, 64 or more.
        slate_size: ads shown together, 1 to 12. slates: per user, on average, 1 or more. progress: told how far the work is.

    Raises:
        SettingsError: a number is out of range. RunError: the folder is not empty.
    """
    _check(users, days, pictures_per_concept, side, slate_size, slates)
    if out.exists() and any(out.iterdir()):
        raise RunError("the folder is not empty", where=str(out), fix="Name a new folder for the planted world.")
    out = out.resolve()
    building = out.with_name(f".{out.name}.unfinished")
    shutil.rmtree(building, ignore_errors=True)
    summary = _build(building, users, days, seed, pictures_per_concept, side, slate_size, slates, progress)
    if out.exists():
        out.rmdir()
    building.rename(out)
    return replace(summary, folder=out)


def _build(
    out: Path, users: int, days: int, seed: int, pictures_per_concept: int, side: int, slate_size: int,
    slates: int, progress: Progress | None,
) -> WorldSummary:  # fmt: skip
    (out / "truth").mkdir(parents=True)
    tell: Progress = progress or (lambda what, done, total: None)
    law, policy, concepts = ClickLaw(), LoggingPolicy(), planted_concepts()
    (out / "SOURCE.md").write_text(_SOURCE.format(users=users, days=days, seed=seed), encoding="utf-8")
    for product in sorted(set(concepts.products)):
        target = out / "images" / "products" / product.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(product, target)
    total = pictures_per_concept * len(concepts.ids)
    creatives = write_creatives(
        out, concepts, pictures_per_concept, side, seed, lambda done: tell("creatives", done, total)
    )
    start = round(START.timestamp()) * 1_000_000
    _write(out / "concepts.parquet", concepts_table(concepts, start, days), "concepts")
    _write(out / "pictures.parquet", pictures_table(creatives, concepts), "pictures")
    people = draw_users(users, days, seed)
    _write(out / "users.parquet", _users_table(people), "users")
    _write_truth(out / "truth", people, creatives, law, policy, start, days, seed)
    items = planted_items()
    counts = np.zeros(3, dtype=np.int64)
    with (
        _Rows(out / "events.parquet", "events") as events,
        _Rows(out / "impressions.parquet", "impressions") as impressions,
        _Rows(out / "truth" / "impressions.parquet", None) as truth,
    ):
        for block, rows in enumerate(blocks_of(users)):
            browsing: Browsing = browse(people, items, days, seed, block)
            events.add(events_table(browsing, people, items, start))
            shown: Shown = show(
                people, browsing, concepts, creatives, law, policy, days, slate_size, slates, seed, block
            )
            first = int(counts[1])
            impressions.add(impressions_table(shown, people, concepts, creatives, policy, start, first))
            truth.add(pl.DataFrame([impression_ids(first, len(shown.chance)), pl.Series("click_chance", shown.chance)]))
            counts += [len(browsing.user), len(shown.user), int(shown.clicked.sum())]
            tell("users", rows.stop, users)
    event_count, shown_count, clicks = (int(count) for count in counts)
    return WorldSummary(out, users, event_count, shown_count, clicks, len(creatives.ids), clicks / shown_count)


def _check(users: int, days: int, pictures_per_concept: int, side: int, slate_size: int, slates: int) -> None:
    faults = [
        *([f"users is {users}, must be 1 or more"] if users < 1 else []),
        *([f"days is {days}, must be {MIN_DAYS} or more"] if days < MIN_DAYS else []),
        *([f"pictures_per_concept is {pictures_per_concept}, must be 1 or more"] if pictures_per_concept < 1 else []),
        *([f"side is {side}, must be even and 64 or more"] if side < 64 or side % 2 else []),
        *([f"slate_size is {slate_size}, must be 1 to {MAX_SLATE}"] if not 1 <= slate_size <= MAX_SLATE else []),
        *([f"slates is {slates}, must be 1 or more"] if slates < 1 else []),
    ]
    if faults:
        raise SettingsError("; ".join(faults), where="planted world", fix="Change the numbers named.")


class _Rows:
    """A Parquet file that grows by row groups, so that a large world never has to fit in memory."""

    def __init__(self, path: Path, table: str | None) -> None:
        self._path, self._table = path, table
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, rows: pl.DataFrame) -> None:
        """Appends the rows, cast to the contract of the table if it has one."""
        arrow: pa.Table = (_conform(rows, self._table) if self._table else rows).to_arrow()
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, arrow.schema, compression="zstd")
        self._writer.write_table(arrow)


def _conform(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    schema: dict[str, Any] = dict(polars_schema(INPUT_TABLES[table]))
    return rows.select([pl.col(name).cast(dtype) for name, dtype in schema.items()])


def _write(path: Path, rows: pl.DataFrame, table: str) -> None:
    with _Rows(path, table) as file:
        file.add(rows)


def _users_table(users: Users) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users.ids,
            "personalise": users.personalise,
            "locale": users.locale,
            "adult": [None if value < 0 else bool(value) for value in users.adult],
        },
        schema_overrides={"adult": pl.Boolean},
    )


def _write_truth(
    folder: Path, users: Users, creatives: Creatives, law: ClickLaw, policy: LoggingPolicy, start: int, days: int,
    seed: int,
) -> None:  # fmt: skip
    """users.parquet (taste, style, both topic mixes and when the one becomes the other), pictures.parquet, law.json."""
    five, twelve = pl.Array(pl.Float64, len(LOOKS)), pl.Array(pl.Float64, len(TOPICS))
    people = pl.DataFrame(
        {
            "user_id": users.ids,
            "tau": pl.Series(users.tau, dtype=five),
            "style": pl.Series(users.style, dtype=five),
            "mix_before": pl.Series(users.mix_before, dtype=twelve),
            "mix_after": pl.Series(users.mix_after, dtype=twelve),
            "switch_at": pl.Series(users.switch_at + start).cast(pl.Datetime("us", "UTC")),
            "ramp_seconds": users.ramp / 1e6,
        }
    )
    people.write_parquet(folder / "users.parquet", compression="zstd")
    looks_table(creatives).write_parquet(folder / "pictures.parquet", compression="zstd")
    known = {
        "simulated": True, "law_seed": LAW_SEED, "seed": seed, "days": days, "start": START.isoformat(),
        "topics": TOPICS, "looks": LOOKS, "click_law": asdict(law), "logging_policy": asdict(policy),
    }  # fmt: skip
    (folder / "law.json").write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
