"""Turns the visits of www.microsoft.com (UCI "anonymous web data") into how well the next ones are ranked, beside implicit.

    python -m benchmarks.browsing [--data ../shared/datasets/msweb]

Ranked score of Breese, Heckerman and Kadie 1998, "Empirical analysis of predictive algorithms for collaborative filtering",
half-life 5: R = 100 * sum of R_a / sum of R_a^max over users a, where R_a is the sum of 2^(-(rank - 1) / 4) over the areas
held out, ranked among all areas that were not given. Given-N: N areas drawn at random are given, the others of the user
held out (users of more than N); All-but-1: one is held out (users of more than one). Models learn from the official
training users alone; settings of everybody are chosen on 5,000 of them, by the mean score of the four protocols, and the
models then learned again from all. Intervals: 95 %, 1,000 resamples of test users, paired.

Contenders: popularity; implicit's item-item (cosine, TF-IDF, BM25, whichever is best) and ALS in .venv-bench; cosine in
Adloom's frozen space alone, and turned into chances: the space factors mutual information, log p(i | g) / p(i), so
p(i | given) = mean over given g of p(i) * exp(sharpness * cosine(i, g)), normalised over i; and Adloom's ranker (LightGBM
through `ranking`) on popularity, length of history, that cosine, and co-visit similarities of the area to those given (the
log has no times, so no decay, recency or fatigue).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

PROTOCOLS = {"Given-2": 2, "Given-5": 5, "Given-10": 10, "All-but-1": -1}
SEED, TUNING_USERS, FOLDS, CANDIDATES, DIMENSIONS = 7, 5000, 5, 60, 32
ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / ".venv-bench" / "bin" / "python"
DEFAULT = ROOT.parent / "shared" / "datasets" / "msweb"


def baskets(data: Path) -> tuple[list[sp.csr_array], list[str]]:
    """Visits of training and test users, (U, I) of ones each, and the area of each column."""
    from sources.msweb import read_visits

    areas: dict[str, tuple[str, str]] = {}
    splits = [read_visits(data / f"anonymous-msweb.{split}", split, areas) for split in ("data", "test")]
    names = sorted(areas)
    place = {name: column for column, name in enumerate(names)}
    return [
        _matrix([[place[name] for name in visits] for visits in split.values()], len(names)) for split in splits
    ], names


def _matrix(rows: list[list[int]], columns: int) -> sp.csr_array:
    bounds = np.cumsum([0, *map(len, rows)])
    flat = np.array([column for row in rows for column in row], dtype=np.int64)
    return sp.csr_array((np.ones(len(flat)), flat, bounds), shape=(len(rows), columns))


def halved(visits: sp.csr_array, given: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Given and held-out areas, (U, I) each, of the users who have enough; None: a length drawn for each user."""
    rng = np.random.default_rng([seed, 0 if given is None else given + 5])
    rows, kept, held = visits.toarray(), [], []
    for row in rows:
        order = rng.permutation(np.flatnonzero(row))
        if given is None:
            lengths = [n for n in (2, 5, 10, len(order) - 1) if 0 < n < len(order)]
            count = lengths[rng.integers(len(lengths))] if lengths else 0
        else:
            count = len(order) - 1 if given < 0 else given
        if not 0 < count < len(order):
            continue
        known = np.zeros_like(row)
        known[order[:count]] = 1
        kept.append(known)
        held.append(row - known)
    return np.array(kept), np.array(held)


