"""Turns planted logs into how often intervals contain the truth, and how often each verdict is wrong.

    python -m benchmarks.ope_coverage [--repetitions 2000] [--verdicts 300]

Coverage: 400 users of 1 to 7 slates of two slots, clicks that share a user's taste and a cascade (a click above halves the
chance below), a policy to be judged that is unlike the logged one, a click model that is wrong; the truth is exact.
Verdicts: the report's rules on planted worlds in which the new policy is better, worse or just as good, or where the log cannot
answer. Wrong are "ship" without a gain, "hold" on a clear gain, and any answer where there can be none.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import binomtest

from contracts.settings import EvaluationSettings
from evaluation import sections
from evaluation.bounds import asymptotic, asymptotic_sequence, confidence_sequence, empirical_bernstein
from evaluation.catalogue import draws_of, estimates
from evaluation.intervals import percentile
from evaluation.logs import LoggedSlates
from evaluation.report_data import ReportData

Floats = npt.NDArray[np.float64]
CONCEPTS, SLOTS = 6, 2


@dataclass(frozen=True)
class World:
    """A law of clicks, a logging policy and one to be judged: (C,) click chances at slot 0 and (C,) utilities."""

    click: Floats
    logged: Floats
    target: Floats

    def value(self, utility: Floats) -> float:
        """Exact expected clicks per slate of the policy exp(utility), without replacement, over the mean user."""
        first = _chances(utility)
        total = float(first @ self.click)
        for one in range(CONCEPTS):
            second = _chances(np.where(np.arange(CONCEPTS) == one, -np.inf, utility))
            total += float(first[one] * (second @ self.click) * 0.7 * (1 - 0.5 * self.click[one] * _TASTE_SQUARED))
        return total

    def draw(self, rng: np.random.Generator, users: int = 400) -> LoggedSlates:
        """A log; tastes of users have mean 1."""
        sizes = rng.integers(1, 8, users)
        who = np.repeat(np.arange(users), sizes)
        taste = rng.choice([0.6, 1.4], users)[who]
        count = who.size
        chosen = np.argsort(-(self.logged + rng.gumbel(size=(count, CONCEPTS))), axis=1)[:, :SLOTS]
        clicked, p, t = (np.zeros((count, SLOTS)) for _ in range(3))
        predicted, expected = np.zeros((count, SLOTS)), np.zeros((count, SLOTS))
        model = 0.7 * self.click + 0.03
        left = np.ones((count, CONCEPTS), dtype=bool)
        rows = np.arange(count)
        for slot in range(SLOTS):
            chance = taste * self.click[chosen[:, slot]] * (0.7 * (1 - 0.5 * clicked[:, 0]) if slot else 1.0)
            clicked[:, slot] = rng.random(count) < chance
            logged, target = (_chances(np.where(left, utility, -np.inf)) for utility in (self.logged, self.target))
            p[:, slot], t[:, slot] = logged[rows, chosen[:, slot]], target[rows, chosen[:, slot]]
            predicted[:, slot], expected[:, slot] = model[chosen[:, slot]], target @ model
            left[rows, chosen[:, slot]] = False
        there = np.ones((count, SLOTS), dtype=bool)
        return LoggedSlates(who, there, clicked, p, t, predicted, expected, left_out=0, unlogged_rows=0)


_TASTE_SQUARED = 1.0 + 0.4**2  # mean of taste * taste: both slots are seen by the same user


def _chances(utility: Floats) -> Floats:
    weights = np.exp(utility - utility.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


CLICK = np.array([0.05, 0.10, 0.15, 0.20, 0.25, 0.30])
PLAIN = World(CLICK, np.linspace(0.5, -0.5, CONCEPTS), np.linspace(-0.8, 0.8, CONCEPTS))


def coverage(repetitions: int) -> dict[str, Any]:
    """Share of logs whose interval contains the truth, by method and estimator, and the mean half-width."""
    truth = PLAIN.value(PLAIN.target)
    hits: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    widest = _widest(PLAIN)
    for repetition in range(repetitions):
        log = PLAIN.draw(np.random.default_rng(repetition))
        found = {name: one for name, one in estimates(log).items() if name in ("ips", "snips", "dr", "sndr")}
        draws = draws_of(found, log.users, resamples=500, seed=repetition, name="coverage")
        for name, one in found.items():
            known = {
                "bootstrap of users": percentile(draws[name], 0.95),
                "asymptotic": asymptotic(one.terms, log.users, confidence=0.95),
                "asymptotic, at any time": asymptotic_sequence(one.terms, log.users, confidence=0.95),
            }
            for method, ends in known.items():
                assert ends is not None
                hits.setdefault((method, name), []).append((truth in ends, ends.half_width))
        terms = found["ips"].terms.contributions
        bound = empirical_bernstein(terms, log.users, lowest=0.0, highest=widest, confidence=0.95)
        assert bound is not None
        hits.setdefault(("empirical Bernstein", "ips"), []).append((truth in bound, bound.half_width))
        lost = (log.weights() * (1 - log.clicked)).sum(axis=1)
        low, high = confidence_sequence(terms, lost, log.users, total=float(SLOTS), confidence=0.95)
        always = bool((low <= truth).all() and (high >= truth).all())
        hits.setdefault(("confidence sequence, every moment", "ips"), []).append(
            (always, float(high[-1] - low[-1]) / 2)
        )
    table = []
    for (method, name), by in hits.items():
        count = sum(hit for hit, _ in by)
        ends = binomtest(count, len(by)).proportion_ci(method="wilson")
        table.append({"method": method, "estimator": name, "coverage": count / len(by), "low": ends.low, "high": ends.high,
                      "half_width": float(np.mean([width for _, width in by]))})  # fmt: skip
    return {"repetitions": repetitions, "truth": truth, "table": table}


def _widest(world: World) -> float:
    """The largest sum of a slate's weights: what is known of the range beforehand, from the policies alone."""
    logged, target = _chances(world.logged), _chances(world.target)
    most = 0.0
    for one in range(CONCEPTS):
        gone = np.arange(CONCEPTS) == one
        second = _chances(np.where(gone, -np.inf, world.target)) / np.where(
            gone, 1.0, _chances(np.where(gone, -np.inf, world.logged))
        )
        first = target[one] / logged[one]
        most = max(most, first + first * float(second.max()))
    return most


