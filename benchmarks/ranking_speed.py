"""Turns a made-up shop of 100,000 users and 500 concepts into pairs scored per second and peak memory, features included.

    python -m benchmarks.ranking_speed [--users 100000] [--rounds 200] [--peers 4000]

Each contender runs in a process of its own, one after another, on two threads, with one model:

    retrieval          candidates: 200 of 5,000 concepts for every user, by embedding, co-visits and popularity
    ceiling            LightGBM's predict on a ready float32 matrix: no features are made; some users, by rate
    usual              a pandas frame a chunk from the same feature code, then predict on the frame; some users, by rate
    adloom             features and scores of all pairs, some users at a time
    adloom cascade     the same behind the first model, which is learned and measured within the time that is taken
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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CONCEPTS, TOPICS, ITEMS_A_TOPIC = 500, 40, 50
BLOCK_USERS, TAUGHT_USERS = 5_000, 1_500
DAYS, EVENTS_A_USER, SLATES_A_USER = 30, 40, 3
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
_DAY = 86_400_000_000


def write_shop(folder: Path, users: int, rounds: int) -> None:
    """Browsing that follows taste, slates of 4 and clicks by taste and appeal; a space, and a ranker on their features."""
    import numpy as np
    import polars as pl

    from contracts.settings import load_settings
    from features.covisits import fit_space
    from features.glossary import features_of
    from features.table import ranking_table
    from ranking.ranker import train
    from ranking.split import split

    rng = np.random.default_rng(1)
    start = round(BEGIN.timestamp() * 1e6)
    when = pl.Datetime("us", "UTC")
    names = [f"t{topic:02d}" for topic in range(TOPICS)]
    taste = rng.dirichlet(np.full(TOPICS, 0.08), users).astype(np.float32)
    who = np.repeat(np.arange(users), EVENTS_A_USER)
    topic = np.minimum((rng.random(len(who))[:, None] > taste.cumsum(axis=1)[who]).sum(axis=1), TOPICS - 1)
    item = topic * ITEMS_A_TOPIC + np.minimum(rng.exponential(12, len(who)).astype(int), ITEMS_A_TOPIC - 1)
    actions = np.array(["view", "view", "view", "click", "cart", "purchase", "like", "search"])
    events = pl.DataFrame(
        {
            "user_id": pl.Series(who).cast(pl.String).str.zfill(7),
            "at": pl.Series(start + rng.integers(0, DAYS * _DAY, len(who))).cast(when),
            "action": actions[rng.integers(0, 8, len(who))],
            "item_id": pl.Series([f"i{number}" for number in range(TOPICS * ITEMS_A_TOPIC)])[item],
            "topics": pl.Series([[names[number // ITEMS_A_TOPIC]] for number in range(TOPICS * ITEMS_A_TOPIC)])[item],
            "dwell_seconds": rng.exponential(20, len(who)),
            "device": pl.Series(["phone", "desktop", None])[rng.integers(0, 3, len(who))],
        }
    ).sort("at", "user_id")
    own = rng.integers(0, TOPICS, (CONCEPTS, 2))
    appeal = rng.normal(0, 0.5, CONCEPTS)
    concepts = pl.DataFrame(
        {
            "concept_id": [f"c{number:03d}" for number in range(CONCEPTS)],
            "advertiser": [f"a{number % 60}" for number in range(CONCEPTS)],
            "topics": [sorted({names[a], names[b]}) for a, b in own],
            "sensitive": False,
            "active_from": pl.Series([None] * CONCEPTS, dtype=when),
            "active_until": pl.Series([None] * CONCEPTS, dtype=when),
        }
    )
    shown_to = np.repeat(np.arange(users), SLATES_A_USER)
    at = start + 2 * _DAY + rng.integers(0, (DAYS - 2) * _DAY, len(shown_to))

    def match(people: Any, things: Any) -> Any:
        return taste[people, own[things, 0]] + taste[people, own[things, 1]]

    found = np.argsort(rng.random((len(shown_to), 1)) + rng.random((len(shown_to), 12)), axis=1)[:, :12]
    some = rng.integers(0, CONCEPTS // 12, (len(shown_to), 12)) * 12 + found  # twelve different ones
    key = 2.0 * match(shown_to[:, None], some) + rng.gumbel(size=some.shape)
    shown = np.take_along_axis(some, np.argsort(-key, axis=1)[:, :4], axis=1)
    odds = -2.6 + 2.5 * match(shown_to[:, None], shown) + appeal[shown] - 0.4 * np.arange(4)
    impressions = pl.DataFrame(
        {
            "impression_id": pl.Series(np.arange(shown.size)).cast(pl.String),
            "user_id": pl.Series(np.repeat(shown_to, 4)).cast(pl.String).str.zfill(7),
            "at": pl.Series(np.repeat(at, 4)).cast(when),
            "slot": pl.Series(np.tile(np.arange(4), len(shown_to)), dtype=pl.Int32),
            "concept_id": concepts["concept_id"].gather(shown.ravel()),
            "clicked": rng.random(shown.size) < 1 / (1 + np.exp(-odds.ravel())),
        }
    )
    settings = load_settings(None)
    ranking = settings.ranking.model_copy(update={"rounds": rounds, "early_stopping_rounds": rounds})
    space = fit_space(events.head(400_000), dimensions=32, window=10, action_weights=settings.features.action_weights)
    known = {"events": events, "impressions": impressions, "concepts": concepts, "space": space}
    log = ranking_table(impressions, **known, settings=settings.features)
    ranker = train(split(log, ranking), [one.name for one in features_of(settings.features)], ranking, seed=7)
    ranker.save(folder / "ranker")
    space.save(folder / "space")
    for name in ("events", "impressions", "concepts"):
        known[name].write_parquet(folder / f"{name}.parquet")
    np.savez(folder / "truth.npz", taste=taste, own=own, appeal=appeal)


def load(folder: Path, users: int) -> tuple[Any, Any, Any, Any, Any]:
    """Settings, the day's tables, the ranker, the moments of some users, and their vectors."""
    import polars as pl

    from contracts.settings import load_settings
    from features.embeddings import embeddings_at
    from features.space import Space
    from flows.score_day import Day
    from ranking.ranker import Ranker

    events, impressions, concepts = (
        pl.read_parquet(folder / f"{name}.parquet") for name in ("events", "impressions", "concepts")
    )
    settings, space = load_settings(None), Space.load(folder / "space")
    vectors = pl.Series(space.place_concepts(concepts).tolist(), dtype=pl.List(pl.Float32))
    day = Day.of(events, impressions, concepts, space, concepts.select("concept_id", vector=vectors), settings)
    everyone = events["user_id"].unique().sort().head(users)
    moments = pl.DataFrame({"user_id": everyone}).with_columns(
        at=pl.lit(BEGIN + timedelta(days=DAYS)).dt.cast_time_unit("us")
    )
    features = settings.features
    placed = embeddings_at(events, space, moments, half_life_days=features.half_life_days,
                           delay_seconds=features.delay_seconds, action_weights=features.action_weights)  # fmt: skip
    ranker = Ranker.load(folder / "ranker")
    ranker.score(day.rows(pairs_of(moments[:1], day)))  # compiled code is there before the clock starts
    return settings, day, ranker, moments, placed


