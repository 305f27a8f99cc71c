"""Turns a user id into its absence from every file that Adloom made, and a receipt that names nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from contracts.store import MANIFEST, RunStore, file_hash, write_atomically, write_json
from flows.choose_models import ORIGIN
from flows.find_key import find_key
from flows.job import bar, read_barred
from sources.folder_copy import COPIES
from sources.pseudonyms import Pseudonyms
from sources.sifted import forget, read_sifted, replace_parquet


@dataclass
class Receipt:
    """What was done, without personal data.

    Attributes:
        rows: rows removed, by kind of file, such as intake/events or ranking/slates.
        files: files rewritten.
        retrain: what had learned from the user and should be trained again.
    """

    at: str
    rows: dict[str, int] = field(default_factory=dict)
    files: int = 0
    retrain: list[str] = field(default_factory=list)

    def count(self, kind: str, rows: int) -> None:
        """Notes a rewritten file."""
        self.rows[kind] = self.rows.get(kind, 0) + rows
        self.files += 1


def erase_user(user: str, runs: Path, models: Path, key_file: Path | None = None) -> Receipt:
    """Removes a user from the intake's files and from every run, and copies of folders at URLs whole; later runs leave the user out.

    The data folders themselves are the owner's: they are not touched, and what they still hold of the user is left out.

    Args:
        user: the id as it stands in the logs.
        runs: where runs are; the intake's copies and the key are beside it.
        models: where learned models are.
        key_file: of the pseudonyms, when it is neither in the environment nor beside the runs.

    Raises:
        SettingsError: the key cannot be read.
        RunError: a run or an intake is being worked on.
    """
    home = runs.parent
    pseudonym = Pseudonyms(find_key(home, key_file)).of(user)
    names = [user, pseudonym]
    receipt = Receipt(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    for store in sorted(path for path in (home / "intake").glob("*") if path.is_dir()):
        with RunStore(store).locked():
            _from_intake(store, names, receipt)
    for copy in sorted(path for path in (home / COPIES).glob("*") if path.is_dir()):
        with RunStore(copy).locked():  # in any format, so it goes whole; a run that needs it copies it again
            for part in copy.iterdir():
                if part.is_dir():
                    shutil.rmtree(part)
    for run in sorted(path for path in runs.glob("*") if path.is_dir()):
        with RunStore(run).locked():
            _from_run(run, names, models, receipt)
    bar(home, pseudonym)
    if receipt.files:
        folder = home / "receipts"
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("erasure-*.json"))) + 1
        write_json(folder / f"erasure-{number:04}.json", vars(receipt))
    return receipt


def is_barred(user: str, runs: Path, key_file: Path | None = None) -> bool:
    """Whether a user was erased before."""
    return Pseudonyms(find_key(runs.parent, key_file)).of(user) in read_barred(runs.parent)


def _from_intake(store: Path, names: list[str], receipt: Receipt) -> None:
    for draft in store.glob("*/.*.part"):
        shutil.rmtree(draft, ignore_errors=True)
    for folder in sorted(path for path in store.glob("*/*") if path.is_dir()):
        sifted = read_sifted(folder)
        if sifted is None:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if folder.parent.name == "clicks":
            continue
        before = sifted.tally.withheld
        mentioned = sifted.frame("rejected")["raw"].str.contains_any(names).sum()
        if mentioned or any(_holds(path, names) for path in [*sifted.rows(), folder / "minutes.parquet"]):
            sifted = forget(sifted, names)
            receipt.count(f"intake/{folder.parent.name}", sifted.tally.withheld - before + int(mentioned))


def _holds(path: Path, names: list[str]) -> bool:
    scan = pl.scan_parquet(path, glob=False).filter(pl.col("user_id").is_in(names))
    return bool(scan.select(pl.len()).collect().item())


def _from_run(run: Path, names: list[str], models: Path, receipt: Receipt) -> None:
    for part in run.glob("*.part"):
        shutil.rmtree(part)  # an unfinished stage is done again
    for old in run.glob("*.old"):
        shutil.rmtree(old)
    found = False
    for stage in sorted(path for path in run.iterdir() if path.is_dir()):
        changed = [path for path in sorted(stage.rglob("*")) if path.is_file() and path.name != MANIFEST
                   and _from_file(path, names, f"{stage.name}/{_kind(path, stage)}", receipt)]  # fmt: skip
        if changed:
            found = True
            _renew_manifest(stage, changed)
    if found:
        receipt.retrain += [model for model in _learned(run, models) if model not in receipt.retrain]


def _kind(path: Path, stage: Path) -> str:
    return path.relative_to(stage).parts[0].removesuffix(".parquet")


def _from_file(path: Path, names: list[str], kind: str, receipt: Receipt) -> bool:
    """Removes the rows that name the user from a table; True when it was rewritten."""
    if path.suffix == ".parquet":
        schema = pl.read_parquet_schema(path)
        if "user_id" in schema:
            frame = pl.read_parquet(path, glob=False, memory_map=False)
            left = frame.filter(~pl.col("user_id").is_in(names).fill_null(False))
        elif "raw" in schema:
            frame = pl.read_parquet(path, glob=False, memory_map=False)
            left = frame.filter(~pl.col("raw").str.contains_any([f'"{name}"' for name in names]))
        else:
            return False
        if left.height == frame.height:
            return False
        replace_parquet(left, path)
        receipt.count(kind, frame.height - left.height)
        return True
    if path.suffix == ".json":
        values = json.loads(path.read_text(encoding="utf-8"))
        left_values, removed = _without(values, set(names))
        if removed:
            write_json(path, left_values)
            receipt.count(kind, removed)
        return bool(removed)
    return False


def _without(value: Any, names: set[str]) -> tuple[Any, int]:
    """A JSON value without the entries that name the user, and how many there were."""
    if isinstance(value, dict):
        kept: dict[str, Any] = {}
        removed = 0
        for name, inner in value.items():
            if name in names or (isinstance(inner, str) and inner in names):
                removed += 1
                continue
            kept[name], below = _without(inner, names)
            removed += below
        return kept, removed
    if isinstance(value, list):
        entries = [_without(inner, names) for inner in value if not (isinstance(inner, str) and inner in names)]
        removed = len(value) - len(entries) + sum(below for _, below in entries)
        return [inner for inner, _ in entries], removed
    return value, 0


def _renew_manifest(stage: Path, changed: list[Path]) -> None:
    """The manifest names the new bytes, so that the stage stands and those that read it are done again."""
    path = stage / MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for file in changed:
        manifest["outputs"][file.relative_to(stage).as_posix()] = file_hash(file)
    manifest["erasures"] = manifest.get("erasures", 0) + 1
    write_atomically(path, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())


def _learned(run: Path, models: Path) -> Iterator[str]:
    """Models that had the user's rows to learn from, by name."""
    if (run / "ranking" / MANIFEST).exists():
        yield f"ranker of run {run.name} (adloom run does it)"
    for path in sorted(models.glob(f"*/*/{ORIGIN}")):
        made_by = json.loads(path.read_text(encoding="utf-8")).get("made_by", "")
        if made_by == run.name or str(made_by).startswith("adloom train"):
            yield f"{path.parent.parent.name} {path.parent.name} (adloom train {path.parent.parent.name} DATA)"
