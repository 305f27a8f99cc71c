"""Turns true click chances of pictures into what they are worth: shares of the oracle's lift, and how often one's own beats another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from benchmarks.picture_world import CANDIDATES, SIDE, Numbers, World, held_out
from contracts.seeds import stream
from flows.measure_truth import product_square
from generators.painting.painters import Painter, frame_product, scene_looks
from generators.products import Pixels
from generators.studio import Order
from sources.look import look, standout


def interval(measure: Callable[[Numbers], float], users: int) -> list[float]:
    """95 % bootstrap of a figure of some users (indices)."""
    rng = stream(1, "bootstrap")
    drawn = [measure(rng.integers(users, size=users)) for _ in range(2000)]
    return [float(edge) for edge in np.percentile(drawn, [2.5, 97.5])]


def wins(world: World, scenes: Pixels) -> Numbers:
    """(U,) share of the others of the same concept whose picture the user's own beats."""
    found = np.zeros(len(scenes))
    for number in np.unique(world.concept):
        rows = np.flatnonzero(world.concept == number)
        table = np.stack([world.chances(rows, scenes[one][None]) for one in rows], axis=1)
        own = table.diagonal()[:, None]
        found[rows] = ((own > table).sum(axis=1) + 0.5 * ((own == table).sum(axis=1) - 1)) / (len(rows) - 1)
    return found


def references(world: World) -> dict[str, Numbers]:
    """(U,) true chances of what is not painted: see the top of this file."""
    truth, tau = world.truth, world.truth.tastes(world.people)
    match = truth.topic_match(world.people, world.at, list(world.names))
    looks, standouts = truth.creatives["look"].to_numpy(), truth.creatives["standout"].to_numpy()
    whose = truth.creatives["concept_id"].to_numpy()
    everyone = pl.Series(list(truth.user_rows))
    single = np.zeros(len(tau))
    for name in np.unique(world.names):
        mine = np.flatnonzero(whose == name)
        fit = truth.topic_match(everyone, world.at, [name] * len(everyone))
        means = [truth.law.click_chance(truth.tau, looks[one], fit, 0, standouts[one]).mean() for one in mine]
        best, rows = mine[int(np.argmax(means))], world.names == name
        single[rows] = truth.law.click_chance(tau[rows], looks[best], match[rows], 0, standouts[best])
    best_looks, best_standouts = np.zeros_like(tau), np.zeros(len(tau))
    for number, (theirs, apart) in world.around.items():
        rows = np.flatnonzero(world.concept == number)
        chosen = truth.law.candidate_utilities(tau[rows], theirs, apart).argmax(axis=1)
        best_looks[rows], best_standouts[rows] = theirs[chosen], apart[chosen]
    return {
        "logged": truth.oracle_scores(world.people, world.at, list(world.names)),
        "best single logged creative": single,
        "oracle": truth.law.best_chance(tau, looks, standouts, match)[0],
        "oracle around the product": truth.law.click_chance(tau, best_looks, match, 0, best_standouts),
        "as embeddings know": truth.law.click_chance(tau, world.known_tastes, match, 0, best_standouts),
        "bound": truth.law.click_chance(tau, tau, match, 0, np.full(len(tau), standouts.max())),
    }


def lifts(chances: dict[str, Numbers], base: dict[str, Numbers]) -> dict[str, dict[str, Any]]:
    """Mean true chance and share of the oracle's lift, of every way to choose a picture."""

    def share(of: Numbers, most: Numbers) -> Callable[[Numbers], float]:
        return lambda rows: float((of - base["logged"])[rows].mean() / (most - base["logged"])[rows].mean())

    everyone = np.arange(len(base["logged"]))
    told = {}
    for name, values in {**base, **chances}.items():
        lift = share(values, base["oracle"])
        told[name] = {"chance": float(values.mean()), "lift": lift(everyone), "interval": interval(lift, len(everyone)),
                      "of_product": share(values, base["oracle around the product"])(everyone)}  # fmt: skip
    return told


@dataclass(frozen=True)
class Exact:
    """What looks are worth that are painted exactly: a fit of the law's numbers to ours, on scenes by the world's own law.

    Attributes:
        centre, spread, least, most: (F,) of our looks there. weights: (1 + 2 F, 6) of the law's five numbers and of standing out.
    """

    centre: Numbers
    spread: Numbers
    least: Numbers
    most: Numbers
    weights: Numbers

    @classmethod
    def fit(cls, world: World, scenes: int = 480) -> Exact:
        pictures = held_out(world, scenes)
        products = [world.products[one % len(world.products)] for one in range(scenes)]
        files = [world.concepts["product_image"][one % len(world.products)] for one in range(scenes)]
        ours = np.concatenate(
            [scene_looks(one[None], product) for one, product in zip(pictures, products, strict=True)]
        )
        law = np.c_[
            look(pictures), standout(pictures, np.array([product_square(world.folder / file, SIDE) for file in files]))
        ]
        bare = cls(ours.mean(0), ours.std(0), ours.min(0), ours.max(0), np.zeros(0))
        return replace(bare, weights=np.linalg.lstsq(bare._terms(ours), law, rcond=None)[0])

    def _terms(self, looks: Numbers) -> Numbers:
        z = (looks - self.centre) / self.spread
        return np.c_[np.ones(len(z)), z, z**2]

    def chances(self, world: World, looks: Numbers) -> Numbers:
        """(U,) true chances of the users' looks (U, F), no further out than any logged scene is."""
        law = self._terms(np.clip(looks, self.least, self.most)) @ self.weights
        match = world.truth.topic_match(world.people, world.at, list(world.names))
        return world.truth.law.click_chance(
            world.truth.tastes(world.people), law[:, :5], match, 0, law[:, 5].clip(0, 1)
        )

    def drawn(self, world: World, painter: Painter, orders: list[list[Order]]) -> dict[str, Numbers]:
        """True chances of the looks that a painter wishes for: of the first of each user, and of the best by the scorer."""
        asked = [order.scene() for row in orders for order in row]
        framed, masks = (
            np.stack(part) for part in zip(*(frame_product(one.product, SIDE) for one in asked), strict=True)
        )
        looks = painter.looks(asked, framed, masks).reshape(len(orders), -1, len(self.centre))  # type: ignore[attr-defined]
        seen = np.clip(looks, self.least, self.most).astype(np.float32)
        liked = np.stack([world.taste.appeal(row[0].user[None], own)[0] for row, own in zip(orders, seen, strict=True)])  # type: ignore[index]
        best = looks[np.arange(len(looks)), liked.argmax(axis=1)]
        return {"one draw": self.chances(world, looks[:, 0]), f"best of {CANDIDATES}": self.chances(world, best)}
