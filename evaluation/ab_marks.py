"""Turns intervals, row names and signs into marks on the axes of a chart, and into its words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evaluation import wording


def dot_and_line(
    axes: Axes, y: float, x: float, span: Mapping[str, float], scale: float, colour: str, *, size: float = 6
) -> None:
    """A value and its interval on the row at `y`, both multiplied by `scale`."""
    axes.hlines(y, scale * span["low"], scale * span["high"], color=colour, linewidth=2)
    axes.plot(x, y, "o", color=colour, markersize=size)


def name_rows(axes: Axes, labels: Sequence[str]) -> None:
    """Names the rows at 0, -1, ... from the top."""
    axes.set_yticks([-place for place in range(len(labels))], labels)
    axes.set_ylim(-len(labels) + 0.4, 0.6)
    axes.grid(visible=False, axis="y")


def signed_axis(axes: Axes, label: str) -> None:
    """An axis that holds 0, with signs at its ticks."""
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), max(high, 0))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(signed))
    axes.set_xlabel(label)


def signed(value: float, _place: object) -> str:
    """A tick with its sign."""
    return "0" if abs(value) < 1e-12 else f"{value:+g}".replace("-", wording.MINUS)


def in_words(value: float, span: Mapping[str, float], scale: float) -> str:
    """+1.2 (+0.8 to +1.6)"""
    width = scale * (span["high"] - span["low"]) / 2
    digits = min(max(1 - math.floor(math.log10(width)), 0), 6) if width > 0 else 2
    numbers = (f"{scale * number:+,.{digits}f}" for number in (value, span["low"], span["high"]))
    middle, low, high = (number.replace("-", wording.MINUS) for number in numbers)
    return f"{middle} ({low} to {high})"
