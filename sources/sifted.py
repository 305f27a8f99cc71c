"""Turns the folder of a sifted file into its accepted rows, keys and sums; and forgets users in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from contracts.store import write_json

WITHHELD = '{"withheld":"it may name a person who gave no consent"}'
"""Stands for the raw row where that must not be kept."""


@dataclass
class Tally:
    """What became of the rows of one file: read = accepted + rejected; some of those accepted are left out."""

    source: str
    read: int = 0
    accepted: int = 0
    rejected: int = 0
    withheld: int = 0
    sensitive: int = 0
    files: int = 0
    notes: list[str] = field(default_factory=list)
    hours: list[int] = field(default_factory=lambda: [0] * 24)
    inverse_propensities: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])


@dataclass(frozen=True)
class Sifted:
    """The finished folder of one file: rows-<n>.parquet by the contract, keys-<n>.parquet beside each."""

    folder: Path
    tally: Tally

    def rows(self) -> list[Path]:
        """Files of accepted rows, in order."""
        return [self.folder / f"rows-{number:05}.parquet" for number in range(self.tally.files)]

    def keys(self, number: int) -> pl.DataFrame:
        """Of each row of a file: row (its number in the source), key and person (hashes, u64)."""
        return pl.read_parquet(self.folder / f"keys-{number:05}.parquet", glob=False)

    def hashes(self, number: int, name: str) -> pl.Series:
        """One column of `keys`, (rows,) u64."""
        path = self.folder / f"keys-{number:05}.parquet"
        return pl.read_parquet(path, columns=[name], glob=False, memory_map=False)[name]

    def frame(self, name: str) -> pl.DataFrame:
        """rejected, warnings, minutes (user_id, minute, rows) or days (day, rows, clicks, rejected)."""
        return pl.read_parquet(self.folder / f"{name}.parquet", glob=False)


def read_sifted(folder: Path) -> Sifted | None:
    """What was made of a file before; None when it was not finished."""
    try:
        return Sifted(folder, Tally(**json.loads((folder / "tally.json").read_text())))
    except (OSError, ValueError, TypeError):
        return None


def unlisted(sifted: Sifted, users: pl.Series) -> list[str]:
    """Users with rows in it who are not among `users`."""
    known = users.hash(0)
    gone: set[str] = set()
    for place, path in enumerate(sifted.rows()):
        stranger = ~sifted.keys(place)["person"].is_in(known.implode())
        if stranger.any():
            found = pl.read_parquet(path, columns=["user_id"], glob=False, memory_map=False).filter(stranger)
            gone |= set(found["user_id"].unique().to_list())
    return sorted(gone)


def forget(sifted: Sifted, users: list[str]) -> Sifted:
    """The same file without a trace of `users`: their rows count as withheld. Every file is replaced in one rename."""
    tally = sifted.tally
    gone = pl.Series(users, dtype=pl.String).implode()
    lost = []
    for place, path in enumerate(sifted.rows()):
        rows = pl.read_parquet(path, glob=False, memory_map=False)
        mine = rows["user_id"].is_in(gone)
        if not mine.any():
            continue
        tally.withheld += int(mine.sum())
        left, keys = rows.filter(~mine), sifted.keys(place).filter(~mine)
        replace_parquet(keys, sifted.folder / f"keys-{place:05}.parquet")
        replace_parquet(left, path)
        clicks = pl.col("clicked").sum() if "clicked" in rows.columns else pl.lit(0)
        mine_by_day = rows.filter(mine).group_by(day=pl.col("at").dt.date())
        lost.append(mine_by_day.agg(rows=-pl.len().cast(pl.Int64), clicks=-clicks.cast(pl.Int64)))
    if lost:
        losses = pl.concat(lost).with_columns(rejected=pl.lit(0, dtype=pl.Int64))
        days = pl.concat([sifted.frame("days"), losses]).group_by("day").sum().sort("day")
        replace_parquet(days, sifted.folder / "days.parquet")
    minutes = sifted.frame("minutes")
    replace_parquet(minutes.filter(~pl.col("user_id").is_in(gone)), sifted.folder / "minutes.parquet")
    rejected = sifted.frame("rejected")
    named = pl.col("raw").str.contains_any(users)
    replace_parquet(
        rejected.with_columns(raw=pl.when(named).then(pl.lit(WITHHELD)).otherwise("raw")),
        sifted.folder / "rejected.parquet",
    )
    write_json(sifted.folder / "tally.json", dict(vars(tally)))
    return sifted


def replace_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Writes a Parquet file under a temporary name and renames it; links to the old file keep the old rows."""
    temporary = path.with_name(f".{path.name}.part")
    frame.write_parquet(temporary, compression="lz4")
    os.replace(temporary, path)  # noqa: PTH105 - one rename over the old file
