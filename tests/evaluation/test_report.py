"""The report as its readers get it: documented JSON, and one page that needs nothing else."""

from __future__ import annotations

import html.parser
import io
import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import evaluation
from contracts.errors import DataError
from contracts.settings import EvaluationSettings
from evaluation.judged import JudgedPictures
from evaluation.plots import funnel
from evaluation.report import build_report, clean, render_html
from evaluation.report_data import FunnelStep, IntakeTable, PictureCell, PictureRow, ReportData, StageTime, TopicProbe
from evaluation.review_rounds import ReviewRound
from evaluation.schema import FIELDS

SETTINGS = EvaluationSettings(bootstraps=60, min_effective_size=20)


def _png(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (900, 900), colour).save(out, "PNG")
    return out.getvalue()


PICTURES = {"p/own": _png((200, 150, 100)), "p/general": _png((120, 120, 120))}


SHARES = {"events_explained": 0.7, "users_explained": 0.9, "items_explained": 0.6, "mean_shift": 0.02}
SPACE = {
    "version": "abc123", "kind": "covisits", "items": 600, "guests": 12, "recent_days": 7, "advice": "refit",
    "reasons": ["70% of recent events are on items of the space"], "spectrum_kept": 1.1, **SHARES,
    "days": [{"day": f"2025-03-0{n}", "events": 10, "users": 5, "items": 4, **SHARES} for n in (1, 2)],
}  # fmt: skip

NIGHTS = {
    "before": "shop-1", "look": ["feature recency has moved (PSI 0.31)"], "psi_threshold": 0.25,
    "values": [
        {"name": "recency", "kind": "feature", "psi": 0.31, "ks": 0.2, "noise": 0.02, "moved": True},
        {"name": "click_chance", "kind": "score", "psi": 0.01, "ks": 0.02, "noise": 0.02, "moved": False},
    ],
    "calibration": {"before": 1.02, "now": 0.97, "moved": False},
    "approval": {"run": "shop-1", "before": 0.6, "now": 0.64, "moved": False},
}  # fmt: skip


def judged_of(concepts: list[str]) -> JudgedPictures:
    """Opinions of 30 judges, with people to try them on."""
    rng = np.random.default_rng(1)
    many = len(concepts)
    rows = pl.DataFrame(
        {"user_id": [f"u{n}" for n in range(many)], "concept_id": concepts, "cohort": 1, "creative_id": "c1"}
    )
    held = pl.DataFrame({"user": np.arange(90) % 30, "clicked": rng.random(90) < 0.4, "advantage": rng.normal(size=90)})
    chances = 0.1 + 0.01 * rng.random((31, many, 4))
    return JudgedPictures(rows, chances, users=9, impressions=99, clicks=12, held_out=held)


