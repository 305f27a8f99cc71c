"""Turns reviewers' decisions on a run into a new version of its generator: what they approve, and how far to lean to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from contracts.errors import DataError, ModelError
from contracts.seeds import seed_of, stream
from contracts.store import digest_of, file_hash, write_json
from evaluation.review_rounds import ReviewRound
from flows.choose_models import ORIGIN, find_generator, keep_version
from flows.choose_painter import painter_of
from flows.gather_verdicts import JUDGED, Gathered, gather_verdicts, looks_of
from flows.job import Job
from flows.rebuild_orders import OrderBook
from flows.sum_up_round import FACTS, rounds_of, sum_up_round
from generators.painting.painters import scene_looks
from generators.taste.approval import FILE as APPROVAL_FILE
from generators.taste.approval import Approval, cross_checked, fit_approval
from generators.taste.tilt import FILE as TILT_FILE
from generators.taste.tilt import Tilt, fit_tilt
from generators.taste.variety import Looks, distances, thumbnails

_TRIES = 4  # bounds tried, each half as far from 1 as the one before

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Learned:
    """What was learned; the fields of learned.json.

    Attributes:
        version: the new version, in use; went_from: the one before.
        decisions, preferences: learned from. stale: left out, since their file is not there or has changed.
        reviewers: who they are by. bars: how much stricter each is than the mean, log-odds, with a 95 % interval.
        auc: how well approvals are told from rejections on pictures not learned from.
        approval_before, approval: expected approval rate of the looks drawn, before any feedback and now.
        diversity: of the looks drawn, of that before any feedback: on looks the tilt was fitted to, and on others.
        diversity_held_out: see there.
        kl: nats moved.
        likes: the surest terms: name, weight in log-odds a standard deviation, and its 95 % interval.
        rounds: of review so far, this one last.
    """

    version: str
    went_from: str
    decisions: int
    preferences: int
    stale: int
    reviewers: tuple[str, ...]
    bars: tuple[tuple[float, float, float], ...]
    auc: float
    approval_before: float
    approval: float
    diversity: float
    diversity_held_out: float
    kl: float
    likes: tuple[tuple[str, float, float, float], ...]
    rounds: tuple[ReviewRound, ...]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def learn(job: Job, decisions: pl.DataFrame, tell: Tell) -> Learned:
    """Learns from decisions; the new version is in use, the old one is kept.

    Args:
        job: whose run was reviewed.
        decisions: by the contract, of this run and of others.
        tell: how far the painting of the pool is.

    Raises:
        DataError: there are too few decisions, all of one kind, or they cannot be told from the pictures.
        ModelError: the run has no generator of its space, or it is damaged.
    """
    choice = json.loads((job.run / "training" / "choice.json").read_text())
    old = find_generator(job.models, choice["space_hash"])
    if choice["origin"] == "none" or old is None:
        raise ModelError(
            "no generator was trained in the space of this run",
            where=str(job.run),
            fix="Train one: adloom train generator DATA.",
        )
    remembered = pl.read_parquet(old / JUDGED, glob=False) if (old / JUDGED).exists() else None
    book = OrderBook(job, knows_space=True)
    products = {name: goods.product for name, goods in book.goods.items()}
    gathered = gather_verdicts(decisions, looks_of(job.run, products), remembered)
    _check_enough(job, gathered)
    before = Tilt.load(old)
    pool = before.looks if before is not None else _paint_pool(job, book, old, choice["space_hash"], tell)
    centre, scale = pool.standard
    auc = cross_checked(gathered.verdicts, centre=centre, scale=scale)
    if auc < 0.5:
        raise DataError(
            f"approvals cannot be told from rejections by the pictures yet (AUC {auc:.2f}), so nothing was learned",
            where=str(job.run),
            fix="Review more pictures, and repeat the command.",
        )
    approval = fit_approval(gathered.verdicts, centre=centre, scale=scale)
    learning = job.settings.learning
    most_kl = min(learning.most_kl, (before.kl if before is not None else 0.0) + learning.step_kl)
    tilt, held_out = tilt_within(pool, approval, most_kl, learning.least_diversity)
    version, save = _version(old, approval, tilt, gathered.judged)
    z = 1.96
    learned = Learned(
        version=version,
        went_from=old.name,
        decisions=approval.decisions,
        preferences=approval.preferences,
        stale=gathered.stale,
        reviewers=gathered.reviewers,
        bars=tuple(
            (float(bar), float(bar - z * error), float(bar + z * error))
            for bar, error in zip(approval.reviewer_bars, approval.reviewer_errors, strict=True)
        ),
        auc=auc,
        approval_before=tilt.approval_before,
        approval=tilt.approval,
        diversity=tilt.diversity,
        diversity_held_out=held_out,
        kl=tilt.kl,
        likes=tuple(approval.intervals()[:5]),
        rounds=_rounds(job, old, decisions),
    )

    def save_all(folder: Path) -> None:
        save(folder)
        write_json(folder / FACTS, learned.as_json())

    keep_version(job.models, "generator", version, save_all, made_by=f"learn {job.run_id}")
    return learned


def _rounds(job: Job, old: Path, decisions: pl.DataFrame) -> tuple[ReviewRound, ...]:
    """Those that the version in use was learned from, and this one, once for each version that drew."""
    this = sum_up_round(job.run, decisions)
    return (*(one for one in rounds_of(old) if one.generator != this.generator), this)


def tilt_within(pool: Looks, approval: Approval, most_kl: float, least_diversity: float) -> tuple[Tilt, float]:
    """The tilt, and the share of diversity it keeps on looks that it was not fitted to: stopped where that falls too far.

    The bound is tried on two halves of the pool, each with the other's tilt; while the mean falls below it, the bound
    for fitting is raised.
    """
    order = stream(0, "halves of the pool").permutation(len(pool))
    halves = pool[order[::2]], pool[order[1::2]]
    bound, kept = least_diversity, 0.0

    def fit(looks: Looks) -> Tilt:
        log_chance = approval.log_chance(looks.features)
        return fit_tilt(looks, log_chance, most_kl=most_kl, least_diversity=bound)

    for _ in range(_TRIES):
        kept = float(np.mean([_kept(fit(one), other, approval) for one, other in (halves, halves[::-1])]))
        if kept >= least_diversity - 0.02:
            break
        bound += (1 - bound) / 2
    return fit(pool), kept


def _kept(tilt: Tilt, looks: Looks, approval: Approval) -> float:
    """Diversity of other looks under a tilt, of that without it."""
    weights = tilt.log_weights(looks.thumbnails, approval.log_chance(looks.features))
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    apart = distances(looks.thumbnails, looks.thumbnails)
    return float(weights @ apart @ weights / apart.mean())


def _check_enough(job: Job, gathered: Gathered) -> None:
    verdicts, least = gathered.verdicts, job.settings.learning.least_decisions
    count, approved = len(verdicts.picture), int(verdicts.approved.sum())
    gone = f"; {gathered.stale} more are on files that are not there any more or have changed" if gathered.stale else ""
    if count < least or approved in (0, count):
        what = (
            f"{count} decisions, {least} are needed{gone}" if count < least
            else f"all {count} decisions are {'approvals' if approved else 'rejections'}{gone}"
        )  # fmt: skip
        raise DataError(what, where=str(job.run), fix="Review more pictures: adloom review.")


def _paint_pool(job: Job, book: OrderBook, version: Path, space_hash: str, tell: Tell) -> Looks:
    """Scenes that the painter draws for this run's cohorts and concepts, before any choice."""
    known = job.settings.generators
    painter = painter_of(job, version, space_hash)
    made = pl.read_parquet(job.run / "generators" / "creatives.parquet").select("concept_id", "cohort")
    pairs = [pair for pair in made.iter_rows() if pair[0] in book.goods]
    total = job.settings.learning.pool
    found, small = [], []
    for start in range(0, total, known.batch):
        tell("looks", start, total)
        orders = []
        for number in range(start, min(start + known.batch, total)):
            concept, cohort = pairs[number % len(pairs)]
            seed = seed_of(job.settings.seed, "pool", number)
            orders.append(book.order(f"pool-{number}", concept, cohort, seed).scene())
        scenes = painter.paint(orders)
        found += [scene_looks(scene[None], one.product) for scene, one in zip(scenes, orders, strict=True)]
        small.append(thumbnails(scenes))
    tell("looks", total, total)
    return Looks(np.concatenate(found), np.concatenate(small))


def _version(old: Path, approval: Approval, tilt: Tilt, judged: pl.DataFrame) -> tuple[str, Callable[[Path], None]]:
    """Name of the version with these parts on the old one's weights, and what writes it."""
    own = (APPROVAL_FILE, TILT_FILE, JUDGED, FACTS, ORIGIN)
    base = {path.relative_to(old).as_posix(): file_hash(path) for path in sorted(old.rglob("*"))
            if path.is_file() and path.name not in own}  # fmt: skip
    learned = [approval.weights.tolist(), approval.bar, tilt.weights.tolist(), tilt.strength, tilt.push]

    def save(folder: Path) -> None:
        shutil.copytree(old, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*own))
        approval.save(folder)
        tilt.save(folder)
        judged.write_parquet(folder / JUDGED)

    return digest_of([base, learned])[:12], save
