"""DATA may be a URL: the same check and the same run as on the folder itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.settings import Settings
from flows.bring_data import data_folder
from flows.command_line import execute
from flows.erase_user import erase_user
from flows.job import Job
from tests.flows.tiny_shop import write_tiny_shop

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny shop, here and at memory://far/shop."""
    folder = tmp_path_factory.mktemp("here") / "shop"
    write_tiny_shop(folder)
    memory = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe(f"/far/shop/{path.relative_to(folder).as_posix()}", path.read_bytes())
    yield folder
    memory.rm("/far", recursive=True)


def test_a_run_has_the_inputs_and_the_name_of_one_on_the_folder_itself(shop: Path, tmp_path: Path) -> None:
    near, far, same = (
        Job(data_folder(named, tmp_path / "runs"), Settings())
        for named in (str(shop), "memory://far/shop", shop.as_uri())
    )
    assert far.data.is_relative_to(tmp_path / "copies")
    assert any(name.startswith("images/") for name in far.input_hashes)
    assert (far.run_id, far.input_hashes) == (near.run_id, near.input_hashes)
    assert same.data == near.data == shop


def test_check_says_the_same_of_both(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = []
    for data in (str(shop), "memory://far/shop"):
        assert execute(["check", data, "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["run", "memory://far/none"], ["schedule", "memory://far/none", "--cron", "0 3 * * *"]):
        assert execute([*words, "--out", str(tmp_path / "runs")]) == 2
        told = capsys.readouterr().err
        assert "memory://far/none: is not there. Check the address." in told
        assert told.count("\n") == 1
    secret = "https://ann:s3cret@host/shop"
    assert execute(["schedule", secret, "--cron", "0 3 * * *", "--out", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert "https://ann:***@host/shop: carries a secret, which the schedule would keep" in told
    assert "s3cret" not in told


def test_a_forgotten_user_is_not_left_in_a_copy(shop: Path, tmp_path: Path) -> None:
    copy = data_folder("memory://far/shop", tmp_path / "runs")
    assert copy.is_dir()
    erase_user("somebody", tmp_path / "runs", tmp_path / "models")
    assert not copy.exists()
    assert data_folder("memory://far/shop", tmp_path / "runs") == copy
