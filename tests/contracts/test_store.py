"""The run store: a stage is done once, whole or not at all, and never by two at a time."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import RunError
from contracts.lock import FILE, read_owner
from contracts.store import RunStore, StageKey, write_json


def key(**changes: object) -> StageKey:
    values = {
        "stage": "features", "inputs": {"events": "a"}, "settings": {"half_life_days": 7.0}, "seed": 1,
        "packages": (), "libraries": ("numpy",),
    } | changes  # fmt: skip
    return StageKey(**values)  # type: ignore[arg-type]


def write(folder: Path) -> None:
    (folder / "table.txt").write_text("rows")


def test_a_finished_stage_is_skipped_and_a_changed_key_is_not(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    done = store.perform(key(), write)
    again = store.current(key())
    assert again is not None
    assert again.skipped
    assert again.digest == done.digest
    for change in (
        {"seed": 2},
        {"inputs": {"events": "b"}},
        {"settings": {"half_life_days": 8.0}},
        {"packages": ("flows",)},
    ):
        assert store.current(key(**change)) is None


def test_a_touched_or_missing_output_makes_the_stage_stale(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    done = store.perform(key(), write)
    (done.folder / "table.txt").write_text("other rows")
    assert store.current(key()) is None
    (done.folder / "table.txt").unlink()
    assert store.current(key()) is None


def test_a_failed_stage_leaves_no_folder_but_keeps_what_was_finished(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "first.png").write_text("finished")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.perform(key(), fail)
    assert not (tmp_path / "features").exists()

    def go_on(folder: Path) -> None:
        assert (folder / "first.png").read_text() == "finished"
        write(folder)

    assert (store.perform(key(), go_on).folder / "table.txt").exists()


def test_leftovers_of_another_key_are_thrown_away(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "first.png").write_text("finished")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        store.perform(key(), fail)
    done = store.perform(key(seed=2), write)
    assert not (done.folder / "first.png").exists()


def test_the_old_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.perform(key(), write)

    def fail(folder: Path) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        store.perform(key(seed=2), fail)
    assert store.current(key()) is not None


def test_a_manifest_tells_seconds_memory_rows_and_bytes_and_they_decide_nothing(tmp_path: Path) -> None:
    store = RunStore(tmp_path)

    def work(folder: Path) -> None:
        (folder / "parts").mkdir()
        for number in range(3):
            pl.DataFrame({"x": list(range(7))}).write_parquet(folder / "parts" / f"{number}.parquet")

    done = store.perform(key(), work)
    manifest = store.manifest("features")
    assert manifest is not None
    assert done.rows == manifest["rows"] == 21
    assert done.peak_bytes == manifest["peak_bytes"] > 10_000_000
    assert manifest["bytes"] == sum(path.stat().st_size for path in (tmp_path / "features" / "parts").iterdir())
    again = RunStore(tmp_path / "other").perform(key(), work)
    assert again.digest == done.digest
    skipped = store.current(key())
    assert skipped is not None
    assert (skipped.rows, skipped.peak_bytes, skipped.seconds) == (21, done.peak_bytes, done.seconds)


def test_a_run_that_was_taken_over_is_not_published(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.perform(key(), write)
    with store.locked():

        def lose(folder: Path) -> None:
            write(folder)
            owner = read_owner(tmp_path / FILE)
            assert owner is not None
            (tmp_path / FILE).write_text(json.dumps(asdict(owner) | {"token": "of another", "pid": 1}))

        with pytest.raises(RunError, match="was taken over by process 1"):
            store.perform(key(seed=2), lose)
    assert store.current(key()) is not None, "the other's, as far as this process knows"


def test_a_stage_killed_between_its_two_renames_is_not_worked_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(tmp_path)
    store.perform(key(), write)
    whole = Path.rename

    def die(self: Path, target: Path) -> Path:
        if self.name == "features.part":
            raise KeyboardInterrupt
        return whole(self, target)

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        store.perform(key(seed=2), write)
    monkeypatch.setattr(Path, "rename", whole)
    assert not (tmp_path / "features").exists()

    def never(folder: Path) -> None:
        raise AssertionError

    store.perform(key(seed=2), never)
    assert store.current(key(seed=2)) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["features"]


def test_an_unfinished_stage_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        RunStore(tmp_path).digest("features")


def test_nan_never_reaches_a_json_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"value": float("nan")})
    assert not (tmp_path / "x.json").exists()
