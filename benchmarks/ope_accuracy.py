"""Turns logs whose answer is known into the relative error of every off-policy estimator, beside published figures.

    python -m benchmarks.ope_accuracy [--data ../shared/datasets] [--runs 30] [--only open_bandit women synthetic hillstrom]

Open Bandit: the value of bts (its own log's click rate) from the log of random, campaign all, as published with obp: resamples
of the log by row, bts' chances by simulation from its published prior, reward model per position, two folds. Published
figures are for a logistic regression; ours are for that and for the product's own cross-fitted LightGBM model, and for the
estimator that SLOPE selects on each resample without seeing the truth.
Women: how the report judges going from bts to random, where the log cannot answer.
Synthetic: 10,000 rounds, 30 actions, 5 standard normal features x; the log-odds of a click are c x + c_a + C_a x + constants, coefficients
uniform in [-1, 1], scaled to mean 0 and deviation 1 over the log; logged by softmax(-3 q); the new policy is softmax of the chances of a classifier trained on another such log with clicks over
propensities as weights. Published figures are those of obp's example on the same law.
Hillstrom: the value of sending everybody the same e-mail, against the randomised arm; and whether a policy learned on one half
of the customers seems to gain over the better e-mail for all on the other half.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.open_bandit_prior import ALPHA, BETA
from contracts.settings import EvaluationSettings
from evaluation.bounds import asymptotic
from evaluation.catalogue import draws_of, estimates, preferred
from evaluation.intervals import Terms, percentile
from evaluation.logs import LoggedSlates
from evaluation.report import build_report
from evaluation.report_data import ReportData
from ranking.reward_model import cross_fit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SIMULATIONS = 100_000
PUBLISHED = {
    "open_bandit": {"dm": 0.157, "ips": 0.311, "snips": 0.312, "dr": 0.292, "sndr": 0.302, "switch_dr": 0.258, "dr_os": 0.160},
    "synthetic": {"dm": 0.074390, "ips": 0.009481, "snips": 0.006665, "dr": 0.006175, "sndr": 0.006118, "switch_dr": 0.006175,
                  "dr_os": 0.021951},
}  # fmt: skip


def one_slot(clicked: Floats, propensity: Floats, target: Floats, predicted: Floats, expected: Floats) -> LoggedSlates:
    """A log of one choice a round, every round its own user; all (N,)."""
    columns = (values.reshape(-1, 1) for values in (clicked, propensity, target, predicted, expected))
    there = np.ones((clicked.size, 1), dtype=np.bool_)
    return LoggedSlates(np.arange(clicked.size), there, *columns, left_out=0, unlogged_rows=0)


# Open Bandit


def bts_chances() -> Floats:
    """(80, 3) chance of each item at each position: the three best of a draw from every item's belief."""
    rng = np.random.RandomState(12345)
    counts = np.zeros((len(ALPHA), 3))
    for _ in range(SIMULATIONS // 5000):
        best = np.argsort(-rng.beta(ALPHA, BETA, size=(5000, len(ALPHA))), axis=1)[:, :3]
        for position in range(3):
            counts[:, position] += np.bincount(best[:, position], minlength=len(ALPHA))
    return counts / SIMULATIONS


def open_bandit(data: Path, runs: int) -> dict[str, Any]:
    """Mean relative error of each estimator and of the selected one, by reward model."""
    folder = data / "open_bandit"
    log = pl.read_csv(folder / "random" / "all" / "all.csv").sort("timestamp")
    truth = float(pl.read_csv(folder / "bts" / "all" / "all.csv")["click"].mean())  # type: ignore[arg-type]
    items = pl.read_csv(folder / "random" / "all" / "item_context.csv").sort("item_id")
    hot = log.select(pl.col("^user_feature_.*$")).to_dummies(drop_first=True).to_numpy().astype(np.float64)
    coded = [items[f"item_feature_{number}"].rank("dense").to_numpy() - 1 for number in (1, 2, 3)]
    item_context = np.column_stack([*coded, items["item_feature_0"].to_numpy()]).astype(np.float64)
    action, position = log["item_id"].to_numpy(), log["position"].to_numpy() - 1
    clicked, propensity = log["click"].to_numpy().astype(np.float64), log["propensity_score"].to_numpy()
    chances = bts_chances()
    groups = coded[0].astype(np.int64)  # items of one kind, the embedding of MIPS
    mass, uniform = np.zeros((groups.max() + 1, 3)), np.bincount(groups) / len(groups)
    np.add.at(mass, groups, chances)
    errors: dict[str, dict[str, list[float]]] = {"logistic": {}, "lightgbm": {}}
    chosen: dict[str, list[str]] = {"logistic": [], "lightgbm": []}
    for run in range(runs):
        rows = np.random.RandomState(run).choice(np.arange(len(log)), size=len(log), replace=True)
        x, a, k, r = hot[rows], action[rows], position[rows], clicked[rows]
        for name, model in (("logistic", _logistic_by_position), ("lightgbm", _boosted)):
            predicted, expected = model(x, a, k, r, item_context, chances, rows)
            slates = replace(
                one_slot(r, propensity[rows], chances[a, k], predicted, expected),
                marginal_ratio=(mass[groups[a], k] / uniform[groups[a]]).reshape(-1, 1),
            )
            found = estimates(slates)
            best = preferred(found, slates.users)
            chosen[name].append(str(best))
            values = {key: one.terms.value for key, one in found.items()} | {"selected": found[str(best)].terms.value}
            for key, value in values.items():
                errors[name].setdefault(key, []).append(abs(value - truth) / truth)
    table = {name: {key: float(np.mean(found)) for key, found in by.items()} for name, by in errors.items()}
    picked = {name: {one: by.count(one) for one in sorted(set(by))} for name, by in chosen.items()}
    return {"truth": truth, "runs": runs, "relative_error": table, "selected": picked}


def _logistic_by_position(
    x: Floats, a: Ints, k: Ints, r: Floats, items: Floats, chances: Floats, _: Ints
) -> tuple[Floats, Floats]:
    """Predicted click chance of the logged item and expected one of bts: logistic regression, one a position, two folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    predicted, expected = np.zeros(len(r)), np.zeros(len(r))
    for train, test in KFold(n_splits=2, shuffle=True, random_state=12345).split(x):
        for place in range(3):
            fit, ask = train[k[train] == place], test[k[test] == place]
            model = LogisticRegression(max_iter=10_000, C=1000).fit(np.hstack([x[fit], items[a[fit]]]), r[fit])
            context = x[ask] @ model.coef_[0, : x.shape[1]] + model.intercept_[0]
            odds = context[:, None] + items @ model.coef_[0, x.shape[1] :]
            every = 1 / (1 + np.exp(-odds))
            predicted[ask] = every[np.arange(len(ask)), a[ask]]
            expected[ask] = every @ chances[:, place]
    return predicted, expected


def _boosted(
    x: Floats, a: Ints, k: Ints, r: Floats, items: Floats, chances: Floats, rows: Ints
) -> tuple[Floats, Floats]:
    """The same by the product's model; copies of a row in a resample are one user, so no fold sees another's."""
    model = cross_fit(np.hstack([x, items[a], k[:, None]]), r, rows, folds=2, seed=1)
    predicted, expected = model.predict(np.hstack([x, items[a], k[:, None]]), rows), np.zeros(len(r))
    for item, context in enumerate(items):
        every = np.hstack([x, np.tile(context, (len(r), 1)), k[:, None]])
        expected += chances[item, k] * model.predict(every, rows)
    return predicted, expected


def from_bts_to_random(data: Path) -> dict[str, Any]:
    """The report's verdict on random, judged on the log of bts, in each campaign."""
    found = {}
    for campaign in ("all", "men", "women"):
        log = pl.read_csv(data / "open_bandit" / "bts" / campaign / f"{campaign}.csv")
        impressions = log.select(
            user_id=pl.int_range(pl.len()).cast(pl.String),
            at=pl.int_range(pl.len()),
            slot=pl.col("position") - 1,
            clicked=pl.col("click") == 1,
            propensity="propensity_score",
            target_propensity=pl.lit(1 / log["item_id"].n_unique()),
        )
        report = build_report(
            ReportData(name="Open Bandit", run=campaign, settings=EvaluationSettings(), impressions=impressions)
        )
        overlap = report["trust"]["overlap"]
        found[campaign] = {
            "outcome": report["verdict"]["outcome"],
            "sentence": report["verdict"]["sentence"],
            "effective_size": overlap["effective_size"],
            "failed": [rule["name"] for rule in report["verdict"]["rules"] if rule["passed"] is False],
        }
    return found


# Synthetic


def _softmax(odds: Floats) -> Floats:
    weights = np.exp(odds - odds.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def synthetic(runs: int, rounds: int = 10_000, actions: int = 30, features: int = 5) -> dict[str, Any]:
    """Mean relative error of each estimator, by reward model."""
    from sklearn.linear_model import LogisticRegression

    errors: dict[str, dict[str, list[float]]] = {name: {} for name in ("published model", "per action", "lightgbm")}
    for run in range(runs):
        rng = np.random.RandomState(run)
        x, _, logged, a, r = _round_trip(run, rng, rounds, actions, features)
        learner = LogisticRegression(max_iter=10_000, C=100)
        learner.fit(x, a, sample_weight=r / logged[np.arange(rounds), a])
        x, q, logged, a, r = _round_trip(run, rng, rounds, actions, features)
        scores = np.zeros((rounds, actions))
        scores[:, learner.classes_] = learner.predict_proba(x)
        target = _softmax(scores)
        truth = float((target * q).sum(axis=1).mean())
        at = np.arange(rounds), a
        for name, every in _models(x, a, r, actions).items():
            slates = one_slot(r, logged[at], target[at], every[at], (target * every).sum(axis=1))
            found = estimates(slates)
            values = {key: one.terms.value for key, one in found.items()}
            values["selected"] = values[str(preferred(found, slates.users))]
            for key, value in values.items():
                errors[name].setdefault(key, []).append(abs(value - truth) / truth)
    return {"runs": runs, "relative_error": {name: {key: float(np.mean(found)) for key, found in by.items()} for name, by in errors.items()}}  # fmt: skip


def _round_trip(
    run: int, rng: np.random.RandomState, rounds: int, actions: int, features: int
) -> tuple[Floats, Floats, Floats, Ints, Floats]:
    """One log: features, click chances of every action, logged chances, actions, clicks."""
    x = rng.normal(size=(rounds, features))
    law = np.random.RandomState(run)
    context, kinds = np.hstack([np.ones((rounds, 1)), x]), np.hstack([np.ones((actions, 1)), np.eye(actions)])
    shared, own, both = (
        law.uniform(-1, 1, size=size) for size in (features + 1, actions + 1, (features + 1, actions + 1))
    )
    odds = (context @ shared)[:, None] + kinds @ own + context @ both @ kinds.T
    q = 1 / (1 + np.exp(-(odds - odds.mean()) / odds.std()))
    logged = _softmax(-3 * q)
    a = (logged.cumsum(axis=1) > np.random.RandomState(run).uniform(size=rounds)[:, None]).argmax(axis=1)
    return x, q, logged, a, rng.binomial(n=1, p=q[np.arange(rounds), a]).astype(np.float64)


def _models(x: Floats, a: Ints, r: Floats, actions: int) -> dict[str, Floats]:
    """(N, A) cross-fitted click chances: the published model (no interactions), a logistic regression an action, LightGBM."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    kinds = np.eye(actions)
    plain, own = np.zeros((len(r), actions)), np.zeros((len(r), actions))
    for fit, ask in KFold(n_splits=3, shuffle=True, random_state=12345).split(x):
        model = LogisticRegression(max_iter=10_000, C=100).fit(np.hstack([x[fit], kinds[a[fit]]]), r[fit])
        odds = (x[ask] @ model.coef_[0, : x.shape[1]])[:, None] + model.coef_[0, x.shape[1] :] + model.intercept_[0]
        plain[ask] = 1 / (1 + np.exp(-odds))
        for action in range(actions):
            rows = fit[a[fit] == action]
            single = LogisticRegression(max_iter=10_000, C=100).fit(x[rows], r[rows])
            own[ask, action] = single.predict_proba(x[ask])[:, 1]
    users = np.arange(len(r))
    boosted = cross_fit(np.hstack([x, kinds[a]]), r, users, seed=1)
    trees = np.column_stack([boosted.predict(np.hstack([x, np.tile(kind, (len(r), 1))]), users) for kind in kinds])
    return {"published model": plain, "per action": own, "lightgbm": trees}


# Hillstrom


def hillstrom(data: Path) -> dict[str, Any]:
    """Each e-mail's value by every estimator with its interval, against the randomised arm; and personalised lift."""
    table = pl.read_csv(data / "hillstrom" / "hillstrom.csv", infer_schema_length=None)
    arms = ["Mens E-Mail", "Womens E-Mail", "No E-Mail"]
    arm = (
        table["segment"]
        .replace_strict({name: number for number, name in enumerate(arms)}, return_dtype=pl.Int64)
        .to_numpy()
    )
    kinds = table.select("zip_code", "channel").to_dummies().to_numpy()
    x = np.hstack([table.select("recency", "history", "mens", "womens", "newbie").to_numpy(), kinds]).astype(np.float64)
    r = table["visit"].to_numpy().astype(np.float64)
    users, third = np.arange(len(r)), np.full(len(r), 1 / 3)
    model = cross_fit(np.hstack([x, np.eye(3)[arm]]), r, users, seed=1)
    every = np.column_stack([model.predict(np.hstack([x, np.tile(one, (len(r), 1))]), users) for one in np.eye(3)])
    values: dict[str, Any] = {}
    for number, name in enumerate(arms):
        slates = one_slot(r, third, (arm == number).astype(np.float64), every[users, arm], every[:, number])
        found = estimates(slates)
        draws = draws_of(found, users, resamples=1000, seed=1, name=name)
        truth = float(r[arm == number].mean())
        values[name] = {"truth": truth, "estimates": {}}
        for key, one in found.items():
            ends = percentile(draws[key], 0.95)
            if key != "on_policy" and ends is not None:
                values[name]["estimates"][key] = {
                    "value": one.terms.value, "low": ends.low, "high": ends.high, "inside": truth in ends,
                }  # fmt: skip
    return {"arms": values, "personal": _personal(x, arm, r, every)}


def _personal(x: Floats, arm: Ints, r: Floats, every: Floats) -> dict[str, Any]:
    """Does the e-mail that a model of the other half likes best for a customer beat the men's one for all?"""
    half = np.random.default_rng(1).random(len(r)) < 0.5
    model = cross_fit(np.hstack([x[half], np.eye(3)[arm[half]]]), r[half], np.arange(half.sum()), seed=2)
    ask = ~half
    count = int(ask.sum())
    new = np.full(count, model.users.max() + 1)
    scores = np.column_stack([model.predict(np.hstack([x[ask], np.tile(one, (count, 1))]), new) for one in np.eye(3)])
    best, logged, users = scores.argmax(axis=1), arm[ask], np.arange(count)
    found: dict[str, Terms] = {}
    for name, choice in (("personal", best), ("men's for all", np.zeros(count, dtype=np.int64))):
        slates = one_slot(r[ask], np.full(count, 1 / 3), (choice == logged).astype(np.float64), every[ask][users, logged],
                          every[ask][users, choice])  # fmt: skip
        found[name] = estimates(slates)["sndr"].terms
    gap = asymptotic(found["personal"], users, confidence=0.95, minus=found["men's for all"])
    assert gap is not None
    return {"share_of_mens": float((best == 0).mean()), "lift": found["personal"].value - found["men's for all"].value,
            "low": gap.low, "high": gap.high, "claimed": gap.low > 0}  # fmt: skip


def show(title: str, published: dict[str, float], table: dict[str, dict[str, float]]) -> None:
    names = sorted(
        {key for by in table.values() for key in by}, key=lambda key: min(by.get(key, 9.0) for by in table.values())
    )
    print(f"\n{title}\n{'mean relative error':20} {'published':>10} " + " ".join(f"{name:>16}" for name in table))
    for name in names:
        cells = " ".join(f"{by[name]:16.4f}" if name in by else " " * 16 for by in table.values())
        print(f"{name:20} {published[name]:10.4f} {cells}" if name in published else f"{name:20} {'':10} {cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--synthetic-runs", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=["open_bandit", "women", "synthetic", "hillstrom"])
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    results: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    if "open_bandit" in given.only:
        found = results["open_bandit"] = open_bandit(given.data, given.runs)
        show(
            f"Open Bandit, bts from random, campaign all, {found['runs']} resamples",
            PUBLISHED["open_bandit"],
            found["relative_error"],
        )
        print("selected:", found["selected"])
    if "women" in given.only:
        results["from_bts_to_random"] = from_bts_to_random(given.data)
        for campaign, told in results["from_bts_to_random"].items():
            print(
                f"\nOpen Bandit, random from bts, {campaign}: effective size {told['effective_size']:.0f}. {told['sentence']}"
            )
    if "synthetic" in given.only:
        found = results["synthetic"] = synthetic(given.synthetic_runs)
        show(
            f"Synthetic, 10,000 rounds, 30 actions, {found['runs']} runs",
            PUBLISHED["synthetic"],
            found["relative_error"],
        )
    if "hillstrom" in given.only:
        found = results["hillstrom"] = hillstrom(given.data)
        print("\nHillstrom, visit rate")
        for name, told in found["arms"].items():
            outside = [key for key, one in told["estimates"].items() if not one["inside"]]
            print(f"{name:14} randomised {told['truth']:.4f}, outside its interval: {', '.join(outside) or 'none of ' + str(len(told['estimates']))}")  # fmt: skip
            for key, one in told["estimates"].items():
                print(f"    {key:16} {one['value']:.4f}  {one['low']:.4f} to {one['high']:.4f}")
        lift = found["personal"]
        print(f"personalised lift over the men's e-mail for all {lift['lift']:+.4f} ({lift['low']:+.4f} to {lift['high']:+.4f}): "
              f"{'CLAIMED' if lift['claimed'] else 'not claimed'}")  # fmt: skip
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    (target / "ope_accuracy.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
