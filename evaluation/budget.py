"""Turns what every personal picture is expected to bring into the curve of clicks against renders, and the next hundred."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.plots import BLUE, MUTED, ORANGE, STYLE, as_svg, new_figure

Section = dict[str, Any]

NEXT = 100
"""Renders whose worth is told beyond the budget."""

_APART = 0.15  # of the width of the chart, so that two labels stand side by side

_POINTS = 60  # of the curve, at most, beside the steps


def budget_section(worth: pl.DataFrame, renders: int) -> Section:
    """Expected extra clicks against renders, over one showing of every slate, as JSON.

    Args:
        worth: cohort, concept_id, users (who would see it), expected_extra_clicks: every picture worth drawing, the best
            first; the pictures do not interact, so the sum of the first N is what N renders can bring at most.
        renders: how many of them were drawn: the first ones.
    """
    if worth.is_empty():
        return {"absent": "No personal picture is expected to bring a click."}
    gains = worth["expected_extra_clicks"].to_numpy()
    total = np.concatenate([[0.0], np.cumsum(gains)])
    last, showings = len(gains), worth["users"].to_numpy()
    more = min(NEXT, last - renders)
    stops = sorted({0, renders // 2, renders, renders + more, last})
    spread = np.unique(np.linspace(0, last, _POINTS).round().astype(int))
    return {
        "renders": renders,
        "showings": int(showings[:renders].sum()),
        "extra_clicks": float(total[renders]),
        "worth_drawing": last,
        "extra_clicks_of_all": float(total[last]),
        "next": {
            "renders": more,
            "showings": int(showings[renders : renders + more].sum()),
            "extra_clicks": float(total[renders + more] - total[renders]),
        },
        "steps": [
            {
                "renders": stop,
                "extra_clicks": float(total[stop]),
                "share": float(total[stop] / total[last]),
                "per_render": float((total[stop] - total[before]) / (stop - before)),
            }
            for before, stop in pairwise(stops)
        ],
        "curve": [{"renders": int(at), "extra_clicks": float(total[at])} for at in sorted({*map(int, spread), *stops})],
    }


def budget_chart(section: Mapping[str, Any]) -> str:
    """The curve, with what was drawn and what the next renders would add."""
    at = [point["renders"] for point in section["curve"]]
    drawn, more = section["renders"], section["next"]["renders"]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(2.7)
        axes.plot(at, [point["extra_clicks"] for point in section["curve"]], color=BLUE, linewidth=1.8)
        near = more < _APART * at[-1]  # then one label is for both
        ends = [(drawn, section["extra_clicks"], BLUE, "" if more and near else "drawn")]
        if more:
            label = f"drawn, +{more:,}" if near else f"+{more:,}"
            ends.append((drawn + more, section["extra_clicks"] + section["next"]["extra_clicks"], ORANGE, label))
        for x, y, colour, label in ends:
            axes.vlines(x, 0, y, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.plot(x, y, "o", color=colour, markersize=6)
            axes.annotate(label, (x, y), xytext=(6, -12), textcoords="offset points")
        axes.set_xlim(0, max(at[-1], 1) * 1.02)
        axes.set_ylim(0, section["extra_clicks_of_all"] * 1.1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}"))
        axes.set_xlabel("personal pictures drawn, best first")
        axes.set_ylabel("expected extra clicks")
        text = (
            f"{drawn:,} renders are expected to bring {section['extra_clicks']:.3g} extra clicks, the next {more:,} "
            f"{section['next']['extra_clicks']:.3g}, all {section['worth_drawing']:,} {section['extra_clicks_of_all']:.3g}."
        )
        return as_svg(figure, "budget", text)
