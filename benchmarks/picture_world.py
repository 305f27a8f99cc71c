"""Turns a planted world into whom pictures are for, what they show, and their true click chance: for the benchmarks of generators."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from contracts.seeds import seed_of, stream
from contracts.settings import load_settings
from features.embeddings import embeddings_at
from features.space import Space
from flows.build_features import last_moment
from flows.choose_models import find_generator, versions
from flows.job import MODELS
from flows.measure_truth import product_square
from flows.place_users import browsing_settings
from generators.layout import DEFAULT_BOX
from generators.painting.painters import Painter, SceneRequest
from generators.products import Pixels, load_product, place_product
from generators.scorer import Scorer
from generators.studio import Order
from generators.taste.taste import Taste
from generators.typesetting.wording import Copy
from sources.creatives import draw_creative
from sources.look import look, standout
from sources.scenes import draw_scene, sample_style
from sources.truth import Truth

CANDIDATES = 8
"""Draws of a picture, of which one is kept."""

EVENTS = 4
"""The fewest events of a user; and what is left of a log of which little is known."""

SIDE = 128
"""Pixels of a picture."""

LEAST_USERS = 6  # of one concept
AROUND = 576  # pictures around a product, as many as the sample has logged in all
WORDS = Copy(headline="", body="", call_to_action="", advertiser="")

Numbers = np.ndarray


@dataclass(frozen=True)
class World:
    """A planted world, and one concept for each of some users. U users, D dimensions."""

    truth: Truth
    taste: Taste
    space: Space
    folder: Path
    concepts: pl.DataFrame
    events: pl.DataFrame
    people: pl.Series
    concept: Numbers
    seed: int

    @classmethod
    def open(cls, folder: Path, users: int, seed: int) -> World:
        space = Space.load(next(versions(MODELS, "space")))
        found = find_generator(MODELS, space.hash)
        assert found is not None, "the sample's weights come with the code"
        concepts = pl.read_parquet(folder / "concepts.parquet")
        events = pl.read_parquet(folder / "events.parquet")
        consents = pl.read_parquet(folder / "users.parquet").filter("personalise")["user_id"].sort()
        enough = events.group_by("user_id").len().filter(pl.col("len") >= EVENTS)["user_id"]
        consents = consents.filter(consents.is_in(enough.implode()))
        drawn = stream(seed, "people").choice(len(consents), users, replace=False)
        few = max(1, min(len(concepts), users // LEAST_USERS))
        dealt = stream(seed, "concepts").permutation(np.arange(users) % few) * (len(concepts) // few)
        return cls(Truth.load(folder), Taste.load(found, space.hash), space, folder, concepts, events, consents[drawn], dealt, seed)  # fmt: skip

    @cached_property
    def at(self) -> Any:
        return last_moment(self.events) + timedelta(microseconds=1)

    @cached_property
    def names(self) -> Numbers:
        """(U,) concept_id of each user."""
        return np.array(self.concepts["concept_id"].to_list())[self.concept]

    @cached_property
    def products(self) -> list[Pixels]:
        return [load_product(self.folder / file) for file in self.concepts["product_image"]]

    @cached_property
    def boxes(self) -> Numbers:
        """(U, 4) where the square picture of each user's product stands, as the law has it, when the product is set as painters do."""
        squares = [product_square(self.folder / file, SIDE) for file in self.concepts["product_image"]]
        return np.array(squares)[self.concept]

    @cached_property
    def around(self) -> dict[int, tuple[Numbers, Numbers]]:
        """Looks (576, 5) and standing out (576,) of pictures by the law around the product of each concept that somebody was dealt."""
        told = {}
        for number in np.unique(self.concept):
            file = self.folder / self.concepts["product_image"][int(number)]
            drawn = [draw_creative(file, SIDE, stream(self.seed, "around", int(number), one)) for one in range(AROUND)]
            pictures, boxes = (np.stack(part) for part in zip(*drawn, strict=True))
            told[int(number)] = look(pictures), standout(pictures, boxes)
        return told

    @cached_property
    def concept_vectors(self) -> Numbers:
        return self.space.place_concepts(self.concepts)

    def vectors(self, events: pl.DataFrame) -> Numbers:
        """(U, D) embeddings from these events."""
        moments = self.people.to_frame("user_id").with_columns(at=pl.lit(self.at, dtype=pl.Datetime("us", "UTC")))
        return embeddings_at(events, self.space, moments, **browsing_settings(load_settings(None).features))

    def last_events(self, count: int) -> pl.DataFrame:
        """The last events of everyone, among those that count for an embedding."""
        weights = load_settings(None).features.action_weights
        counted = self.events.filter(pl.col("action").is_in([name for name, weight in weights.items() if weight > 0]))
        return counted.sort("at").group_by("user_id", maintain_order=True).tail(count)

    def chances(self, rows: Numbers, scenes: Pixels) -> Numbers:
        """True click chances (N,), for the users in these rows, of scenes (N, S, S, 3) for their concepts, or one for all."""
        names, boxes = self.names[rows[: len(scenes)]], self.boxes[rows[: len(scenes)]]
        return self.truth.picture_value(self.people[rows], scenes, list(names), boxes, self.at)

    @cached_property
    def everyone(self) -> Numbers:
        """(U,) the rows of all users."""
        return np.arange(len(self.people))

    @cached_property
    def known_tastes(self) -> Numbers:
        """(U, 5) true tastes as well as embeddings tell them, by regression of everybody's, each left out of their own."""
        everybody = replace(
            self, people=pl.read_parquet(self.folder / "users.parquet").filter("personalise")["user_id"].sort()
        )
        vectors, tastes = everybody.vectors(self.events), self.truth.tastes(everybody.people)
        model = RidgeCV(np.logspace(-3, 3, 13))
        found = cross_val_predict(model, vectors, tastes, cv=KFold(10, shuffle=True, random_state=self.seed))
        return found[everybody.people.search_sorted(self.people).to_numpy()]

    def orders(self, users: Numbers | None, label: str, copies: int = CANDIDATES) -> list[list[Order]]:
        """For everyone, so many orders of the same picture from different seeds; users: vectors (U, D), None: nobody's.

        A general picture is the concept's, whoever sees it, so those of a concept have the same seeds.
        """
        told = []
        for row, number in enumerate(self.concept):
            whose = int(number) if users is None else self.people[row]
            order = Order(label, self.names[row], None if users is None else users[row], self.concept_vectors[number],
                          self.products[number], WORDS, 0)  # fmt: skip
            told.append([replace(order, seed=seed_of(self.seed, label, whose, number, copy)) for copy in range(copies)])
        return told


