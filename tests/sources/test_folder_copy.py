"""A folder at a URL becomes an equal one here, once; secrets in the URL are never told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sources.folder_copy as copying
from contracts.errors import DataError, DiskError
from contracts.store import tree_hashes
from sources.far_storage import holds_secret, is_url, shown
from sources.folder_copy import copy_folder

fsspec = pytest.importorskip("fsspec")
FILES = {"events/day=2026-11-01/a.csv": b"1", "events/day=2026-11-02/a.csv": b"22", "images/shoe.png": b"png" * 9}


@pytest.fixture
def far() -> Iterator[Any]:
    memory = fsspec.filesystem("memory")
    for name, held in FILES.items():
        memory.pipe(f"/bucket/shop/{name}", held)
    memory.pipe("/bucket/shop/.tmp/half", b"x")
    yield memory
    memory.rm("/bucket", recursive=True)


def held(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_only_what_has_changed_is_fetched_again(far: Any, tmp_path: Path) -> None:
    told: list[str] = []
    copy = copy_folder("memory://bucket/shop/", tmp_path)
    assert copy.name == "shop"
    assert held(copy) == FILES
    assert copy_folder("memory://bucket/shop", tmp_path, tell=lambda what, *_: told.append(what)) == copy
    assert told == []
    far.pipe("/bucket/shop/images/shoe.png", b"PNG" * 9)
    far.rm("/bucket/shop/events/day=2026-11-01/a.csv")
    (copy / "events/day=2026-11-02/a.csv").write_bytes(b"cut off here")
    copy_folder("memory://bucket/shop", tmp_path, tell=lambda what, *_: told.append(what))
    assert told == ["copying, events/day=2026-11-02/a.csv", "copying, images/shoe.png"]
    assert held(copy) == {"events/day=2026-11-02/a.csv": b"22", "images/shoe.png": b"PNG" * 9}
    assert not (copy / "events/day=2026-11-01").exists()


def test_a_copy_that_is_stopped_goes_on_where_it_stopped(
    far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_AT_ONCE", 1)

    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_folder("memory://bucket/shop", tmp_path, tell=stop)
    notes = next(tmp_path.glob("*/copied.jsonl"))
    notes.write_bytes(notes.read_bytes() + b'["images/sh')  # a kill in the middle of a line
    told: list[str] = []
    copy = copy_folder("memory://bucket/shop", tmp_path, tell=lambda what, *_: told.append(what))
    assert told == ["copying, images/shoe.png"]
    assert held(copy) == FILES
    assert copy_folder("memory://bucket/shop", tmp_path, tell=lambda what, *_: told.append(what)) == copy
    assert len(told) == 1, "a line that was cut off spoils no later one"


def test_a_file_without_a_stamp_is_fetched_each_time(far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.far_storage._STAMPS", ())
    told: list[str] = []
    for _ in range(2):
        copy_folder("memory://bucket/shop", tmp_path, tell=lambda what, *_: told.append(what))
    assert len(told) == 2 * len(FILES)


def test_a_file_that_comes_short_is_one_line_and_no_file(
    far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = type(far).ls

    def too_large(self: Any, *words: Any, **named: Any) -> Any:
        return [
            {**one, "size": 99} if one["name"].endswith(".png") else one
            for one in whole(self, *words, **{**named, "detail": True})
        ]

    monkeypatch.setattr(type(far), "ls", too_large)
    with pytest.raises(DataError, match=r"memory://bucket/shop/images/shoe\.png: has 27 bytes, not the 99"):
        copy_folder("memory://bucket/shop", tmp_path)
    assert not list(tmp_path.glob("*/shop/images/*"))


def test_a_full_disk_says_so(far: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copying.shutil, "copyfileobj", full)
    with pytest.raises(DiskError, match="free"):
        copy_folder("memory://bucket/shop", tmp_path)


def test_what_cannot_be_read_is_one_line_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import known_implementations, register_implementation

    class Barred(fsspec.AbstractFileSystem):  # type: ignore[misc, name-defined]
        protocol = "barred"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return path

        def ls(self, path: str, detail: bool = True, **_: object) -> list[object]:
            raise PermissionError(f"403 Forbidden: {path}\nno")

    register_implementation("barred", Barred, clobber=True)
    monkeypatch.setitem(
        known_implementations, "absent", {"class": "no_such_package.FS", "err": "pip install no-such-package"}
    )
    lines = {
        "memory://nowhere/shop": "memory://nowhere/shop: is not there",
        "gopher://host/shop": "gopher://host/shop: is of no kind that is read",
        "absent://host/shop": "needs a package that is not installed. pip install no-such-package.",
        "barred://ann:s3cret@host/shop?sig=abc%2F1": "cannot be listed (403 Forbidden: barred://ann:***@host/shop?*** no)",
        "s3://key:s3cret@bucket/shop": "s3://key:***@bucket/shop: carries a secret",
        "abfss://logs@shop.dfs.core.windows.net/day?sig=abc%2F1": "carries a secret",
    }
    for url, wanted in lines.items():
        with pytest.raises(DataError) as error:
            copy_folder(url, tmp_path)
        told = str(error.value)
        assert wanted in told
        assert not any(secret in told for secret in ("s3cret", "abc", "\n"))
    assert tree_hashes(tmp_path) == {}


def test_what_is_secret_in_a_url() -> None:
    assert is_url("s3://a/b")
    assert not is_url("data/shop")
    assert shown("https://ann:pw@host/a?sig=x&b=1#c") == "https://ann:***@host/a?sig=***&b=***"
    assert shown("abfs://logs@shop.dfs.core.windows.net/a") == "abfs://logs@shop.dfs.core.windows.net/a"
    assert [holds_secret(url) for url in ("s3://a/b", "s3://a:b@c", "https://a/b?c", "abfs://a@b/c")] == [
        *(False, True, True),
        False,
    ]