@pytest.fixture(scope="module")
def full(impressions: pl.DataFrame) -> ReportData:
    rng = np.random.default_rng(0)
    chances = {kind: rng.uniform(0.01, 0.1, 40) for kind in ("own", "other", "general", "logged")}
    return ReportData(
        name="Planted <world>",
        run="r1",
        settings=SETTINGS,
        simulated=True,
        impressions=impressions.with_columns(history_events=pl.int_range(pl.len()) // 9 % 14),
        space=SPACE,
        nights=NIGHTS,
        true_logged=0.6,
        true_target=0.9,
        concept_shares=pl.DataFrame({"concept_id": ["a", "b"], "target_share": [0.9, 0.1], "logged": [5, 0]}),
        creatives=pl.DataFrame({"concept_id": ["a", "b"], "cohort": [-1, 0], "checks": [["contrast"], []]}),
        not_drawn={"c9": "concept c9: headline is blank. Write one."},
        dropped=[
            {"creative_id": "b-7", "concept_id": "b", "cohort": 0, "check": check, "reason": reason, "redraws": 3}
            for check, reason in (("contrast", "3.1 < 4.5"), ("unsafe", "taken for indecent"))
        ],
        creative_truth=pl.DataFrame({"user_id": [f"u{i % 20}" for i in range(40)], "concept_id": "a", **chances}),
        judged=judged_of(["a"] * 20),
        labels=impressions.select(
            "user_id", "slot", "clicked", concept_id=pl.lit("a"), labelled=pl.int_range(pl.len()) % 3 == 0
        ),
        budget=(pl.DataFrame({"users": [9, 4, 2], "expected_extra_clicks": [3.0, 1.0, 0.5]}).with_columns(cohort=0), 1),
        picture_rows=(
            PictureRow(
                concept_id="a",
                headline='A <script>alert("1")</script> kettle',
                advertiser="Hearth & Co",
                cohort=1,
                cohort_users=30,
                interests=("coffee", "home"),
                chance_is="true",
                cells={
                    "own": PictureCell(picture="p/own", interests=("coffee", "home"), click_chance=0.08),
                    "general": PictureCell(picture="p/general"),
                },
            ),
        ),
        review_rounds=tuple(
            ReviewRound(generator=f"v{n}", decisions=40, approved=10 + 8 * n, pictures=20, spread=0.2 - 0.002 * n)
            for n in range(3)
        ),
        catalogue=pl.DataFrame({"concept_id": ["a", "b", "c"], "topics": [["x"], ["x", "y"], []], "logged": [5, 2, 0]}),
        assortments={
            "New": pl.DataFrame(
                {"user_id": ["u", "u", "v", "v"], "slate": 0, "position": [0, 1, 0, 1], "concept_id": list("abba")}
            )
        },
        probes=(
            TopicProbe(
                topic="faith", users=900, holders=120, auc=0.61, low=0.55, high=0.66, classifier="logistic regression"
            ),
            TopicProbe(topic="health", users=900, holders=3, reason="Only 3 of 900 users hold the topic."),
        ),
        intake=(
            IntakeTable(table="events", read=10, accepted=9, rejected=1, withheld=2, reasons={"at: not a time": 1}),
        ),
        explained={
            "importance": [
                {"feature": "affinity_7d", "moves": 0.3, "share": 0.75, "direction": 1},
                {"feature": "hour", "moves": 0.1, "share": 0.25, "direction": 0},
            ],
            "dependence": [
                {"feature": "affinity_7d", "values": [0.0, 2.0], "chances": [0.02, 0.09], "unknown": 0.03},
                {"feature": "hour", "values": [1.0, 5.0, 9.0], "chances": [0.05, 0.04, 0.05], "unknown": None},
            ],
        },
        ranker_choice={
            "version": "aa11",
            "kept": True,
            "sentence": "aa11 stays in use: bb22 is worse beyond noise, NDCG 0.5000 against 0.6000",
            "comparison": {
                "users": 20,
                "impressions": 400,
                "slates": 90,
                "ndcg": {"new": 0.5, "old": 0.6, "difference": -0.1, "interval": {"low": -0.15, "high": -0.05}},
                "log_loss": {"new": 0.3, "old": 0.3, "difference": 0.0, "interval": {"low": -0.01, "high": 0.01}},
            },
        },
        funnel=(FunnelStep(label="Events read", count=10), FunnelStep(label="Pictures", count=2)),
        settings_used={"seed": 7, "ranking": {"slate_size": 3}},
        versions={"polars": "2.1"},
        models={"space": "ab12"},
        timings=(StageTime(stage="sources", seconds=75.0), StageTime(stage="features", seconds=2.0, skipped=True)),
    )


def _leaves(value: Any, path: str = "") -> Iterator[str]:
    """Paths of the leaves of a JSON value, written as in the schema; an interval is one leaf."""
    if isinstance(value, dict) and set(value) != {"low", "high"}:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, f"{path}[]")
    else:
        yield path


def _documented(path: str) -> str | None:
    if path in FIELDS:
        return path
    patterns = {name: re.escape(name).replace(r"\*", r"[^.\[]+") for name in FIELDS if "*" in name}
    inside = path if path.startswith("details.") else re.sub(r"(reasons|failed_checks)\..*", r"\1.x", path)
    found = [name for name, pattern in patterns.items() if re.fullmatch(pattern, inside)]
    if path.startswith("details.settings."):
        return "details.settings"
    return found[0] if found else None