def worlds() -> dict[str, tuple[World, str, tuple[str, ...]]]:
    """Name to world, what is done to its log, and the right verdicts."""
    flat = np.zeros(CONCEPTS)
    mirrored = World(
        np.array([0.1, 0.2, 0.3, 0.3, 0.2, 0.1]), np.linspace(0.8, -0.8, CONCEPTS), np.linspace(-0.8, 0.8, CONCEPTS)
    )
    said, cannot = ("ship", "hold"), ("the data cannot say",)
    return {
        "clearly better": (World(CLICK, flat, np.linspace(-1.0, 1.0, CONCEPTS)), "", ("ship",)),
        "just as good": (mirrored, "", ("hold",)),
        "the same policy": (World(CLICK, flat, flat), "", ("hold",)),
        "worse": (World(CLICK, flat, np.linspace(1.0, -1.0, CONCEPTS)), "", ("hold",)),
        "never overlaps": (World(CLICK, np.array([0.0, 0, 0, 0, 0, -9]), np.array([0.0, 0, 0, 0, 0, 9])), "", cannot),
        "hardly overlaps": (
            World(CLICK, np.array([2.0, 2, 0, 0, -3, -3]), np.array([-3.0, -3, 0, 0, 2, 2])),
            "",
            cannot,
        ),
        "one click in all": (World(CLICK, flat, np.linspace(-0.5, 0.5, CONCEPTS)), "one click", cannot),
        "propensities halved": (World(CLICK, flat, np.linspace(-0.5, 0.5, CONCEPTS)), "halved", cannot),
        "chances of a slot alone": (World(CLICK, flat, np.linspace(-0.5, 0.5, CONCEPTS)), "per slot", cannot),
        "model of another policy": (World(CLICK, flat, np.linspace(-0.5, 0.5, CONCEPTS)), "wrong model", cannot),
        "half as many users, better": (World(CLICK, flat, np.linspace(-1.0, 1.0, CONCEPTS)), "half", said),
    }


def spoilt(log: LoggedSlates, how: str) -> LoggedSlates:
    """What went wrong with a log."""
    assert log.propensity is not None
    assert log.expected is not None
    if how == "one click":
        clicked = np.zeros_like(log.clicked)
        clicked[7, 0] = 1
        return replace(log, clicked=clicked)
    if how == "halved":
        return replace(log, propensity=log.propensity / 2)
    if how == "per slot":
        return replace(log, propensity=np.full_like(log.propensity, 1 / CONCEPTS))
    if how == "wrong model":
        return replace(log, expected=1.5 * log.expected)
    return log


def verdicts(repetitions: int) -> dict[str, Any]:
    """How often each verdict is given in each world, and how often that is wrong."""
    settings = EvaluationSettings(bootstraps=300)
    table = {}
    for name, (world, how, right) in worlds().items():
        counts: dict[str, int] = {"ship": 0, "hold": 0, "the data cannot say": 0}
        for repetition in range(repetitions):
            rng = np.random.default_rng([repetition, len(name)])
            log = spoilt(world.draw(rng, users=200 if how == "half" else 400), how)
            data = ReportData(name=name, run="", settings=settings, seed=repetition, impressions=pl.DataFrame())
            estimated, trusted = sections.estimates(data, log), sections.trust(data, log)
            counts[sections.verdict(data, log, estimated, trusted).outcome] += 1
        wrong = sum(count for outcome, count in counts.items() if outcome not in right) / repetitions
        gain = world.value(world.target) - world.value(world.logged)
        table[name] = {"gain": gain, "right": list(right), "counts": counts, "wrong": wrong}
    return {"repetitions": repetitions, "table": table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--verdicts", type=int, default=300)
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    found = results["coverage"] = coverage(given.repetitions)
    print(f"{'interval at 95 %':34} {'of':6} {'covers':>8} {'(95 % interval)':>18} {'half-width':>11}")
    for row in found["table"]:
        print(f"{row['method']:34} {row['estimator']:6} {100 * row['coverage']:7.1f} % ({100 * row['low']:5.1f} to {100 * row['high']:5.1f}) {row['half_width']:12.4f}")  # fmt: skip
    judged = results["verdicts"] = verdicts(given.verdicts)
    print(f"\n{'world':28} {'gain':>8} {'ship':>8} {'hold':>8} {'cannot':>8} {'wrong':>8}")
    for name, row in judged["table"].items():
        shares = " ".join(f"{100 * count / given.verdicts:7.1f}%" for count in row["counts"].values())
        print(f"{name:28} {row['gain']:+8.4f} {shares} {100 * row['wrong']:7.1f}%")
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    (target / "ope_coverage.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
