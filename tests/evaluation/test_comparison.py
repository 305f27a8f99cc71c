"""Two runs beside each other: what differs, what is beyond noise, and every field described."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.settings import EvaluationSettings
from evaluation.comparison import FIELDS, compare, render_comparison
from evaluation.report import build_report
from evaluation.report_data import ReportData
from flows.command_line import execute

SETTINGS = EvaluationSettings(bootstraps=60, min_effective_size=20)


@pytest.fixture(scope="module")
def report(impressions: pl.DataFrame) -> dict[str, Any]:
    used = {"seed": 7, "ranking": {"leaves": 31}}
    return build_report(
        ReportData(name="shop", run="shop-1", settings=SETTINGS, impressions=impressions, settings_used=used)
    )


def other(report: dict[str, Any], *, gain: float = 0.0) -> dict[str, Any]:
    """Another run whose new policy is worth `gain` less, of another number of leaves."""
    made = copy.deepcopy(report)
    made["run"] = "shop-2"
    made["details"]["settings"]["ranking"]["leaves"] = 63
    for field in ("value", "difference"):
        made["primary"][field] -= gain
        for end in ("low", "high"):
            made["primary"][f"{'' if field == 'value' else 'difference_'}interval"][end] -= gain
    return made


def figure(found: dict[str, Any], label: str) -> dict[str, Any]:
    return next(one for one in found["figures"] if one["label"] == label)


def test_a_run_against_itself_differs_in_nothing(report: dict[str, Any]) -> None:
    found = compare(report, report)
    assert found["same_log"]
    assert found["settings"] == found["models"] == []
    assert all(one["difference"] in (0, None) for one in found["figures"])
    assert not any(one["beyond_noise"] for one in found["figures"])
    assert "within noise" in found["sentence"]


def test_the_interval_of_a_difference_adds_half_widths_as_squares(report: dict[str, Any]) -> None:
    row = figure(compare(report, other(report)), "New policy")
    widths = [(row[f"{one}_interval"]["high"] - row[f"{one}_interval"]["low"]) / 2 for one in "ab"]
    span = row["difference_interval"]
    assert (span["high"] - span["low"]) / 2 == pytest.approx((widths[0] ** 2 + widths[1] ** 2) ** 0.5)


@pytest.mark.parametrize(("gain", "words"), [(10.0, "more than B, beyond noise"), (1e-4, "within noise")])
def test_only_a_difference_beyond_noise_is_called_one(report: dict[str, Any], gain: float, words: str) -> None:
    found = compare(report, other(report, gain=gain))
    assert words in found["sentence"]
    assert figure(found, "Gain over the logged policy")["beyond_noise"] is (gain > 1)
    assert found["settings"] == [{"name": "ranking.leaves", "a": "31", "b": "63"}]


def test_what_one_run_lacks_is_null_and_the_page_still_reads(report: dict[str, Any]) -> None:
    bare = build_report(ReportData(name="shop", run="shop-0", settings=SETTINGS))
    found = compare(report, bare)
    assert figure(found, "New policy")["b"] is None
    assert "cannot be compared" in found["sentence"]
    page = render_comparison(found)
    assert "shop-0" in page
    assert "nan" not in page.lower()
    assert "http" not in page


def test_every_field_is_described(report: dict[str, Any]) -> None:
    def paths(value: Any, path: str = "") -> set[str]:
        if (
            isinstance(value, dict)
            and path not in ("figures[].a_interval", "runs[].period")
            and not path.endswith("_interval")
        ):
            return set().union(*(paths(inner, f"{path}.{name}".lstrip(".")) for name, inner in value.items()))
        if isinstance(value, list):
            return set().union(*(paths(inner, f"{path}[]") for inner in value))
        return {path}

    second = other(report)
    second["details"]["models"] = {"ranker": "another"}
    assert paths(compare(report, second)) == set(FIELDS)


def test_the_command_compares_two_finished_runs(
    report: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, one in (("a", report), ("b", other(report))):
        (tmp_path / name / "evaluation").mkdir(parents=True)
        (tmp_path / name / "evaluation" / "report.json").write_text(json.dumps(one))
        (tmp_path / name / "evaluation" / "report.html").write_text("page")
    words = ["evaluate", "--run", str(tmp_path / "a"), "--against", str(tmp_path / "b"), "--out", str(tmp_path / "out")]
    assert execute(words) == 0
    assert "within noise" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.html").exists()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"][1]["run"] == "shop-2"
    assert execute(["evaluate", "--against", str(tmp_path / "b"), "--slates", "x.csv"]) == 2
    assert "--run A --against B" in capsys.readouterr().err
    assert execute([*words[:3], "--against", str(tmp_path / "nothing")]) == 2
    assert "no finished report" in capsys.readouterr().err
