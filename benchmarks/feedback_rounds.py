"""Turns five rounds of review by simulated reviewers into approval rates and diversity: does feedback change the drawing?

    python -m benchmarks.feedback_rounds [--paint] [--scenes 24] [--orders 4] [--rounds 5] [--seeds 5] [--all]

Every concept of the planted world (simulated) has a pool of scenes around its product: drawn by the world's own laws of pictures, or, with
--paint, by the shipped network from seeds alone. In each round every concept has a few orders; for each, six of its
scenes are drawn at random as candidates and one is kept, as the product does it (generators/scorer.py). Two simulated reviewers
decide on the kept ones; all decisions so far are learned from (generators/taste/approval.py, and flows/learn_reviews.py: tilt_within and
its bounds from the settings), and the next round is kept by what was learned. The reviewers' taste is an ideal point in
the planted world's own look (CIELAB lightness, warmth, redness, chroma, busyness; sources/look.py), which no part of the product
reads; one reviewer is stricter, and both are wrong at times. A round's figures, each of the first round's where it says so:

- approved: share of the round's pictures that were; expected: the same under the planted taste, which has no luck in it;
- diversity: mean distance of two pictures of the round, as 16 x 16 thumbnails without the product's box, of the first round's;
- Vendi: their Vendi score (Friedman and Dieng 2023, arXiv 2210.02410), likewise. The tilt does not know it;
- from the log: mean distance of a picture's look to the nearest picture of another, untouched pool, standard deviations: what
  nobody would have published is far. It would rise if pictures turned ugly to please.

With --all also what happens with a looser bound and with none: what stopping is for.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from contracts.seeds import seed_of, stream
from contracts.settings import LearningSettings
from flows.choose_models import any_generator
from flows.job import MODELS
from flows.learn_reviews import tilt_within
from generators.layout import DEFAULT_BOX
from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import SceneRequest, scene_looks
from generators.painting.sampling import draw
from generators.painting.weights import load_weights
from generators.products import load_product, place_product
from generators.scorer import Reviewed, Scorer
from generators.studio import Order
from generators.taste.approval import Verdicts, cross_checked, fit_approval, sigmoid
from generators.taste.look import picture_looks
from generators.taste.variety import Looks, distances, spread, thumbnails
from generators.typesetting.wording import Copy
from sources.campaigns import planted_concepts
from sources.look import look
from sources.scenes import draw_scene, sample_style

RESULTS = Path(__file__).parent / "results" / "feedback_rounds.json"
IDEAL = np.array([0.9, 0.3, 0.0, 0.2, -0.5])
CARES = np.array([1.0, 0.35, 0.0, 0.5, 0.9])
"""The planted taste: utility -1/2 sum cares * (look - ideal)^2, over lightness, warmth, redness, chroma, busyness."""
BARS = (-1.0, -0.6)
"""Utility at which each reviewer approves half of the time; slope 2 log-odds a unit; wrong 2 % of the time at least."""
CANDIDATES = 6
SIDE = 64
WORDS = Copy(headline="", body="", call_to_action="", advertiser="")


def chances(scenes: np.ndarray) -> np.ndarray:
    """(reviewers, N) chance that each approves."""
    utility = -0.5 * (CARES * (look(scenes) - IDEAL) ** 2).sum(axis=1)
    return np.stack([0.02 + 0.96 * sigmoid(2 * (utility - bar)) for bar in BARS])


@dataclass
class Round:
    pictures: int
    approved: float
    expected: float
    diversity: float
    vendi: float
    from_log: float


def draw_pool(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes (N, S, S, 3) by the planted world's laws around its products, `count` of each concept, and each one's concept (N,)."""
    files = planted_concepts().products
    products = {file: load_product(file) for file in sorted(set(files))}
    scenes = [
        place_product(
            draw_scene(sample_style(stream(seed, "scene", number, one)), SIDE), products[file], DEFAULT_BOX
        )
        for number, file in enumerate(files)
        for one in range(count)
    ]  # fmt: skip
    return np.stack(scenes), np.repeat(np.arange(len(files)), count)


