"""What a full, read-only or barred disk does to libraries is one error of ours, and nothing is lost or half written."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.numpy import save_file

from contracts.disk import disk_fault, size, writing
from contracts.errors import DataError, DiskError
from contracts.store import RunStore, StageKey

ROWS = 500_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode
    ):
        pytest.skip("only root may mount a small disk to fill")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def noise() -> pl.DataFrame:
    return pl.DataFrame({"x": np.random.default_rng(0).random(ROWS)})


WRITERS: dict[str, Callable[[Path], object]] = {
    "polars": lambda folder: noise().write_parquet(folder / "table.parquet"),
    "a polars sink": lambda folder: noise().lazy().sink_parquet(folder / "table.parquet"),
    "polars csv": lambda folder: noise().write_csv(folder / "table.csv"),
    "safetensors": lambda folder: save_file({"x": np.zeros(ROWS)}, folder / "weights.safetensors"),
    "pillow": lambda folder: Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (1200, 1200, 3)).astype(np.uint8)
    ).save(folder / "picture.png"),
    "python": lambda folder: (folder / "bytes").write_bytes(bytes(8 * ROWS)),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_told_alike_whoever_finds_it(small_disk: Path, writer: str) -> None:
    with pytest.raises(DiskError) as told, writing(small_disk, need=lambda: 4_000_000):
        WRITERS[writer](small_disk)
    line = str(told.value)
    assert "the disk is full: " in line
    assert " free, about 4.0 MB needed. Make room for 4.0 MB" in line
    assert "\n" not in line


@pytest.mark.parametrize("writer", WRITERS)
def test_a_read_only_disk_is_told_alike_whoever_finds_it(small_disk: Path, writer: str) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DiskError, match=r"is on a read-only disk\. Mount it for writing"), writing(small_disk):
        WRITERS[writer](small_disk)
    with pytest.raises(DiskError, match="read-only"), RunStore(small_disk / "run").locked():
        pass


def test_a_disk_without_room_for_more_files_is_told_from_a_full_one(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = "size=1m,nr_inodes=4"
    if (
        os.getuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=False).returncode
    ):
        pytest.skip("only root may mount a small disk to fill")
    try:
        with pytest.raises(DiskError, match="no room for more files"), writing(folder):
            shutil.copytree(Path(__file__).parent, folder / "many")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def key() -> StageKey:
    return StageKey("features", {"events": "a"}, {}, 1, (), ("numpy",))


def test_a_stage_that_meets_a_full_disk_leaves_the_old_result_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    store = RunStore(small_disk / "run")
    old = StageKey("features", {"events": "yesterday"}, {}, 1, (), ("numpy",))
    store.perform(old, lambda folder: (folder / "table").write_bytes(b"old"))
    filler = small_disk / "filler"

    def work(folder: Path) -> None:
        if not (folder / "first").exists():
            (folder / "first").write_bytes(b"finished")
            filler.write_bytes(bytes(900_000))
        assert (folder / "first").read_bytes() == b"finished"
        (folder / "table").write_bytes(bytes(200_000))

    with pytest.raises(DiskError, match=r"the disk is full: .* needed"):
        store.perform(key(), work)
    assert store.current(old) is not None
    filler.unlink()
    store.perform(key(), work)
    assert store.current(key()) is not None
    assert sorted(path.name for path in store.folder.iterdir()) == ["features"]


def test_how_much_is_needed_is_known_from_the_same_stage_of_runs_beside_it(tmp_path: Path) -> None:
    RunStore(tmp_path / "yesterday").perform(key(), lambda folder: (folder / "table").write_bytes(bytes(3_000_000)))

    def fail(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match=r"about 3\.0 MB needed"):
        RunStore(tmp_path / "today").perform(key(), fail)
    with pytest.raises(DiskError, match="not known before a first run"):
        RunStore(tmp_path / "elsewhere" / "today").perform(key(), fail)


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(DiskError, match="ulimit -f"), writing(tmp_path):
            (tmp_path / "bytes").write_bytes(bytes(20_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_only_what_is_about_the_disk_is_taken_for_it(tmp_path: Path) -> None:
    assert disk_fault(ValueError("a bug"), tmp_path) is None
    assert disk_fault(FileNotFoundError(errno.ENOENT, "no such file", str(tmp_path / "x")), tmp_path) is None
    outside = PermissionError(errno.EACCES, "Permission denied", "/data/events.parquet")
    assert disk_fault(outside, tmp_path) is None, "input that may not be read is not output that may not be written"
    inside = disk_fault(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "x")), tmp_path)
    assert inside is not None
    assert "may not be written by user" in str(inside)
    with pytest.raises(DataError), writing(tmp_path):
        raise DataError("is empty", where="events.parquet", fix="Write it again.")
    try:
        try:
            raise OSError(errno.EROFS, "Read-only file system")
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        wrapped = disk_fault(error, tmp_path)
    assert wrapped is not None
    assert "read-only disk" in str(wrapped)


@pytest.mark.parametrize(
    ("count", "words"), [(312, "312 bytes"), (4000, "4.0 KB"), (1.26e9, "1.3 GB"), (2e12, "2.0 TB")]
)
def test_sizes_in_words(count: float, words: str) -> None:
    assert size(count) == words