def pairs_of(moments: Any, day: Any) -> Any:
    """Every moment with every concept."""
    return moments.join(day.placed.select("concept_id"), how="cross")


def blocks(moments: Any, vectors: Any) -> Any:
    """Some users at a time: the pairs of all of them are larger than what is made of them."""
    for low in range(0, len(moments), BLOCK_USERS):
        yield moments[low : low + BLOCK_USERS], vectors[low : low + BLOCK_USERS]


class Watch:
    """Seconds of the clock and of all threads together since it was made: the latter do not grow with what else runs."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds so far."""
        return {"seconds": time.perf_counter() - self._began[0], "cpu": time.process_time() - self._began[1]}


def ceiling(folder: Path, users: int) -> dict[str, float]:
    """predict alone, on the float32 matrix of some users' features, which is made before the clock starts."""
    import lightgbm
    import numpy as np

    from ranking.frames import matrix

    _, day, ranker, moments, _ = load(folder, users)
    pairs = pairs_of(moments, day)
    ready = np.ascontiguousarray(matrix(day.rows(pairs), ranker.features), dtype=np.float32)
    booster = lightgbm.Booster(model_str=ranker.model_text)
    watch = Watch()
    score = booster.predict(ready, raw_score=True, num_threads=2)
    return {**watch.read(), "pairs": len(ready), "sum": float(np.sum(score))}


