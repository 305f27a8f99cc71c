"""Turns two rankers and held-out days into which orders and predicts better, and whether the new one is worse beyond noise."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from evaluation.intervals import Interval, Terms, bootstrap, percentile
from evaluation.ranked import ndcg_at_k
from ranking.ranker import Ranker

CONFIDENCE, RESAMPLES = 0.95, 1000

_SLATE = ("user_id", "at")


@dataclass(frozen=True)
class Contrast:
    """One figure of two rankers on the same rows; `difference` is new minus old, its interval from resampled users."""

    new: float
    old: float
    interval: Interval | None

    @property
    def difference(self) -> float:
        """new minus old."""
        return self.new - self.old


@dataclass(frozen=True)
class Comparison:
    """Two rankers on the same held-out impressions.

    Attributes:
        users, impressions: compared on.
        slates: with a click, which NDCG is of.
        ndcg: at k, higher is better.
        log_loss: nats per impression, lower is better.
    """

    users: int
    impressions: int
    slates: int
    ndcg: Contrast
    log_loss: Contrast

    @property
    def worse(self) -> str | None:
        """In what the new one is worse beyond noise, in words; None when it is not."""
        found = []
        if self.ndcg.interval is not None and self.ndcg.interval.high < 0:
            found.append(f"NDCG {self.ndcg.new:.4f} against {self.ndcg.old:.4f}")
        if self.log_loss.interval is not None and self.log_loss.interval.low > 0:
            found.append(f"log loss {self.log_loss.new:.4f} against {self.log_loss.old:.4f}")
        return " and ".join(found) or None

    def as_json(self) -> dict[str, object]:
        """All figures."""
        return {
            "users": self.users,
            "impressions": self.impressions,
            "slates": self.slates,
            **{
                name: {
                    "new": contrast.new,
                    "old": contrast.old,
                    "difference": contrast.difference,
                    "interval": None
                    if contrast.interval is None
                    else {"low": contrast.interval.low, "high": contrast.interval.high},
                }
                for name, contrast in (("ndcg", self.ndcg), ("log_loss", self.log_loss))
            },
        }


def compare(new: Ranker, old: Ranker, held_out: pl.DataFrame, *, k: int, seed: int) -> Comparison | None:
    """Both rankers on the held-out impressions that neither has learned from; None when none with a click is left.

    The differences are paired: the same resamples of users (clusters) for both, see `evaluation.intervals.bootstrap`.

    Args:
        new, old: the rankers.
        held_out: ranking rows with user_id, at, slot, clicked and the features of both.
        k: depth of NDCG.
        seed: of the run.
    """
    known_until = max(_known_until(ranker) for ranker in (new, old))
    rows = held_out.filter(pl.col("at") > known_until).sort(*_SLATE, "slot", "concept_id")
    if not rows.height or not rows["clicked"].any():
        return None
    slate = rows.select(pl.struct(_SLATE).rle_id()).to_series().to_numpy().astype(np.int64)
    user = rows["user_id"].rle_id().to_numpy().astype(np.int64)
    clicked, slot = rows["clicked"].cast(pl.Float64).to_numpy(), rows["slot"].to_numpy()
    first = np.flatnonzero(np.concatenate(([True], slate[1:] != slate[:-1])))
    orders, losses = {}, {}
    for name, ranker in (("new", new), ("old", old)):
        score = ranker.score(rows)
        found = ndcg_at_k(clicked, score, slate, k)
        orders[name] = Terms.mean(found.values)
        odds = ranker.log_odds(score, slot)
        losses[name] = Terms.mean(np.logaddexp(0.0, odds) - clicked * odds)
    users_of_slates = user[first[found.groups]]
    return Comparison(
        users=int(user[-1]) + 1,
        impressions=rows.height,
        slates=len(found.groups),
        ndcg=_contrast(orders, users_of_slates, seed, "ndcg"),
        log_loss=_contrast(losses, user, seed, "log loss"),
    )


def _contrast(terms: dict[str, Terms], users: np.ndarray, seed: int, name: str) -> Contrast:
    interval = None
    if np.unique(users).size > 1:
        draws = bootstrap(terms, users, resamples=RESAMPLES, seed=seed, name=f"rankers, {name}")
        interval = percentile(draws["new"] - draws["old"], CONFIDENCE)
    return Contrast(terms["new"].value, terms["old"].value, interval)


def _known_until(ranker: Ranker) -> dt.datetime:
    return dt.datetime.fromisoformat(str(ranker.meta["known_until"]))
