"""Turns the ranker's sections of report.json into charts: calibration by day, importance, partial dependence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation.plots import BLUE, INK, LINE, MUTED, ORANGE, STYLE, as_svg, new_figure

Section = Mapping[str, Any]

SHOWN = 12
"""Features in the chart of importance, at most."""


def charts(report: Section) -> dict[str, str]:
    """SVG of every chart the ranker has numbers for: calibration_days, importance, dependence; see `evaluation.plots`."""
    explained = report["explanations"]
    makers: dict[str, tuple[Callable[[Section], str], bool]] = {
        "calibration_days": (calibration_days, bool(report["calibration"].get("days"))),
        "importance": (importance, any(row["moves"] > 0 for row in explained.get("importance", []))),
        "dependence": (dependence, bool(explained.get("dependence"))),
    }
    with mpl.rc_context(STYLE):
        return {name: maker(report) for name, (maker, wanted) in makers.items() if wanted}


def calibration_days(report: Section) -> str:
    """Clicks over predicted clicks, day by day, against 1."""
    days = report["calibration"]["days"]
    figure, axes = new_figure(2.5)
    axes.axhline(1.0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for place, day in enumerate(days):
        known = day["ratio_interval"]
        if known is not None:
            axes.vlines(place, known["low"], known["high"], color=BLUE, linewidth=1.4)
    axes.plot(range(len(days)), [day["ratio"] for day in days], "o", color=BLUE, markersize=5)
    shown = np.unique(np.linspace(0, len(days) - 1, min(len(days), 5)).round().astype(int))
    axes.set_xticks(shown, [days[place]["day"][5:] for place in shown])
    axes.set_ylim(0, 1.12 * max(1.0, axes.get_ylim()[1] / 1.05))
    axes.set_xlim(-0.6, len(days) - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("clicks / predicted clicks")
    told = ", ".join(f"{day['day']} {day['ratio']:.2f}" for day in days)
    return as_svg(figure, "calibration_days", f"Clicks over predicted clicks by day: {told}.")


def importance(report: Section) -> str:
    """How far each of the leading features moves scores, as a share of all movement."""
    rows = [row for row in report["explanations"]["importance"] if row["moves"] > 0][:SHOWN]
    figure, axes = new_figure(0.5 + 0.3 * len(rows))
    for place, row in enumerate(rows):
        axes.barh(-place, 100 * row["share"], height=0.55, color=BLUE, linewidth=0)
        axes.annotate(
            f"{100 * row['share']:.0f} %",
            (100 * row["share"], -place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
    axes.set_yticks([-place for place in range(len(rows))], [_short(row["feature"]) for row in rows])
    axes.set_xlim(0, 118 * max(row["share"] for row in rows))
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    told = ", ".join(f"{_short(row['feature'])} {100 * row['share']:.0f} %" for row in rows)
    return as_svg(figure, "importance", f"Share of the movement of scores: {told}.")


def dependence(report: Section) -> str:
    """Mean click chance along each of the leading features, small multiples with one scale."""
    entries = report["explanations"]["dependence"]
    columns = 2
    lines = -(-len(entries) // columns)
    figure = Figure(figsize=(5.0, 0.3 + 1.75 * lines), layout="constrained")
    FigureCanvasSVG(figure)
    chances = [chance for entry in entries for chance in [*entry["chances"], entry["unknown"]] if chance is not None]
    top = 112 * max(chances)
    for place, entry in enumerate(entries):
        axes = figure.add_subplot(lines, columns, place + 1)
        values, heights = entry["values"], [100 * chance for chance in entry["chances"]]
        axes.plot(values, heights, color=BLUE, linewidth=1.6)
        axes.plot(values, heights, "o", color=BLUE, markersize=3)
        if entry["unknown"] is not None:
            axes.axhline(100 * entry["unknown"], color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_ylim(0, top)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %" if y > 0 else ""))
        axes.set_title(fill(_short(entry["feature"]), 22), fontsize=11, color=INK, loc="left")
        axes.tick_params(labelsize=10)
        axes.grid(visible=True, color=LINE, linewidth=0.5)
    told = "; ".join(
        f"{_short(entry['feature'])} from {100 * entry['chances'][0]:.1f} to {100 * entry['chances'][-1]:.1f} %"
        for entry in entries
    )
    return as_svg(figure, "dependence", f"Mean click chance along features: {told}.")


def _short(name: str) -> str:
    return name.replace("_", " ")
