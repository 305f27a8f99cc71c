"""Turns ReportData into report.json and report.html."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from contracts.errors import DataError
from evaluation import plots, ranker_plots, review_rounds, wording
from evaluation.budget import budget_chart, budget_section
from evaluation.cold_start import by_history
from evaluation.creatives import Figure, coverage, picture_truth
from evaluation.judged import judged_section
from evaluation.labels import labels_section
from evaluation.logs import LoggedSlates, logged_slates
from evaluation.quality import assortment, calibration, ranking
from evaluation.report_data import PictureRow, ReportData
from evaluation.review_rounds import rounds_section
from evaluation.schema import VERSION
from evaluation.sections import absent, estimates, no_propensities, span, trust, verdict
from evaluation.thumbnails import thumbnail
from evaluation.verdict import Verdict, cannot_say

Report = dict[str, Any]


def build_report(data: ReportData) -> Report:
    """The whole report as JSON values; every field is described in `evaluation.schema`. NaN and infinity become null.

    A section that the data cannot fill is {"absent": why}.

    Raises:
        DataError: a frame lacks a required column or holds impossible values (e.g. a propensity of 0 or above 1).
    """
    log = None if data.impressions is None else logged_slates(data.impressions)
    report: Report = {
        "schema": VERSION,
        "name": data.name,
        "run": data.run,
        "seed": data.seed,
        "simulated": data.simulated,
        "policies": {"logged": data.logged_policy, "target": data.target_policy},
        "period": _period(data),
        **_log_sections(data, log),
        "assortment": assortment(data),
        "explanations": absent("No ranker was explained.") if data.explained is None else dict(data.explained),
        "ranker": absent("No ranker was trained.") if data.ranker_choice is None else dict(data.ranker_choice),
        "pictures": _pictures(data),
        "creatives": _creatives(data),
        "reviews": rounds_section(data.review_rounds, confidence=data.settings.confidence),
        "budget": absent(data.budget) if isinstance(data.budget, str) else budget_section(*data.budget),
        "space": absent("No drift of the space was measured.") if data.space is None else dict(data.space),
        "nights": absent("No run before was looked for.") if data.nights is None else dict(data.nights),
        "intake": [asdict(table) for table in data.intake],
        "probes": [asdict(topic) for topic in data.probes],
        "funnel": [asdict(step) for step in data.funnel],
        "details": {
            "evaluation": data.settings.model_dump(),
            "settings": None if data.settings_used is None else dict(data.settings_used),
            "versions": dict(data.versions),
            "models": dict(data.models),
            "timings": [asdict(time) for time in data.timings],
        },
    }
    cleaned: Report = clean(report)
    return cleaned


def render_html(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The report as one HTML page that needs nothing else: style inline, charts as SVG, pictures as data URIs.

    Args:
        report: from `build_report`, or read back from report.json.
        pictures: encoded pictures (PNG, JPEG, WebP) by the keys named in `report["pictures"]`; shrunk to thumbnails.

    Raises:
        DataError: a named picture was not given, or cannot be read.
    """
    rows = report["pictures"].get("rows", [])
    keys = sorted({cell["picture"] for row in rows for cell in row["cells"].values()})
    missing = [key for key in keys if key not in pictures]
    if missing:
        raise DataError(
            f"{len(missing)} pictures were not given: {', '.join(missing[:5])}",
            where="render_html, pictures",
            fix="Give the bytes of every picture that the report names.",
        )
    encoded = {key: base64.b64encode(thumbnail(pictures[key], name=key)).decode() for key in keys}
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(wording.FILTERS)
    drawn = plots.charts(report) | ranker_plots.charts(report) | review_rounds.charts(report)
    if "curve" in report["budget"]:
        drawn["budget"] = budget_chart(report["budget"])
    page = environment.get_template("report.html.j2")
    return page.render(
        report=report,
        charts={name: Markup(svg) for name, svg in drawn.items()},
        pictures=encoded,
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        words=wording,
    )


