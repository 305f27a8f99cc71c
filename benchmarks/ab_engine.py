"""Turns simulated experiments into error rates of the A/B engine, and its figures and speed beside SciPy and statsmodels.

    python -m benchmarks.ab_engine [--tests 10000] [--looks 1000] [--users 1000000]

Error rates are of the code that the report runs. Peers run in processes of their own, one after another, on two threads;
statsmodels in .venv-bench. The work of the speed comparison: Welch's test, and the regression with one slope for each arm and
covariate, of one outcome and five covariates.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ALPHA, STEP = 0.05, 10  # users that each arm gains between two looks
ROOT = Path(__file__).resolve().parents[1]
Found = dict[str, Any]


def outcomes(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sums of squares of STEP new outcomes each, both arms alike."""
    if kind == "normal":
        sums = np.sqrt(STEP) * rng.standard_normal(shape)
        return sums, sums**2 / STEP + rng.chisquare(STEP - 1, shape)
    if kind == "clicked, 5 %":
        clicks = rng.binomial(STEP, 0.05, shape).astype(np.float64)
        return clicks, clicks
    sums, squares = np.zeros(shape), np.zeros(shape)
    for _ in range(STEP):
        drawn = rng.standard_exponential(shape)
        sums += drawn
        squares += drawn * drawn
    return sums, squares


def sequential(tests: int, looks: int) -> dict[str, Found]:
    """False positives of A/A tests that are looked at `looks` times and stopped at the first success."""
    from evaluation.sequential import FIRST_LOOK, always_valid_p, differences, mixing_variance

    made = {}
    for number, kind in enumerate(("normal", "clicked, 5 %", "exponential")):
        rng = np.random.default_rng(number)
        wrong = np.zeros(3)
        began = time.perf_counter()
        for start in range(0, tests, 250):
            shape = (min(250, tests - start), 2, looks)
            sums, squares = (np.cumsum(part, axis=2) for part in outcomes(kind, shape, rng))
            counts = np.broadcast_to(STEP * np.arange(1.0, looks + 1), shape)
            gap, variance = differences(counts, sums, squares)
            seen = counts[0, 0] >= FIRST_LOOK
            mixing = np.array([mixing_variance(one, ALPHA) for one in variance[:, -1]])[:, None]
            valid = always_valid_p(gap, variance, mixing)[:, seen] < ALPHA
            fixed = (np.abs(gap) > 1.959963984540054 * np.sqrt(variance))[:, seen]
            wrong += [valid.any(axis=1).sum(), fixed.any(axis=1).sum(), fixed[:, -1].sum()]
        rates = dict(zip(("always_valid", "peeked_fixed", "fixed_at_the_end"), (wrong / tests).tolist(), strict=True))
        made[kind] = rates | {"seconds": round(time.perf_counter() - began, 1)}
    return made


def cuped(correlation: float = 0.71, users: int = 10_000, rounds: int = 4_000) -> Found:
    """Variance cut at one covariate: as reported by the engine, and of the estimates over repeated experiments."""
    from evaluation.effects import arm_means, contrast, variance_cut

    rng = np.random.default_rng(5)
    plain, adjusted, reported = [], [], []
    for _ in range(rounds):
        x, arm = rng.standard_normal((users, 1)), rng.integers(0, 2, users)
        y = correlation * x[:, 0] + np.sqrt(1 - correlation**2) * rng.standard_normal(users)
        before, after = (contrast(arm_means(y, arm, 2, covariates), 1) for covariates in (None, x))
        plain.append(before.difference)
        adjusted.append(after.difference)
        reported.append(variance_cut(before, after))
    return {
        "correlation": correlation, "theory": correlation**2, "reported": float(np.mean(reported)),
        "smallest_reported": float(np.min(reported)), "of_repeated_experiments": 1 - float(np.var(adjusted) / np.var(plain)),
    }  # fmt: skip


def split(rounds: int = 20_000) -> dict[str, dict[str, float]]:
    """How often 52/48 and 50/50 at 10,000 users are flagged, at the warning and at the alarm level."""
    from evaluation.sample_ratio import ALARM_LEVEL, WARNING_LEVEL, sample_ratio

    rng = np.random.default_rng(6)
    made = {}
    for name, share in (("52/48", 0.52), ("50/50", 0.5)):
        first = rng.binomial(10_000, share, rounds)
        p = np.array([sample_ratio(np.array([one, 10_000 - one]), [1, 1]).p for one in first])
        made[name] = {f"p < {level:g}": float((p < level).mean()) for level in (WARNING_LEVEL, ALARM_LEVEL)}
    return made


