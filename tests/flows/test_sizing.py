"""The plan of a large day follows from what was measured by the formula that the page states, and says what nobody measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.sizing import PAGE, STEPS, Cost, Day, found_costs, plan, read_costs, tables, with_tables

DAY = Day(users=8e6, events=1e6, kept_days=30, candidates=10, renders=1000, hours=1, price=0.5)


def cost(size: float, seconds: float, exponent: float | None) -> Cost:
    return Cost("users", size, seconds, 1.0, exponent, "test")


def test_work_that_is_proportional_is_split_evenly_and_costs_the_same_on_any_number_of_machines() -> None:
    (line,) = [one for one in plan({"ranking": cost(1e6, 1800, 1.0)}, DAY) if one.step == "ranking"]
    assert (line.machines, line.machine_hours, line.money) == (4, 4.0, 2.0)
    assert line.how == "extrapolated 8 times, exponent 1.00"


def test_work_that_grows_faster_is_cheaper_in_parts_and_the_fewest_machines_are_found() -> None:
    costs = {"ranking": cost(1e6, 1800, 2.0)}
    (line,) = [one for one in plan(costs, DAY) if one.step == "ranking"]
    each = [costs["ranking"].at(8e6 / machines) / 3600 for machines in (5, 6)]
    assert each[0] > 1 >= each[1]
    assert line.machines == 6
    assert line.machine_hours == pytest.approx(6 * each[1])
    assert line.money == pytest.approx(6 * each[1] * 0.5)


def test_what_was_not_measured_has_no_figure_and_what_was_is_called_so() -> None:
    lines = {one.step: one for one in plan({"scoring": cost(8e7, 100, None)}, DAY)}
    assert lines["scoring"].how == "measured"
    assert {name: (one.machines, one.money, one.how) for name, one in lines.items() if name != "scoring"} == {
        step.name: (None, None, "not measured") for step in STEPS if step.name != "scoring"
    }
    further = plan({"scoring": cost(8e6, 100, None)}, DAY)
    assert "extrapolated 10 times, assumed proportional" in {one.how for one in further}


def test_the_results_of_benchmarks_become_costs_and_the_whole_batch_wins(tmp_path: Path) -> None:
    assert found_costs(tmp_path) == {}
    intake = {
        "results": {f"{n} M": {"adloom": {"seconds": n * 2.0, "peak_gib": 0.5}, "pandas": {}} for n in (5, 20, 50)}
    }
    features = {
        "growth": {"2": {"seconds": 3.0, "peak_gib": 1}, "50": {"seconds": 80.0, "peak_gib": 2}},
        "exponent": 1.02,
    }
    speed = {name: {"pairs": 5e7, "seconds": 90.0, "peak_gib": 1.8} for name in ("adloom", "adloom cascade")}
    stage = {"seconds": 600.0, "peak_bytes": 2**31, "rows": 1}
    half = {
        "world": {"users": 5e5, "events": 1e7},
        "renders": 500,
        "alone": {"stages": {"ranking": stage, "generators": stage}},
    }
    whole = {
        "world": {"users": 1e6, "events": 2e7},
        "renders": 1000,
        "alone": {"stages": {"ranking": {**stage, "seconds": 900}}},
    }
    batch = {"scales": {"0.5": half, "1.0": whole}, "exponents": {"ranking": 0.58}}
    for name, told in (("intake", intake), ("features", features), ("ranking_speed", {"results": speed})):
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    found = found_costs(tmp_path)
    assert found["sources"] == Cost("events", 5e7, 100.0, 0.5, 1.0, "benchmarks.intake")
    assert (found["features"].size, found["features"].exponent) == (5e7, 1.02)
    assert found["scoring"].seconds == 90.0
    (tmp_path / "whole_batch.json").write_text(json.dumps(batch))
    found = found_costs(tmp_path)
    assert found["ranking"] == Cost("users", 1e6, 900, 2.0, 0.58, "benchmarks.whole_batch")
    assert found["generators"] == Cost("renders", 500, 600.0, 2.0, None, "benchmarks.whole_batch")
    assert found["sources"].by == "benchmarks.intake", "the batch has not reached it"


def test_the_page_holds_the_tables_of_what_is_kept() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page, tables(read_costs(), Day())) == page, "run: python -m benchmarks.sizing --take"
