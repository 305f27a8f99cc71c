"""Turns candidates into scores: at once where they are few, some users at a time behind a first model where many."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.settings import Settings
from features.embeddings import embeddings_at
from features.shown import Shown
from features.space import Space, Vectors
from features.table import ranking_table, shown
from flows.job import Job
from flows.part_users import files_of, made_of, read_parts
from flows.place_users import browsing_settings
from flows.refit_space import welcomed
from flows.spread_work import workers_of
from ranking.cascade import Cascade, distil
from ranking.frames import run_lengths, vectors_of
from ranking.ranker import Ranker

LARGE_DAY = 2_000_000
"""Candidates from which on they are scored some users at a time, their features never all in memory or on disk."""

PART_PAIRS = 2_500_000
"""Candidates of one part, about: a file, which the first model thins out at once."""

CHUNK_PAIRS = 500_000
"""Pairs whose features are made at once, about."""

SAMPLE_PAIRS = 750_000
"""Pairs whose scores teach the first model, at most."""

SCORING, SCORES = "scoring", "scores.parquet"
"""Folder of what workers score, until all is; and the scores in each of its parts."""

_MOMENT = ["user_id", "at"]
Part = tuple[pl.DataFrame, npt.NDArray[np.floating] | None]
"""Pairs (user_id, at, concept_id; sorted) of whole users, and (n, D) the users' embeddings, one for each run of equal
(user_id, at); None: they are made when they are needed."""


@dataclass(frozen=True, eq=False)
class Day:
    """The tables that features are made of, ordered so that those of a few users are a slice.

    Attributes:
        events: sorted by user_id, in their order otherwise; or a scan of files that are.
        others: impressions (coded or not), concepts, space and settings as `ranking_table` takes them.
        placed: concept_id, vector; sorted by concept_id.
    """

    events: pl.DataFrame | pl.LazyFrame
    others: dict[str, Any]
    placed: pl.DataFrame

    @classmethod
    def of(
        cls,
        events: pl.DataFrame | pl.LazyFrame,
        impressions: pl.DataFrame,
        concepts: pl.DataFrame,
        space: Space,
        placed: pl.DataFrame,
        settings: Settings,
    ) -> Day:
        """From a run's tables; a scan of events must be sorted by user_id."""
        others = {"impressions": impressions, "concepts": concepts, "space": space, "settings": settings.features}
        if isinstance(events, pl.DataFrame):
            events = events.sort("user_id", maintain_order=True)
        return cls(events, others, placed.sort("concept_id"))

    def seen_from(self, space: Space, placed: pl.DataFrame) -> Day:
        """The same day with items and concepts at other places."""
        return Day(self.events, {**self._tables, "space": space}, placed.sort("concept_id"))

    @classmethod
    def read(cls, job: Job, space: Space | None = None, *, before: datetime | None = None) -> Day:
        """Of a run whose features stage is finished.

        Args:
            job: the run's.
            space: with its guests; None: the run's, with those of the events.
            before: the guests are those of the events before this moment; None: of all.
        """
        impressions, concepts = (
            pl.read_parquet(job.run / "sources" / f"{name}.parquet") for name in ("impressions", "concepts")
        )
        events = pl.scan_parquet(files_of(job.run / "features" / "events.parquet"))
        if space is None:
            known = events if before is None else events.filter(pl.col("at") < before)
            space = welcomed(Space.load(job.run / "features" / "space"), known, concepts, job.settings.features)
        placed = pl.read_parquet(job.run / "features" / "concept_vectors.parquet")
        return cls.of(events, impressions, concepts, space, placed, job.settings)

    @cached_property
    def _tables(self) -> dict[str, Any]:
        """`others` with the impressions coded, once for all parts."""
        log = self.others["impressions"]
        coded = log if isinstance(log, Shown) else shown(log, self.others["concepts"])
        return {**self.others, "impressions": coded}

    def log_of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The events of the users from the first row's to the last one's; the rows are sorted by user_id."""
        first, last = rows["user_id"][0], rows["user_id"][-1]
        if isinstance(self.events, pl.LazyFrame):
            return self.events.filter(pl.col("user_id").is_between(pl.lit(first), pl.lit(last))).collect()
        users = self.events["user_id"]
        return self.events[int(users.search_sorted(first, "left")) : int(users.search_sorted(last, "right"))]

    def rows(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The features of pairs, sorted by user_id: the same values as with all users at once."""
        return ranking_table(pairs, events=self.log_of(pairs), **self._tables)

    def table(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """The features of pairs of any users, in their order, all at once."""
        return ranking_table(pairs, events=self.events, **self._tables)

    def vectors(self, moments: pl.DataFrame) -> Vectors:
        """(n, D) embeddings of users at moments (user_id, at), sorted by user_id."""
        known = browsing_settings(self.others["settings"])
        return embeddings_at(self.log_of(moments), self.others["space"], moments, **known)

    def score(self, ranker: Ranker, part: Part, cascade: Cascade | None) -> pl.DataFrame:
        """Scores of the pairs of some users; with a cascade of those it keeps."""
        pairs, vectors = part
        if cascade is not None:
            if vectors is None:
                vectors = self.vectors(pairs.select(_MOMENT).unique(maintain_order=True))
            pairs = cascade.cut(pairs, self.placed["concept_id"], vectors)
        return pl.concat([ranker.scores(self.rows(some)) for _, _, some in chunks(pairs, CHUNK_PAIRS)])

    def scores(
        self, ranker: Ranker, pairs: pl.DataFrame, vectors: npt.NDArray[np.floating], cascade: Cascade | None
    ) -> Iterator[pl.DataFrame]:
        """Scores of pairs that are in memory, see `scores_of`; `vectors` as in Part."""
        size = CHUNK_PAIRS if cascade is None else PART_PAIRS
        parts = ((part, vectors[low:high]) for low, high, part in chunks(pairs, size))
        return self.scores_of(ranker, parts, cascade)

    def scores_of(self, ranker: Ranker, parts: Iterable[Part], cascade: Cascade | None) -> Iterator[pl.DataFrame]:
        """Scores of parts, one by one in their order."""
        return made_of(parts, lambda part: self.score(ranker, part, cascade), threads=ranker.threads)

    def learn_cascade(
        self,
        ranker: Ranker,
        sample: pl.DataFrame,
        vectors: npt.NDArray[np.floating],
        settings: Settings,
        *,
        limit: int | None = None,
    ) -> Cascade | None:
        """The first model for a day, learned from some of its users; None where it would not pay.

        Args:
            ranker: which it is distilled from.
            sample: pairs of the users, and `vectors`, as in Part.
            settings: of the run.
            limit: candidates of a user of the day at most; None: as in the sample.
        """
        if not settings.ranking.cascade_loss:
            return None
        ids = self.placed["concept_id"]
        lengths = run_lengths(sample, _MOMENT)
        scored = pl.concat(list(self.scores(ranker, sample, vectors, None)))
        row = np.repeat(np.arange(len(lengths)), lengths)
        column = ids.search_sorted(scored["concept_id"]).to_numpy()
        score, chance = (np.full((len(lengths), len(ids)), np.nan) for _ in range(2))
        score[row, column], chance[row, column] = scored["score"].to_numpy(), scored["click_chance"].to_numpy()
        return distil(
            score,
            chance,
            vectors,
            vectors_of(self.placed["vector"]),
            limit=limit or int(lengths.max()),
            max_loss=settings.ranking.cascade_loss,
        )


def chunks(pairs: pl.DataFrame, size: int = CHUNK_PAIRS) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """Moments low to high - 1 and their pairs, about `size` at a time."""
    ends = np.cumsum(run_lengths(pairs, _MOMENT))
    low = 0
    while low < len(ends):
        begin = int(ends[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(ends, begin + size, side="right")))
        yield low, high, pairs[begin : int(ends[high - 1])]
        low = high


def is_large(table: Path, ranker: Ranker) -> bool:
    """Whether a table of candidates, daily.parquet or replay.parquet, comes without their features."""
    return not set(ranker.features) <= set(pl.read_parquet_schema(files_of(table)[0]))


def learn_cascade(job: Job, day: Day, ranker: Ranker) -> Cascade | None:
    """The first model for a large day, learned from some of its users, evenly spaced; None where it would not pay."""
    if not job.settings.ranking.cascade_loss:
        return None
    files = files_of(job.run / "features" / "daily.parquet")
    counts = [run_lengths(pl.read_parquet(file, columns=_MOMENT, glob=False), _MOMENT) for file in files]
    lengths = np.concatenate(counts)
    count = max(1, min(len(lengths), SAMPLE_PAIRS // int(lengths.max())))
    some = np.zeros(len(lengths), dtype=np.bool_)
    some[np.linspace(0, len(lengths) - 1, count).astype(np.int64)] = True
    taken = np.split(some, np.cumsum([len(one) for one in counts])[:-1])
    sample = pl.concat(
        pl.read_parquet(file, glob=False).filter(pl.Series(np.repeat(here, inside)))
        for file, here, inside in zip(files, taken, counts, strict=True)
    )
    vectors = day.vectors(sample.select(_MOMENT).unique(maintain_order=True))
    return day.learn_cascade(ranker, sample, vectors, job.settings, limit=int(lengths.max()))


def scores_of(
    job: Job, day: Day, ranker: Ranker, table: Path, cascade: Cascade | None, folder: Path
) -> Iterator[pl.DataFrame]:
    """Scores of the candidates of a table of the features stage, part by part, each with all of its users.

    Args:
        job: whose features stage is finished.
        day: that features are made of.
        ranker: the one to score with.
        table: daily.parquet or replay.parquet, large.
        cascade: the first model, or none.
        folder: of the stage, where `ranker` was saved.
    """
    if job.cluster:
        return _spread(job, day, table, cascade, folder)
    return day.scores_of(ranker, ((part, None) for part in read_parts(table)), cascade)


def replayed(
    job: Job, ranker: Ranker, cascade: Cascade | None, before: datetime, folder: Path
) -> Iterator[pl.DataFrame] | None:
    """Scores of the candidates at logged slates' moments that the first model would have kept then; None: not replayed.

    Args:
        job, ranker, cascade, folder: as `scores_of` takes them.
        before: items that were new from this moment on had no place then.
    """
    table = job.run / "features" / "replay.parquet"
    if not table.exists():
        return None
    if is_large(table, ranker):
        return scores_of(job, Day.read(job, before=before), ranker, table, cascade, folder)
    rows = pl.read_parquet(table)
    if cascade is not None:
        day = Day.read(job, before=before)
        vectors = day.vectors(rows.select(_MOMENT).unique(maintain_order=True))
        rows = cascade.cut(rows, day.placed["concept_id"], vectors)
    return iter([ranker.scores(rows)])


def _spread(job: Job, day: Day, table: Path, cascade: Cascade | None, folder: Path) -> Iterator[pl.DataFrame]:
    """`Day.scores_of` in the same parts, each scored by a worker of the job's cluster."""
    home = folder.resolve() / SCORING
    home.mkdir(exist_ok=True)
    parts: dict[str, tuple[Any, ...]] = {
        f"{table.stem}-{file.stem}": (job.elsewhere(), folder.resolve(), file.resolve(), day.others["space"], cascade)
        for file in files_of(table)
    }
    with workers_of(job.cluster) as workers:
        for part in workers.spread(score_part, parts, home):
            yield pl.read_parquet(part / SCORES)
    shutil.rmtree(home, ignore_errors=True)


def score_part(job: Job, ranking: Path, file: Path, space: Space, cascade: Cascade | None, folder: Path) -> None:
    """Writes the scores of one file of a table of candidates.

    Args:
        job: whose features stage is finished.
        ranking: folder of the unfinished ranking stage, with the ranker.
        file: the candidates.
        space: with its guests.
        cascade: the first model.
        folder: where to.
    """
    pairs = pl.read_parquet(file, glob=False)
    Day.read(job, space).score(Ranker.load(ranking / "ranker"), (pairs, None), cascade).write_parquet(folder / SCORES)