def usual(folder: Path, users: int) -> dict[str, float]:
    """A pandas frame a chunk."""
    import lightgbm
    import numpy as np

    from flows.score_day import chunks

    _, day, ranker, moments, vectors = load(folder, users)
    booster, total = lightgbm.Booster(model_str=ranker.model_text), 0.0
    watch = Watch()
    for some, _ in blocks(moments, vectors):
        for _, _, part in chunks(pairs_of(some, day)):
            frame = day.rows(part).to_pandas()
            total += float(np.sum(booster.predict(frame[list(ranker.features)], raw_score=True, num_threads=2)))
    return {**watch.read(), "pairs": users * CONCEPTS, "sum": total}


def adloom(folder: Path, users: int) -> dict[str, float]:
    """All pairs."""
    _, day, ranker, moments, vectors = load(folder, users)
    watch, total = Watch(), 0.0
    for some, placed in blocks(moments, vectors):
        for scores in day.scores(ranker, pairs_of(some, day), placed, None):
            total += float(scores["score"].sum())
    return {**watch.read(), "pairs": users * CONCEPTS, "sum": total}


def adloom_cascade(folder: Path, users: int) -> dict[str, float]:
    """All pairs behind the first model; what is lost of NDCG@10 by the ranker's chances, and by the planted truth."""
    import numpy as np

    settings, day, ranker, moments, vectors = load(folder, users)
    watch = Watch()
    taught = np.unique(np.linspace(0, len(vectors) - 1, min(TAUGHT_USERS, len(vectors))).astype(int))
    cascade = day.learn_cascade(ranker, pairs_of(moments[taught], day), vectors[taught], settings)
    learned = watch.read()["cpu"]
    kept = 0
    for part, placed in blocks(moments, vectors):
        kept += sum(len(scores) for scores in day.scores(ranker, pairs_of(part, day), placed, cascade))
    found = {**watch.read(), "pairs": users * CONCEPTS, "learning_cpu": round(learned, 2), "kept": kept}
    if cascade is None:
        return found
    others = np.setdiff1d(np.arange(len(vectors)), taught)
    some = others[np.linspace(0, len(others) - 1, 1_000).astype(int)]  # nobody whom it was learned from
    own = pairs_of(moments[some], day)
    whole = ranker.score(day.rows(own)).reshape(len(some), CONCEPTS)
    inside = cascade.select(vectors[some], np.ones(whole.shape, dtype=np.bool_))
    thinned = np.full((len(some), CONCEPTS + 1), -np.inf)
    thinned[np.arange(len(some))[:, None], inside] = np.take_along_axis(whole, inside, axis=1)
    planted = np.load(folder / "truth.npz")
    taste, topics = planted["taste"][some], planted["own"]
    chance = 1 / (1 + np.exp(2.6 - 2.5 * (taste[:, topics[:, 0]] + taste[:, topics[:, 1]]) - planted["appeal"]))
    discount = 1 / np.log2(np.arange(2, 12))
    for name, gain in (("ranker", ranker.click_chance(whole)), ("truth", chance)):
        best = -np.sort(-gain, axis=1)[:, :10] @ discount
        full, cut = (
            (
                np.take_along_axis(gain, np.argsort(-order[:, :CONCEPTS], axis=1, kind="stable")[:, :10], axis=1)
                @ discount
                / best
            ).mean()
            for order in (whole, thinned)
        )
        found |= {f"ndcg_by_{name}": float(full), f"loss_by_{name}": float(1 - cut / full)}
    return {**found, "keep": cascade.keep, "stated_loss": cascade.loss}


