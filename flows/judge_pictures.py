"""Turns a run's creatives into what an independent judge expects of each, and how well that judge knows people."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.errors import AdloomError
from contracts.seeds import stream
from evaluation.judged import JudgedPictures
from features.space import Space
from flows.job import Job
from flows.prepare_examples import Prepared, prepare_examples
from flows.train_generator import SIDE
from flows.value_pictures import Worth, picture_values, scene
from generators.painting.painters import scene_looks
from generators.products import load_product
from generators.taste.judge import Judge, fit_judge
from generators.taste.look import picture_looks

Floats = npt.NDArray[np.float32]

USERS = 20_000
"""Users whose pictures are judged at most, drawn at random: more would not make the figures surer."""

HELD_OUT = 50_000
"""Impressions of the scorer's users that the judge is tried on at most."""


def judge_pictures(
    job: Job, slates: pl.DataFrame, cohorts: pl.DataFrame, creatives: pl.DataFrame
) -> JudgedPictures | str:
    """The judge's word on every personal creative; or, in a sentence, why there is none.

    The judge learns in this moment, from the logged pictures that its half of the users saw; nothing of it is kept.
    """
    run = job.run
    if pl.read_parquet(run / "sources" / "pictures.parquet").is_empty():
        return "The log holds no pictures, so nobody can be taught what people like to see."
    space = Space.load(run / "features" / "space")
    try:
        prepared = prepare_examples(job.data, run / "sources", space, job.settings.features, side=SIDE, before=None,
                                    split="all")  # fmt: skip
        mine = prepared.half(judges=True)
        if mine is None:
            return "Nobody of the judge's half of the users saw a logged picture."
        features = picture_looks(prepared.examples.pictures, prepared.examples.masks)
        judge = fit_judge(mine.examples, features, mine.people, seed=job.settings.seed)
    except AdloomError as error:
        return f"There is no judge: {error.where}: {error.what}."
    others = prepared.half(judges=False)
    people = cohorts.sort("user_id")
    if len(people) > USERS:
        people = people[np.sort(stream(job.settings.seed, "judged").choice(len(people), USERS, replace=False))]
    rows, chances = picture_values(slates, people, creatives, _worth(job, judge, prepared, features))
    held_out = None if others is None else _held_out(judge, others, features, job.settings.seed)
    own = creatives.select("creative_id", "concept_id", "cohort")
    return JudgedPictures(rows=rows.join(own, on=["concept_id", "cohort"], how="left", maintain_order="left"),
                          chances=chances, users=judge.users, impressions=judge.impressions, clicks=judge.clicks,
                          held_out=held_out)  # fmt: skip


def _worth(job: Job, judge: Judge, prepared: Prepared, features: Floats) -> Worth:
    concepts = pl.read_parquet(job.run / "sources" / "concepts.parquet", columns=["concept_id", "product_image"])
    place = {name: number for number, name in enumerate(concepts["concept_id"])}
    embedded = pl.read_parquet(job.run / "features" / "embeddings.parquet").select("user_id", "vector")
    of_picture = prepared.examples.picture_concept

    @cache
    def looks(creative: str, number: int) -> Floats:
        picture = concepts["product_image"][number]
        return scene_looks(scene(job.run, creative), None if picture is None else load_product(job.data / picture))

    def worth(people: pl.Series, concept: str, creative: str | None) -> npt.NDArray[np.float64]:
        number = place[concept]
        joined = people.to_frame("user_id").join(embedded, on="user_id", how="left", maintain_order="left")
        vectors = np.array(joined["vector"].to_list(), dtype=np.float32)
        shown = looks(creative, number) if creative is not None else features[of_picture == number]
        if not len(shown):
            return np.full((len(judge.fits), len(people)), np.nan)
        vector = prepared.examples.concept_vectors[number]
        return np.asarray(judge.chances(vectors, number, vector, shown).mean(axis=2), np.float64)

    return worth


def _held_out(judge: Judge, others: Prepared, features: Floats, seed: int) -> pl.DataFrame:
    """Impressions of people the judge never saw: user, clicked, and by how much the picture shown beats its concept's mean.

    Those of concepts with a single picture are left out: there was nothing to prefer.
    """
    examples = others.examples
    pictures = np.bincount(examples.picture_concept)
    chosen = np.flatnonzero(pictures[examples.picture_concept[examples.impression_picture]] > 1)
    if len(chosen) > HELD_OUT:
        chosen = np.sort(stream(seed, "held out of the judge").choice(chosen, HELD_OUT, replace=False))
    picture, moment = examples.impression_picture[chosen], examples.impression_user[chosen]
    concept, advantage = examples.picture_concept[picture], np.zeros(len(chosen))
    taste = judge.fits[0].taste
    for number in np.unique(concept):
        rows, mates = np.flatnonzero(concept == number), np.flatnonzero(examples.picture_concept == number)
        appeal = taste.appeal(examples.user_vectors[moment[rows]], features[mates])  # (n, P of the concept)
        shown = np.searchsorted(mates, picture[rows])
        advantage[rows] = appeal[np.arange(len(rows)), shown] - appeal.mean(axis=1)
    columns: dict[str, Any] = {
        "user": others.people[chosen],
        "clicked": examples.clicked[chosen] > 0,
        "advantage": advantage,
    }
    return pl.DataFrame(columns)