def paint(painter: Painter, orders: list[list[Order]], label: str) -> Pixels:
    """(U, K, S, S, 3); equal requests are painted once."""
    flat = [order for row in orders for order in row]
    places: dict[tuple[str, int], int] = {}
    wanted: list[SceneRequest] = []
    for order in flat:
        if places.setdefault((order.concept_id, order.seed), len(wanted)) == len(wanted):
            wanted.append(order.scene())
    began, done = time.perf_counter(), []
    for first in range(0, len(wanted), 64):
        done.append(painter.paint(wanted[first : first + 64]))
        print(f"  {label}: {first + len(done[-1])} of {len(wanted)}", end="\r", flush=True)
    print(f"  {label}: {len(wanted)} pictures in {time.perf_counter() - began:.0f} s", flush=True)
    scenes = np.concatenate(done)[[places[order.concept_id, order.seed] for order in flat]]
    return scenes.reshape(len(orders), -1, *scenes.shape[1:])


def kept(scorer: Scorer, orders: list[list[Order]], scenes: Pixels) -> Pixels:
    """(U, S, S, 3) the candidate that the scorer keeps."""
    return np.stack([own[int(scorer(row[0], own).argmax())] for row, own in zip(orders, scenes, strict=True)])


def held_out(world: World, count: int) -> Pixels:
    """Scenes by the world's law around its products, where the painters put them."""
    return np.stack(
        [
            place_product(
                draw_scene(sample_style(stream(world.seed, "held out", one)), SIDE),
                world.products[one % len(world.products)], DEFAULT_BOX,
            )
            for one in range(count)
        ]
    )  # fmt: skip
