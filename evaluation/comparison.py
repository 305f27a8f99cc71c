"""Turns two runs' report.json into what changed between them: figures beside each other, and what is beyond noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation import wording

Report = Mapping[str, Any]
VERSION = "adloom.comparison/1"

FIELDS = {
    "schema": "version of this description",
    "sentence": "what changed, in one sentence",
    "same_log": "whether both runs were judged on the same held-out slates",
    "runs[].run": "id of the run; first A, then B",
    "runs[].name": "of the data set",
    "runs[].period": "of the held-out log",
    "runs[].verdict": "its verdict, in one sentence",
    "runs[].outcome": "ship, hold, or: the data cannot say",
    "figures[].group": "value, trust, ranking, pictures",
    "figures[].label": "what is measured",
    "figures[].unit": "clicks (per slate), share, count or number",
    "figures[].better": "higher, lower, or null: neither",
    "figures[].a": "of run A; or null",
    "figures[].a_interval": "as its report has it; or null",
    "figures[].b": "of run B; or null",
    "figures[].b_interval": "as its report has it; or null",
    "figures[].difference": "A - B; or null",
    "figures[].difference_interval": "as if the two were independent: too wide where both used the same log; or null",
    "figures[].beyond_noise": "whether that interval excludes 0; or null: no intervals",
    "settings[].name": "a setting that differs",
    "settings[].a": "its value in A; or null",
    "settings[].b": "its value in B; or null",
    "models[].name": "what was learned and differs, or a library whose version differs",
    "models[].a": "in A; or null",
    "models[].b": "in B; or null",
}


def compare(a: Report, b: Report) -> dict[str, Any]:
    """Two reports side by side; every field is described in `FIELDS`.

    The interval of a difference combines both intervals as if they were independent and normal, so half-widths add as
    squares. Reports on the same log are positively correlated, for which this is too wide: a difference that is beyond
    noise here is so all the more.

    Args:
        a, b: report.json of two runs.
    """
    confidence = float(a["details"]["evaluation"]["confidence"])
    same = a["name"] == b["name"] and a["period"] == b["period"] and _at(a, "trust.slates") == _at(b, "trust.slates")
    figures = [_beside(*parts, confidence=confidence, other=_confidence(b)) for parts in _pairs(a, b)]
    return {
        "schema": VERSION,
        "sentence": _sentence(a, b, figures),
        "same_log": same,
        "runs": [
            {
                "run": one["run"], "name": one["name"], "period": one["period"],
                "verdict": one["verdict"]["sentence"], "outcome": one["verdict"]["outcome"],
            }
            for one in (a, b)
        ],
        "figures": figures,
        "settings": _differing(a["details"]["settings"], b["details"]["settings"]),
        "models": _differing(*({**one["details"]["models"], **one["details"]["versions"]} for one in (a, b))),
    }  # fmt: skip


def render_comparison(comparison: Report) -> str:
    """The comparison as one page that needs nothing else."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(wording.FILTERS)
    style = Markup((folder / "report.css").read_text(encoding="utf-8"))
    return environment.get_template("comparison.html.j2").render(found=comparison, style=style)


_Figure = tuple[str, str, str, "str | None", str, "str | None"]
_PLAIN: tuple[_Figure, ...] = (
    ("value", "Gain over the logged policy", "clicks", "higher", "primary.difference", "primary.difference_interval"),
    ("value", "New policy", "clicks", "higher", "primary.value", "primary.interval"),
    ("value", "Logged policy", "clicks", None, "primary.logged", None),
    ("trust", "Effective sample size, slates", "count", "higher", "trust.overlap.effective_size", None),
    ("trust", "Largest weight", "number", "lower", "trust.overlap.largest_weight", None),
    ("trust", "Choices never logged", "share", "lower", "trust.unlogged_share", None),
    ("ranking", "Calibration error", "share", "lower", "calibration.calibration_error", "calibration.calibration_error_interval"),
    ("ranking", "Log loss", "number", "lower", "calibration.log_loss", "calibration.log_loss_interval"),
    ("pictures", "Personal creatives", "count", None, "creatives.coverage.personal", None),
    ("pictures", "Creatives that passed every check", "count", "higher", "creatives.coverage.passed", None),
    ("pictures", "Own over general, expected by the judge", "share", "higher", "creatives.judged.gains.general.value",
     "creatives.judged.gains.general.interval"),
    ("pictures", "Own over general, true", "share", "higher", "creatives.truth.gains.general.value",
     "creatives.truth.gains.general.interval"),
)  # fmt: skip
"""group, label, unit, better, path of the value, path of its interval."""