def paint_pool(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The same by the shipped network, from seeds alone."""
    folder = any_generator(MODELS)
    assert folder is not None
    painter = LatentPainter(load_weights(folder / "weights"), None, partial(draw, steps=8), guidance=1.0)
    files = planted_concepts().products
    scenes = []
    for number, file in enumerate(files):
        product = load_product(file)
        wanted = [SceneRequest(None, None, product, seed_of(3, "scene", number, one)) for one in range(count)]
        scenes.append(painter.paint(wanted))
        print(f"painted {number + 1} of {len(files)}", end="\r", flush=True)
    return np.concatenate(scenes), np.repeat(np.arange(len(files)), count)


def vendi(apart: np.ndarray, width: float) -> float:
    """exp of the entropy of the eigenvalues of K / N, K a Gaussian kernel: how many different pictures there are."""
    values = np.linalg.eigvalsh(np.exp(-(apart**2) / (2 * width**2)) / len(apart))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


@dataclass(frozen=True)
class World:
    """What is played with: scenes, their concepts and looks, the true chances, and features of an untouched pool."""

    scenes: np.ndarray
    concept: np.ndarray
    products: list[np.ndarray]
    looks: Looks
    true: np.ndarray
    log: np.ndarray

    @classmethod
    def of(cls, scenes: np.ndarray, concept: np.ndarray, log: np.ndarray) -> World:
        products = [load_product(file) for file in planted_concepts().products]
        features = np.concatenate([scene_looks(scenes[concept == one], products[one]) for one in np.unique(concept)])
        return cls(scenes, concept, products, Looks(features, thumbnails(scenes)), chances(scenes), picture_looks(log))


def keep_round(world: World, scorer: Scorer, *, orders: int, seed: int, number: int) -> np.ndarray:
    """Index of the scene that is kept for every order of a round."""
    kept = []
    rng = stream(seed, "round", number)
    for one in np.unique(world.concept):
        own = np.flatnonzero(world.concept == one)
        for copy in range(orders):
            tried = rng.choice(own, CANDIDATES, replace=False)
            order = Order(
                "", str(one), None, None, world.products[one], WORDS, seed_of(seed, "order", number, int(one), copy)
            )
            kept.append(tried[int(scorer(order, world.scenes[tried]).argmax()) if scorer.knows_anything else 0])
    return np.array(kept)


def measure(world: World, shown: np.ndarray, approved: np.ndarray, width: float) -> Round:
    """The figures of a round; diversity and Vendi not yet of the first round's."""
    thumbs = world.looks.thumbnails[shown]
    deviation = world.log.std(axis=0)
    varied = deviation > 0  # a log without products has no contrast
    apart = (world.looks.features[shown][:, None] - world.log[None])[:, :, varied] / deviation[varied]
    nearest = np.sqrt((apart**2).mean(axis=2)).min(axis=1)
    return Round(
        pictures=len(shown),
        approved=float(approved.mean()),
        expected=float(world.true[:, shown].mean()),
        diversity=spread(thumbs),
        vendi=vendi(distances(thumbs, thumbs), width),
        from_log=float(nearest.mean()),
    )


def play(world: World, settings: LearningSettings, *, rounds: int, orders: int, seed: int) -> list[Round]:
    """The rounds under the learning's bounds."""
    none = np.array([], np.int64)
    picture, who, said = none, none, np.array([], bool)
    draw = stream(seed, "pool").choice(len(world.looks), settings.pool, replace=False)
    pool = world.looks[draw]
    centre, scale = pool.standard
    width = spread(pool.thumbnails)
    scorer, moved, found = Scorer(None, None), 0.0, []
    for number in range(rounds):
        shown = keep_round(world, scorer, orders=orders, seed=seed, number=number)
        rng = stream(seed, "review", number)
        judge = rng.integers(len(BARS), size=len(shown))
        approved = rng.random(len(shown)) < world.true[judge, shown]
        found.append(measure(world, shown, approved, width))
        picture, who, said = np.append(picture, shown), np.append(who, judge), np.append(said, approved)
        verdicts = Verdicts(world.looks.features, world.concept, picture, who, said, none, none)
        approval = fit_approval(verdicts, centre=centre, scale=scale)
        most_kl = min(settings.most_kl, moved + settings.step_kl)
        tilt, held_out = tilt_within(pool, approval, most_kl, settings.least_diversity)
        moved = tilt.kl
        auc = cross_checked(verdicts, centre=centre, scale=scale)
        print(
            f"  round {number + 1}: {found[-1]}; AUC {auc:.2f}, tilt expects {tilt.approval:.2f}, moves {tilt.kl:.2f}, "
            f"diversity {tilt.diversity:.3f} / {held_out:.3f}", flush=True
        )  # fmt: skip
        scorer = Scorer(None, Reviewed(approval, tilt, ""))
    return found


def show(name: str, played: list[list[Round]]) -> list[dict[str, float]]:
    """Prints the mean of the repetitions, and returns it with the least and most of them."""
    print(f"\n{name}: mean (least to most) of {len(played)} repetitions; simulated reviewers on simulated pictures\n")
    print(
        "| round | approved | expected | of the first | diversity | Vendi | from the log |\n|---|---|---|---|---|---|---|"
    )
    told = []
    for number in range(len(played[0])):
        at = {key: np.array([vars(rows[number])[key] for rows in played]) for key in vars(played[0][0])}
        part = {key: at[key] / np.array([vars(rows[0])[key] for rows in played]) for key in at}
        told.append({f"{key}_of_first": float(values.mean()) for key, values in part.items()}
                    | {f"{key}_of_first_least": float(values.min()) for key, values in part.items()}
                    | {key: float(values.mean()) for key, values in at.items()})  # fmt: skip
        spans = {key: f"{v.mean():.1%} ({v.min():.1%} to {v.max():.1%})" for key, v in part.items()}
        times = part["expected"]
        print(
            f"| {number + 1} | {at['approved'].mean():.1%} | {at['expected'].mean():.1%} | {times.mean():.2f} x ({times.min():.2f} to {times.max():.2f}) | "
            f"{spans['diversity']} | {part['vendi'].mean():.1%} | {at['from_log'].mean():.3f} |", flush=True
        )  # fmt: skip
    return told


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--paint", action="store_true", help="scenes by the shipped network")
    parser.add_argument("--scenes", type=int, default=24, help="in a concept's pool")
    parser.add_argument("--orders", type=int, default=4, help="of a concept in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="also with looser bounds and with none")
    chosen = parser.parse_args()
    log, _ = draw_pool(12, seed=1)
    scenes, concept = paint_pool(chosen.scenes) if chosen.paint else draw_pool(chosen.scenes, seed=2)
    world = World.of(scenes, concept, log)
    told: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "simulated": True,
        "arguments": {**vars(chosen), "candidates": CANDIDATES, "pool": len(scenes)},
    }
    bounds = {"as shipped": LearningSettings()}
    if chosen.all:
        bounds["looser"] = LearningSettings(most_kl=1.0, step_kl=1.0, least_diversity=0.9)
        bounds["unbounded"] = LearningSettings(most_kl=20.0, step_kl=20.0, least_diversity=0.01)
    for name, settings in bounds.items():
        print(name)
        played = [
            play(world, settings, rounds=chosen.rounds, orders=chosen.orders, seed=n) for n in range(chosen.seeds)
        ]
        told[name] = {"settings": settings.model_dump(), "rounds": show(name, played),
                      "repetitions": [[vars(one) for one in rows] for rows in played]}  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
