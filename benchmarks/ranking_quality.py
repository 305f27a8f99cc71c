"""Turns real logs into HR and NDCG of the ranker beside implicit's models and the best published rows.

    python -m benchmarks.ranking_quality [--only beauty ml100k world portions] [--data ../../shared/datasets]

Beauty (S3-Rec's files): the last item of each sequence is to be found among all items not seen, the one before it is for
validation. Counts and models see neither; at test time the history holds the validation item, as in the paper. The ranker
learns to find the third-last item by counts without it, stops and is calibrated on validation items.

MovieLens-100K: Microsoft recommenders' python_stratified_split (ratio 0.75, seed 42), every test rating relevant, items of
the training part removed, binary nDCG@10 averaged over users. The ranker learns on four folds of each user's training part.

World: planted worlds; NDCG@10 of held-out clicks over that of the true click law. One world of the sample's size says it to
about 2 %, so there are several, and their mean.

Portions: the same worlds; the ranker learned in two and four portions, by half of the users, and with another seed, against the one that
one machine learns: NDCG@10 of held-out clicks, and the share of users with the same best concept of today.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from benchmarks import ranked_ratings, ranked_sequences
from contracts.settings import RankingSettings, load_settings
from ranking.ranker import Ranker, train

BENCH_PYTHON = Path(__file__).resolve().parents[1] / ".venv-bench" / "bin" / "python"
PUBLISHED = {
    "beauty": {"S3-Rec (published)": {"hr": 0.0647, "ndcg": 0.0327}, "SASRec (published)": {"hr": 0.0605, "ndcg": 0.0318}},
    "ml100k": {"BiVAE (published)": {"ndcg": 0.475}, "BPR (published)": {"ndcg": 0.442}, "SAR (published)": {"ndcg": 0.382}},
}  # fmt: skip
CANDIDATES = 150
WORLDS = (21, 22, 23, 24, 25, 26)
"""Seeds of planted worlds of the shipped sample's size (its own is 7)."""

Figures = dict[str, dict[str, float]]


def table_of(columns: dict[str, np.ndarray], target: np.ndarray, part: np.ndarray, day: int) -> pl.DataFrame:
    """Ranking rows of the users (U, C) whose target is among the candidates, as the product's ranker takes them."""
    hit = np.flatnonzero(target.any(axis=1))
    width = target.shape[1]
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)
    return pl.DataFrame(
        {
            "user_id": np.repeat(hit, width),
            "at": pl.Series([at], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(hit) * width),
            "slot": np.zeros(len(hit) * width, dtype=np.int32),
            "concept_id": np.tile(np.arange(width), len(hit)),
            "clicked": target[hit].ravel(),
            "part": pl.Series(part[hit].tolist()).gather(np.repeat(np.arange(len(hit)), width)),
            **{name: values[hit].ravel() for name, values in columns.items()},
        }
    )


def top_ten(ranker: Ranker, columns: dict[str, np.ndarray], candidates: np.ndarray) -> np.ndarray:
    """(U, 10) the ranker's best candidates, a thousand users at a time."""
    found = []
    for start in range(0, len(candidates), 1000):
        rows = slice(start, start + 1000)
        table = pl.DataFrame({name: columns[name][rows].ravel() for name in ranker.features})
        score = ranker.score(table).reshape(candidates[rows].shape)
        found.append(np.take_along_axis(candidates[rows], np.argsort(-score, axis=1, kind="stable")[:, :10], axis=1))
    return np.concatenate(found)


def peers(learned: sp.csr_matrix, seen: sp.csr_matrix) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Ten items a user by each of implicit's models, and the seconds of each; none where implicit is not installed."""
    if not BENCH_PYTHON.exists():
        print("implicit is not installed in .venv-bench: no peers")
        return {}, {}
    with tempfile.TemporaryDirectory() as name:
        files = [str(Path(name) / file) for file in ("learned.npz", "seen.npz", "out.npz")]
        sp.save_npz(files[0], learned.astype(np.float32))
        sp.save_npz(files[1], seen.astype(np.float32))
        script = Path(__file__).with_name("ranking_peers.py")
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        text = subprocess.run(
            [BENCH_PYTHON, script, *files], check=True, capture_output=True, text=True, env=environment
        )
        return dict(np.load(files[2])), json.loads(text.stdout.splitlines()[-1])


