"""Turns sections of abtest.json into charts: inline SVG in the manner of the offline report's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation import wording
from evaluation.ab_marks import dot_and_line, in_words, name_rows, signed, signed_axis
from evaluation.creative_plots import creative_charts
from evaluation.plots import BLUE, INK, MUTED, ORANGE, STYLE, as_svg, new_figure

Section = Mapping[str, Any]
_MOST_ROWS = 24


def charts(report: Section) -> dict[str, str]:
    """SVG of every chart the report has numbers for; each says in words what it shows."""
    found = creative_charts(report["creatives"])
    if report["verdict"] is not None:
        found |= _of_users(report)
    with mpl.rc_context(STYLE):
        return {name: draw() for name, draw in found.items()}


def _of_users(report: Section) -> dict[str, Callable[[], str]]:
    primary = [row for row in report["effects"] if row["metric"] == report["primary"]["metric"]]
    rows = [row for row in report["effects"] if row["absent"] is None and row["lift_interval"] is not None]
    unit = primary[0]["unit"]
    found: dict[str, Callable[[], str]] = {}
    if report["primary"]["arms"]:
        found["gain"] = partial(gain, report, primary)
    if len(rows) > 1:
        found["lifts"] = partial(lifts, rows)
    if "p_values" in report["aa"]:
        found["aa"] = partial(aa, report["aa"])
    drawn = (("sequential", "watched", watched), ("exposure", "exposure", exposure))
    for section, name, draw in drawn:
        rows = report[section] if isinstance(report[section], list) else []
        found |= {f"{name} {one['arm']}": partial(draw, one, unit) for one in rows if one["users"]}
    for one in report["personal"].get("ranked", []):
        found[f"ranked {one['arm']}"] = partial(ranked, one, unit)
    return found


def gain(report: Section, rows: Sequence[Section]) -> str:
    """The primary difference of every arm, with the interval that decides."""
    spans = {one["arm"]: one["interval"] for one in report["primary"]["arms"]}
    shown = [row for row in rows if row["arm"] in spans]
    scale = _scale(shown[0]["unit"])
    figure, axes = new_figure(0.85 + 0.4 * len(shown))
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(shown):
        dot_and_line(axes, -place, scale * row["difference"], spans[row["arm"]], scale, BLUE, size=8)
    name_rows(axes, [row["arm"] for row in shown] if len(shown) > 1 else [""])
    signed_axis(axes, f"{report['primary']['metric']}, arm minus {report['arms'][0]['name']}{_unit(shown[0]['unit'])}")
    told = "; ".join(f"{row['arm']} {in_words(row['difference'], spans[row['arm']], scale)}" for row in shown)
    return as_svg(figure, "gain", f"Difference to {report['arms'][0]['name']}{_unit(shown[0]['unit'])}: {told}.")


def lifts(rows: Sequence[Section]) -> str:
    """Relative lift of every metric and arm, so that they share an axis."""
    shown = rows[:_MOST_ROWS]
    several = len({row["arm"] for row in rows}) > 1
    figure, axes = new_figure(0.85 + 0.36 * len(shown))
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, row in enumerate(shown):
        dot_and_line(axes, -place, 100 * row["lift"], row["lift_interval"], 100, BLUE if row["q"] < 0.05 else MUTED)
    name_rows(axes, [f"{row['metric']}, {row['arm']}" if several else row["metric"] for row in shown])
    signed_axis(axes, "lift over control, %")
    told = "; ".join(
        f"{row['metric']} {row['arm']} {in_words(row['lift'], row['lift_interval'], 100)} %" for row in shown
    )
    return as_svg(figure, "lifts", f"Lift over control: {told}.")


def watched(path: Section, unit: str) -> str:
    """A difference over users, in the band that holds at every look and within the lines that hold at one."""
    scale, users = _scale(unit), np.asarray(path["users"])
    gap, wide, narrow = (scale * np.asarray(path[name]) for name in ("difference", "half_width", "fixed_half_width"))
    figure, axes = new_figure(2.7)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.fill_between(users, gap - wide, gap + wide, color=BLUE, alpha=0.18, linewidth=0)
    for side in (gap - narrow, gap + narrow):
        axes.plot(users, side, color=ORANGE, linewidth=1, linestyle=(0, (3, 2)))
    axes.plot(users, gap, color=BLUE, linewidth=1.8)
    late = slice(len(users) // 10, None)
    low, high = min(float((gap - wide)[late].min()), 0.0), max(float((gap + wide)[late].max()), 0.0)
    margin = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(signed))
    axes.set_xlabel("users assigned")
    axes.set_ylabel(f"difference{_unit(unit)}")
    text = f"Difference of {path['arm']} over {users[-1]:,} users, in the end {gap[-1]:+.3g} \u00b1 {wide[-1]:.2g}; always-valid p {path['p'][-1]:.2g}."
    return as_svg(figure, f"watched {path['arm']}", text.replace("-", wording.MINUS))


def aa(section: Section) -> str:
    """p-values of the splits of control; flat when the test is right."""
    shares = np.asarray(section["p_values"])
    figure, axes = new_figure(2.0)
    edges = np.linspace(0, 1, shares.size + 1)
    axes.bar(edges[:-1], 100 * shares, width=1 / shares.size, align="edge", color=BLUE, linewidth=0, alpha=0.55)
    axes.bar(edges[:1], 100 * shares[:1], width=1 / shares.size, align="edge", color=BLUE, linewidth=0)
    axes.axhline(100 / shares.size, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
    axes.set_xlabel("p of a random split of control")
    text = f"{section['splits']:,} splits of control: {wording.percent(section['false_positives'])} have p below 0.05."
    return as_svg(figure, "aa", text)


def exposure(curve: Section, unit: str) -> str:
    """The effect by day since assignment, with the fitted line."""
    scale = _scale(unit)
    gap, reach = scale * np.asarray(curve["difference"]), scale * np.asarray(curve["half_width"])
    days = np.arange(gap.size)
    figure, axes = new_figure(2.5)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.vlines(days, gap - reach, gap + reach, color=BLUE, linewidth=2)
    axes.plot(days, gap, "o", color=BLUE, markersize=5)
    axes.plot(
        days,
        gap.mean() + scale * curve["slope"] * (days - days.mean()),
        color=ORANGE,
        linewidth=1.3,
        linestyle=(0, (4, 3)),
    )
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(signed))
    axes.set_xlabel("days since assignment")
    axes.set_ylabel(f"difference{_unit(unit)}")
    told = f"from {gap[0]:+.3g} on the first day to {gap[-1]:+.3g} on day {gap.size}".replace("-", wording.MINUS)
    return as_svg(figure, f"exposure {curve['arm']}", f"Effect of {curve['arm']} by day since assignment, {told}.")


def ranked(one: Section, unit: str) -> str:
    """Held-out effect of users in fifths by predicted effect; rising when the prediction is right."""
    scale = _scale(unit)
    effect, reach = scale * np.asarray(one["effects"]), scale * np.asarray(one["half_widths"])
    places = np.arange(1, effect.size + 1)
    figure, axes = new_figure(2.3)
    axes.axhline(0, color=MUTED, linewidth=1)
    axes.axhline(float(effect.mean()), color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.vlines(places, effect - reach, effect + reach, color=BLUE, linewidth=2)
    axes.plot(places, effect, "o", color=BLUE, markersize=6)
    axes.set_xticks(places, ["lowest", *[""] * (effect.size - 2), "highest"])
    axes.set_xlim(0.5, effect.size + 0.5)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(signed))
    axes.set_xlabel("fifths of held-out users by predicted effect")
    axes.set_ylabel(f"effect{_unit(unit)}")
    told = ", ".join(f"{number:+.3g}" for number in effect).replace("-", wording.MINUS)
    return as_svg(figure, f"ranked {one['arm']}", f"Held-out effect of {one['arm']} from the lowest to the highest predicted fifth: {told}.")  # fmt: skip


def _scale(unit: str) -> float:
    return 100.0 if unit == "share" else 1.0


def _unit(unit: str) -> str:
    return ", points" if unit == "share" else ""
