"""Turns today's candidates into scores: at once where they are few, some users at a time behind a first model where many."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.settings import Settings
from features.embeddings import embeddings_at
from features.space import Space
from features.table import ranking_table
from flows.job import Job
from flows.refit_space import welcomed
from flows.spread_work import workers_of
from ranking.cascade import Cascade, distil
from ranking.frames import run_lengths
from ranking.ranker import Ranker

LARGE_DAY = 2_000_000
"""Candidates from which on a day is scored some users at a time, its features never all in memory or on disk."""

CHUNK_PAIRS = 500_000
"""Pairs whose features are made at once, about: the log is read anew for each part, and they are in memory."""

CASCADE_PAIRS = 2_500_000
"""Pairs that the first model thins out at once, about: it leaves a part small."""

SAMPLE_PAIRS = 750_000
"""Pairs whose scores teach the first model, at most."""

SCORING, EVENTS, SCORES = "scoring", "events.parquet", "scores.parquet"
"""Folder of what workers score, until all is; the events by user in it; and the scores in each of its parts."""

EVENTS_AT_ONCE = 100_000
"""Rows of the events by user that are skipped or read together."""


@dataclass(frozen=True, eq=False)
class Day:
    """The tables that features are made of, ordered so that those of a few users are a slice.

    Attributes:
        events: sorted by user_id, in their order otherwise.
        others: impressions, concepts, space and settings as `ranking_table` takes them.
        placed: concept_id, vector; sorted by concept_id.
    """

    events: pl.DataFrame
    others: dict[str, Any]
    placed: pl.DataFrame

    @classmethod
    def of(
        cls,
        events: pl.DataFrame,
        impressions: pl.DataFrame,
        concepts: pl.DataFrame,
        space: Space,
        placed: pl.DataFrame,
        settings: Settings,
    ) -> Day:
        """From a run's tables."""
        others = {"impressions": impressions, "concepts": concepts, "space": space, "settings": settings.features}
        return cls(events.sort("user_id", maintain_order=True), others, placed.sort("concept_id"))

    @classmethod
    def read(cls, job: Job) -> Day:
        """Of a run whose features stage is finished."""
        events, impressions, concepts = (
            pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("events", "impressions", "concepts")
        )
        space = Space.load(job.run / "features" / "space")
        space = welcomed(space, events, concepts, job.settings.features)
        placed = pl.read_parquet(job.run / "features" / "concept_vectors.parquet")
        return cls.of(events, impressions, concepts, space, placed, job.settings)

    def rows(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The features of pairs, sorted by user_id: the same values as with all users at once."""
        users = self.events["user_id"]
        low = users.search_sorted(pairs["user_id"][0], "left")
        high = users.search_sorted(pairs["user_id"][-1], "right")
        return ranking_table(pairs, events=self.events[low:high], **self.others)

    def score(
        self, ranker: Ranker, pairs: pl.DataFrame, vectors: npt.NDArray[np.floating], cascade: Cascade | None
    ) -> pl.DataFrame:
        """Scores of the pairs of some users, at once. Arguments as of `scores`."""
        kept = pairs if cascade is None else cascade.cut(pairs, self.placed["concept_id"], vectors)
        return ranker.scores(self.rows(kept))

    def scores(
        self, ranker: Ranker, pairs: pl.DataFrame, vectors: npt.NDArray[np.floating], cascade: Cascade | None
    ) -> Iterator[pl.DataFrame]:
        """Scores of pairs (user_id, at, concept_id; sorted), of some users at a time; with a cascade of those it keeps.

        As many parts are in the making as the ranker has threads: what one part does on a single core, another fills.

        Args:
            vectors: (n, D) user embeddings, one for each run of equal (user_id, at).
        """

        waiting: deque[Future[pl.DataFrame]] = deque()
        with ThreadPoolExecutor(ranker.threads) as pool:
            for low, high, part in chunks(pairs, part_size(cascade)):
                waiting.append(pool.submit(self.score, ranker, part, vectors[low:high], cascade))
                if len(waiting) > ranker.threads:
                    yield waiting.popleft().result()
            yield from (one.result() for one in waiting)

    def learn_cascade(
        self, ranker: Ranker, pairs: pl.DataFrame, vectors: npt.NDArray[np.floating], settings: Settings
    ) -> Cascade | None:
        """The first model for a day, learned from some of its users, evenly spaced; None where it would not pay."""
        if not settings.ranking.cascade_loss:
            return None
        ids = self.placed["concept_id"]
        lengths = run_lengths(pairs, ["user_id", "at"])
        count = max(1, min(len(lengths), SAMPLE_PAIRS // int(lengths.max())))
        some = np.unique(np.linspace(0, len(lengths) - 1, count).astype(np.int64))
        own = pl.Series(np.isin(np.repeat(np.arange(len(lengths)), lengths), some))
        sample = pairs.filter(own)
        scored = pl.concat(list(self.scores(ranker, sample, vectors[some], None)))
        row = np.repeat(np.arange(len(some)), lengths[some])
        column = ids.search_sorted(scored["concept_id"]).to_numpy()
        score, chance = (np.full((len(some), len(ids)), np.nan) for _ in range(2))
        score[row, column], chance[row, column] = scored["score"].to_numpy(), scored["click_chance"].to_numpy()
        return distil(
            score,
            chance,
            vectors[some],
            np.array(self.placed["vector"].to_list(), dtype=np.float32),
            limit=int(lengths.max()),
            max_loss=settings.ranking.cascade_loss,
        )


def part_size(cascade: Cascade | None) -> int:
    """Pairs that are scored at once, about."""
    return CHUNK_PAIRS if cascade is None else CASCADE_PAIRS


def chunks(pairs: pl.DataFrame, size: int = CHUNK_PAIRS) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """Moments low to high - 1 and their pairs, about `size` at a time."""
    ends = np.cumsum(run_lengths(pairs, ["user_id", "at"]))
    low = 0
    while low < len(ends):
        begin = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, begin + size, side="right")))
        yield low, high, pairs[begin : int(ends[high - 1])]
        low = high


def score_day(job: Job, ranker: Ranker, daily: pl.DataFrame, folder: Path) -> tuple[pl.DataFrame, Cascade | None]:
    """Scores of today's candidates, and the first model that thinned them out, if there was one.

    Args:
        job: whose features stage is finished.
        ranker: the one to score with.
        daily: the candidates, as daily.parquet has them: with their features, or, on a large day, without.
        folder: of the stage, where `ranker` was saved.
    """
    if set(ranker.features) <= set(daily.columns):
        return ranker.scores(daily), None
    day = Day.read(job)
    today = pl.read_parquet(job.run / "features" / "embeddings.parquet")
    moments = daily.select("user_id", "at").unique(maintain_order=True)
    placed = moments.join(today, on="user_id", how="left", maintain_order="left")["vector"]
    vectors = np.array(placed.to_list(), dtype=np.float32)
    cascade = day.learn_cascade(ranker, daily, vectors, job.settings)
    if job.cluster:
        scores = pl.concat(_spread(job, day, daily, vectors, cascade, folder))
    else:
        scores = pl.concat(list(day.scores(ranker, daily, vectors, cascade)))
    shutil.rmtree(folder / SCORING, ignore_errors=True)
    return scores, cascade


def _spread(
    job: Job,
    day: Day,
    daily: pl.DataFrame,
    vectors: npt.NDArray[np.floating],
    cascade: Cascade | None,
    folder: Path,
) -> list[pl.DataFrame]:
    """`Day.scores` in the same parts, each scored by a worker of the job's cluster from the events of its users."""
    home = folder.resolve() / SCORING
    home.mkdir(exist_ok=True)
    day.events.write_parquet(home / EVENTS, row_group_size=EVENTS_AT_ONCE)
    parts: dict[str, tuple[Any, ...]] = {}
    begin = 0
    for low, high, pairs in chunks(daily, part_size(cascade)):
        parts[f"{low:09d}"] = (
            job.elsewhere(), folder.resolve(), (begin, len(pairs)), day.others["space"], vectors[low:high], cascade,
        )  # fmt: skip
        begin += len(pairs)
    with workers_of(job.cluster) as workers:
        done = list(workers.spread(score_part, parts, home))
    return [pl.read_parquet(part / SCORES) for part in done]


def score_part(
    job: Job,
    ranking: Path,
    rows: tuple[int, int],
    space: Space,
    vectors: npt.NDArray[np.floating],
    cascade: Cascade | None,
    folder: Path,
) -> None:
    """Writes the scores of some rows of daily.parquet.

    Args:
        job: whose features stage is finished.
        ranking: folder of the unfinished ranking stage, with the ranker and the events by user.
        rows: the first, and how many.
        space: with today's guests.
        vectors: (n, D) of the users in the rows.
        cascade: the first model.
        folder: where to.
    """
    pairs = pl.scan_parquet(job.run / "features" / "daily.parquet").slice(*rows).collect()
    theirs = pl.col("user_id").is_between(pl.lit(pairs["user_id"][0]), pl.lit(pairs["user_id"][-1]))
    events = pl.scan_parquet(ranking / SCORING / EVENTS).filter(theirs).collect()
    sources = job.run / "sources"
    impressions, concepts = (pl.read_parquet(sources / f"{name}.parquet") for name in ("impressions", "concepts"))
    placed = pl.read_parquet(job.run / "features" / "concept_vectors.parquet")
    day = Day.of(events, impressions, concepts, space, placed, job.settings)
    day.score(Ranker.load(ranking / "ranker"), pairs, vectors, cascade).write_parquet(folder / SCORES)


def cut_replay(job: Job, cascade: Cascade, replay: pl.DataFrame) -> pl.DataFrame:
    """The candidates at logged slates' moments that the first model would have kept then, in their order."""
    features = job.settings.features
    ids = pl.read_parquet(job.run / "features" / "concept_vectors.parquet")["concept_id"].sort()
    moments = replay.select("user_id", "at").unique(maintain_order=True)
    events, concepts = (pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("events", "concepts"))
    test_from = dt.datetime.fromisoformat(json.loads((job.run / "features" / "facts.json").read_text())["test_from"])
    space = Space.load(job.run / "features" / "space")
    vectors = embeddings_at(
        events,
        welcomed(space, events.filter(pl.col("at") < test_from), concepts, features),
        moments,
        half_life_days=features.half_life_days,
        delay_seconds=features.delay_seconds,
        action_weights=features.action_weights,
    )
    return cascade.cut(replay, ids, vectors)