def write_data(folder: Path, users: int) -> None:
    """One outcome, five covariates, two arms, and numbers for the small functions."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((users, 5))
    arm = rng.integers(0, 2, users)
    y = x @ np.array([0.5, 0.4, 0.3, 0.2, 0.1]) + arm * (0.01 + 0.1 * x[:, 0]) + rng.standard_normal(users)
    p = rng.random(200) ** 2
    np.savez(folder / "data.npz", x=x, arm=arm, y=y, p=p)


def adloom(data: Any) -> Found:
    from evaluation.effects import arm_means, contrast
    from evaluation.power import detectable, users_needed
    from evaluation.sample_ratio import sample_ratio
    from evaluation.segments import adjusted_p

    began = time.perf_counter()
    plain = contrast(arm_means(data["y"], data["arm"], 2), 1)
    welch = time.perf_counter() - began
    began = time.perf_counter()
    adjusted = contrast(arm_means(data["y"], data["arm"], 2, data["x"]), 1)
    seconds = time.perf_counter() - began
    return {
        "welch_seconds": welch, "regression_seconds": seconds, "welch_p": plain.p, "welch_low": plain.interval.low,
        "adjusted": adjusted.difference, "bh": adjusted_p(data["p"], "bh").sum(), "by": adjusted_p(data["p"], "by").sum(),
        "split_p": sample_ratio(np.bincount(data["arm"]), [1, 1]).p,
        "detectable": detectable((1.0, 1.0), (2_000, 3_000), alpha=0.05, power=0.8),
        "users_needed": users_needed(0.1, (1.0, 1.0), alpha=0.05, power=0.8),
    }  # fmt: skip


def scipy_(data: Any) -> Found:
    from scipy import stats

    began = time.perf_counter()
    told = stats.ttest_ind(data["y"][data["arm"] == 1], data["y"][data["arm"] == 0], equal_var=False)
    low = told.confidence_interval(0.95).low
    seconds = time.perf_counter() - began
    return {"welch_seconds": seconds, "welch_p": told.pvalue, "welch_low": low, "split_p": stats.chisquare(np.bincount(data["arm"])).pvalue}  # fmt: skip


def statsmodels(data: Any) -> Found:
    import statsmodels.api as sm
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    began = time.perf_counter()
    means = CompareMeans(DescrStatsW(data["y"][data["arm"] == 1]), DescrStatsW(data["y"][data["arm"] == 0]))
    p, low = means.ttest_ind(usevar="unequal")[1], means.tconfint_diff(usevar="unequal")[0]
    welch = time.perf_counter() - began
    began = time.perf_counter()
    x = data["x"] - data["x"].mean(axis=0)
    design = np.column_stack([np.ones(x.shape[0]), data["arm"], x, data["arm"][:, None] * x])
    fitted = sm.OLS(data["y"], design).fit(cov_type="HC2")
    seconds = time.perf_counter() - began
    power = NormalIndPower()
    return {
        "welch_seconds": welch, "regression_seconds": seconds, "welch_p": p, "welch_low": low, "adjusted": fitted.params[1],
        "bh": multipletests(data["p"], method="fdr_bh")[1].sum(), "by": multipletests(data["p"], method="fdr_by")[1].sum(),
        "detectable": power.solve_power(nobs1=2_000, ratio=1.5, alpha=0.05, power=0.8),
        "users_needed": int(np.ceil(2 * power.solve_power(effect_size=0.1, alpha=0.05, power=0.8))),
    }  # fmt: skip


def whole_report(folder: Path, users: int) -> Found:
    """The engine end to end: three outcomes, five covariates, a segment, times of assignment."""
    import polars as pl

    from flows.command_line import execute

    with np.load(folder / "data.npz") as held:
        data = dict(held)
    rng = np.random.default_rng(8)
    start = np.datetime64("2026-03-01", "us")
    pl.DataFrame({
        "user_id": np.arange(users), "arm": np.where(data["arm"], "new", "old"), "y": data["y"], "clicked": rng.random(users) < 0.05,
        "spend": rng.standard_exponential(users), **{f"x{n}": column for n, column in enumerate(data["x"].T)},
        "device": np.array(["phone", "tablet", "desktop"])[rng.integers(0, 3, users)], "since": start + rng.integers(0, 10**12, users),
    }).with_columns(pl.col("since").dt.replace_time_zone("UTC")).write_parquet(folder / "t.parquet")  # fmt: skip
    words = [word for name in ("y", "clicked", "spend") for word in ("--outcome", name)]
    words += [word for n in range(5) for word in ("--covariate", f"x{n}")]
    began = time.perf_counter()
    code = execute(["abtest", str(folder / "t.parquet"), "--control", "old", *words, "--segment", "device", "--assigned-at", "since",
                    "--out", str(folder / "out")])  # fmt: skip
    return {"code": code, "seconds": time.perf_counter() - began}


PEERS: dict[str, Callable[[Any], Found]] = {"adloom": adloom, "scipy": scipy_, "statsmodels": statsmodels}


def measured(name: str, folder: Path, users: int) -> Found:
    """One contender in a process of its own."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    python = ROOT / ".venv-bench" / "bin" / "python" if name == "statsmodels" else Path(sys.executable)
    command = [str(python), "-m", "benchmarks.ab_engine", "--only", name, "--data", str(folder), "--users", str(users)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def only(name: str, folder: Path, users: int) -> None:
    """What `measured` runs: prints what was found, with the peak of resident memory."""
    if name == "report":
        found = whole_report(folder, users)
    else:
        with np.load(folder / "data.npz") as held:
            data = dict(held)
        runs = [PEERS[name](data) for _ in range(3)]  # the first pays for imports and cold pages
        found = {
            key: min(float(run[key]) for run in runs) if key.endswith("seconds") else float(runs[0][key])
            for key in runs[0]
        }
    print(json.dumps(found | {"peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--looks", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--only", choices=[*PEERS, "report"])
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    if given.only:
        only(given.only, given.data, given.users)
        return
    results: Found = {"sequential": sequential(given.tests, given.looks), "cuped": cuped(), "split": split()}
    print(
        f"{given.tests:,} A/A tests, {given.looks:,} looks each, {2 * STEP * given.looks:,} users: share called different at 5 %"
    )
    for kind, found in results["sequential"].items():
        print(f"  {kind:14} always-valid {found['always_valid']:.4f}   fixed test, peeked at {found['peeked_fixed']:.3f}   "
              f"fixed test, once {found['fixed_at_the_end']:.4f}   {found['seconds']:5.1f} s")  # fmt: skip
    print("variance cut", "   ".join(f"{name} {number:.3f}" for name, number in results["cuped"].items()))
    for name, levels in results["split"].items():
        print(
            f"split {name} at 10,000 users flagged",
            "   ".join(f"{level}: {share:.4f}" for level, share in levels.items()),
        )
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        write_data(folder, given.users)
        peers = {name: measured(name, folder, given.users) for name in PEERS}
        results["peers"] = peers
        results["report"] = measured("report", folder, given.users)
    ours, keys = peers["adloom"], [key for key in peers["adloom"] if not key.endswith(("seconds", "gib"))]
    apart = {name: max(abs(found[key] - ours[key]) / max(abs(ours[key]), 1e-12) for key in keys if key in found)
             for name, found in peers.items() if name != "adloom"}  # fmt: skip
    for name, found in peers.items():
        print(f"  {name:12} Welch {1000 * found['welch_seconds']:7.1f} ms   regression "
              f"{1000 * found.get('regression_seconds', float('nan')):8.1f} ms   {found['peak_gib']:.2f} GiB")  # fmt: skip
    print("largest relative difference of a figure:", ", ".join(f"{name} {gap:.1e}" for name, gap in apart.items()))
    results |= {"apart": apart, "ratios": {
        "welch_scipy": peers["scipy"]["welch_seconds"] / ours["welch_seconds"],
        "welch_statsmodels": peers["statsmodels"]["welch_seconds"] / ours["welch_seconds"],
        "regression_statsmodels": peers["statsmodels"]["regression_seconds"] / ours["regression_seconds"],
    }}  # fmt: skip
    print("times as long as adloom:", ", ".join(f"{name} {ratio:.1f}" for name, ratio in results["ratios"].items()))
    print(
        f"whole report of {given.users:,} users: {results['report']['seconds']:.1f} s, {results['report']['peak_gib']:.2f} GiB"
    )
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    written = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"} | results
    (target / "ab_engine.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