_OF_RANKERS = (("ndcg", "NDCG"), ("auc", "AUC"))


def _pairs(a: Report, b: Report) -> Iterator[tuple[str, str, str, str | None, Any, Any, Any, Any]]:
    for group, label, unit, better, value, interval in _PLAIN:
        held = [_at(one, path) if path else None for one in (a, b) for path in (value, interval)]
        if held[0] is not None or held[2] is not None:
            yield group, label, unit, better, *held  # type: ignore[misc]
    names = {row["name"]: row["label"] for one in (b, a) for row in one["ranking"].get("rows", ())}
    for name, title in names.items():
        rows: list[dict[str, Any]] = [
            next((r for r in one["ranking"].get("rows", ()) if r["name"] == name), {}) for one in (a, b)
        ]
        for key, words in _OF_RANKERS:
            values = [row.get(field) for row in rows for field in (key, f"{key}_interval")]
            yield "ranking", f"{words}, {title}", "number", "higher" if name == "ranker" else None, *values  # type: ignore[misc]


def _beside(
    group: str, label: str, unit: str, better: str | None, a: float | None, a_span: Any, b: float | None, b_span: Any,
    *, confidence: float, other: float,
) -> dict[str, Any]:  # fmt: skip
    difference = a - b if a is not None and b is not None else None
    interval = None
    if difference is not None and a_span and b_span:
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        errors = [_half(a_span) / z, _half(b_span) / NormalDist().inv_cdf(0.5 + other / 2)]
        width = z * math.hypot(*errors)
        interval = {"low": difference - width, "high": difference + width}
    return {
        "group": group, "label": label, "unit": unit, "better": better, "a": a, "a_interval": a_span, "b": b,
        "b_interval": b_span, "difference": difference, "difference_interval": interval,
        "beyond_noise": None if interval is None else not interval["low"] <= 0 <= interval["high"],
    }  # fmt: skip


def _half(span: Mapping[str, float]) -> float:
    return (span["high"] - span["low"]) / 2


def _confidence(report: Report) -> float:
    return float(report["details"]["evaluation"]["confidence"])


def _at(report: Report, path: str) -> Any:
    """The value at a dotted path; None where a section is absent."""
    value: Any = report
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value


def _differing(a: Any, b: Any) -> list[dict[str, Any]]:
    one, two = (dict(wording.flattened(values or {})) for values in (a, b))
    names = list(dict.fromkeys([*one, *two]))
    return [{"name": n, "a": one.get(n), "b": two.get(n)} for n in names if one.get(n) != two.get(n)]


def _sentence(a: Report, b: Report, figures: list[dict[str, Any]]) -> str:
    gain = next((one for one in figures if one["label"] == "Gain over the logged policy"), None)
    outcomes = [one["verdict"]["outcome"] for one in (a, b)]
    said = f"Both say \u201c{outcomes[0]}\u201d" if outcomes[0] == outcomes[1] else (
        f"A says \u201c{outcomes[0]}\u201d, B \u201c{outcomes[1]}\u201d"
    )  # fmt: skip
    if gain is None or gain["difference"] is None:
        return f"{said}; the two gains cannot be compared, since at least one is not known."
    size = wording.clicks(gain["difference"], gain["difference_interval"], True)
    if gain["beyond_noise"] is None:
        return f"{said}; A gains {size} clicks per 100 slates more than B, without an interval to judge that by."
    if not gain["beyond_noise"]:
        return f"{said}; their gains differ by {size} clicks per 100 slates, which is within noise."
    return f"{said}; A gains {size} clicks per 100 slates more than B, beyond noise."
