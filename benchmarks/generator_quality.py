"""Turns the shipped sample, whose true click law is known, into how personal, how faithful and how varied its pictures are.

    python -m benchmarks.generator_quality [--users 288] [--ways diffusion ...] [--seed 7] [--guidance 1 8 32]

Nobody here was seen in training: the generator learned from the planted world of seed 101, the sample is that of seed 7; with another --seed a
world of 2,000 users is written first. All simulated. Every figure is of pictures of 128 pixels around the product, without type:

- true click chance, from pixels (sources/truth.py), in slot 0 at the end of the log, of a picture for each user of one concept. Users are dealt to
  the concepts by lot, six or more to each. `lift` is (chance - logged) / (oracle - logged), means over users: logged is the mean of the concept's
  logged creatives, oracle the best *for this user by the true law* of all 576 logged creatives (12 of each of 48 concepts), most of them of
  other products, some of which stand out by nature. So beside it is the share of what this product can have: the same by the best of 576 pictures
  that the world's law draws around it. Told beside them: the law's bound, a look equal to the user's taste around the most outstanding logged
  product; and what embeddings can know: each user's taste as a cross-validated ridge regression on the embeddings of all predicts it
  *from true tastes*, painted exactly, the product standing out as in the best picture of it.
- own beats other: share of the pictures of other users, of the same concept, than which the user's own has the larger true chance.
  `four events`: the embedding is made again from each user's last four events alone.
- fidelity: benchmarks/picture_distances.py, to scenes that the world's own law draws around the same products in the same place, of a seed
  that no training saw. "halves" is what one half of them is from the other.
- diversity: mean distance of two pictures, in EfficientNet features and as thumbnails, of that at guidance 1.

Intervals are 95 % bootstraps over users. With --guidance only a table of what guidance buys and costs, and what the same looks were worth if they were painted exactly.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.generator_ways import Way, ways
from benchmarks.picture_distances import EfficientNetLite0, distance, mean_distance
from contracts.seeds import seed_of, stream
from contracts.settings import load_settings
from features.embeddings import embeddings_at
from features.space import Space
from flows.build_features import last_moment
from flows.choose_models import find_generator, versions
from flows.job import MODELS, SHIPPED
from flows.measure_truth import product_square
from flows.place_users import browsing_settings
from generators.layout import DEFAULT_BOX
from generators.painting.painters import Painter, SceneRequest, frame_product, scene_looks
from generators.products import Pixels, load_product, place_product
from generators.scorer import Scorer
from generators.studio import Order
from generators.taste.taste import Taste
from generators.taste.variety import spread, thumbnails
from generators.typesetting.wording import Copy
from sources.creatives import draw_creative
from sources.look import look, standout
from sources.scenes import draw_scene, sample_style
from sources.truth import Truth
from sources.world import write_world

RESULTS = Path(__file__).parent / "results" / "generator_quality.json"
CANDIDATES = 8
DRAWS = 3  # for each user, where sets of pictures are compared
EVENTS = 4
LEAST_USERS = 6  # of one concept
SIDE = 128
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


def personal(world: World, way: Way, users: dict[str, Numbers]) -> tuple[dict[str, Any], Pixels]:
    """How personal a way to draw is; and its first own pictures."""
    painter, scorer = way.painter(world.taste), Scorer(world.taste, None)
    base, chances, beats = references(world), {}, {}
    first: Pixels | None = None
    for label, vectors in {"general": None, **users}.items():
        orders = world.orders(vectors, label)
        scenes = paint(painter, orders, f"{way.name}, {label}")
        chosen = {"one draw": scenes[:, 0], f"best of {CANDIDATES}": kept(scorer, orders, scenes)}
        for how, pictures in chosen.items():
            chances[f"{label}, {how}"] = world.chances(world.everyone, pictures)
            if vectors is not None:
                won = wins(world, pictures)
                beats[f"{label}, {how}"] = {"share": float(won.mean()), "interval": interval(lambda rows, won=won: float(won[rows].mean()), len(won))}  # fmt: skip
        if vectors is not None:
            every = np.stack([world.chances(world.everyone, scenes[:, one]) for one in range(CANDIDATES)])
            chances[f"{label}, best of {CANDIDATES} by the true law"] = every.max(axis=0)
        if label == "own":
            first = scenes
    assert first is not None
    return {"lift": lifts(chances, base), "own_beats_other": beats}, first


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


def faithful(world: World, way: Way, vectors: Numbers, own: Pixels) -> dict[str, Any]:
    """Distances of a way's pictures (DRAWS a user) to held-out scenes, and what guidance costs of diversity."""
    features, count = EfficientNetLite0(), DRAWS * len(own)
    reference = held_out(world, 2 * count)
    known = features(reference)
    halves = known[::2], known[1::2]
    told: dict[str, Any] = {"pictures": count, "halves": asdict(distance(*halves)) | varied(reference[::2], halves[0])}
    for label, guidance in (
        ("as logged, guidance 0", 0.0),
        ("guidance 1", 1.0),
        (f"as shipped, guidance {way.guidance:g}", None),
    ):
        if guidance is None:
            scenes = own[:, :DRAWS]
        else:
            painter = way.painter(world.taste if guidance else None, guidance=guidance)
            scenes = paint(painter, world.orders(vectors, "own", DRAWS), f"{way.name}, {label}")
        flat = scenes.reshape(count, *scenes.shape[2:])
        seen = features(flat)
        told["as shipped" if guidance is None else label] = asdict(distance(seen, halves[0])) | varied(flat, seen) | {
            "within_order": float(np.mean([spread(thumbnails(row)) for row in scenes]))
        }  # fmt: skip
    for name in ("diversity", "thumbnails", "within_order"):
        told[f"{name}_drop"] = 1 - told["as shipped"][name] / told["guidance 1"][name]
    return told


