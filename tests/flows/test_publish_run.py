"""A finished run goes to a URL whole, and what is no such URL is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import RunError
from contracts.store import file_hash
from flows.command_line import execute
from flows.publish_run import publish_run


def bytes_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What a run looks like."""
    folder = tmp_path / "runs" / "shop-1a2b3c4d"
    for name in ("summary.json", "ranking/slates.parquet", "generators/images/a.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_all_that_is_finished_goes_there_and_again(run: Path, tmp_path: Path) -> None:
    whole = bytes_of(run)
    for name in (".lock", "features.part/half.parquet"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("x")
    url = (tmp_path / "far").as_uri()
    assert publish_run(run, url + "/") == f"{url}/{run.name}"
    assert bytes_of(tmp_path / "far" / run.name) == whole
    (run / "ranking" / "slates.parquet").write_text("other")
    publish_run(run, url)
    assert (tmp_path / "far" / run.name / "ranking" / "slates.parquet").read_text() == "other"


def test_where_a_copy_broke_off_there_is_no_summary(run: Path, tmp_path: Path) -> None:
    url = (tmp_path / "far").as_uri()
    publish_run(run, url)
    images = tmp_path / "far" / run.name / "generators" / "images"
    (images / "a.png").unlink()
    (images / "a.png").mkdir()
    with pytest.raises(RunError, match="cannot be published there"):
        publish_run(run, url)
    assert not (tmp_path / "far" / run.name / "summary.json").exists()


@pytest.mark.parametrize("url", ["ftp://host/runs", "memory://runs", "runs"])
def test_what_is_no_such_url_is_one_line_before_any_work(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["run", "--publish", url, "--out", str(tmp_path / "runs")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert f"--publish {url}: is no place to publish to" in line
    assert not (tmp_path / "runs").exists()