def one_target(top: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """HR and NDCG at 10 where one item is to be found."""
    place = np.where(top == target[:, None], np.arange(10), 99).min(axis=1)
    return {"hr": float((place < 10).mean()), "ndcg": float(np.where(place < 10, 1 / np.log2(place + 2.0), 0).mean())}


def beauty(data: Path) -> Figures:
    """HR@10 and NDCG@10 of Beauty's last items over all items not seen."""
    began = time.perf_counter()
    sequences, attributes = ranked_sequences.read_beauty(data / "s3rec_beauty")
    items = attributes.shape[0]
    rng = np.random.default_rng(7)
    parts = {"earlier": np.full(len(sequences), "train"), "validation": rng.choice(["validation", "calibration"], len(sequences))}  # fmt: skip
    before, known = (ranked_sequences.known_of([s[:-n] for s in sequences], items) for n in (3, 2))
    tables = []
    for day, (name, cut, counts) in enumerate((("earlier", 3, before), ("validation", 2, known))):
        histories, target = [s[:-cut] for s in sequences], np.array([s[-cut] for s in sequences])
        candidates = ranked_sequences.retrieve(histories, counts, attributes, CANDIDATES)
        columns = ranked_sequences.features(histories, candidates, counts, attributes)
        tables.append(table_of(columns, candidates == target[:, None], parts[name], day))
    settings = RankingSettings(rounds=300, leaves=31, learning_rate=0.05, min_rows_per_leaf=50, l2=10.0, feature_share=0.5, slate_size=10)  # fmt: skip
    ranker = train(pl.concat(tables), list(columns), settings, 7)
    histories, target = [s[:-1] for s in sequences], np.array([s[-1] for s in sequences])
    candidates = ranked_sequences.retrieve(histories, known, attributes, CANDIDATES)
    columns = ranked_sequences.features(histories, candidates, known, attributes)
    found = {"adloom": one_target(top_ten(ranker, columns, candidates), target)}
    found["adloom"] |= {"recall": float((candidates == target[:, None]).any(axis=1).mean()), "seconds": round(time.perf_counter() - began, 1)}  # fmt: skip
    learned, seen = (ranked_sequences.history_weights([s[:-n] for s in sequences], items, 1.0) for n in (2, 1))
    plain = (ranked_sequences.history_weights(histories, items, 0.5) @ known.covisits["ahead"]).toarray()
    popular = np.tile(known.shown, (len(sequences), 1))
    for name, score in (("one co-visit matrix", plain), ("popularity", popular)):
        score[seen.nonzero()] = -np.inf
        found[name] = one_target(np.argsort(-score, axis=1, kind="stable")[:, :10], target)
    tops, seconds = peers(learned, seen)
    found |= {name: one_target(top, target) | {"seconds": seconds[name]} for name, top in tops.items()}
    return found | PUBLISHED["beauty"]


def ml100k(data: Path) -> Figures:
    """nDCG@10 of MovieLens-100K, 75/25 stratified by user."""
    began = time.perf_counter()
    ratings = ranked_ratings.read_ratings(data / "ml100k_posters" / "u.data")
    learned, held_out = ranked_ratings.stratified_split(ratings, 0.75, seed=42)
    tables, names = [], []
    for fold, (kept, hidden) in enumerate(ranked_ratings.folds(learned, 4, repeats=2)):
        candidates, columns = ranked_ratings.features(kept, CANDIDATES)
        target = np.take_along_axis(ranked_ratings.matrix(hidden), candidates, axis=1) > 0
        user = np.arange(len(candidates))
        part = np.where(user % 5 == 0, np.where(user % 10 == 0, "validation", "calibration"), "train")
        tables.append(table_of(columns, target, part, fold))
        names = list(columns)
    directions = {name: 1 for name in names if name not in ranked_ratings.FREE}
    settings = RankingSettings(rounds=300, leaves=15, learning_rate=0.05, min_rows_per_leaf=100, l2=0.0, feature_share=1.0, slate_size=10)  # fmt: skip
    ranker = train(pl.concat(tables), names, settings, 7, directions=directions)
    candidates, columns = ranked_ratings.features(learned, CANDIDATES)
    truth = ranked_ratings.matrix(held_out)
    found: Figures = {"adloom": {"ndcg": ranked_ratings.ndcg(top_ten(ranker, columns, candidates), truth)}}
    found["adloom"]["seconds"] = round(time.perf_counter() - began, 1)
    seen = sp.csr_matrix(ranked_ratings.matrix(learned))
    for name, score in (("EASE, 400", ranked_ratings.ease(seen.toarray(), 400)), ("popularity", np.tile(seen.toarray().sum(0), (seen.shape[0], 1)))):  # fmt: skip
        score[seen.nonzero()] = -np.inf
        found[name] = {"ndcg": ranked_ratings.ndcg(np.argsort(-score, axis=1, kind="stable")[:, :10], truth)}
    tops, seconds = peers(seen, seen)
    found |= {n: {"ndcg": ranked_ratings.ndcg(top, truth), "seconds": seconds[n]} for n, top in tops.items()}
    return found | PUBLISHED["ml100k"]


def logged_of(job: Any) -> pl.DataFrame:
    """A world's logged rows with their features and part."""
    from flows import build_features, check_sources
    from ranking.split import split

    for stage in (check_sources.STAGE, build_features.STAGE):
        job.store.perform(stage.key(job), lambda out, stage=stage: stage.work(job, out))
    return split(pl.read_parquet(job.run / "features" / "logged.parquet"), job.settings.ranking)


def world(_: Path) -> Figures:
    """The ranker's NDCG@10 as a share of the true click law's, in planted worlds, by the batch's own code."""
    from features.directions import direction_of
    from flows.job import SHIPPED, Job
    from flows.learn_ranker import names
    from flows.measure_truth import oracle_of
    from ranking.boosting import informative
    from ranking.tuning import mean_ndcg
    from sources.truth import Truth
    from sources.world import write_world

    found: Figures = {}
    settings = load_settings(None)
    with tempfile.TemporaryDirectory() as home:
        write_world(Path(home) / "w", users=6000, days=60, seed=11, pictures_per_concept=2, side=64)
        worlds = {"shipped sample": SHIPPED, "6,000 users, 60 days": Path(home) / "w"}
        for seed in WORLDS:
            worlds[f"2,000 users, seed {seed}"] = Path(home) / f"w{seed}"
            write_world(Path(home) / f"w{seed}", users=2000, days=30, seed=seed, side=64)
        for name, folder in worlds.items():
            job = Job(folder, settings, Path(home) / "runs", Path(home) / "models")
            logged = logged_of(job)
            held_out = logged.filter(pl.col("part") == "test").sort("user_id", "at", "concept_id")
            oracle = oracle_of(Truth.load(folder), held_out.with_columns(slot=pl.lit(0, pl.Int32)))
            rows = informative(held_out.with_columns(oracle=pl.Series(oracle)))
            directions = {one: direction_of(one)[0] for one in names(settings)}
            best = mean_ndcg(rows, rows["oracle"].to_numpy(), k=10)
            variants = (("", {}), (", binary", {"objective": "binary"}), (", free", {"monotone": False}))
            for label, changes in variants[:1] if "seed" in name else variants:
                ranker = train(logged, names(settings), settings.ranking.model_copy(update=changes), settings.seed, directions=directions)  # fmt: skip
                own = mean_ndcg(rows, ranker.score(rows), k=10)
                found[name + label] = {"ndcg": own, "oracle": best, "share": own / best, "slates": len(rows) / 4}
            if "seed" in name:
                continue
            blind = train(logged.with_columns(slot=pl.lit(0, pl.Int32)), names(settings), settings.ranking, settings.seed, directions=directions)  # fmt: skip
            own = mean_ndcg(rows, blind.score(rows), k=10)
            found[name + ", slot not told"] = {"ndcg": own, "oracle": best, "share": own / best}
        shares = [found[name]["share"] for name in worlds if name != "6,000 users, 60 days"]
        found["2,000 users, mean"] = {"share": float(np.mean(shares)), "spread": float(np.std(shares, ddof=1))}
    return found


def portions(_: Path) -> Figures:
    """What learning in portions changes, beside what half of the users and another seed change."""
    from features.directions import direction_of
    from flows.job import Job
    from flows.learn_ranker import names
    from flows.train_portions import rows_of
    from flows.train_together import train_here
    from ranking.boosting import informative
    from ranking.lesson import Fitted, Lesson, fit
    from ranking.tuning import mean_ndcg
    from sources.world import write_world

    def together(lesson: Lesson, count: int) -> Fitted:
        with tempfile.TemporaryDirectory() as home:
            lesson.save(Path(home))
            for rank, portion in enumerate(lesson.portions(count)):
                portion.save_rows(rows_of(Path(home), rank))
            return train_here(Path(home), count)

    ways: dict[str, dict[str, Any]] = {
        "one machine": {},
        "two portions": {"learn": lambda lesson: together(lesson, 2)},
        "four portions": {"learn": lambda lesson: together(lesson, 4)},
        "half of the users": {"learn": lambda lesson: fit(lesson.portions(2)[0])},
        "another seed": {"seed": 99},
    }
    settings = load_settings(None)
    directions = {name: direction_of(name)[0] for name in names(settings)}
    found: Figures = {}
    with tempfile.TemporaryDirectory() as home:
        for seed in WORLDS:
            folder = Path(home) / f"w{seed}"
            write_world(folder, users=2000, days=30, seed=seed, side=64)
            job = Job(folder, settings, Path(home) / "runs", Path(home) / "models")
            logged, daily = logged_of(job), pl.read_parquet(job.run / "features" / "daily.parquet")
            rows = informative(logged.filter(pl.col("part") == "test").sort("user_id", "at", "concept_id"))
            alone: tuple[float, pl.Series] | None = None
            for name, how in ways.items():
                given = {"seed": settings.seed, "directions": directions, **how}
                ranker = train(logged, names(settings), settings.ranking, **given)
                best = ranker.scores(daily).sort("user_id", "score", "concept_id", descending=[False, True, False])
                first = best.group_by("user_id", maintain_order=True).first()["concept_id"]
                ndcg = mean_ndcg(rows, ranker.score(rows), k=10)
                alone = alone or (ndcg, first)
                found[f"seed {seed}, {name}"] = {"ndcg": ndcg, "change": ndcg - alone[0], "same first": float((first == alone[1]).mean())}  # type: ignore[arg-type]  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs = {"beauty": beauty, "ml100k": ml100k, "world": world, "portions": portions}
    parser.add_argument("--only", nargs="*", choices=runs, default=list(runs))
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "datasets")
    given = parser.parse_args()
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    file = target / "ranking_quality.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in given.only:
        if name in ("beauty", "ml100k") and not given.data.is_dir():
            print(f"{name}: left out, there is no {given.data}")
            continue
        began = time.perf_counter()
        results[name] = runs[name](given.data)
        print(f"\n{name}, {time.perf_counter() - began:.0f} s")
        for label, figures in results[name].items():
            told = "  ".join(
                f"{key} {value:.4f}" if value < 1 else f"{key} {value:,.1f}" for key, value in figures.items()
            )
            print(f"  {label:28} {told}", flush=True)
        results["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
        file.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