def varied(scenes: Pixels, features: Numbers) -> dict[str, float]:
    """Mean distances of two pictures."""
    return {"diversity": mean_distance(features), "thumbnails": spread(thumbnails(scenes))}


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


def swept(world: World, way: Way, vectors: Numbers, weights: Sequence[float]) -> dict[str, Any]:
    """What guidance buys and costs: share of the oracle's lift, own beats other, distance to held-out scenes, diversity.

    What is lost of diversity is beside the first weight.
    """
    base, features, told, exact = references(world), EfficientNetLite0(), {}, Exact.fit(world)
    scorer, first = Scorer(world.taste, None), None
    count = DRAWS * len(world.people)
    known = features(held_out(world, 2 * count))
    print(
        f"\n| guidance | lift, one draw | of this product's | best of {CANDIDATES} | of this product's | painted exactly | best of {CANDIDATES} | own beats other, one draw | best of {CANDIDATES} |"
        "\n|---|---|---|---|---|---|---|---|---|\n\n| guidance | Frechet | kernel x 1000 | precision | recall | diversity, features | thumbnails | of one order |"
        f"\n|---|---|---|---|---|---|---|---|\n| halves | {fidelity(asdict(distance(known[::2], known[1::2])))} | | | |"
    )
    for weight in weights:
        painter, orders = way.painter(world.taste, guidance=weight), world.orders(vectors, "own")
        scenes = paint(painter, orders, f"guidance {weight:g}")
        flat = scenes[:, :DRAWS].reshape(count, *scenes.shape[2:])
        seen = features(flat)
        row: dict[str, Any] = asdict(distance(seen, known[::2])) | varied(flat, seen)
        row["within_order"] = float(np.mean([spread(thumbnails(one)) for one in scenes]))
        for how, pictures in {"one draw": scenes[:, 0], f"best of {CANDIDATES}": kept(scorer, orders, scenes)}.items():
            won = wins(world, pictures)
            row[how] = lifts({how: world.chances(world.everyone, pictures)}, base)[how]
            row[how] |= {"beats": float(won.mean()), "thumbnails": spread(thumbnails(pictures))}
        row["exact"] = {
            how: lifts({how: values}, base)[how]["of_product"]
            for how, values in exact.drawn(world, painter, orders).items()
        }
        first = first or row
        row["lost"] = {name: 1 - row[name] / first[name] for name in ("diversity", "thumbnails", "within_order")}
        told[f"{weight:g}"] = row
        one, best = row["one draw"], row[f"best of {CANDIDATES}"]
        print(
            f"| {weight:g} | {one['lift']:.1%} | {one['of_product']:.1%} | {best['lift']:.1%} | {best['of_product']:.1%} | "
            + " | ".join(f"{value:.1%}" for value in row["exact"].values()) + f" | {one['beats']:.1%} | {best['beats']:.1%} |\n"
            f"| {weight:g} | {fidelity(row)} | " + " | ".join(f"{row[name]:.4f} ({-row['lost'][name]:+.1%})" for name in row["lost"]) + " |",
            flush=True,
        )  # fmt: skip
    return told


