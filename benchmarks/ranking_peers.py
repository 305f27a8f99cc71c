"""Turns a matrix of users and items into ten recommendations a user, by implicit's models; run with .venv-bench's Python."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender


def main(learned: str, seen: str, out: str) -> None:
    """Fits each model on `learned` and recommends ten items that are not in `seen`, its histories, to each user."""
    train, histories = sp.load_npz(learned).tocsr(), sp.load_npz(seen).tocsr()
    common = {"num_threads": 2, "random_state": 42}
    models = {
        "implicit ALS, dense": AlternatingLeastSquares(factors=32, regularization=10, alpha=1, iterations=15, **common),
        "implicit ALS, sparse": AlternatingLeastSquares(
            factors=64, regularization=0.05, alpha=10, iterations=20, **common
        ),
        "implicit BPR": BayesianPersonalizedRanking(factors=64, learning_rate=0.01, iterations=100, **common),
        "implicit item-item cosine": CosineRecommender(K=200, num_threads=2),
        "implicit item-item BM25": BM25Recommender(K=200, num_threads=2),
    }
    found, seconds = {}, {}
    for name, model in models.items():
        began = time.perf_counter()
        model.fit(train, show_progress=False)
        again = {"recalculate_user": True} if "ALS" in name else {}
        ids, _ = model.recommend(np.arange(train.shape[0]), histories, N=10, **again)
        found[name], seconds[name] = ids, round(time.perf_counter() - began, 1)
    np.savez(out, **found)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