def clean(value: Any) -> Any:
    """The same JSON value with every NaN and infinity replaced by None and every tuple by a list."""
    if isinstance(value, Mapping):
        return {str(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def _log_sections(data: ReportData, log: LoggedSlates | None) -> Report:
    if log is None or data.impressions is None:
        reason = "No held-out impressions were given"
        return {
            "verdict": _verdict(cannot_say("no held-out impressions were given")),
            "primary": absent(f"{reason}."),
            "trust": absent(f"{reason}."),
            "estimates": absent(f"{reason}."),
            "ranking": absent(f"{reason}."),
            "history": absent(f"{reason}."),
            "calibration": absent(f"{reason}."),
        }
    estimated, trusted = estimates(data, log), trust(data, log)
    return {
        "verdict": _verdict(verdict(data, log, estimated, trusted)),
        "primary": _primary(estimated, log),
        "trust": trusted,
        "estimates": estimated,
        "ranking": ranking(data.impressions, data),
        "history": by_history(data.impressions, data),
        "calibration": calibration(data.impressions, data),
    }


def _verdict(found: Verdict) -> Report:
    return {"outcome": found.outcome, "sentence": found.sentence, "rules": [asdict(rule) for rule in found.rules]}


def _primary(estimated: Report, log: LoggedSlates) -> Report:
    if estimated["primary"] is None:
        reason = no_propensities(log)
        return absent(f"{reason[:1].upper()}{reason[1:]}.")
    row = next(row for row in estimated["rows"] if row["name"] == estimated["primary"])
    fields = ("name", "label", "value", "interval", "difference", "difference_interval")
    return {field: row[field] for field in fields} | {"logged": estimated["logged"]}


def _period(data: ReportData) -> Report | None:
    if data.impressions is None or data.impressions.is_empty():
        return None
    at = data.impressions["at"]
    first, last = at.min(), at.max()
    return {"first": str(first)[:19], "last": str(last)[:19]}


def _pictures(data: ReportData) -> Report:
    if not data.picture_rows:
        return absent("No pictures were drawn in this run.")
    return {"rows": [_picture_row(row) for row in data.picture_rows]}


def _picture_row(row: PictureRow) -> Report:
    return {
        "concept_id": row.concept_id,
        "headline": row.headline,
        "advertiser": row.advertiser,
        "cohort": row.cohort,
        "cohort_users": row.cohort_users,
        "interests": row.interests,
        "chance_is": row.chance_is,
        "cells": {kind: asdict(cell) for kind, cell in row.cells.items()},
    }


def _creatives(data: ReportData) -> Report:
    covered = absent("No creatives were drawn in this run.")
    if data.creatives is not None:
        covered = asdict(coverage(data.creatives)) | {
            "not_drawn": dict(data.not_drawn),
            "dropped": [dict(picture) for picture in data.dropped],
        }
    truth = absent(
        "The true click chance of a picture is known in a planted world only; on real data, run an A/B test."
    )
    if data.creative_truth is not None:
        settings = data.settings
        found = picture_truth(
            data.creative_truth, confidence=settings.confidence, resamples=settings.bootstraps, seed=data.seed
        )
        truth = {"users": found.users}
        for name in ("chances", "gains", "users_own_beats"):
            truth[name] = {kind: _figure(figure) for kind, figure in getattr(found, name).items()}
    judged: Report = absent(data.judged) if isinstance(data.judged, str) else judged_section(
        data.judged, data.settings, seed=data.seed, true=data.creative_truth
    )  # fmt: skip
    labels = labels_section(data.labels, data.settings, seed=data.seed)
    return {"coverage": covered, "judged": judged, "truth": truth, "labels": labels}


def _figure(figure: Figure) -> Report:
    return {"value": figure.value, "interval": span(figure.interval), "rows": figure.rows}
