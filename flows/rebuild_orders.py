"""Turns a creative of a finished run back into the order that it was made for."""

from __future__ import annotations

import numpy as np
import polars as pl

from contracts.errors import RunError
from contracts.tables import GENERAL_COHORT
from flows.draw_batches import Goods, ready
from flows.job import Job
from generators.studio import Order


class OrderBook:
    """Orders of a run: whom each creative is for, and what it is made of.

    Args:
        job: whose run is finished up to the creatives.
        knows_space: whether the painter knows the space of the vectors.
    """

    def __init__(self, job: Job, *, knows_space: bool) -> None:
        self.concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet")
        slates = pl.read_parquet(job.run / "ranking" / "slates.parquet")
        self.goods: dict[str, Goods] = ready(job, self.concepts, slates)[0]
        self._vectors = dict(pl.read_parquet(job.run / "features" / "concept_vectors.parquet").iter_rows())
        embedded = pl.read_parquet(job.run / "features" / "embeddings.parquet").select("user_id", "vector")
        self._people = pl.read_parquet(job.run / "generators" / "cohorts.parquet").join(embedded, on="user_id")
        self._knows_space = knows_space

    def order(self, name: str, concept: str, cohort: int, seed: int) -> Order:
        """The order of a creative. Raises RunError when its concept cannot be drawn any more."""
        goods = self.goods.get(concept)
        if goods is None:
            raise RunError(
                "cannot be drawn", where=f"concept {concept}", fix="See generators/set_aside.json in the run."
            )
        user = None
        if cohort != GENERAL_COHORT:
            members = self._people.filter(pl.col("cohort") == cohort)["vector"].to_list()
            user = np.array(members, np.float32).mean(axis=0) if members else None
        return Order(
            name=name,
            concept_id=concept,
            user=user,
            concept=np.array(self._vectors[concept], np.float32) if self._knows_space else None,
            product=goods.product,
            copy=goods.copy,
            seed=seed,
            topics=goods.topics,
            cohort=cohort,
            brand=goods.brand,
        )
