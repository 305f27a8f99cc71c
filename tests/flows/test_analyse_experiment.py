"""adloom abtest from file to page: Hillstrom's published rates, damaged files, and no traceback."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from flows.command_line import execute

HILLSTROM = Path(__file__).resolve().parents[2] / ".." / "shared" / "datasets" / "hillstrom" / "hillstrom.csv"
BASIC = ["--control", "a", "--outcome", "y"]


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def sound(count: int = 400) -> str:
    rows = [f"u{n},{'ab'[n % 2]},{'true' if n % 7 in (0, 1 + n % 2) else 'false'},{n % 5}" for n in range(count)]
    return "\n".join(["user_id,arm,y,x", *rows]) + "\n"


def test_hillstrom_end_to_end_says_men_and_claims_no_lift_from_personalising(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not HILLSTROM.exists():
        pytest.skip("Hillstrom is not there: ../shared/datasets/hillstrom/hillstrom.csv")
    frame = pl.read_csv(HILLSTROM, infer_schema=False).with_row_index("user_id").rename({"segment": "email"})
    frame.write_csv(tmp_path / "hillstrom.csv")
    named = [
        word
        for name in ("recency", "history", "mens", "womens", "zip_code", "newbie", "channel")
        for word in ("--covariate", name)
    ]
    words = ["abtest", str(tmp_path / "hillstrom.csv"), "--arm", "email", "--control", "No E-Mail", "--outcome", "visit",
             "--outcome", "spend", *named, "--segment", "womens", "--out", str(tmp_path / "out")]  # fmt: skip
    assert execute(words) == 0
    assert capsys.readouterr().out.startswith("Ship Mens E-Mail: visit is 18.2 %")
    report = json.loads((tmp_path / "out" / "abtest.json").read_text())
    visits = {row["arm"]: row["plain"] for row in report["effects"] if row["metric"] == "visit"}
    assert visits["Mens E-Mail"]["treatment"] == pytest.approx(0.1828, abs=5e-5)
    assert visits["Womens E-Mail"]["treatment"] == pytest.approx(0.1514, abs=5e-5)
    assert visits["Womens E-Mail"]["control"] == pytest.approx(0.1062, abs=5e-5)
    assert report["split"]["level"] == "sound"
    assert report["table"]["findings"] == []
    personal = report["personal"]
    assert personal["best_arm"] == "Mens E-Mail"
    assert personal["gain_interval"]["low"] <= 0 <= personal["gain_interval"]["high"]
    assert "no lift from personalising is claimed" in personal["sentence"]


def test_a_csv_with_broken_lines_and_words_for_numbers_is_read_and_each_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = sound() + 'u900,a,"open\nu901,b\nu902,b,perhaps,1\nu903,a,true,inf\n'
    assert (
        execute(
            [
                "abtest",
                write(tmp_path / "t.csv", text),
                *BASIC,
                "--covariate",
                "x",
                "--out",
                str(tmp_path / "o"),
                "--json",
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    found = {one["check"]: one["count"] for one in report["table"]["findings"]}
    assert found == {"broken line": 2, "no number": 1, "missing outcome": 1, "infinite covariate": 1}


def test_settings_and_flags_meet_in_one_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path / "c.toml", '[experiment]\ncontrol = "b"\noutcomes = ["y"]\nplanned_users = 400\n')
    table = write(tmp_path / "t.csv", sound())
    assert execute(["abtest", table, "--config", config, "--control", "a", "--out", str(tmp_path / "o"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["plan"]["control"] == "a"
    assert report["primary"]["design"] == "planned"


def test_creatives_alone_make_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"c{n},{n + 3},{100 * (n + 20)},s{n % 3}" for n in range(30))
    table = write(tmp_path / "c.csv", f"creative_id,clicks,impressions,scene\n{rows}\n")
    assert execute(["abtest", "--creatives", table, "--element", "scene", "--out", str(tmp_path / "o")]) == 0
    assert "<svg" in (tmp_path / "o" / "abtest.html").read_text()
    assert pl.read_csv(tmp_path / "o" / "creatives.csv").height == 30


BAD: dict[str, tuple[str, list[str], str]] = {
    "no file": ("", ["no/such.csv", *BASIC], "no such file"),
    "no table": ("", ["abtest"][1:], "--creatives"),
    "an empty file": ("", ["t.csv", *BASIC], "empty"),
    "a header alone": ("user_id,arm,y\n", ["t.csv", *BASIC], "no rows"),
    "no control": (sound(), ["t.csv", "--outcome", "y"], "--control"),
    "another column": (sound(), ["t.csv", "--control", "a", "--outcome", "z"], "no column z"),
    "one arm": (sound().replace(",b,", ",a,"), ["t.csv", *BASIC], "all users are in arm 'a'"),
    "half a guardrail": (sound(), ["t.csv", *BASIC, "--guardrail", "y"], "is no guardrail"),
    "a guardrail of 0": (sound(), ["t.csv", *BASIC, "--guardrail", "y=0"], "greater than 0"),
    "creatives without clicks": (sound(), ["--creatives", "t.csv"], "creative_id"),
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_input_is_one_line_and_exit_2(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, words, told = BAD[fault]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(text)
    assert execute(["abtest", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "abtest").exists()
