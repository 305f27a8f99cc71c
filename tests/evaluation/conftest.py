"""Small logs with known laws, for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

START = datetime(2025, 3, 1, tzinfo=UTC)


def make_log(users: int = 60, slates: int = 3, slots: int = 3, *, gain: float = 1.5, seed: int = 0) -> pl.DataFrame:
    """A log of a Plackett-Luce policy over 6 concepts; `gain` is how much better the target policy knows the clicks."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        truth = rng.normal(size=6) - 1.5
        logged, target = np.zeros(6), gain * truth
        for slate in range(slates):
            left = list(range(6))
            for slot in range(slots):
                p, t = (np.exp(u[left]) / np.exp(u[left]).sum() for u in (logged, target))
                chance = 1 / (1 + np.exp(-truth[left]))
                pick = int(rng.choice(len(left), p=p))
                concept = left.pop(pick)
                clicked = bool(rng.random() < chance[pick])
                at = START + timedelta(hours=23 + slate)  # over midnight
                predicted = float(np.clip(0.9 * chance[pick] + 0.01, 0, 1))
                expected = float(t @ (0.9 * chance + 0.01))
                score = truth[concept] + 0.3 * rng.normal()
                model = (predicted, expected, score, float(concept), truth[concept])
                rows.append((f"u{user:04d}", at, slot, clicked, p[pick], t[pick], *model))
    names = ["user_id", "at", "slot", "clicked", "propensity", "target_propensity", "predicted_chance"]
    return pl.DataFrame(rows, schema=[*names, "expected_chance", "score", "popularity", "oracle"], orient="row")


@pytest.fixture(scope="session")
def log_of() -> Callable[..., pl.DataFrame]:
    return make_log


@pytest.fixture(scope="session")
def impressions() -> pl.DataFrame:
    return make_log()


class Tags(HTMLParser):
    """Whether tags close in order, and which addresses a page asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "br", "link", "img", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def tags() -> Tags:
    """A parser to feed a page to; `open` is empty afterwards when every tag was closed in order."""
    return Tags()
