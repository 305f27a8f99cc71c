"""Turns a page's address into the creatives it shows, in order, and a filter back into an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlencode

from contracts.decisions import Status
from contracts.tables import GENERAL_COHORT
from review.shelf import Creative, Run
from review.standing import Standing

PAGE = 60
"""Creatives on a page of the gallery."""

SORTS = {
    "run": "as drawn",
    "chance": "click rate, highest first",
    "chance_up": "click rate, lowest first",
    "concept": "concept",
    "cohort": "cohort",
    "decided": "last decided first",
    "rating": "rating, highest first",
}
UNDECIDED = "undecided"
DISAGREED = "disagreed"
STATUSES = {UNDECIDED: "to decide", **{str(one): str(one) for one in Status}, DISAGREED: "people disagree"}
"""Values of the filter `status`: to decide is pending, waiting or stale."""

Shown = tuple[Creative, Standing]


@dataclass(frozen=True, slots=True)
class Filter:
    """What the gallery shows; every field stands in the address, an empty one filters nothing.

    Attributes:
        cohort: general, personal, or a number.
        check: passed, failed, or the name of a failed check.
        least, most: predicted click rate in percent.
        reviewer: who said something of it.
        text: words that headline, body, advertiser, ids or topics all contain.
        sort: one of SORTS. page: from 1.
    """

    run: str = ""
    concept: str = ""
    topic: str = ""
    cohort: str = ""
    generator: str = ""
    check: str = ""
    least: str = ""
    most: str = ""
    status: str = ""
    reviewer: str = ""
    text: str = ""
    sort: str = ""
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filter:
        """From an address; what cannot be understood filters nothing."""
        values: dict[str, Any] = {one.name: query.get(one.name, "").strip()[:200] for one in fields(cls)}
        values["page"] = int(values["page"]) if values["page"].isdecimal() and len(values["page"]) < 7 else 1
        for name in ("least", "most"):
            if _number(values[name]) is None:
                values[name] = ""
        if values["sort"] not in SORTS:
            values["sort"] = ""
        if values["status"] not in STATUSES:
            values["status"] = ""
        return cls(**{**values, "page": max(values["page"], 1)})

    def address(self, **changes: Any) -> str:
        """The query string of this filter, with changes; empty fields are left out."""
        values = {one.name: changes.get(one.name, getattr(self, one.name)) for one in fields(self)}
        kept = {
            name: value for name, value in values.items() if value not in {"", None} and (name, value) != ("page", 1)
        }
        return urlencode(kept)

    @property
    def chips(self) -> list[tuple[str, str]]:
        """(name, value) of every field that filters; status apart."""
        names = [one.name for one in fields(self) if one.name not in {"page", "sort", "status", "run"}]
        return [(name, getattr(self, name)) for name in names if getattr(self, name)]

    @property
    def tests(self) -> list[Callable[[Creative, Standing], bool]]:
        """What a creative must pass, but for the status; nothing for what is not asked."""
        asked: list[tuple[str, Callable[[Creative, Standing], bool]]] = [
            (self.concept, lambda one, _: one.concept_id == self.concept),
            (self.generator, lambda one, _: one.generator == self.generator),
            (self.topic, lambda one, _: self.topic in one.topics),
            (self.cohort, lambda one, _: _in_cohort(self.cohort, one.cohort)),
            (self.check, lambda one, _: _checked(self.check, one.checks)),
            (self.least or self.most, lambda one, _: self._within(one.chance)),
            (self.reviewer, lambda _, standing: self.reviewer in standing.reviewers),
            (self.text, lambda one, _: self._said(one)),
        ]
        return [test for wanted, test in asked if wanted]

    def _said(self, one: Creative) -> bool:
        said = " ".join((one.headline, one.body, one.advertiser, one.creative_id, *one.topics)).casefold()
        return all(word in said for word in self.text.casefold().split())

    def _within(self, chance: float | None) -> bool:
        if chance is None:
            return False
        least, most = _number(self.least), _number(self.most)
        return (least is None or 100 * chance >= least) and (most is None or 100 * chance <= most)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter finds: everything in order, and how many there are of each status."""

    shown: list[Shown]
    counts: Counter[str]

    @property
    def pages(self) -> int:
        """At least one."""
        return max(1, -(-len(self.shown) // PAGE))


def choices(runs: Iterable[Run]) -> dict[str, list[tuple[str, str]]]:
    """(value, label with count) of everything that these runs can be filtered by."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("concept", "topic", "cohort", "generator", "check")}
    labels = {"general": "general", "personal": "any cohort"}
    for run in runs:
        for name, counted in run.facets.items():
            counts[name].update(counted)
        labels |= run.cohort_names
    found = {}
    for name, counted in counts.items():
        values = sorted(counted, key=lambda value: (value.isdecimal(), int(value) if value.isdecimal() else 0, value))
        found[name] = [(value, f"{labels.get(value, value)} ({counted[value]:,})") for value in values]
    return found


def select(creatives: Sequence[Creative], standings: Sequence[Standing], wanted: Filter) -> Selection:
    """The creatives that a filter shows, sorted; counts by status are of all that pass the rest of the filter."""
    passing = [*zip(creatives, standings, strict=True)]
    for test in wanted.tests:
        passing = [pair for pair in passing if test(*pair)]
    counts: Counter[str] = Counter(standing.status for _, standing in passing)
    counts[UNDECIDED] = sum(counts[status] for status in OPEN)
    counts[DISAGREED] = sum(standing.disagreed for _, standing in passing)
    counts[""] = len(passing)
    if wanted.status == UNDECIDED:
        passing = [pair for pair in passing if pair[1].status in OPEN]
    elif wanted.status == DISAGREED:
        passing = [pair for pair in passing if pair[1].disagreed]
    elif wanted.status:
        passing = [pair for pair in passing if pair[1].status == wanted.status]
    return Selection(_sorted(passing, wanted.sort), counts)


OPEN = frozenset({Status.PENDING, Status.WAITING, Status.STALE})


def _sorted(pairs: list[Shown], sort: str) -> list[Shown]:
    key = _SORT_KEYS.get(sort)
    return pairs if key is None else sorted(pairs, key=key)


_SORT_KEYS: dict[str, Callable[[Shown], Any]] = {
    "chance": lambda pair: -(pair[0].chance or -1.0),
    "chance_up": lambda pair: 2.0 if pair[0].chance is None else pair[0].chance,
    "concept": lambda pair: (pair[0].concept_id, pair[0].cohort),
    "cohort": lambda pair: (pair[0].cohort, pair[0].concept_id),
    "decided": lambda pair: -(pair[1].last_at.timestamp() if pair[1].last_at else 0.0),
    "rating": lambda pair: -(pair[1].rating or 0.0),
}


def _in_cohort(wanted: str, cohort: int) -> bool:
    if wanted in {"general", "personal"}:
        return (cohort == GENERAL_COHORT) == (wanted == "general")
    return wanted == str(cohort)


def _checked(wanted: str, failed: tuple[str, ...]) -> bool:
    if wanted in {"passed", "failed"}:
        return bool(failed) == (wanted == "failed")
    return wanted in failed


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 100 else None
