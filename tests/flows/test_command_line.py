"""The command line: a bad input is one line that says what, where and what to do, and exit 2; never a traceback."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import cyclopts
import polars as pl
import pytest
from markupsafe import escape

from flows.command_line import app, execute
from sources.world import write_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worlds") / "small"
    write_world(folder, users=60, days=20, seed=5, pictures_per_concept=2, side=64)
    return folder


@pytest.fixture
def copy(world: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(world, tmp_path / "data"))


def rewrite(folder: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    change(pl.read_parquet(folder / f"{table}.parquet")).write_parquet(folder / f"{table}.parquet")


def to_csv(folder: Path, table: str, change: Callable[[str], str]) -> None:
    frame = pl.read_parquet(folder / f"{table}.parquet")
    frame = frame.with_columns(
        pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), pl.col(pl.List(pl.String)).list.join("|")
    )
    (folder / f"{table}.csv").write_text(change(frame.write_csv()), encoding="utf-8")
    (folder / f"{table}.parquet").unlink()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err + captured.out
    return captured.err


FATAL: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing column": (lambda d: rewrite(d, "events", lambda t: t.drop("item_id")), "item_id"),
    "a wrong dtype": (lambda d: rewrite(d, "events", lambda t: t.with_columns(at=pl.struct("user_id"))), "at"),
    "local time": (lambda d: rewrite(d, "events", lambda t: t.with_columns(pl.col("at").dt.replace_time_zone(None))), "local time"),
    "an empty file": (lambda d: (d / "events.parquet").write_bytes(b""), "empty"),
    "a truncated Parquet": (lambda d: (d / "events.parquet").write_bytes((d / "events.parquet").read_bytes()[:5000]), "events.parquet"),
    "no impressions": (lambda d: (d / "impressions.parquet").unlink(), "impressions"),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(FATAL))
def test_what_cannot_be_read_is_one_line_and_exit_2(fault: str, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, word = FATAL[fault]
    damage(copy)
    assert execute(["check", str(copy), "--out", str(copy / "check.html")]) == 2
    line = one_line(capsys)
    assert line.startswith("adloom: ")
    assert word in line


ROWS: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "clicked of 7": (lambda d: rewrite(d, "impressions", lambda t: t.with_columns(clicked=pl.when(pl.int_range(pl.len()) == 3).then(7).otherwise(pl.col("clicked").cast(pl.Int64)))), "clicked", 1),
    "a propensity of 0": (lambda d: rewrite(d, "impressions", lambda t: t.with_columns(propensity=pl.when(pl.int_range(pl.len()) < 2).then(0.0).otherwise("propensity"))), "propensity", 2),
    "a user nobody asked": (lambda d: rewrite(d, "impressions", lambda t: t.with_columns(user_id=pl.when(pl.int_range(pl.len()) == 5).then(pl.lit("nobody")).otherwise("user_id"))), "user_id", 1),
    "a missing image": (lambda d: (d / pl.read_parquet(d / "pictures.parquet")["file"][0]).unlink(), "file", 1),
    "a broken quote": (lambda d: to_csv(d, "events", lambda text: text.replace("\n", '\n"broken,row\n', 1)), "", 1),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(ROWS))
def test_a_bad_row_is_set_aside_with_its_reason_and_no_row_is_lost(
    fault: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, column, at_least = ROWS[fault]
    damage(copy)
    code = execute(["check", str(copy), "--json", "--out", str(copy.parent / "check.html")])
    found = json.loads(capsys.readouterr().out)
    assert all(t["accepted"] + t["rejected"] == t["read"] for t in found["tables"])
    assert sum(finding["rows"] for finding in found["findings"]) >= at_least
    assert any(column in finding["column"] for finding in found["findings"])
    assert code == any(finding["severity"] == "error" for finding in found["findings"])
    page = (copy.parent / "check.html").read_text()
    assert all(escape(finding["reason"]) in page for finding in found["findings"])


def test_a_sound_folder_passes(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["check", str(world), "--out", str(tmp_path / "check.html")]) == 0
    assert "rows keeps the contract" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "check.html").read_text()


def test_a_mapping_is_proposed_and_can_be_used(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(world, theirs)
    rewrite(theirs, "events", lambda t: t.select("topics", uid="user_id", ts=pl.col("at").dt.epoch("ms"), sku="item_id",
                                                 event=pl.col("action").replace("view", "pageview")))  # fmt: skip
    assert execute(["check", str(theirs), "--out", str(tmp_path / "check.html")]) == 2
    capsys.readouterr()
    assert execute(["check", str(theirs), "--suggest-mapping"]) == 0
    (theirs / "mapping.toml").write_text(capsys.readouterr().out)
    assert execute(["check", str(theirs), "--out", str(tmp_path / "check.html")]) == 0


def test_an_unknown_setting_names_the_nearest_one(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[ranking]\nleafs = 3\n")
    assert execute(["run", str(world), "--config", str(mine)]) == 2
    assert "nearest known one is ranking.leaves" in one_line(capsys)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "no/such/folder"],
        ["run", "--renders", "many"],
        ["run", "--renders", "-1"],
        ["runn"],
        ["evaluate"],
        ["evaluate", "--run", "no/such/run"],
        ["world", ".", "--users", "10"],
        ["fetch", "movielens", "x", "--ratings", "no/such/folder"],
        ["train", "generator", "no/such/folder"],
        ["train", "student", "no/such/folder"],
        ["train", "gan", "no/such/folder"],
        ["train", "adapter"],
    ],
)
def test_bad_words_are_one_line_and_exit_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-empty").write_text("")
    assert execute(words) == 2
    told = one_line(capsys)
    if told.startswith("{"):
        assert words[0] == "run", "only a run speaks JSON where nobody watches"
        spoken = json.loads(told)
        assert (spoken["level"], spoken["logger"]) == ("error", "adloom")
        assert words[-1] in spoken["message"] or words[-2] in spoken["message"], "it says where"
    else:
        assert told.startswith("adloom: ")


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["run"],
        ["world"],
        ["fetch"],
        ["check"],
        ["evaluate"],
        ["abtest"],
        ["train", "generator"],
        ["train", "student"],
        ["train", "gan"],
        ["train", "space"],
        ["train", "adapter"],
    ):
        assert execute([*words, "--help"]) == 0
        assert f"adloom {' '.join(words)}" in " ".join(capsys.readouterr().out.split())


def test_every_command_in_the_docs_exists_with_these_options() -> None:
    root = Path(__file__).resolve().parents[2]
    lines = [line for page in ("README.md", "data/README.md") for line in (root / page).read_text().splitlines()]
    commands = [re.split(r"\s{2,}", line.strip())[0] for line in lines if re.match(r"    (\.venv/bin/)?adloom ", line)]
    assert len(commands) >= 8
    for command in commands:
        app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    with pytest.raises(cyclopts.CycloptsError):
        app.parse_args(["run", "--no-such-option", "1"], exit_on_error=False, print_error=False)


def test_check_names_every_fault_of_the_brand_kits_beside_the_rows(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "brands.toml").write_text('["*"]\ncolor = "#112233"\n["Somebody"]\nlogos = ["none.png"]\n')
    page = copy.parent / "check.html"
    assert execute(["check", str(copy), "--json", "--out", str(page)]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "brands.toml" in told["brands"]
    assert "color" in told["brands"]
    assert "none.png" in told["brands"]
    assert told["verdict"].startswith("A run would stop:")
    assert all(table["rejected"] == 0 for table in told["tables"]), "the rows are told all the same"
    assert "none.png" in page.read_text()
    (copy / "brands.toml").write_text('["*"]\ncolours = ["#112233"]\n')
    assert execute(["check", str(copy), "--json", "--out", str(page)]) == 0
    assert json.loads(capsys.readouterr().out)["brands"] == ""