def fidelity(row: dict[str, float]) -> str:
    """The cells of a `Distance`."""
    return (
        f"{row['frechet']:.2f} | {1000 * row['kernel']:.2f} +- {1000 * row['kernel_error']:.2f} | "
        f"{row['precision']:.1%} | {row['recall']:.1%}"
    )


def show(name: str, found: dict[str, Any]) -> None:
    """The tables of a way to draw."""
    print(
        f"\n{name}\n\n| picture | true click chance | of the oracle's lift | 95 % | of this product's |\n|---|---|---|---|---|"
    )
    for label, row in found["lift"].items():
        low, high = row["interval"]
        print(
            f"| {label} | {row['chance']:.2%} | {row['lift']:.1%} | {low:.1%} to {high:.1%} | {row['of_product']:.1%} |"
        )
    print("\n| own beats another user's | share | 95 % |\n|---|---|---|")
    for label, row in found["own_beats_other"].items():
        print(f"| {label} | {row['share']:.1%} | {row['interval'][0]:.1%} to {row['interval'][1]:.1%} |")
    if "fidelity" not in found:
        return
    told = found["fidelity"]
    print("\n| pictures | Frechet | kernel x 1000 | precision | recall | diversity |\n|---|---|---|---|---|---|")
    for label in ("halves", "as logged, guidance 0", "guidance 1", "as shipped"):
        row = told[label]
        print(f"| {label} | {fidelity(row)} | {row['diversity']:.2f} |")
    print(f"\ndiversity lost to guidance: features {told['diversity_drop']:.1%}, thumbnails {told['thumbnails_drop']:.1%}, "
          f"of one order {told['within_order_drop']:.1%}", flush=True)  # fmt: skip


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=288)
    parser.add_argument("--seed", type=int, default=7, help="of the world; 7: the shipped sample")
    parser.add_argument("--ways", nargs="*", help="some of the ways to draw; else every one that has weights")
    parser.add_argument("--guidance", nargs="*", type=float, help="a table of these instead")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="no fidelity")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as home:
        folder = SHIPPED
        if given.seed != 7:
            folder = Path(home) / "world"
            write_world(folder, users=2000, days=30, seed=given.seed)
        world = World.open(folder, given.users, given.seed)
        users = {"own": world.vectors(world.events), f"own, {EVENTS} events": world.vectors(world.last_events(EVENTS))}
        torch.set_num_threads(given.threads)
        for way in [
            way
            for way in ways(given.ways)
            if given.ways or not (way.peer or way.name in ("diffusion-10", "student-2", "student-4"))
        ]:
            began = time.perf_counter()
            if given.guidance:
                swept_ = swept(world, way, users["own"], given.guidance)
                results[f"{way.name}, seed {given.seed}, guidance"] = {"users": given.users, "by_guidance": swept_}
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
                continue
            found, own = personal(world, way, users)
            if not given.quick:
                found["fidelity"] = faithful(world, way, users["own"], own)
            show(way.name, found)
            results[f"{way.name}, seed {given.seed}"] = found | {
                "users": given.users, "weights": way.painter(world.taste).weights_hash[:12], "guidance": way.guidance,
                "seconds": round(time.perf_counter() - began), "machine": platform.machine(),
            }  # fmt: skip
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