def test_every_field_of_the_report_is_documented_and_every_documented_field_is_there(full: ReportData) -> None:
    paths = set(_leaves(build_report(full)))
    named = {path: _documented(path) for path in paths}
    assert [path for path, name in named.items() if name is None] == []
    assert full.impressions is not None
    one_day = full.impressions.filter(pl.col("at") == full.impressions["at"].min())
    first = {"version": "aa11", "kept": False, "sentence": "aa11 is the first ranker of this space", "comparison": None}
    poorer = [
        replace(full, impressions=None, settings_used=None),
        replace(full, propensities_estimated=True),
        replace(full, impressions=one_day, ranker_choice=first, explained=None),
    ]
    used = set(named.values()) | {_documented(path) for data in poorer for path in _leaves(build_report(data))}
    assert set(FIELDS) - used == set()


def test_report_json_survives_a_round_trip_without_nan(full: ReportData) -> None:
    report = build_report(full)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_nan_and_infinity_become_null_at_any_depth() -> None:
    assert clean({"a": (float("nan"), [float("inf"), 1.0]), "b": {"c": -float("inf")}}) == {
        "a": [None, [None, 1.0]],
        "b": {"c": None},
    }


def test_undefined_numbers_reach_the_report_as_null(full: ReportData) -> None:
    assert full.impressions is not None
    nobody = full.impressions.with_columns(clicked=pl.lit(False), target_propensity=pl.lit(0.0))
    report = build_report(replace(full, impressions=nobody))
    json.dumps(report, allow_nan=False)
    assert report["calibration"]["normalised_entropy"] is None
    assert report["verdict"]["outcome"] == "the data cannot say"
    assert "absent" in report["ranking"]
    render_html(report, PICTURES)


def test_equal_data_give_equal_bytes_whatever_the_order_of_rows(full: ReportData) -> None:
    assert full.impressions is not None
    shuffled = replace(full, impressions=full.impressions.sample(fraction=1, shuffle=True, seed=1))
    first, second = build_report(full), build_report(shuffled)
    assert json.dumps(first) == json.dumps(second)
    assert render_html(first, PICTURES) == render_html(second, PICTURES)


def test_a_better_policy_ships_and_the_truth_lies_in_its_interval(log_of: Callable[..., pl.DataFrame]) -> None:
    data = ReportData(name="n", run="r", settings=SETTINGS, impressions=log_of(users=300, gain=1.0, seed=3))
    report = build_report(data)
    assert report["verdict"]["outcome"] == "ship"
    assert report["primary"]["name"] == "sndr"
    rows = {row["name"]: row for row in report["estimates"]["rows"]}
    span = rows["dr"]["interval"]
    assert span["low"] < rows["snips"]["value"] < span["high"]


def test_the_logged_policy_judged_against_itself_is_held(log_of: Callable[..., pl.DataFrame]) -> None:
    same = log_of(users=100, gain=0.0)
    report = build_report(ReportData(name="n", run="r", settings=SETTINGS, impressions=same))
    assert report["verdict"]["outcome"] == "hold"


def test_a_log_without_propensities_is_reported_as_such_and_keeps_its_ranking(full: ReportData) -> None:
    assert full.impressions is not None
    bare = full.impressions.drop("propensity", "target_propensity", "expected_chance", "oracle")
    report = build_report(ReportData(name="MovieLens", run="r", settings=SETTINGS, impressions=bare))
    assert report["verdict"]["outcome"] == "the data cannot say"
    assert "no propensities" in report["verdict"]["sentence"]
    assert "no propensities" in report["primary"]["absent"]
    assert report["ranking"]["rows"][0]["ndcg"] > 0
    page = render_html(report, {})
    assert "no propensities" in page
    assert "Simulated" not in page


def test_a_report_of_nothing_still_says_why_each_section_is_empty() -> None:
    report = build_report(ReportData(name="n", run="r", settings=SETTINGS))
    for section in ("primary", "trust", "estimates", "ranking", "calibration", "pictures"):
        assert report[section]["absent"].endswith(".")
        assert report[section]["absent"] in render_html(report, {}) or section == "primary"


