"""Turns a made-up log into seconds and peak memory of all estimators with a clustered bootstrap, beside a pandas loop.

    python -m benchmarks.ope_speed [--rounds 1000000] [--resamples 1000] [--looped 5]

Each contender runs in a process of its own, one after another, on two threads. The work: every estimator that the log allows
(all of them, with slates) with its parameter chosen, and its values on resamples of users, each with all of their rounds. Two
logs of as many choices: one a round, and three a slate. The loop is what one writes first: draw users, gather their rows by
position, work out every estimator on the frame; it is measured on fewer resamples, with the parameters given, and scaled up.
Checked to be equal: the values on the log, and the spread of the resamples up to their noise.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

THREADS = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "POLARS_MAX_THREADS": "2"}
LOGS = {"rounds of one choice": 1, "slates of three choices": 3}


def columns(choices: int, slots: int) -> dict[str, Any]:
    """A log of uniformly random choices among ten concepts, five slates a user; every value (slates, slots)."""
    import numpy as np

    rng = np.random.default_rng(1)
    shape = (choices // slots, slots)
    click, target = np.linspace(0.01, 0.1, 10), np.linspace(1, 6, 10) / np.linspace(1, 6, 10).sum()
    action = rng.integers(10, size=shape)
    group = np.arange(10) // 2
    ratio = np.array([target[group == own].sum() / (0.1 * (group == own).sum()) for own in group])
    taste = np.repeat(rng.uniform(0.5, 1.5, shape[0] // 5 + 1), 5)[: shape[0], None]
    model = 0.9 * click + 0.01
    return {
        "users": np.repeat(np.arange(shape[0] // 5 + 1), 5)[: shape[0]],
        "clicked": (rng.random(shape) < click[action] * taste).astype(float),
        "propensity": np.full(shape, 0.1),
        "target_propensity": target[action],
        "predicted": model[action],
        "expected": np.full(shape, float(target @ model)),
        "marginal_ratio": ratio[action],
        "expected_slate": np.full(shape[0], float(target @ model) * slots),
    }


def adloom(choices: int, slots: int, resamples: int) -> dict[str, Any]:
    """By the catalogue and its bootstrap."""
    import numpy as np

    from evaluation.catalogue import draws_of, estimates
    from evaluation.logs import LoggedSlates

    known = columns(choices, slots)
    log = LoggedSlates(present=np.ones(known["clicked"].shape, dtype=bool), left_out=0, unlogged_rows=0, **known)
    began = time.perf_counter()
    found = estimates(log)
    draws = draws_of(found, log.users, resamples=resamples, seed=1, name="speed")
    return {
        "seconds": time.perf_counter() - began,
        "values": {name: one.terms.value for name, one in found.items()},
        "parameters": {name: one.parameter for name, one in found.items()},
        "deviations": {name: float(own.std()) for name, own in draws.items()},
    }


def pandas(choices: int, slots: int, resamples: int, parameters: dict[str, float | None]) -> dict[str, Any]:
    """By a loop over resampled frames."""
    import numpy as np
    import pandas as pd

    known = columns(choices, slots)
    wide = {name: values for name, values in known.items() if values.ndim == 2}
    frame = pd.DataFrame({f"{name}_{k}": values[:, k] for name, values in wide.items() for k in range(slots)})
    frame["user"], frame["expected_slate"] = known["users"], known["expected_slate"]
    rows_of = frame.groupby("user").indices
    rng = np.random.default_rng(2)
    names = list(rows_of)
    began = time.perf_counter()
    draws = []
    for _ in range(resamples):
        drawn = np.concatenate([rows_of[user] for user in rng.choice(names, len(names))])
        draws.append(_by_hand(frame.iloc[drawn], slots, parameters))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "values": _by_hand(frame, slots, parameters),
        "deviations": {name: float(np.std([one[name] for one in draws], ddof=1)) for name in draws[0]},
    }


def _by_hand(frame: Any, slots: int, parameters: dict[str, float | None]) -> dict[str, float]:
    """Every estimator on a frame, as its formula says, one slot after another."""
    found = dict.fromkeys(parameters, 0.0)
    before, marginal, matched, alone = 1.0, 1.0, 1.0, 0.0
    given = {name: float("nan") if value is None else value for name, value in parameters.items()}
    clicks = sum(frame[f"clicked_{k}"] for k in range(slots))

    def harmonic(weight: Any, shrinkage: float) -> Any:
        return weight / (1 - shrinkage + shrinkage * weight)

    for k in range(slots):
        r, q, e = frame[f"clicked_{k}"], frame[f"predicted_{k}"], frame[f"expected_{k}"]
        ratio = frame[f"target_propensity_{k}"] / frame[f"propensity_{k}"]
        weight, marginal, matched = (
            before * ratio,
            marginal * frame[f"marginal_ratio_{k}"],
            matched * frame[f"target_propensity_{k}"],
        )
        found["on_policy"] += r.mean()
        found["ips"] += (weight * r).mean()
        found["snips"] += (weight * r).sum() / weight.sum()
        found["clipped_ips"] += (weight.clip(upper=given["clipped_ips"]) * r).mean()
        found["sg_ips"] += (harmonic(weight, given["sg_ips"]) * r).mean()
        found["mips"] += (marginal * r).mean()
        found["replay"] += (matched * r).sum() / matched.sum()
        found["dm"] += e.mean()
        found["dr"] += (before * e + weight * (r - q)).mean()
        ahead = e.mean() if k == 0 else (before * e).sum() / before.sum()
        found["sndr"] += ahead + (weight * (r - q)).sum() / weight.sum()
        found["sg_dr"] += (harmonic(before, given["sg_dr"]) * e + harmonic(weight, given["sg_dr"]) * (r - q)).mean()
        for name in ("switch_dr", "dr_os"):
            one, other = (_trust(name, weights, given[name]) for weights in (weight, before))
            found[name] += ((1 + other * (before - 1)) * e + one * weight * (r - q)).mean()
        if slots > 1:
            found["cascade_dr"] += (weight * (r - q)).mean()
            found["independent_ips"] += (ratio * r).mean()
            alone = alone + ratio - 1
        before = weight
    if slots > 1:
        found["cascade_dr"] += frame["expected_slate"].mean()
        found["pseudo_inverse"] = ((1 + alone) * clicks).mean()
    return {name: float(value) for name, value in found.items()}


def _trust(name: str, weight: Any, parameter: float) -> Any:
    if name == "switch_dr":
        return (weight <= parameter) * 1.0
    return 1.0 if parameter == float("inf") else parameter / (weight**2 + parameter)


def measured(
    given: argparse.Namespace, contender: str, slots: int, resamples: int, parameters: str = "{}"
) -> dict[str, Any]:
    """One contender in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ope_speed", "--only", contender, "--rounds", str(given.rounds),
               "--slots", str(slots), "--resamples", str(resamples), "--parameters", parameters]  # fmt: skip
    text = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **THREADS}).stdout
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--looped", type=int, default=5)
    parser.add_argument("--only", choices=["adloom", "pandas"])
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--parameters", default="{}")
    given = parser.parse_args()
    if given.only:
        extra = (json.loads(given.parameters),) if given.only == "pandas" else ()
        found = {"adloom": adloom, "pandas": pandas}[given.only](given.rounds, given.slots, given.resamples, *extra)
        found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps(found))
        return
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "logs": {}}
    for name, slots in LOGS.items():
        ours = measured(given, "adloom", slots, given.resamples)
        loop = measured(given, "pandas", slots, given.looped, json.dumps(ours["parameters"]))
        scaled = loop["seconds"] * given.resamples / given.looped
        apart = max(abs(ours["values"][key] / value - 1) for key, value in loop["values"].items())
        narrow = (
            "on_policy",
            "ips",
            "snips",
            "sndr",
            "dr",
            "mips",
        )  # the others are given the noise of a model's making
        ratios = [loop["deviations"][key] / ours["deviations"][key] for key in narrow]
        results["logs"][name] = {
            "estimators": len(ours["values"]), "resamples": given.resamples, "seconds": ours["seconds"], "peak_gib": ours["peak_gib"],
            "loop_resamples": given.looped, "loop_seconds": loop["seconds"], "loop_seconds_scaled": scaled,
            "loop_peak_gib": loop["peak_gib"], "times_as_fast": scaled / ours["seconds"], "largest_difference": apart,
            "deviation_ratios": ratios,
        }  # fmt: skip
        print(f"{given.rounds:,} choices, {name}, {len(ours['values'])} estimators, {given.resamples:,} resamples of users\n"
              f"  adloom       {ours['seconds']:8.1f} s  {ours['peak_gib']:5.2f} GiB\n"
              f"  pandas loop  {scaled:8.1f} s  {loop['peak_gib']:5.2f} GiB  (scaled from {given.looped} resamples, {loop['seconds']:.1f} s)\n"
              f"  {scaled / ours['seconds']:.0f} times as fast; values differ by at most {apart:.1e}, deviations by "
              f"{min(ratios):.2f} to {max(ratios):.2f}", flush=True)  # fmt: skip
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    (target / "ope_speed.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
