"""Turns sections of report.json into charts: inline SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from evaluation import wording

Section = Mapping[str, Any]

INK, MUTED, LINE, BLUE, ORANGE = "#010203", "#020304", "#030405", "#040506", "#050607"
"""Stand-ins: each becomes a CSS variable of the page, with a fallback that reads on light and dark alike."""

_VARIABLES = {
    INK: "var(--ink, #767676)",
    MUTED: "var(--muted, #767676)",
    LINE: "var(--line, #9a9a9a)",
    BLUE: "var(--blue, #2f86c5)",
    ORANGE: "var(--orange, #c8641e)",
}
_LABEL = 26  # letters of a line of a long label beside a chart
_WIDTH = 5.0  # inches: 360 units, drawn at about that many CSS pixels on a phone
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 12,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 6,
}


def charts(report: Section) -> dict[str, str]:
    """SVG of every chart the report has numbers for: gain, weights, estimates, clipping, ndcg, reliability, funnel.

    Each is 360 units wide and carries a one-sentence description (`role="img"`, `aria-label`) with its numbers. Equal
    reports give equal bytes.
    """
    makers: dict[str, tuple[Callable[[Section], str], bool]] = {
        "gain": (gain, bool(report["primary"].get("difference_interval"))),
        "weights": (weights, "weights" in report["trust"].get("overlap", {})),
        "estimates": (estimates, _several(report["estimates"])),
        "clipping": (clipping, len(_cuts(report)) > 1),
        "ndcg": (ndcg, "rows" in report["ranking"]),
        "reliability": (reliability, "bins" in report["calibration"]),
        "funnel": (funnel, any(step["count"] > 0 for step in report["funnel"])),
    }
    with mpl.rc_context(STYLE):
        return {name: maker(report) for name, (maker, wanted) in makers.items() if wanted}


def gain(report: Section) -> str:
    """The difference with its interval, against 0 and the true difference."""
    primary, truth = report["primary"], _true_gain(report["estimates"])
    span = primary["difference_interval"]
    figure, axes = new_figure(1.15)
    axes.axvline(0, color=MUTED, linewidth=1)
    if truth is not None:
        axes.axvline(100 * truth, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 3)))
    _whisker(axes, 0.0, 100 * primary["difference"], span, BLUE, size=8)
    ends = [0.0, 100 * span["low"], 100 * span["high"], *([] if truth is None else [100 * truth])]
    margin = 0.08 * (max(ends) - min(ends)) or 0.1
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(-1, 1)
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(_signed))
    axes.set_xlabel("clicks per 100 slates, new minus logged")
    text = (
        f"Difference of {wording.clicks(primary['difference'], span, True)} clicks per 100 slates, interval "
        f"{wording.click_span(span, True)}."
    )
    return as_svg(figure, "gain", text)


def weights(report: Section) -> str:
    """How many slates carry which weight, on a log scale."""
    found = report["trust"]["overlap"]
    histogram = found["weights"]
    figure, axes = new_figure(2.7)
    edges = np.asarray(histogram["edges"])
    axes.bar(edges[:-1], histogram["counts"], width=np.diff(edges), align="edge", color=BLUE, linewidth=0)
    axes.axvline(1.0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    wide = edges[-1] / edges[0] > 100
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.minorticks_off()
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    axes.set_xlabel("weight of a slate, 1: as likely under both")
    axes.set_ylabel("slates")
    text = (
        f"Histogram of {report['trust']['slates']:,} slate weights, worth {found['effective_size']:,.0f} equally "
        f"weighted slates; the largest weight is {found['largest_weight']:,.1f}."
    )
    return as_svg(figure, "weights", text)


def estimates(report: Section) -> str:
    """Every estimator with its interval, against the logged value and the truth."""
    section = report["estimates"]
    rows = [row for row in section["rows"] if row["value"] is not None]
    figure, axes = new_figure(1.05 + 0.36 * len(rows))
    axes.axvline(100 * section["logged"], color=MUTED, linewidth=1)
    truth = section["true_target"]
    if truth is not None:
        axes.axvline(100 * truth, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 3)))
    for place, row in enumerate(rows):
        colour = INK if row["name"] == "on_policy" else BLUE
        _whisker(
            axes,
            -place,
            100 * row["value"],
            row["interval"],
            colour,
            size=7 if row["name"] == section["primary"] else 5,
        )
    axes.set_yticks([-place for place in range(len(rows))], [row["label"] for row in rows])
    axes.set_ylim(-len(rows) + 0.4, 0.6)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("expected clicks per 100 slates")
    top: dict[str, Any] = {
        "xycoords": ("data", "axes fraction"),
        "textcoords": "offset points",
        "annotation_clip": False,
    }
    right = truth is not None and truth < section["logged"]
    axes.annotate("logged", (100 * section["logged"], 1), xytext=(3 if right else -3, 2), color=MUTED,
                  ha="left" if right else "right", **top)  # fmt: skip
    if truth is not None:
        axes.annotate("truth", (100 * truth, 1), xytext=(-3 if right else 3, 2), color=ORANGE,
                      ha="right" if right else "left", **top)  # fmt: skip
    told = [f"{row['label']} {wording.clicks(row['value'], row['interval'])}" for row in rows]
    if truth is not None:
        told.append(f"truth {wording.clicks(truth)}")
    return as_svg(figure, "estimates", f"Estimates in clicks per 100 slates: {', '.join(told)}.")


def clipping(report: Section) -> str:
    """IPS against the weight at which weights are cut off, one standard error either way."""
    cuts = _cuts(report)
    figure, axes = new_figure(2.4)
    clip, value, error = (np.array([cut[name] for cut in cuts]) for name in ("clip", "value", "standard_error"))
    axes.fill_between(clip, 100 * (value - error), 100 * (value + error), color=BLUE, alpha=0.25, linewidth=0)
    axes.plot(clip, 100 * value, color=BLUE, linewidth=2)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.minorticks_off()
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("largest weight")
    axes.set_ylabel("clicks per 100 slates")
    text = (
        f"IPS falls from {wording.clicks(value[0])} to {wording.clicks(value[-1])} clicks per 100 slates as weights are cut "
        f"off at {clip[0]:,.1f} down to {clip[-1]:,.1f}."
    )
    return as_svg(figure, "clipping", text)


def ndcg(report: Section) -> str:
    """NDCG of the ranker beside what it must beat, and what cannot be beaten."""
    section = report["ranking"]
    rows = section["rows"]
    figure, axes = new_figure(0.85 + 0.38 * len(rows))
    for place, row in enumerate(rows):
        known = row["ndcg_interval"]
        colour = BLUE if row["name"] == "ranker" else MUTED
        axes.barh(
            -place, row["ndcg"], height=0.5, color=colour, linewidth=0, alpha=1 if row["name"] == "ranker" else 0.55
        )
        end = row["ndcg"] if known is None else known["high"]
        if known is not None:
            axes.hlines(-place, known["low"], known["high"], color=INK, linewidth=1.3)
        axes.annotate(f"{row['ndcg']:.3f}", (end, -place), xytext=(6, 0), textcoords="offset points", va="center")
    axes.set_yticks([-place for place in range(len(rows))], [row["label"] for row in rows])
    axes.set_xlim(0, 1.2)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "0.25", "0.5", "0.75", "1"])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"NDCG at {section['k']}")
    told = ", ".join(f"{row['label']} {row['ndcg']:.3f}" for row in rows)
    return as_svg(figure, "ndcg", f"NDCG at {section['k']}: {told}.")


def reliability(report: Section) -> str:
    """Observed click rate against the predicted one, in bins of equal mass."""
    section = report["calibration"]
    bins = section["bins"]
    figure, axes = new_figure(3.2)
    tops = [max(b["predicted"], b["observed"], (b["observed_interval"] or {"high": 0})["high"]) for b in bins]
    top = min(100.0, 105 * max(tops)) or 1.0
    axes.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for b in bins:
        known = b["observed_interval"]
        if known is not None:
            axes.vlines(100 * b["predicted"], 100 * known["low"], 100 * known["high"], color=BLUE, linewidth=1.4)
    axes.plot([100 * b["predicted"] for b in bins], [100 * b["observed"] for b in bins], "o", color=BLUE, markersize=5)
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %" if y > 0 else ""))
    axes.set_xlabel("predicted click chance")
    axes.set_ylabel("observed click rate")
    text = (
        f"Reliability curve over {len(bins)} bins: expected calibration error "
        f"{wording.percent(section['calibration_error'], 2)}."
    )
    return as_svg(figure, "reliability", text)


def funnel(report: Section) -> str:
    """Counts from the log to the pictures, on a log scale since they span orders of magnitude."""
    steps = report["funnel"]
    labels = [textwrap.fill(step["label"], _LABEL) for step in steps]
    lines = 1 + max(label.count("\n") for label in labels)
    figure, axes = new_figure(0.35 + (0.16 + 0.2 * lines) * len(steps))
    for place, step in enumerate(steps):
        length = np.log10(max(step["count"], 1))
        axes.hlines(-place, 0, length, color=BLUE, linewidth=2)
        axes.plot(length, -place, "o", color=BLUE, markersize=6)
        axes.annotate(f"{step['count']:,}", (length, -place), xytext=(9, 0), textcoords="offset points", va="center")
    axes.set_yticks([-place for place in range(len(steps))], labels)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    axes.set_ylim(-len(steps) + 0.4, 0.6)
    axes.set_xlim(0, np.log10(max(step["count"] for step in steps) + 1) * 1.65 + 0.1)
    told = ", ".join(f"{step['label']} {step['count']:,}" for step in steps)
    return as_svg(figure, "funnel", f"From the log to the pictures: {told}.")


def _cuts(report: Section) -> list[Section]:
    """What is known of clipping, in the order of falling weights."""
    cuts = report["trust"].get("overlap", {}).get("clipping", [])
    return [cut for cut in cuts if cut["clip"] is not None and cut["standard_error"] is not None]


def _true_gain(section: Section) -> float | None:
    known = section["true_target"] is not None and section["true_logged"] is not None
    return float(section["true_target"] - section["true_logged"]) if known else None


def _several(section: Section) -> bool:
    return sum(row["value"] is not None for row in section.get("rows", [])) > 1


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A figure of the page's width, `height` inches high."""
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _whisker(axes: Axes, y: float, x: float, known: Mapping[str, float] | None, colour: str, *, size: float) -> None:
    if known is not None:
        axes.hlines(y, 100 * known["low"], 100 * known["high"], color=colour, linewidth=2)
    axes.plot(x, y, "o", color=colour, markersize=size)


def _signed(value: float, _place: object) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:+g}".replace("-", wording.MINUS)


def as_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as inline SVG: no metadata, ids of its own, page colours and the page's font."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    body = drawn[drawn.index("<defs>") if "<defs>" in drawn else drawn.index("<g ") :]
    head = re.search(r'viewBox="[^"]*"', drawn)
    body = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", body)
    used = set(re.findall(r"#([\w.-]+)", body))  # the other ids are labels, equal in every chart
    body = re.sub(r' id="([^"]*)"', lambda found: found.group(0) if found.group(1) in used else "", body)
    for stand_in, variable in _VARIABLES.items():
        body = body.replace(stand_in, variable)
    label = description.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<svg {head.group(0) if head else ""} role="img" aria-label="{label}" font-family="inherit">\n{body}'
