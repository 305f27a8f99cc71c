"""The page of a check: whole with one day, none, gaps and hostile names; its intervals are Wilson's."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from scipy.stats import binomtest

from evaluation.check_page import calendar, charts, render_check, wilson


def day(name: str, events: int = 10, impressions: int = 5, clicks: int = 1, rejected: int = 0) -> dict[str, Any]:
    return {"day": name, "events": events, "impressions": impressions, "clicks": clicks, "rejected": rejected}


def summary(days: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    table = {"table": "events", "file": "events.csv", "read": 12, "accepted": 10, "rejected": 2, "withheld": 1,
             "sensitive": 0, "notes": ["ignores the unknown column(s) 'x'"]}  # fmt: skip
    finding = {"check": "wrong_type", "severity": "error", "table": "events", "column": "at", "reason": "is not a timestamp",
               "rows": 2, "meaning": "Cannot be read.", "fix": "Mend it.",
               "examples": [{"source": "events.csv", "row": 3}, {"source": "events.csv", "row": 1234}]}  # fmt: skip
    return {"name": "shop", "tables": [table], "findings": [finding], "days": days, "limit": 0.1,
            "verdict": "A run would go on.", **changes}  # fmt: skip


@pytest.mark.parametrize(
    "days",
    [[], [day("2026-01-05")], [day("2026-01-05", impressions=0, clicks=0)], [day("2026-01-05"), day("2026-03-01")]],
)
def test_the_page_stands_alone_with_any_number_of_days(days: list[dict[str, Any]], tags: Any) -> None:
    page = render_check(summary(days))
    tags.feed(page)
    assert tags.open == []
    assert all(address.startswith("#") for address in tags.addresses)
    assert page.count("<svg") == (3 if days else 0)
    for words in ("A run would go on.", "is not a timestamp", "1,234", "Mend it.", "unknown column"):
        assert words in page


def test_every_chart_says_in_words_what_it_shows() -> None:
    drawn = charts([day("2026-01-05", clicks=2), day("2026-01-06", clicks=2, rejected=7)])
    assert "20 events and 10 impressions on 2 days" in drawn["volume"]
    assert re.search(r"Click rate by day: 40(\.0+)? ?%", drawn["clicks"])
    assert "7 in all" in drawn["rejected"]


def test_what_a_log_holds_cannot_write_the_page() -> None:
    hostile = '<script>alert("x")</script>'
    page = render_check(summary([], name=hostile, verdict=hostile))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_days_without_rows_are_gaps_and_days_of_rejects_alone_do_not_stretch_the_axis() -> None:
    days = [day("1970-01-01", 0, 0, 0, rejected=4), day("2026-01-05"), day("2026-01-08"), day("2199-01-01", 0, 0, 0, 1)]
    shown = calendar(days)
    assert [one["day"] for one in shown] == ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"]
    assert shown[1]["events"] == 0
    assert "5 more lie outside these days" in render_check(summary(days))


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 50), (3, 50), (50, 50), (123, 4567)])
def test_intervals_are_those_of_wilson(successes: int, trials: int) -> None:
    low, high = wilson(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_no_trials_have_no_interval() -> None:
    assert all(math.isnan(bound) for bound in wilson(0, 0))
