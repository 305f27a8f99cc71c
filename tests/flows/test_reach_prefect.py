"""A batch's own Prefect server: begun early, asked by this process alone, gone with the batch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.errors import RunError
from flows.reach_prefect import BatchServer
from tests.flows.processes import CLIENT


@pytest.fixture
def unnamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server is named, whatever other tests of the process use."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.mark.usefixtures("unnamed")
def test_it_answers_for_as_long_as_the_batch_takes(tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    server = BatchServer(tmp_path / "runs")
    server.begin()
    (note,) = (tmp_path / "prefect" / "servers").glob("*.json")
    owned, _ = json.loads(note.read_text())["server"]
    server.begin()
    with server:
        url = PREFECT_API_URL.value()
        assert CLIENT.get(f"{url}/health").status_code == 200
        assert [path.name for path in note.parent.iterdir()] == [f"{owned}.json"], "begun once"
    assert PREFECT_API_URL.value() is None
    assert not note.exists()
    with pytest.raises(httpx.ConnectError):
        CLIENT.get(f"{url}/health")


def test_one_that_is_named_is_asked_and_none_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(RunError, match="no Prefect server answers there"),
        BatchServer(tmp_path / "runs"),
    ):
        pass
    assert not (tmp_path / "prefect" / "servers").exists()


@pytest.mark.usefixtures("unnamed")
def test_one_that_does_not_start_is_told_with_its_log_and_leaves_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "prefect"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('no such port')")
    with pytest.raises(RunError, match="did not start") as told, BatchServer(tmp_path / "runs"):
        pass
    assert told.value.where == str(home / "server.log")
    assert "no such port" in (home / "server.log").read_text()
    assert list((home / "servers").iterdir()) == []
