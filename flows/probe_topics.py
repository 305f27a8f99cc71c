"""Turns sensitive topics and the run's embeddings into how well a classifier still guesses one from the other."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from evaluation.report_data import TopicProbe
from flows.admit_rows import admitted_for_now
from flows.job import Job
from ranking.probe import probe, too_few
from sources.outcome import read_table


def probe_topics(job: Job) -> tuple[TopicProbe, ...]:
    """For each sensitive topic: the held-out AUC of guessing from the embedding who browsed it.

    Who browsed it is read again from the data folder, held in memory for the moment, and not written anywhere.
    """
    topics = job.settings.sources.sensitive_topics
    if not topics:
        return ()
    embedded = pl.read_parquet(job.run / "features" / "embeddings.parquet").sort("user_id")
    holders = {topic: embedded["user_id"].is_in(users.implode()) for topic, users in _browsers(job, topics).items()}
    vectors = np.array(embedded["vector"].to_list(), dtype=np.float64)
    return tuple(_one(topic, vectors, holders[topic].to_numpy(), job.settings.seed) for topic in topics)


def _one(topic: str, vectors: NDArray[np.float64], holders: NDArray[np.bool_], seed: int) -> TopicProbe:
    users, holding = holders.size, int(holders.sum())
    why = too_few(holders)
    found = None if why is not None else probe(vectors, holders, seed=seed)
    if found is None:
        return TopicProbe(topic=topic, users=users, holders=holding, reason=why or "")
    return TopicProbe(
        topic=topic, users=users, holders=holding, auc=found.auc, low=found.low, high=found.high,
        classifier=found.classifier,
    )  # fmt: skip


def _browsers(job: Job, topics: tuple[str, ...]) -> dict[str, pl.Series]:
    """Topic -> the users, as they are kept, with an event on it."""
    open_eyed = job.settings.sources.model_copy(update={"sensitive_topics": ()})
    with admitted_for_now(job, open_eyed) as out:
        events = read_table(out, "events").select("user_id", "topics")
    return {topic: events.filter(pl.col("topics").list.contains(topic))["user_id"].unique() for topic in topics}
