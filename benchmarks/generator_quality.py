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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.generator_ways import Way, ways
from benchmarks.picture_distances import EfficientNetLite0, distance, fidelity, mean_distance
from benchmarks.picture_lift import Exact, interval, lifts, references, wins
from benchmarks.picture_world import CANDIDATES, EVENTS, Numbers, World, held_out, kept, paint
from flows.job import SHIPPED
from generators.products import Pixels
from generators.scorer import Scorer
from generators.taste.variety import spread, thumbnails
from sources.world import write_world

RESULTS = Path(__file__).parent / "results" / "generator_quality.json"
DRAWS = 3
"""Of each user, where sets of pictures are compared."""


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
