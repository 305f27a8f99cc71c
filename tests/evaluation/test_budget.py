"""The report says what the renders bring and what the next hundred would, by the rule that chose them."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from evaluation.budget import NEXT, budget_chart, budget_section


def worth(count: int) -> pl.DataFrame:
    gains = np.sort(np.random.default_rng(0).exponential(size=count))[::-1]
    return pl.DataFrame({"users": np.arange(count) + 1, "expected_extra_clicks": gains})


@pytest.mark.parametrize(("count", "renders", "more"), [(500, 48, NEXT), (90, 48, 42), (48, 48, 0), (30, 0, 30)])
def test_the_figures_are_the_sums_of_what_was_ranked(count: int, renders: int, more: int) -> None:
    table = worth(count)
    gains = table["expected_extra_clicks"]
    told = budget_section(table, renders)
    assert told["extra_clicks"] == pytest.approx(gains.head(renders).sum())
    assert told["next"]["renders"] == more
    assert told["next"]["extra_clicks"] == pytest.approx(gains.slice(renders, more).sum())
    assert told["next"]["showings"] == table["users"].slice(renders, more).sum()
    assert told["steps"][-1]["share"] == pytest.approx(1.0)
    for point in told["curve"]:
        assert point["extra_clicks"] == pytest.approx(gains.head(point["renders"]).sum())
    assert {0, renders, renders + more, count} <= {point["renders"] for point in told["curve"]}
    assert len(told["curve"]) <= 70


def test_no_other_choice_of_as_many_brings_more() -> None:
    table = worth(40)
    random = np.random.default_rng(1)
    best = budget_section(table, 10)["extra_clicks"]
    gains = table["expected_extra_clicks"].to_numpy()
    assert all(gains[random.choice(40, 10, replace=False)].sum() <= best for _ in range(200))


def test_returns_diminish() -> None:
    per_render = [step["per_render"] for step in budget_section(worth(500), 48)["steps"]]
    assert len(per_render) == 4
    assert per_render == sorted(per_render, reverse=True)


def test_the_chart_tells_its_numbers_in_words() -> None:
    told = budget_section(worth(500), 48)
    assert f"the next 100 {told['next']['extra_clicks']:.3g}" in budget_chart(told)
    assert "absent" in budget_section(worth(0), 0)


@pytest.mark.parametrize(("count", "labels"), [(400, ["drawn", "+100"]), (40_000, ["drawn, +100"])])
def test_labels_of_the_chart_stand_apart_or_are_one(count: int, labels: list[str]) -> None:
    drawn = budget_chart(budget_section(worth(count), 100))
    assert re.findall(r"(?:<!-- |>)(drawn|drawn, \+100|\+100)(?: -->|<)", drawn) == labels
