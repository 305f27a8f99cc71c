"""Turns the held-out log into ranking quality by how much was known of the user: NDCG and AUC, with counts."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from evaluation.intervals import Interval, Terms, bootstrap, percentile
from evaluation.metrics import auc, midranks
from evaluation.ranked import ndcg_at_k
from evaluation.report_data import ReportData
from evaluation.sections import Section, absent, span

BUCKETS = (("0", 0, 0), ("1", 1, 1), ("2 to 4", 2, 4), ("5 to 9", 5, 9), ("10 or more", 10, None))
"""Label, least and most events of the user that were known at the impression."""

_ORDERS = (("ranker", "score"), ("popularity", "popularity"))
Floats = npt.NDArray[np.float64]


def by_history(impressions: pl.DataFrame, data: ReportData) -> Section:
    """Quality of the ranker and of popularity in each of BUCKETS.

    Args:
        impressions: as `ReportData.impressions`; needs history_events and score, takes popularity.
        data: settings and seed.
    """
    if not {"history_events", "score"} <= set(impressions.columns) or impressions["score"].null_count():
        return absent("How many events were known of each user at each impression was not recorded.")
    rows = impressions.sort("user_id", "at", "slot").with_columns(
        slate=pl.struct("user_id", "at").rle_id(), user=pl.col("user_id").rle_id()
    )
    known = pl.col("history_events")
    buckets = []
    for label, least, most in BUCKETS:
        part = rows.filter((known >= least) & (known <= most if most is not None else pl.lit(True)))
        buckets.append({"label": label, "least": least, "most": most, **_bucket(part, data, label)})
    return {"k": data.settings.k, "buckets": buckets}


def _bucket(rows: pl.DataFrame, data: ReportData, label: str) -> Section:
    counts = {
        "impressions": len(rows),
        "slates": rows["slate"].n_unique(),
        "slates_with_click": rows.filter("clicked")["slate"].n_unique(),
        "users": rows["user"].n_unique(),
        "clicks": int(rows["clicked"].sum()),
    }
    held = [name for name, column in _ORDERS if column in rows.columns and not rows[column].null_count()]
    found: dict[str, Any] = {name: dict.fromkeys(("ndcg", "ndcg_interval", "auc", "auc_interval")) for name in held}
    gain = None
    if counts["clicks"]:
        user, clicked = rows["user"].to_numpy().astype(np.int64), rows["clicked"].to_numpy().astype(np.float64)
        slate = rows["slate"].to_numpy().astype(np.int64)
        _, first = np.unique(slate, return_index=True)
        user_of = dict(zip(slate[first].tolist(), user[first].tolist(), strict=True))
        terms: dict[str, Terms] = {}
        for name, column in _ORDERS:
            if name not in held:
                continue
            score = rows[column].to_numpy()
            ndcg = ndcg_at_k(clicked, score, slate, data.settings.k)
            terms[name] = Terms.mean(ndcg.values)
            users = np.array([user_of[group] for group in ndcg.groups.tolist()], dtype=np.int64)
            found[name] |= {"ndcg": ndcg.mean, "auc": auc(clicked, score)}
            found[name]["auc_interval"] = span(auc_interval(clicked, score, user, data.settings.confidence))
        if np.unique(users).size > 1:
            draws = bootstrap(terms, users, resamples=data.settings.bootstraps, seed=data.seed, name=f"history {label}")
            for name in held:
                found[name]["ndcg_interval"] = span(percentile(draws[name], data.settings.confidence))
            if len(held) > 1:
                gain = span(percentile(draws["ranker"] - draws["popularity"], data.settings.confidence))
    return {**counts, "orders": found, "gain_interval": gain}


def auc_interval(
    clicked: npt.ArrayLike, score: npt.ArrayLike, users: npt.NDArray[np.int64], confidence: float
) -> Interval | None:
    """Normal interval of the AUC when the rows of a user belong together, cut to [0, 1].

    The AUC's structural components (DeLong, DeLong and Clarke-Pearson 1988) are summed over each user's rows, and the
    variance is that of these sums over users (Obuchowski 1997, "Nonparametric analysis of clustered ROC curve data").

    Args:
        clicked: (N,) 0 or 1.
        score: (N,) finite.
        users: (N,) cluster of each row.
        confidence: such as 0.95.

    Returns:
        None with fewer than two users, or when all rows or none are clicked.
    """
    y, s = np.asarray(clicked, dtype=np.float64), np.asarray(score, dtype=np.float64)
    positives = float(y.sum())
    negatives = y.size - positives
    _, user = np.unique(users, return_inverse=True)
    clusters = int(user.max(initial=-1)) + 1
    if not positives or not negatives or clusters < 2:
        return None
    value = auc(y, s)
    # share of the other class below each row (ties half), from ranks among all rows and among its own class
    ranks, inside = midranks(s), np.empty_like(s)
    inside[y == 1], inside[y == 0] = midranks(s[y == 1]), midranks(s[y == 0])
    below = (ranks - inside) / np.where(y == 1, negatives, positives)
    parts = np.where(y == 1, (below - value) / positives, (1.0 - below - value) / negatives)
    sums = np.bincount(user, weights=parts, minlength=clusters)
    error = float(np.sqrt(clusters / (clusters - 1) * (sums**2).sum()))
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return Interval(max(value - reach, 0.0), min(value + reach, 1.0))