def test_propensities_of_zero_stop_the_report(full: ReportData) -> None:
    assert full.impressions is not None
    with pytest.raises(DataError, match="propensity"):
        build_report(replace(full, impressions=full.impressions.with_columns(propensity=pl.lit(0.0))))


class _Page(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(full: ReportData) -> str:
    return render_html(build_report(full), PICTURES)


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    for tag, attributes in _Page(page).tags:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_picture_and_chart_has_words_for_those_who_cannot_see_it(page: str) -> None:
    tags = _Page(page).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    charts = [attributes for tag, attributes in tags if tag == "svg"]
    assert len(images) == 2
    assert len(charts) == 12
    assert all(len(image.get("alt") or "") > 20 for image in images)
    assert all(chart.get("role") == "img" and len(chart.get("aria-label") or "") > 20 for chart in charts)


def test_headings_descend_without_a_gap_and_ids_are_unique(page: str) -> None:
    tags = _Page(page).tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))


def test_a_planted_world_is_loudly_called_simulated_and_hostile_words_stay_words(page: str) -> None:
    assert "Simulated: planted world." in page
    assert "<script>" not in page
    assert "Planted &lt;world&gt;" in page


def test_charts_take_the_colours_of_the_page(page: str) -> None:
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]", page)
    assert "var(--blue" in page


def test_long_labels_of_the_funnel_are_broken_into_lines_that_fit() -> None:
    steps = [{"label": "Best concepts of a sample of users that retrieval was asked for", "count": 800}] * 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a chart without room for its labels warns
        drawn = funnel({"funnel": steps})
    places = [float(x) for x in re.findall(r"text-anchor: end[^>]*translate\(([-\d.]+)", drawn)]
    assert all(x > 0 for x in places)
    assert "Best concepts of a sample" in drawn


def test_pictures_travel_as_thumbnails_and_missing_or_broken_ones_are_named(full: ReportData, page: str) -> None:
    assert len(page) < 300_000
    report = build_report(full)
    with pytest.raises(DataError, match="p/own"):
        render_html(report, {"p/general": PICTURES["p/general"]})
    with pytest.raises(DataError, match="not a picture"):
        render_html(report, {**PICTURES, "p/own": b"nothing"})


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_keeps_the_contrast_of_wcag_aa_in_light_and_dark() -> None:
    style = (Path(evaluation.__file__).parent / "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)
    ]
    assert len(themes) == 2
    for theme in themes:
        for ink in ("ink", "soft", "muted", "orange", "ship", "hold", "unsure", "blue"):
            for paper in ("paper", "raised"):
                assert _contrast(theme[ink], theme[paper]) >= 4.5, (ink, paper)
        assert _contrast(theme["banner-ink"], theme["banner"]) >= 4.5


def test_a_concept_that_could_not_be_drawn_is_named_with_its_reason(full: ReportData) -> None:
    page = render_html(build_report(full), PICTURES)
    assert "1 concept could not be drawn" in page
    assert "concept c9: headline is blank. Write one." in page
    assert "1 picture was dropped: nobody is to see it" in page
    assert "<li>b-7: contrast: 3.1 &lt; 4.5, after 3 new seeds</li>" in page


def test_the_page_says_what_has_moved_since_the_run_before(full: ReportData, page: str) -> None:
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "Compared with run shop-1. Look at this run: feature recency has moved (PSI 0.31)." in words
    quiet = render_html(build_report(replace(full, nights=NIGHTS | {"look": []})), PICTURES)
    assert "Nothing has moved" in quiet
    assert "Look at this run" not in quiet
    assert "Since the run before" not in render_html(build_report(replace(full, nights=None)), PICTURES)


def test_the_page_shows_quality_by_history_and_whether_to_refit_the_space(full: ReportData) -> None:
    page = render_html(build_report(full), PICTURES)
    for words in ("What is known of whom", "10 or more", "2 to 4", "It should be refitted:", "12 newer items"):
        assert words in page
    kept = render_html(build_report(replace(full, space={**SPACE, "advice": "keep", "reasons": []})), PICTURES)
    assert "It still explains the log." in kept