def retrieval(folder: Path, users: int) -> dict[str, float]:
    """200 of 5,000 made-up concepts a user."""
    import numpy as np
    import polars as pl
    import scipy.sparse as sp

    from contracts.settings import load_settings
    from ranking.candidates import Retrieval
    from ranking.eligibility import Eligibility

    rng, many, items = np.random.default_rng(2), 5_000, 20_000
    settings = load_settings(None).ranking
    never = pl.lit(None, pl.Datetime("us", "UTC"))
    concepts = pl.DataFrame({"concept_id": [f"c{number:04d}" for number in range(many)]}).with_columns(
        advertiser=pl.lit("a"), active_from=never, active_until=never, sensitive=pl.lit(False)
    )
    log = pl.DataFrame(schema={"user_id": pl.String, "concept_id": pl.String, "at": pl.Datetime("us", "UTC")})
    place = pl.Series(rng.normal(size=(many, 32)).astype(np.float32).tolist(), dtype=pl.List(pl.Float32))
    rates = concepts.select("concept_id", click_rate=pl.Series(rng.random(many)))
    leads = sp.random_array((items, many), density=100 / many, rng=rng, format="csr", dtype=np.float32)
    finder = Retrieval.of(
        Eligibility.of(concepts, log, settings), concepts.select("concept_id", vector=place), rates, leads, settings
    )
    names = pl.DataFrame({"user_id": pl.Series(np.arange(users)).cast(pl.String).str.zfill(7)})
    moments = names.with_columns(at=pl.lit(BEGIN).dt.cast_time_unit("us"))
    vectors = rng.normal(size=(users, 32)).astype(np.float32)
    last = np.repeat(np.arange(users), 10), rng.integers(0, items, users * 10)
    recent = sp.coo_array((np.ones(users * 10, np.float32), last), shape=(users, items)).tocsr()
    watch = Watch()
    kept = sum(len(part.row) for part in finder.shortlists(moments, vectors, recent))
    return {**watch.read(), "pairs": users * many, "kept": kept}


CONTENDERS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "retrieval": retrieval, "ceiling": ceiling, "usual": usual, "adloom": adloom, "adloom cascade": adloom_cascade,
}  # fmt: skip


LIMITS = {
    "retrieval": "memory: matrices of users and concepts are written and sorted in parts",
    "ceiling": "branches of the trees that no processor foresees",
    "usual": "the same, and by copies between frames",
    "adloom": "making the features, three quarters of the time; the trees are masks",
    "adloom cascade": "making the features of what is kept, about two thirds of the processor time; then strings of the pairs",
}


def measured(name: str, folder: Path, users: int) -> dict[str, float]:
    """One contender in a process of its own."""
    environment = {**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.ranking_speed",
        "--only",
        name,
        "--data",
        str(folder),
        "--users",
        str(users),
    ]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    found["rate"] = round(found["pairs"] / found["seconds"] / 1e6, 3)
    found["cpu_us"] = round(found["cpu"] / found["pairs"] * 1e6, 3)
    hidden = ("pairs", "seconds", "cpu", "rate", "cpu_us", "peak_gib", "sum")
    shown = {key: value for key, value in found.items() if key not in hidden}
    print(f"{name:15} {found['pairs'] / 1e6:7.2f} M pairs {found['seconds']:8.1f} s  {found['rate']:8.3f} M pairs/s  "
          f"{found['cpu_us']:6.3f} us of CPU a pair  {found['peak_gib']:5.2f} GiB  {shown or ''}", flush=True)  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=200, help="trees of the ranker")
    parser.add_argument("--peers", type=int, default=4_000, help="users of the ceiling and the usual path")
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--data", type=Path, help="a folder of an earlier run, which is kept")
    given = parser.parse_args()
    if given.only:
        found = CONTENDERS[given.only](given.data, given.users)
        found["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as home:
        folder = given.data or Path(home)
        if not (folder / "truth.npz").exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_shop(folder, given.users, given.rounds)
        results = {
            name: measured(name, folder, given.peers if name in ("ceiling", "usual") else given.users)
            for name in CONTENDERS
        }
        same = measured("adloom", folder, given.peers)
    close = [abs(results[name]["sum"] - same["sum"]) / same["pairs"] for name in ("ceiling", "usual")]
    print(f"mean difference of scores from the peers' {max(close):.1e}")
    cost = {name: results[name]["cpu_us"] for name in results}
    rate = {name: results[name]["rate"] for name in results}
    pairs = (("adloom", "ceiling"), ("adloom", "usual"), ("adloom cascade", "ceiling"))
    ratios = {
        "by the clock": {f"{one} / {other}": round(rate[one] / rate[other], 2) for one, other in pairs},
        "by processor time": {f"{one} / {other}": round(cost[other] / cost[one], 2) for one, other in pairs},
    }
    for name, found in ratios.items():
        print(f"{name}: " + "  ".join(f"{pair} {ratio}" for pair, ratio in found.items()))
    for name, limit in LIMITS.items():
        print(f"{name:15} is limited by {limit}")
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    written = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "results": results, "ratios": ratios}
    (target / "ranking_speed.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
