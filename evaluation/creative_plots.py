"""Turns the section on creatives of abtest.json into charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from evaluation import wording
from evaluation.ab_marks import dot_and_line, in_words, name_rows, signed_axis
from evaluation.plots import BLUE, MUTED, ORANGE, as_svg, new_figure

Section = Mapping[str, Any]
_MOST_ROWS = 24


def creative_charts(made: Section) -> dict[str, Callable[[], str]]:
    """What draws each chart that the section has numbers for."""
    found: dict[str, Callable[[], str]] = {}
    if "rows" in made.get("rates", {}):
        found["rates"] = partial(rates, made["rates"])
        if made["rates"]["strength"] is not None:
            found["trainable"] = partial(trainable, made["rates"])
    if "effects" in made.get("elements", {}):
        found["elements"] = partial(elements, made["elements"])
    if "rate" in made.get("fatigue", {}):
        found["fatigue"] = partial(fatigue, made["fatigue"])
    return found


def rates(section: Section) -> str:
    """Observed and shrunk click rates of the best creatives, with intervals."""
    shown = section["rows"][:_MOST_ROWS]
    figure, axes = new_figure(0.85 + 0.27 * len(shown))
    axes.axvline(100 * section["mean"], color=MUTED, linewidth=1)
    for place, row in enumerate(shown):
        axes.hlines(-place, 100 * row["low"], 100 * row["high"], color=BLUE, linewidth=2)
        axes.plot(100 * row["shrunk"], -place, "o", color=BLUE, markersize=5)
        axes.plot(100 * row["click_rate"], -place, "o", markeredgecolor=ORANGE, markerfacecolor="none", markersize=5)
    name_rows(axes, [_short(row["creative_id"]) for row in shown])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
    axes.set_xlabel("click rate")
    best = shown[0]
    text = f"Shrunk click rates of {len(shown)} creatives; the best, {best['creative_id']}, {wording.percent(best['shrunk'], 2)}."
    return as_svg(figure, "rates", text)


def trainable(section: Section) -> str:
    """Reliability of a creative's click rate by its impressions."""
    strength = section["strength"]
    counts = np.geomspace(max(strength / 30, 1), strength * 30, 100)
    figure, axes = new_figure(2.5)
    axes.plot(counts, counts / (counts + strength), color=BLUE, linewidth=1.8)
    for one in section["needed"][:2]:
        axes.plot([counts[0], one["impressions"], one["impressions"]], [one["reliability"], one["reliability"], 0],
                  color=ORANGE, linewidth=1, linestyle=(0, (3, 2)))  # fmt: skip
        axes.annotate(
            f"{one['impressions']:,.0f}",
            (one["impressions"], one["reliability"]),
            xytext=(6, -10),
            textcoords="offset points",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.minorticks_off()
    axes.set_xlim(counts[0], counts[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel("impressions of a creative")
    axes.set_ylabel("reliability")
    told = ", ".join(f"{one['reliability']:g} at {one['impressions']:,.0f} impressions" for one in section["needed"])
    return as_svg(figure, "trainable", f"Reliability of a creative's click rate: {told}.")


def elements(section: Section) -> str:
    """What each level of each element has above the mean click rate."""
    shown = section["effects"][:_MOST_ROWS]
    figure, axes = new_figure(0.85 + 0.27 * len(shown))
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(shown):
        dot_and_line(axes, -place, 100 * row["effect"], row["interval"], 100, BLUE, size=5)
        axes.plot(100 * row["shrunk"], -place, "o", markeredgecolor=ORANGE, markerfacecolor="none", markersize=5)
    name_rows(axes, [f"{row['factor']}: {_short(row['level'])}" for row in shown])
    signed_axis(axes, "click rate above the mean, points")
    largest = max(shown, key=lambda row: abs(row["effect"]))
    told = f"{largest['factor']} {largest['level']}, {in_words(largest['effect'], largest['interval'], 100)} points"
    return as_svg(figure, "elements", f"Click rate by element; the largest is {told}.")


def fatigue(section: Section) -> str:
    """Click rate by exposure, of all, and of the same people against their own first."""
    rate = np.asarray(section["rate"])
    number = np.arange(1, rate.size + 1)
    figure, axes = new_figure(2.5)
    axes.vlines(number, 100 * np.asarray(section["low"]), 100 * np.asarray(section["high"]), color=BLUE, linewidth=2)
    axes.plot(number, 100 * rate, "o", color=BLUE, markersize=5)
    own = 100 * (rate[0] + np.asarray(section["within"]))
    axes.plot(number, own, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 3)))
    axes.set_ylim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
    axes.set_xlabel("n-th time the same person sees the creative")
    axes.set_ylabel("click rate")
    told = ", ".join(wording.percent(value, 2) for value in section["rate"])
    return as_svg(figure, "fatigue", f"Click rate by exposure: {told}.")


def _short(text: object) -> str:
    return (
        text
        if len(str(text)) <= 18 and isinstance(text, str)
        else f"{str(text)[:17]}\u2026"
        if len(str(text)) > 18
        else str(text)
    )
