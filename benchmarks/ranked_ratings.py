"""Turns ratings into candidates and features of unrated films: linear models, neighbours and popularity at the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

FREE = ("mean", "age", "ratings", "taste_for_popular")
"""Features that have no direction; all others are scores of models, and a higher one is better."""

USERS, ITEMS = 943, 1682
_DAY = 86_400


def read_ratings(path: Path) -> pd.DataFrame:
    """user and item from 0, rating, seconds: in the order of the file, which the split's seed is for."""
    frame = pd.read_csv(path, sep="\t", header=None, names=["user", "item", "rating", "at"])
    if not str(frame["user"][0]).isdigit():
        frame = frame.iloc[1:].reset_index(drop=True)
    frame = frame.astype({"user": int, "item": int, "rating": float, "at": float})
    return frame.assign(user=frame["user"] - 1, item=frame["item"] - 1)


def stratified_split(ratings: pd.DataFrame, ratio: float, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each user's ratings in random order, the first `ratio` of them and the rest; as Microsoft recommenders draws it."""
    random = np.random.RandomState(seed).rand(len(ratings))  # the very numbers of that library's split
    ordered = ratings.assign(random=random).sort_values(["user", "random"])
    by_user = ordered.groupby("user")["user"]
    share = (by_user.cumcount() + 1) / by_user.transform("count")
    return ordered[share <= ratio].drop(columns="random"), ordered[share > ratio].drop(columns="random")


def folds(ratings: pd.DataFrame, count: int, *, repeats: int) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """(kept, hidden) for each fold of each user's ratings, dealt out anew in each repeat."""
    for repeat in range(repeats):
        random = np.random.default_rng(repeat).random(len(ratings))
        dealt = ratings.assign(random=random).sort_values(["user", "random"])
        fold = dealt.groupby("user").cumcount() % count
        for one in range(count):
            yield dealt[fold != one], dealt[fold == one]


def matrix(ratings: pd.DataFrame, values: np.ndarray | None = None) -> np.ndarray:
    """(users, items) 1 where there is a rating, or its value."""
    found = np.zeros((USERS, ITEMS), np.float32)
    found[ratings["user"], ratings["item"]] = 1.0 if values is None else values
    return found


def ease(rated: np.ndarray, penalty: float) -> np.ndarray:
    """Scores of EASE (Steck 2019): the ridge regression of each item on all others, in closed form."""
    gram = rated.T @ rated
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram), dtype=gram.dtype))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return rated @ weights


def features(ratings: pd.DataFrame, count: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Candidates (U, count) that a user has not rated, and features (U, count) each, made from these ratings alone."""
    rated, values = matrix(ratings), matrix(ratings, ratings["rating"].to_numpy())
    scores = _scores(ratings, rated, values)
    seen = rated > 0
    standard = {}
    for name, score in scores.items():
        unseen = np.where(seen, np.nan, score)
        spread = np.nanstd(unseen, axis=1, keepdims=True)
        standard[name] = (score - np.nanmean(unseen, axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    standard["blend"] = standard["ease400"] + standard["ease1000"] + 0.5 * (standard["walk"] + standard["svd12"])
    merit = np.where(seen, -np.inf, standard["blend"])
    candidates = np.sort(np.argpartition(-merit, count, axis=1)[:, :count], axis=1)
    shown = rated.sum(0)
    first, centre = np.full(ITEMS, np.nan), _centres(ratings)
    starts = ratings.groupby("item")["at"].min()
    first[starts.index] = starts.to_numpy()
    columns = {name: np.take_along_axis(score, candidates, axis=1) for name, score in standard.items()}
    for name in ("ease400", "walk", "svd12", "blend", "users"):
        order = np.argsort(np.argsort(-np.where(seen, -np.inf, standard[name]), axis=1), axis=1)
        columns[f"{name}_place"] = -np.log1p(np.take_along_axis(order, candidates, axis=1))
    columns["mean"] = ((values.sum(0) + 17.5) / (shown + 5))[candidates]
    columns["age"] = (centre[:, None] - first[candidates]) / _DAY
    columns["ratings"] = np.repeat(rated.sum(1)[:, None], count, axis=1)
    liked = (rated @ shown) / np.maximum(rated.sum(1), 1)
    columns["taste_for_popular"] = np.repeat(liked[:, None], count, axis=1)
    return candidates, {name: values.astype(np.float32) for name, values in columns.items()}


def ndcg(top: np.ndarray, truth: np.ndarray) -> float:
    """Mean binary NDCG at 10 over users with a held-out rating."""
    weight = 1 / np.log2(np.arange(10) + 2.0)
    wanted = truth.sum(1).astype(int)
    gain = (np.take_along_axis(truth, top, axis=1) * weight).sum(1)
    best = np.concatenate([[0.0], np.cumsum(weight)])[np.minimum(wanted, 10)]
    return float((gain[wanted > 0] / best[wanted > 0]).mean())


def _scores(ratings: pd.DataFrame, rated: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    shown = np.maximum(rated.sum(0), 1)
    found = {f"ease{penalty}": ease(rated, penalty) for penalty in (150, 400, 1000)}
    found["ease_ratings"] = ease(np.where(values > 0, (values - 2) / 3, 0).astype(np.float32), 600)
    damped = rated / shown**0.3
    _, _, directions = np.linalg.svd(damped, full_matrices=False)
    for rank in (12, 32):
        found[f"svd{rank}"] = damped @ directions[:rank].T @ directions[:rank] * shown**0.3
    items = _unit(rated.T) @ _unit(rated.T).T
    np.fill_diagonal(items, 0)
    found["items"], found["items50"] = rated @ items, rated @ _nearest(items, 50)
    people = _unit(rated / np.sqrt(np.log(USERS / shown) + 1))
    alike = people @ people.T
    np.fill_diagonal(alike, 0)
    near = _nearest(alike, 80)
    found["users"], found["users_ratings"] = near @ rated, near @ values
    step = rated / np.maximum(rated.sum(1, keepdims=True), 1)
    found["walk"] = step @ ((rated.T / shown[:, None]) @ step) / shown**0.5
    found["popular"] = np.tile(shown, (USERS, 1))
    user, item, at = ratings["user"].to_numpy(), ratings["item"].to_numpy(), ratings["at"].to_numpy()
    centre = _centres(ratings)
    for days in (7, 30):
        weight = [np.exp(-np.abs(at - centre[u]) / _DAY / days) * (user != u) for u in range(USERS)]
        found[f"popular_{days}d"] = np.stack([np.bincount(item, weights=one, minlength=ITEMS) for one in weight])
    return found


def _centres(ratings: pd.DataFrame) -> np.ndarray:
    """(U,) median moment of each user's ratings."""
    found = np.zeros(USERS)
    medians = ratings.groupby("user")["at"].median()
    found[medians.index] = medians.to_numpy()
    return found


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def _nearest(similarity: np.ndarray, count: int) -> np.ndarray:
    return np.where(similarity >= -np.sort(-similarity, axis=1)[:, count - 1 : count], similarity, 0)
