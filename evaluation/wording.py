"""Turns numbers into the words and figures of the page; one way of writing each kind of number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evaluation.verdict import digits_for, per_hundred

MINUS = "\u2212"
NONE = "\u2013"

KIND_TITLES = {
    "own": "This cohort's own",
    "other": "Another cohort's",
    "general": "The general one",
    "logged": "A logged one",
}
MOST_CREATIVES = 50
"""Rows of the table of creatives on the page."""

KIND_WORDS = {"own": "own", "other": "another cohort's", "general": "the general one", "logged": "a logged one"}


def number(value: float | None, digits: int = 2) -> str:
    """A plain number, such as 1,234.50."""
    return NONE if value is None else f"{value:,.{digits}f}".replace("-", MINUS)


def plain(value: float, figures: int = 3) -> str:
    """A number of any size by so many significant figures, such as 266,000 or 0.0000754; no powers of ten."""
    if not math.isfinite(value) or value == 0:
        return "0" if value == 0 else "infinity"
    digits = figures - 1 - math.floor(math.log10(abs(value)))
    return number(round(value, digits), max(digits, 0))


def percent(value: float | None, digits: int = 1) -> str:
    """A share of 1 as a percentage."""
    return NONE if value is None else f"{100 * value:.{digits}f} %".replace("-", MINUS)


def points(value: float | None, digits: int = 2) -> str:
    """A signed difference of two shares, in percentage points."""
    return NONE if value is None else f"{100 * value:+.{digits}f}".replace("-", MINUS)


def clicks(value: float | None, width: Mapping[str, float] | None = None, signed: bool = False) -> str:
    """Clicks per slate, written per 100 slates, with as many decimals as the interval `width` deserves."""
    return NONE if value is None else per_hundred(value, signed=signed, digits=_digits(width))


def click_span(interval: Mapping[str, float] | None, signed: bool = False) -> str:
    """An interval of clicks per slate, written per 100 slates."""
    if interval is None:
        return NONE
    low, high = (clicks(interval[end], interval, signed) for end in ("low", "high"))
    return f"{low} to {high}"


def number_span(interval: Mapping[str, float] | None, digits: int = 2, signed: bool = False) -> str:
    """An interval of plain numbers."""
    if interval is None:
        return NONE
    sign = "+" if signed else ""
    return " to ".join(f"{interval[end]:{sign}.{digits}f}".replace("-", MINUS) for end in ("low", "high"))


def percent_span(interval: Mapping[str, float] | None, digits: int = 1, signed: bool = False) -> str:
    """An interval of shares, as percentages."""
    if interval is None:
        return NONE
    return number_span({end: 100 * interval[end] for end in ("low", "high")}, digits, signed) + ("" if signed else " %")


def listed(words: Sequence[str]) -> str:
    """running, coffee and travel"""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 05 s"""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def flattened(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs, in the order given."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs.extend(flattened(value, f"{prefix}{key}."))
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            pairs.append((f"{prefix}{key}", shown))
    return pairs


def _digits(interval: Mapping[str, float] | None) -> int:
    return 1 if interval is None else digits_for((interval["high"] - interval["low"]) / 2)


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "percent": percent,
    "points": points,
    "clicks": clicks,
    "click_span": click_span,
    "number_span": number_span,
    "percent_span": percent_span,
    "listed": listed,
    "duration": duration,
}


def without_outcome(sentence: str) -> str:
    """The verdict's sentence without the outcome in front, since the page says that in large."""
    rest = sentence.split(": ", 1)[-1]
    return rest[:1].upper() + rest[1:]


def parameter(row: Mapping[str, Any]) -> str:
    """What was chosen for a tuned estimator, in a few words."""
    value = row["parameter"]
    name = {"clipped_ips": "weights up to", "switch_dr": "model beyond", "dr_os": "lambda"}.get(
        row["name"], "shrinkage"
    )
    return f"{name} {plain(value)}"


def sizes(values: Sequence[float]) -> list[str]:
    """Whole numbers with thousands separators."""
    return [f"{value:,.0f}" for value in values]


def picture_alt(kind: str, row: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    """What a picture shows, for those who cannot see it."""
    made = {
        "own": f"drawn for people into {listed(cell['interests'])}" if cell["interests"] else "drawn for this cohort",
        "other": f"drawn for people into {listed(cell['interests'])}"
        if cell["interests"]
        else "drawn for another cohort",
        "general": "drawn for nobody in particular",
        "logged": "as it was shown in the log",
    }[kind]
    return f"Ad \u201c{row['headline']}\u201d by {row['advertiser']}, {made}"


GLOSSARY = (
    ("Slate", "The ads one person sees together, slot by slot."),
    (
        "Policy",
        "A rule, with chances, for choosing a slate. The logged policy chose what people saw; the new one never ran.",
    ),
    (
        "Propensity",
        "The chance with which a policy makes a choice, given the choices above it. Logged with every choice.",
    ),
    (
        "Weight",
        "How much more often the new policy would show a logged slate: its propensity divided by the logged one.",
    ),
    (
        "Effective sample size",
        "How many equally weighted slates would be as noisy as the reweighted log: (sum of weights)\u00b2 / sum of "
        "weights\u00b2 (Kish 1965).",
    ),
    (
        "SLOPE",
        "A choice among estimators of growing bias and falling noise: the calmest one that the noisier ones do not contradict "
        "(Su et al. 2020; Tucker and Lee 2021).",
    ),
    (
        "Clicks behind it",
        "Effective sample size of the reweighted clicks alone: with few of them an estimate is a matter of who clicked.",
    ),
    (
        "IPS, SNIPS, DR, SNDR",
        "Inverse propensity scoring (Horvitz and Thompson 1952), self-normalised (Swaminathan and Joachims 2015), "
        "doubly robust (Dud\u00edk et al. 2011) and both (Thomas and Brunskill 2016), slot by slot with cumulative "
        "weights (McInerney et al. 2020; Kiyohara et al. 2022). They assume that a click depends on its slot and those "
        "above it.",
    ),
    (
        "Interval",
        "From a bootstrap that draws whole users, since one person's clicks are not independent. Differences are "
        "paired: both policies are valued on the same resamples.",
    ),
    (
        "Noise floor",
        "The difference that chance alone makes between two random halves of users who got the same policy.",
    ),
    ("NDCG", "How far up clicked concepts come, from 0 to 1 (J\u00e4rvelin and Kek\u00e4l\u00e4inen 2002)."),
    ("AUC", "The chance that a clicked impression is scored above one that was not clicked."),
    ("Normalised entropy", "Log loss divided by that of always predicting the mean click rate (He et al. 2014)."),
)
"""Words that the page uses and what they mean, each with its source."""
