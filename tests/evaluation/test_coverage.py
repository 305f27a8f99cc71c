"""The study behind docs/verdict.md in small by default, and at its length among the slow tests."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ope_coverage import coverage, verdicts

EXACT = ("bootstrap of users", "asymptotic")


def _shares(found: dict[str, Any]) -> dict[tuple[str, str], float]:
    return {(row["method"], row["estimator"]): row["coverage"] for row in found["table"]}


def test_intervals_cover_and_verdicts_are_right_on_planted_worlds() -> None:
    for (method, _), share in _shares(coverage(120)).items():
        sd = (0.95 * 0.05 / 120) ** 0.5
        assert share > 0.95 - 4 * sd
        assert method in EXACT or share >= 0.98
    for name, row in verdicts(6)["table"].items():
        assert row["counts"]["ship"] <= (6 if row["gain"] > 0.05 else 2), name
        if row["right"] == ["the data cannot say"]:
            assert row["wrong"] == 0, name


@pytest.mark.slow
def test_intervals_cover_between_93_and_97_percent() -> None:
    for (method, name), share in _shares(coverage(2000)).items():
        assert (0.93 <= share <= 0.97) if method in EXACT else share >= 0.95, (method, name)
    for name, row in verdicts(300)["table"].items():
        assert row["wrong"] <= 0.025 + 4 * (0.025 * 0.975 / 300) ** 0.5, name
