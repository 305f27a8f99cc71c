"""Turns an experiment, and a table of creatives, into abtest.json and its page abtest.html."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from contracts.settings import ExperimentSettings
from evaluation import ab_effects, ab_plots, ab_sections, wording
from evaluation.ab_glossary import AB_GLOSSARY
from evaluation.ab_schema import VERSION
from evaluation.decision import Candidate, Soundness, decide
from evaluation.experiment import Experiment
from evaluation.intervals import Interval
from evaluation.report import clean
from evaluation.sections import absent
from evaluation.wording import MINUS, NONE

Section = dict[str, Any]


def build_abtest(
    data: Experiment | None, plan: ExperimentSettings, *, name: str, seed: int, creatives: Section | None = None
) -> Section:
    """Everything as JSON values; every field is described in `evaluation.ab_schema`. NaN and infinity become null.

    Args:
        data: the experiment; None when only creatives are looked at.
        plan: its settings.
        name: of the table.
        seed: of all that is drawn.
        creatives: from `ab_creatives.creatives`, or None.
    """
    head: Section = {"schema": VERSION, "name": name, "seed": seed, "plan": plan.model_dump(mode="json")}
    made = absent("No creatives were given (--creatives).") if creatives is None else creatives
    cleaned: Section
    if data is None:
        cleaned = clean(head | {"verdict": None, "creatives": made})
        return cleaned
    rows = ab_effects.effects(data, plan)
    guarded = ab_effects.guardrails(rows, data, plan)
    aa, even = ab_sections.checks(data, plan, seed)
    report: Section = head | {
        "arms": ab_sections.arms(data, plan),
        "table": ab_sections.table(data),
        "split": ab_sections.split(data, plan),
        "lost": ab_sections.lost(data),
        "aa": aa,
        "balance": even,
        "effects": rows,
        "guardrails": guarded,
        "sequential": ab_sections.sequential(data, plan),
        "segments": ab_sections.segments(data, plan),
        "exposure": ab_sections.exposure(data, plan),
        "personal": ab_sections.personal(data, plan, seed),
        "creatives": made,
    }
    report["primary"] = ab_effects.primary(rows, data, plan)
    cleaned = clean(report | {"verdict": _verdict(report, data, plan)})
    return cleaned


def render_abtest(report: Mapping[str, Any]) -> str:
    """One HTML page that needs nothing else: style inline, charts as SVG."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(wording.FILTERS | {"value": value, "gap": gap, "gap_span": gap_span, "p": p_value})
    return environment.get_template("abtest.html.j2").render(
        report=report,
        charts={name: Markup(svg) for name, svg in ab_plots.charts(report).items()},
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        words=wording,
        glossary=AB_GLOSSARY,
    )


def value(number: float | None, unit: str, interval: Mapping[str, float] | None = None) -> str:
    """A metric's value, with as many decimals as the interval of its difference deserves."""
    if number is None:
        return NONE
    digits = _digits(unit, interval)
    return wording.percent(number, digits) if unit == "share" else wording.number(number, digits)


def gap(number: float | None, unit: str, interval: Mapping[str, float] | None = None) -> str:
    """A signed difference; of shares, in percentage points."""
    if number is None:
        return NONE
    scaled = 100 * number if unit == "share" else number
    return f"{scaled:+,.{_digits(unit, interval)}f}".replace("-", MINUS)


def gap_span(interval: Mapping[str, float] | None, unit: str) -> str:
    """An interval of differences."""
    return (
        NONE
        if interval is None
        else f"{gap(interval['low'], unit, interval)} to {gap(interval['high'], unit, interval)}"
    )


def p_value(number: float | None) -> str:
    """0.03, or < 0.0001"""
    if number is None:
        return NONE
    return "< 0.0001" if number < 0.0001 else f"{number:.2g}" if number < 0.1 else f"{number:.2f}"


def _digits(unit: str, interval: Mapping[str, float] | None) -> int:
    """Decimals that show an interval's half-width to two figures."""
    width = 0.0 if interval is None else (interval["high"] - interval["low"]) / 2 * (100 if unit == "share" else 1)
    return 2 if not width > 0 or not math.isfinite(width) else min(max(1 - math.floor(math.log10(width)), 0), 6)


def _verdict(report: Section, data: Experiment, plan: ExperimentSettings) -> Section:
    aa, lost = report["aa"], report["lost"]
    everyone = report["table"]["users"]
    sound = Soundness(
        fewest_users=int(data.counts.min()),
        metric_absent=next((row["absent"] for row in report["effects"] if row["metric"] == data.metrics[0].name), None),
        split_p=report["split"]["p"],
        lost_p=lost["p"],
        balance_p=report["balance"].get("p"),
        crossover_share=data.crossovers / everyone,
        lost_share=lost["share"],
        aa_rate=aa.get("false_positives"),
        aa_sound=bool(aa.get("sound", True)),
    )
    rows = {row["arm"]: row for row in report["effects"] if row["metric"] == data.metrics[0].name}
    candidates = [_candidate(rows[one["arm"]], one["interval"], report, data) for one in report["primary"]["arms"]]
    found = decide(sound, candidates, relevant_lift=plan.relevant_lift)
    rules = [{name: getattr(rule, name) for name in ("name", "passed", "measured", "required")} for rule in found.rules]
    return {"outcome": found.outcome, "sentence": found.sentence, "rules": rules}


def _candidate(row: Section, interval: Mapping[str, float], report: Section, data: Experiment) -> Candidate:
    sign, unit = -1.0 if row["less_is_better"] else 1.0, row["unit"]
    ends = sorted((sign * interval["low"], sign * interval["high"]))
    confidence = f"{100 * report['primary']['confidence']:.4g} %"
    kind = f"{'always-valid ' if report['primary']['design'] == 'always-valid' else ''}{confidence} interval"
    points = " points" if unit == "share" else ""
    measured = f"{gap(row['difference'], unit, interval)}{points} ({gap_span(interval, unit)})"
    told = (
        f"{row['metric']} is {value(row['treatment'], unit, interval)} in {row['arm']} against "
        f"{value(row['control'], unit, interval)} in {data.arms[0]}, a difference of {gap(row['difference'], unit, interval)}"
        f"{points} ({kind} {gap_span(interval, unit)})"
    )
    return Candidate(
        arm=row["arm"],
        gain=sign * row["difference"],
        interval=Interval(*ends),
        told=told,
        measured=measured,
        guardrails=[(one["metric"], one["state"]) for one in report["guardrails"] if one["arm"] == row["arm"]],
        possible_lift=ends[1] / abs(row["control"]) if row["control"] else None,
        users_needed=row["power"]["users_for_relevant"],
    )
