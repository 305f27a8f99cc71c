"""Turns rounds of review (what people decided on what each generator drew) into the report's section and its chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy.stats import beta

from evaluation.plots import BLUE, ORANGE, STYLE, as_svg, new_figure

Section = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRound:
    """What people decided on what one version of the generator drew.

    Attributes:
        generator: the version.
        decisions: approvals and rejections; of these, `approved`.
        pictures: that were judged.
        spread: mean distance of two of them, as thumbnails, in [0, 1]; None for fewer than two.
    """

    generator: str
    decisions: int
    approved: int
    pictures: int
    spread: float | None


def rounds_section(rounds: Sequence[ReviewRound], *, confidence: float) -> Section:
    """Approval rate with Clopper and Pearson's (1934) interval, and variety as a share of the first round's."""
    if not rounds:
        return {"absent": "The generator in use has learned from no review: adloom learn RUN."}
    tail = (1 - confidence) / 2
    first = rounds[0].spread
    told = []
    for one in rounds:
        refused = one.decisions - one.approved
        low = float(beta.ppf(tail, one.approved, refused + 1)) if one.approved else 0.0
        high = float(beta.ppf(1 - tail, one.approved + 1, refused)) if refused else 1.0
        told.append(
            {
                "generator": one.generator,
                "decisions": one.decisions,
                "pictures": one.pictures,
                "approval": one.approved / one.decisions if one.decisions else None,
                "approval_interval": {"low": low, "high": high},
                "diversity": one.spread / first if first and one.spread is not None else None,
            }
        )
    return {"rounds": told}


def charts(report: Mapping[str, Any]) -> dict[str, str]:
    """SVG of the rounds, from two on; see `evaluation.plots`."""
    rounds = report["reviews"].get("rounds", [])
    if len(rounds) < 2:
        return {}
    with mpl.rc_context(STYLE):
        return {"reviews": _chart(rounds)}


def _chart(rounds: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = new_figure(2.6)
    places = range(1, len(rounds) + 1)
    for place, one in zip(places, rounds, strict=True):
        span = one["approval_interval"]
        axes.vlines(place, 100 * span["low"], 100 * span["high"], color=BLUE, linewidth=1.4)
    shares = {
        "approved": (BLUE, "o-", [one["approval"] for one in rounds]),
        "diversity, of the first": (ORANGE, "s--", [one["diversity"] for one in rounds]),
    }
    for label, (colour, line, values) in shares.items():
        known = [(place, 100 * value) for place, value in zip(places, values, strict=True) if value is not None]
        axes.plot(*zip(*known, strict=True), line, color=colour, markersize=5, linewidth=1.4)
        axes.annotate(label, known[-1], xytext=(0, 9), textcoords="offset points", ha="right", color=colour)
    axes.set_xlim(0.6, len(rounds) + 0.2)
    axes.set_ylim(0, 112)
    axes.set_xticks(list(places))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("round of review")
    told = "; ".join(
        f"round {place} {100 * one['approval']:.0f} % approved"
        + ("" if one["diversity"] is None else f", diversity {100 * one['diversity']:.0f} %")
        for place, one in zip(places, rounds, strict=True)
    )
    return as_svg(figure, "reviews", f"Approval and diversity by round of review: {told}.")