def ranked(scores: np.ndarray, given: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(U, 2): R_a and its maximum; ties go to the earlier column."""
    order = np.argsort(-np.where(given > 0, -np.inf, scores), axis=1, kind="stable")
    worth = 2.0 ** (-np.arange(held.shape[1]) / 4.0)
    best = np.cumsum(worth)[held.sum(axis=1).astype(int) - 1]
    return np.stack([np.take_along_axis(held, order, axis=1) @ worth, best], axis=1)


def score_of(found: np.ndarray) -> float:
    return float(100 * found[:, 0].sum() / found[:, 1].sum())


# Adloom


def cosines(train: sp.csr_array, names: list[str], dimensions: int) -> np.ndarray:
    """Cosine of areas in the space fitted on the training users, (I, I); 0 for an area that is not placed."""
    import polars as pl

    from features.covisits import fit_space

    user, column = train.tocoo().coords
    at = pl.Series(np.arange(len(user)) * 60_000_000).cast(pl.Datetime("us", "UTC"))
    area = pl.Series(names)[column]
    topics = pl.DataFrame({"t": area}).select(pl.concat_list("t"))["t"]
    events = pl.DataFrame({"user_id": pl.Series(user).cast(pl.String), "at": at, "action": "view", "item_id": area, "topics": topics})  # fmt: skip
    space = fit_space(events, dimensions=dimensions, window=50, action_weights={"view": 1.0})
    concepts = pl.DataFrame({"concept_id": names, "topics": [[name] for name in names]})
    vectors = space.place_concepts(concepts).astype(float)
    return np.asarray(vectors @ vectors.T)


def alone(train: sp.csr_array, cases: list[np.ndarray], names: list[str], dimensions: int) -> list[np.ndarray]:
    """Cosine of each area and the mean of those given (up to a factor for each user)."""
    near = cosines(train, names, dimensions)
    return [given @ near for given in cases]


def as_chances(
    train: sp.csr_array, cases: list[np.ndarray], names: list[str], dimensions: int, sharpness: float
) -> list[np.ndarray]:
    """Chance of each area by cosines and popularity, up to a factor for each user."""
    chance = np.asarray(train.sum(axis=0)).ravel() + 1.0
    joint = chance * np.exp(sharpness * cosines(train, names, dimensions))
    np.fill_diagonal(joint, 0.0)
    joint /= joint.sum(axis=1, keepdims=True)
    return [given @ joint for given in cases]


def features(train: sp.csr_array, given: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """What the ranker sees of (user, area), (U, I) each: popularity, length of history, similarities to the areas given."""
    counts = (train.T @ train).toarray()
    seen, users = np.diag(counts).copy(), train.shape[0]
    together = counts - np.diag(seen)
    prior = seen[:, None] * seen[None, :] / users
    similarities = {
        "chance": together / (seen[:, None] + 5),  # p(area | given), shrunk
        "cosine": together / np.sqrt((seen[:, None] + 5) * (seen[None, :] + 5)),
        "lift": np.log((together + prior + 0.5) / (2 * prior + 0.5)),
    }
    sums = {"shrunk_chance": similarities["chance"] / (seen[None, :] + 5) ** 0.25}
    for ridge in (20, 200):  # Steck 2019, "Embarrassingly shallow autoencoders for sparse data"
        inverse = np.linalg.inv(counts + ridge * np.eye(len(seen)))
        weights = -inverse / np.diag(inverse)[None, :]
        np.fill_diagonal(weights, 0.0)
        sums[f"ridge_{ridge}"] = weights
    found = {
        "popularity": np.broadcast_to(seen / users, given.shape),
        "history": np.broadcast_to(given.sum(axis=1, keepdims=True), given.shape),
        "embedding": given @ cosines(train, names, DIMENSIONS) / given.sum(axis=1, keepdims=True),
    }
    for name, matrix in {**similarities, **sums}.items():
        found[f"{name}_sum"] = given @ matrix
    for name, matrix in similarities.items():
        found[f"{name}_best"] = np.stack([matrix[np.flatnonzero(row)].max(axis=0) for row in given])
    return found


def _table(
    found: dict[str, np.ndarray], given: np.ndarray, held: np.ndarray | None, part: str, first: int
) -> tuple[Any, np.ndarray]:
    """A ranking table of the best candidates of each user, and their columns (U, CANDIDATES)."""
    import polars as pl

    order = np.where(given > 0, -np.inf, found["shrunk_chance_sum"] + 1e-6 * found["popularity"])
    best = np.sort(np.argsort(-order, axis=1, kind="stable")[:, :CANDIDATES], axis=1)
    columns = {name: np.take_along_axis(values, best, axis=1).ravel() for name, values in found.items()}
    user = np.repeat(np.arange(len(given)) + first, CANDIDATES)
    clicked = (
        np.take_along_axis(held, best, axis=1).ravel() > 0 if held is not None else np.zeros(len(user), dtype=bool)
    )
    frame = pl.DataFrame({"user_id": user, "concept_id": best.ravel(), "clicked": clicked, **columns})
    at = pl.lit(0).cast(pl.Datetime("us", "UTC"))
    return frame.with_columns(
        pl.col("user_id").cast(pl.String), at=at, slot=pl.lit(0, pl.Int32), part=pl.lit(part)
    ), best


def ranker_scores(
    train: sp.csr_array, cases: list[np.ndarray], names: list[str], tries: list[dict[str, Any]]
) -> list[list[np.ndarray]]:
    """Scores of the ranker, for every setting and every protocol's users; it learns from training users whose own visits
    are left out of the similarities, fold by fold."""
    import polars as pl

    from contracts.settings import RankingSettings
    from ranking.boosting import boost
    from ranking.calibration import Calibration
    from ranking.ranker import Ranker

    fold = np.arange(train.shape[0]) % FOLDS
    parts, first = [], 0
    for number in range(FOLDS):
        given, held = halved(train[fold == number], None, SEED + number)
        seen = features(train[fold != number], given, names)
        parts.append(_table(seen, given, held, "validation" if number == 0 else "train", first)[0])
        first += len(given)
    table, wanted = pl.concat(parts), tuple(seen)
    tested = []
    for given in cases:
        found = features(train, given, names)
        beyond = found["shrunk_chance_sum"] - 1e6  # areas that are no candidates: in their own order, after the others
        tested.append((*_table(found, given, None, "test", 0), beyond))
    scores = []
    for knobs in tries:
        settings = RankingSettings(rounds=600, early_stopping_rounds=40, slate_size=10, **knobs)
        text = boost(table, list(wanted), settings, SEED).text
        ranker = Ranker(text, wanted, Calibration(1.0, 0.0, (0.0,), None), {"settings": {"threads": 2}})
        scores.append([_with(beyond, best, ranker.score(rows)) for rows, best, beyond in tested])
    return scores


def _with(beyond: np.ndarray, best: np.ndarray, scores: np.ndarray) -> np.ndarray:
    every = beyond.copy()
    np.put_along_axis(every, best, scores.reshape(best.shape), axis=1)
    return every


# implicit, in its own environment


def peer(path: Path) -> None:
    """Runs there: scores of one configuration for every protocol; arrays in and out by file."""
    from implicit import als
    from implicit import nearest_neighbours as nearest

    held = np.load(path, allow_pickle=False)
    config = json.loads(str(held["config"]))
    train = sp.csr_matrix((held["data"], held["indices"], held["indptr"]), shape=tuple(held["shape"])).astype(
        np.float32
    )
    out: dict[str, np.ndarray] = {}
    for number, tried in enumerate(config["tries"]):
        knobs = {name: value for name, value in tried.items() if name != "kind"}
        kind = tried["kind"]
        model = als.AlternatingLeastSquares(**knobs, num_threads=2, random_state=1) if kind == "als" else getattr(nearest, kind)(**knobs, num_threads=2)  # fmt: skip
        model.fit(train, show_progress=False)
        for case in range(config["cases"]):
            given = sp.csr_matrix(held[f"given{case}"].astype(np.float32))
            if kind == "als":
                scores = model.recalculate_user(np.arange(given.shape[0]), given) @ model.item_factors.T
            else:
                scores = (given @ model.similarity).toarray()
            out[f"{number}_{case}"] = np.asarray(scores)
    np.savez(path.with_suffix(".out.npz"), **out)


def peers(train: sp.csr_array, cases: list[np.ndarray], tries: list[dict[str, Any]]) -> list[list[np.ndarray]]:
    with tempfile.TemporaryDirectory() as home:
        path = Path(home) / "case.npz"
        given = {f"given{number}": case for number, case in enumerate(cases)}
        config = json.dumps({"tries": tries, "cases": len(cases)})
        np.savez(
            path, data=train.data, indices=train.indices, indptr=train.indptr, shape=train.shape, config=config, **given
        )
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "2"}
        subprocess.run([BENCH, Path(__file__), "--peer", path], check=True, env=environment, stderr=subprocess.DEVNULL)
        with np.load(path.with_suffix(".out.npz")) as found:
            return [[found[f"{n}_{case}"] for case in range(len(cases))] for n in range(len(tries))]


NEAREST = [
    *({"kind": kind, "K": k} for kind in ("CosineRecommender", "TFIDFRecommender") for k in (10, 20, 50, 100, 293)),
    *({"kind": "BM25Recommender", "K": k, "K1": k1, "B": b} for k in (20, 50, 293) for k1 in (0.3, 1.2, 5, 100) for b in (0, 0.2, 0.8)),
]  # fmt: skip
ALS = [
    {"kind": "als", "factors": f, "regularization": r, "alpha": a, "iterations": 15}
    for f in (8, 16, 32, 64) for r in (1, 10, 30, 100, 300) for a in (0.3, 1, 3)
]  # fmt: skip
RANKER = [{"leaves": n, "learning_rate": 0.05} for n in (7, 15, 31)]
SPACES = [{"dimensions": d} for d in (8, 16, 32, 48, 64, 96)]
CHANCES = [{**space, "sharpness": b} for space in SPACES for b in (2, 3, 4, 5, 6, 8)]


def best_of(tries: list[dict[str, Any]], scores: Any, cases: Any) -> dict[str, Any]:
    """The setting of the best mean score over the protocols."""
    means = [np.mean([score_of(ranked(s, *case)) for s, case in zip(of, cases, strict=True)]) for of in scores]
    return tries[int(np.argmax(means))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DEFAULT)
    parser.add_argument("--peer", type=Path)
    given = parser.parse_args()
    if given.peer:
        peer(given.peer)
        return
    if not given.data.is_dir():
        print(f"browsing: skipped, {given.data} is not there (UCI, anonymous web data)")
        return
    began = time.perf_counter()
    (train, test), names = baskets(given.data)
    mixed = np.random.default_rng(1).permutation(train.shape[0])
    fit, tuning = train[mixed[TUNING_USERS:]], train[mixed[:TUNING_USERS]]
    tune = [halved(tuning, n, SEED) for n in PROTOCOLS.values()]
    known = [case[0] for case in tune]
    chosen = {
        "implicit item-item": best_of(NEAREST, peers(fit, known, NEAREST), tune),
        "implicit ALS": best_of(ALS, peers(fit, known, ALS), tune),
        "Adloom embedding alone": best_of(SPACES, [alone(fit, known, names, **k) for k in SPACES], tune),
        "Adloom embedding, chances": best_of(CHANCES, [as_chances(fit, known, names, **k) for k in CHANCES], tune),
        "Adloom ranker": best_of(RANKER, ranker_scores(fit, known, names, RANKER), tune),
    }  # fmt: skip
    cases = [halved(test, n, SEED) for n in PROTOCOLS.values()]
    known = [case[0] for case in cases]
    seen = np.asarray(train.sum(axis=0)).ravel()
    scores = {
        "popularity": [np.broadcast_to(seen, g.shape) for g in known],
        "implicit item-item": peers(train, known, [chosen["implicit item-item"]])[0],
        "implicit ALS": peers(train, known, [chosen["implicit ALS"]])[0],
        "Adloom embedding alone": alone(train, known, names, **chosen["Adloom embedding alone"]),
        "Adloom embedding, chances": as_chances(train, known, names, **chosen["Adloom embedding, chances"]),
        "Adloom ranker": ranker_scores(train, known, names, [chosen["Adloom ranker"]])[0],
    }
    found = {name: [ranked(s, *case) for s, case in zip(of, cases, strict=True)] for name, of in scores.items()}
    rng, results = np.random.default_rng(2), {}
    print(
        f"{'':26}" + "".join(f"{f'{name} ({len(case[0]):,})':>24}" for name, case in zip(PROTOCOLS, cases, strict=True))
    )
    drawn = [rng.integers(0, len(g), (1000, len(g))) for g in known]
    draws = {n: [100 * r[d, 0].sum(axis=1) / r[d, 1].sum(axis=1) for r, d in zip(of, drawn, strict=True)] for n, of in found.items()}  # fmt: skip
    for name, of in found.items():
        spans = [np.quantile(d, [0.025, 0.975]) for d in draws[name]]
        results[name] = {p: {"score": score_of(r), "interval": s.tolist()} for p, r, s in zip(PROTOCOLS, of, spans, strict=True)}  # fmt: skip
        print(
            f"{name:26}"
            + "".join(f"{score_of(r):10.2f} [{s[0]:5.2f}, {s[1]:5.2f}]" for r, s in zip(of, spans, strict=True))
        )
    differences = {}
    for other in ("popularity", "implicit item-item", "implicit ALS"):
        for mine in ("Adloom ranker", "Adloom embedding, chances", "Adloom embedding alone"):
            gaps = [np.quantile(a - b, [0.025, 0.975]) for a, b in zip(draws[mine], draws[other], strict=True)]
            values = [score_of(a) - score_of(b) for a, b in zip(found[mine], found[other], strict=True)]
            differences[f"{mine} - {other}"] = {p: {"difference": v, "interval": g.tolist()} for p, v, g in zip(PROTOCOLS, values, gaps, strict=True)}  # fmt: skip
            print(f"{mine} - {other}: " + ", ".join(f"{v:+.2f} [{g[0]:+.2f}, {g[1]:+.2f}]" for v, g in zip(values, gaps, strict=True)))  # fmt: skip
    print(
        f"Settings chosen on {TUNING_USERS:,} training users: {json.dumps(chosen)}; {time.perf_counter() - began:.0f} s"
    )
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    written = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "users": {p: len(g) for p, g in zip(PROTOCOLS, known, strict=True)},
               "chosen": chosen, "results": results, "differences": differences}  # fmt: skip
    (target / "browsing.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
