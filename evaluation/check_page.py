"""Turns what the check of a data folder found into one self-contained page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import matplotlib.dates
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation import wording
from evaluation.plots import BLUE, INK, MUTED, ORANGE, STYLE, as_svg, new_figure

_Z = 1.959963984540054  # 97.5 % point of the normal distribution
_HEIGHT = 2.1
_dates_of: Any = matplotlib.dates  # it has no types


def render_check(summary: Mapping[str, Any]) -> str:
    """The page: a verdict, the tables, the findings, and charts by day; style and charts inline.

    Args:
        summary: name, verdict, limit; tables (table, file, read, accepted, rejected, withheld, sensitive, notes);
            findings (check, severity, table, column, reason, rows, meaning, fix, examples of source and row);
            days (day as ISO date, events, impressions, clicks, rejected) in order of day.
    """
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(wording.FILTERS)
    return environment.get_template("check.html.j2").render(
        found=summary,
        errors=[one for one in summary["findings"] if one["severity"] == "error"],
        warnings=[one for one in summary["findings"] if one["severity"] == "warning"],
        charts={name: Markup(svg) for name, svg in charts(summary["days"]).items()},
        outside=_outside(summary["days"]),
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),
    )


def charts(days: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """SVG of volume, clicks and rejected by day, from the first to the last day with accepted rows; none without."""
    days = calendar(days)
    if not days:
        return {}
    with mpl.rc_context(STYLE):
        return {"volume": volume(days), "clicks": click_rate(days), "rejected": rejected(days)}


def calendar(days: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Every day from the first to the last with accepted rows; days without a row in between are there with zeros."""
    kept = {date.fromisoformat(day["day"]): day for day in days if day["events"] or day["impressions"]}
    if not kept:
        return []
    first, last = min(kept), max(kept)
    known = {date.fromisoformat(day["day"]): day for day in days}
    every = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    nothing = {"events": 0, "impressions": 0, "clicks": 0, "rejected": 0}
    return [known.get(day, {"day": day.isoformat(), **nothing}) for day in every]


def volume(days: Sequence[Mapping[str, Any]]) -> str:
    """Accepted events and impressions by day."""
    figure, axes = new_figure(_HEIGHT)
    for name, colour in (("events", BLUE), ("impressions", ORANGE)):
        _line(axes, days, [day[name] for day in days], colour)
        axes.annotate(name, (1, 1.06 if name == "events" else 0.94), xycoords="axes fraction", color=colour, ha="right")
    top = max([1, *(max(day["events"], day["impressions"]) for day in days)])
    axes.set_ylim(0, 1.15 * top)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    _dates(axes, days)
    total = {name: sum(day[name] for day in days) for name in ("events", "impressions")}
    told = f"{total['events']:,} events and {total['impressions']:,} impressions on {len(days)} days"
    return as_svg(figure, "volume", f"Rows by day: {told}.")


def click_rate(days: Sequence[Mapping[str, Any]]) -> str:
    """Click rate by day with its 95 % Wilson interval; a day without impressions is a gap."""
    figure, axes = new_figure(_HEIGHT)
    rates = [day["clicks"] / day["impressions"] if day["impressions"] else math.nan for day in days]
    spans = [wilson(day["clicks"], day["impressions"]) for day in days]
    when = _when(days)
    low, high = [100 * span[0] for span in spans], [100 * span[1] for span in spans]
    if len(days) == 1:
        axes.vlines(when, low, high, color=BLUE, linewidth=2)
    else:
        axes.fill_between(when, low, high, color=BLUE, alpha=0.2, linewidth=0)
    _line(axes, days, [100 * rate for rate in rates], BLUE)
    known = [value for value in high if not math.isnan(value)]
    axes.set_ylim(0, min(100.0, 1.2 * max(known)) if known and max(known) > 0 else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
    _dates(axes, days)
    shown, clicked = sum(day["impressions"] for day in days), sum(day["clicks"] for day in days)
    told = wording.percent(clicked / shown, 2) if shown else "no impressions"
    return as_svg(figure, "clicks", f"Click rate by day: {told} in all.")


def rejected(days: Sequence[Mapping[str, Any]]) -> str:
    """Rows set aside by day."""
    figure, axes = new_figure(_HEIGHT)
    _line(axes, days, [day["rejected"] for day in days], INK)
    axes.set_ylim(0, 1.15 * max(1, *(day["rejected"] for day in days), 1))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: _short(y)))
    _dates(axes, days)
    total = sum(day["rejected"] for day in days)
    return as_svg(figure, "rejected", f"Rows set aside by day: {total:,} in all.")


def _outside(days: Sequence[Mapping[str, Any]]) -> int:
    """Rows set aside on days before the first or after the last with accepted rows."""
    shown = {day["day"] for day in calendar(days)}
    return sum(day["rejected"] for day in days if day["day"] not in shown)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927), in [0, 1]; NaN without trials."""
    if not trials:
        return math.nan, math.nan
    share, z2 = successes / trials, _Z**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def _when(days: Sequence[Mapping[str, Any]]) -> list[float]:
    return [float(_dates_of.date2num(date.fromisoformat(day["day"]))) for day in days]


def _line(axes: Axes, days: Sequence[Mapping[str, Any]], values: Sequence[float], colour: str) -> None:
    axes.plot(_when(days), values, color=colour, linewidth=1.6, marker="o" if len(days) < 40 else None, markersize=3.5)


def _dates(axes: Axes, days: Sequence[Mapping[str, Any]]) -> None:
    when = _when(days)
    if len(when) == 1:
        axes.set_xticks(when, [days[0]["day"]])
        axes.set_xlim(when[0] - 1, when[0] + 1)
    else:
        locator = _dates_of.AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(_dates_of.ConciseDateFormatter(locator, show_offset=True))
    axes.xaxis.get_offset_text().set_color(MUTED)
    axes.grid(visible=False, axis="x")


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"
