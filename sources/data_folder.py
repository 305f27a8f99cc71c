"""Turns tables and pictures into a data folder that appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from contracts.errors import DataError


def write_data_folder(
    out: Path, tables: Mapping[str, pl.DataFrame], source_md: str, images: Mapping[str, bytes] | None = None
) -> None:
    """Writes <table>.parquet, SOURCE.md and pictures under a temporary name, then renames.

    Args:
        out: the folder to make; must not exist, or be empty.
        tables: by name, each by its contract.
        source_md: where the data comes from, under which licence, and what stands for what.
        images: content by path relative to the folder.

    Raises:
        DataError: `out` is in use or cannot be written.
    """
    refuse_used(out)
    part = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, frame in tables.items():
            frame.write_parquet(part / f"{name}.parquet")
        for name, content in sorted((images or {}).items()):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
        (part / "SOURCE.md").write_text(source_md, encoding="utf-8")
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", where=str(out), fix="Give another folder.") from error


def refuse_used(out: Path) -> None:
    """Raises DataError when `out` exists and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError("is there already", where=str(out), fix="Give a new folder, or remove it.")
