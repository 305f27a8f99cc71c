"""Turns what was measured on two cores into costs, and costs into a plan: machines, hours and money of a day of any size.

    python -m benchmarks.sizing [--users 100000000] [--events 1000000000] [--take]

`--take` reads benchmarks/results (whole_batch.json, intake.json, features.json, ranking_speed.json), keeps what it finds in
benchmarks/measured.json, and writes the tables of docs/deploy.md anew. A step that nobody measured is said to be so.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MEASURED, RESULTS, PAGE = HERE / "measured.json", HERE / "results", HERE.parent / "docs" / "deploy.md"
MARKS = "<!-- made by python -m benchmarks.sizing --take -->", "<!-- end -->"
CORES = 2


@dataclass(frozen=True)
class Cost:
    """What a step took once.

    Attributes:
        unit: what it counts.
        size: how many of them there were.
        seconds: on two cores. peak_gib: memory of the process.
        exponent: seconds grow with the size to this power; None: not measured, 1 is assumed.
        by: the benchmark.
    """

    unit: str
    size: float
    seconds: float
    peak_gib: float | None
    exponent: float | None
    by: str

    def at(self, size: float) -> float:
        """Seconds for another size, by the power law through what was measured."""
        return float(self.seconds * (size / self.size) ** (1.0 if self.exponent is None else self.exponent))


@dataclass(frozen=True)
class Step:
    """A step of the batch: what it counts, and in which portions its cost is told."""

    name: str
    unit: str
    portion: float
    told: str


STEPS = (
    Step("sources", "events", 1e6, "million events"),
    Step("features", "events", 1e6, "million events"),
    Step("scoring", "scored pairs", 1e6, "million scored pairs"),
    Step("scoring behind the first model", "scored pairs", 1e6, "million scored pairs"),
    Step("ranking", "users", 1e6, "million users"),
    Step("generators", "renders", 1e3, "thousand renders"),
    Step("evaluation", "impressions", 1e6, "million impressions"),
)


@dataclass(frozen=True)
class Day:
    """What a night has to do.

    Attributes:
        users: that get a slate. events: that came in. kept_days: of events that features are made from.
        candidates: concepts scored per user. renders: personal pictures. impressions: of the held-out log.
        hours: that a night may take. price: of an hour of a machine with two cores, in your currency.
    """

    users: float = 100e6
    events: float = 1e9
    kept_days: float = 30
    candidates: float = 200
    renders: float = 10_000
    impressions: float = 100e6
    hours: float = 6
    price: float = 0.10


@dataclass(frozen=True)
class Line:
    """Of the plan.

    Attributes:
        size: how many units the step has. machine_hours: of machines with two cores; None: the step was never measured.
        machines: that end within the night's hours. money: machine_hours x price.
        how: measured, extrapolated, or not measured.
    """

    step: str
    unit: str
    size: float
    machine_hours: float | None
    machines: int | None
    money: float | None
    how: str


def plan(costs: Mapping[str, Cost], day: Day) -> list[Line]:
    """A line a step. Work is shared by users in equal parts, so that each machine has size / machines, at the measured power.

    Machines are found by hours_each(m) = seconds(size / m) / 3600 <= hours; money = m x hours_each(m) x price.
    """
    sizes = {
        "sources": day.events,
        "features": day.events * day.kept_days,
        "scoring": day.users * day.candidates,
        "scoring behind the first model": day.users * day.candidates,
        "ranking": day.users,
        "generators": day.renders,
        "evaluation": day.impressions,
    }
    return [_line(step, costs.get(step.name), sizes[step.name], day) for step in STEPS]


def _line(step: Step, cost: Cost | None, size: float, day: Day) -> Line:
    if cost is None:
        return Line(step.name, step.unit, size, None, None, None, "not measured")
    machines = 1
    while (
        cost.at(size / machines) / 3600 > day.hours
    ):  # doubles, then halves the gap: no closed form where the power is not 1
        machines *= 2
    low = machines // 2
    while machines - low > 1:
        middle = (machines + low) // 2
        low, machines = (low, middle) if cost.at(size / middle) / 3600 <= day.hours else (middle, machines)
    spent = machines * cost.at(size / machines) / 3600
    if math.isclose(size, cost.size):
        how = "measured"
    else:
        law = "assumed proportional" if cost.exponent is None else f"exponent {cost.exponent:.2f}"
        how = f"extrapolated {_short(size / cost.size)} times, {law}"
    return Line(step.name, step.unit, size, spent, machines, spent * day.price, how)


def read_costs(file: Path = MEASURED) -> dict[str, Cost]:
    """What was measured, by step."""
    return {name: Cost(**told) for name, told in json.loads(file.read_text(encoding="utf-8")).items()}


def found_costs(results: Path) -> dict[str, Cost]:
    """What the results of benchmarks say, by step; later ones replace earlier ones."""
    return dict(_found(results))


def _found(results: Path) -> Iterator[tuple[str, Cost]]:
    if intake := _read(results / "intake.json"):
        sizes = {float(name.split()[0]) * 1e6: found["adloom"] for name, found in intake["results"].items()}
        points = {size: found["seconds"] for size, found in sizes.items()}
        size = max(points)
        peak = sizes[size].get("peak_gib")
        yield "sources", Cost("events", size, points[size], peak, _slope(points), "benchmarks.intake")
    if features := _read(results / "features.json"):
        points = {float(size) * 1e6: found["seconds"] for size, found in features["growth"].items()}
        size = max(points)
        peak = features["growth"][str(round(size / 1e6))]["peak_gib"]
        yield "features", Cost("events", size, points[size], peak, features["exponent"], "benchmarks.features")
    if speed := _read(results / "ranking_speed.json"):
        for step, name in (("scoring", "adloom"), ("scoring behind the first model", "adloom cascade")):
            one = speed["results"][name]
            by = "benchmarks.ranking_speed, features included"
            yield step, Cost("scored pairs", one["pairs"], one["seconds"], one["peak_gib"], None, by)
    if batch := _read(results / "whole_batch.json"):
        yield from _of_batch(batch)


def _of_batch(batch: dict[str, Any]) -> Iterator[tuple[str, Cost]]:
    counted = {
        "sources": "events",
        "features": "events",
        "ranking": "users",
        "generators": "renders",
        "evaluation": "impressions",
    }
    for name, unit in counted.items():
        runs = [one for one in batch["scales"].values() if name in one["alone"]["stages"]]
        if not runs:
            continue
        largest = max(runs, key=lambda one: float(one["world"]["events"]))
        size = float({**largest["world"], "renders": largest["renders"]}[unit])
        stage = largest["alone"]["stages"][name]
        peak = round(stage["peak_bytes"] / 2**30, 2)
        yield name, Cost(unit, size, stage["seconds"], peak, batch["exponents"].get(name), "benchmarks.whole_batch")


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _slope(points: Mapping[float, float]) -> float | None:
    """Of log seconds over log size, by least squares; None with fewer than two points."""
    if len(points) < 2:
        return None
    x, y = [math.log(size) for size in points], [math.log(seconds) for seconds in points.values()]
    middle = sum(x) / len(x)
    return round(sum((a - middle) * b for a, b in zip(x, y, strict=True)) / sum((a - middle) ** 2 for a in x), 3)


def tables(costs: Mapping[str, Cost], day: Day) -> str:
    """Markdown: what was measured, and the plan."""
    head = (
        "| step | cost, seconds on two cores | measured on | peak memory | exponent | by |\n|---|---|---|---|---|---|\n"
    )
    lines = []
    for step in STEPS:
        cost = costs.get(step.name)
        if cost is None:
            lines.append(f"| {step.name} | not measured | | | | |\n")
            continue
        portion = cost.seconds / cost.size * step.portion
        peak = "" if cost.peak_gib is None else f"{cost.peak_gib:.1f} GiB"
        power = "not measured" if cost.exponent is None else f"{cost.exponent:.2f}"
        size = f"{cost.size:,.0f} {cost.unit}"
        lines.append(f"| {step.name} | {_short(portion)} a {step.told} | {size} | {peak} | {power} | `{cost.by}` |\n")
    asked = (
        f"\n{day.users:,.0f} users, {day.events:,.0f} events a day of which {day.kept_days:.0f} days are kept, {day.candidates:.0f} "
        f"concepts scored per user,\n{day.renders:,.0f} renders, a night of {day.hours:g} hours, {day.price:.2f} for an hour of a machine "
        "with two cores (a stand-in: put your own price in):\n\n"
    )
    below = "| step | size | machine-hours | machines | money | how known |\n|---|---|---|---|---|---|\n"
    planned = "".join(_row(line) for line in plan(costs, day))
    return f"{head}{''.join(lines)}{asked}{below}{planned}"


def _row(line: Line) -> str:
    size = f"{line.size:,.0f} {line.unit}"
    if line.machine_hours is None or line.money is None:
        return f"| {line.step} | {size} | | | | {line.how} |\n"
    return (
        f"| {line.step} | {size} | {_short(line.machine_hours)} | {line.machines} | {line.money:.2f} | {line.how} |\n"
    )


def with_tables(page: str, text: str) -> str:
    """The page with the tables between its marks."""
    before, rest = page.split(MARKS[0])
    after = rest.split(MARKS[1], 1)[1]
    return f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{after}"


def _short(value: float) -> str:
    """Three digits, or the whole number where that is longer."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Prints the tables; with --take renews what is kept, and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--take", action="store_true", help="keep what benchmarks/results say, and write docs/deploy.md"
    )
    for name, value in asdict(Day()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    given = vars(parser.parse_args())
    take, day, costs = given.pop("take"), Day(**given), read_costs()
    if take:
        costs |= found_costs(RESULTS)
        MEASURED.write_text(json.dumps({name: asdict(cost) for name, cost in costs.items()}, indent=2) + "\n")
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), tables(costs, Day())), encoding="utf-8")
    print(tables(costs, day))


if __name__ == "__main__":
    main()
