"""Turns five rounds of review by simulated reviewers into approval rates and diversity: does feedback change the drawing?

    python -m benchmarks.feedback_rounds [--paint 16] [--orders 4] [--rounds 5]

Every concept of the shipped sample (a planted world, simulated) has a pool of scenes: its logged pictures, or, with --paint, as many as are
asked for by the shipped network, from seeds alone. In each round every concept has a few orders; for each, six of its scenes are drawn at random as candidates and one is kept, as the product does it
(generators/scorer.py). Two simulated reviewers decide on the kept ones; all decisions so far are learned from (generators/approval.py,
flows/learn_reviews.py: tilt_within), and the next round is kept by what was learned. The reviewers' taste is an ideal point in the planted
world's own look (CIELAB lightness, warmth, redness, chroma, busyness; sources/look.py), which no part of the product reads; one
reviewer is stricter, and both are wrong at times. A round's figures:

- approved: share of the round's pictures that were; expected: the same under the planted taste, which has no luck in it;
- thumbnails: mean distance between two pictures of the round, as 16 x 16 thumbnails without the product's box, of the first
  round's; Vendi: their Vendi score (Friedman and Dieng 2023, arXiv 2210.02410), likewise. Neither is what the tilt keeps;
- from the log: mean distance of a picture's look to the nearest logged picture, standard deviations: what nobody would have
  published is far. It would rise if pictures turned ugly to please.

The same with no floor of diversity and hardly a bound on the change shows what stopping is for.
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from contracts.seeds import seed_of, stream
from flows.choose_models import any_generator
from flows.job import MODELS, SHIPPED
from flows.learn_reviews import tilt_within
from generators.approval import Verdicts, cross_checked, fit_approval, sigmoid
from generators.diffusion import DiffusionPainter
from generators.layout import DEFAULT_BOX
from generators.painters import SceneRequest
from generators.products import load_product
from generators.scorer import Reviewed, Scorer
from generators.studio import Order
from generators.taste import picture_features
from generators.weights import load_weights
from generators.wording import Copy
from sources.look import look

RESULTS = Path(__file__).parent / "results" / "feedback_rounds.json"
IDEAL = np.array([0.9, 0.3, 0.0, 0.2, -0.5])
CARES = np.array([1.0, 0.35, 0.0, 0.5, 0.9])
"""The planted taste: utility -1/2 sum cares * (look - ideal)^2, over lightness, warmth, redness, chroma, busyness."""
BARS = (-1.0, -0.6)
"""Utility at which each reviewer approves half of the time; slope 2 log-odds a unit; wrong 2 % of the time at least."""
CANDIDATES = 6
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
    thumbnails: float
    vendi: float
    from_log: float


def paint_pool(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scenes (N, S, S, 3) of the sample's products, `count` of each, and the index (N,) of each one's concept."""
    folder = any_generator(MODELS)
    assert folder is not None
    painter = DiffusionPainter(load_weights(folder / "weights"), steps=8, guidance=1.0)
    files = pl.read_parquet(SHIPPED / "concepts.parquet")["product_image"].to_list()
    scenes = []
    for number, file in enumerate(files):
        product = load_product(SHIPPED / file)
        wanted = [SceneRequest(None, None, product, seed_of(3, "scene", number, one)) for one in range(count)]
        scenes.append(painter.paint(wanted))
        print(f"painted {number + 1} of {len(files)}", end="\r", flush=True)
    return np.concatenate(scenes), np.repeat(np.arange(len(files)), count)


def thumbnails(scenes: np.ndarray) -> np.ndarray:
    cell = scenes.shape[1] // 16
    small = scenes.reshape(len(scenes), 16, cell, 16, cell, 3).mean(axis=(2, 4))
    place = (np.arange(16) + 0.5) / 16
    high = (place > DEFAULT_BOX.top) & (place < DEFAULT_BOX.bottom)
    wide = (place > DEFAULT_BOX.left) & (place < DEFAULT_BOX.right)
    return small[:, ~(high[:, None] & wide[None])].reshape(len(scenes), -1)


def distances(rows: np.ndarray) -> np.ndarray:
    squares = (rows**2).sum(axis=1)
    return np.sqrt(np.maximum(squares[:, None] + squares[None] - 2 * rows @ rows.T, 0) / rows.shape[1])


def vendi(apart: np.ndarray, width: float) -> float:
    """exp of the entropy of the eigenvalues of K / N, K a Gaussian kernel: how many different pictures there are."""
    values = np.linalg.eigvalsh(np.exp(-(apart**2) / (2 * width**2)) / len(apart))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def play(
    scenes: np.ndarray,
    concept: np.ndarray,
    logged: np.ndarray,
    *,
    rounds: int,
    orders: int,
    seed: int,
    kl: float,
    least: float,
) -> list[Round]:
    """The rounds; `kl` and `least` are the learning's bounds."""
    features, true = picture_features(scenes), chances(scenes)
    standard = logged.std(axis=0) + 1e-6
    picture, who, said = [np.array([], np.int64)] * 2 + [np.array([], bool)]
    scorer, found, width = Scorer(None, None), [], 0.0
    for number in range(rounds):
        kept = []
        rng = stream(seed, "round", number)
        for one in np.unique(concept):
            own = np.flatnonzero(concept == one)
            for copy in range(orders):
                tried = rng.choice(own, CANDIDATES, replace=False)
                order = Order("", str(one), None, None, None, WORDS, seed_of(seed, "order", number, int(one), copy))
                kept.append(tried[int(scorer(order, scenes[tried]).argmax()) if scorer.knows_anything else 0])
        shown = np.array(kept)
        judge = rng.integers(len(BARS), size=len(shown))
        approved = rng.random(len(shown)) < true[judge, shown]
        picture, who, said = np.append(picture, shown), np.append(who, judge), np.append(said, approved)
        apart = distances(thumbnails(scenes[shown]))
        mean = float(apart[np.triu_indices(len(shown), 1)].mean())
        width = width or mean
        nearest = np.sqrt((((features[shown][:, None] - logged[None]) / standard) ** 2).mean(axis=2)).min(axis=1)
        found.append(Round(len(shown), float(approved.mean()), float(true[:, shown].mean()), mean, vendi(apart, width), float(nearest.mean())))  # fmt: skip
        pool = features[stream(seed, "pool").choice(len(features), min(256, len(features)), replace=False)]
        centre, scale = pool.mean(axis=0), pool.std(axis=0)
        none = np.array([], np.int64)
        verdicts = Verdicts(features, concept, picture, who, said, none, none)
        approval = fit_approval(verdicts, centre=centre, scale=scale)
        tilt, held_out = tilt_within(pool, approval, kl, least)
        auc = cross_checked(verdicts, centre=centre, scale=scale)
        print(f"  round {number + 1}: {found[-1]}; AUC {auc:.2f}, tilt expects {tilt.approval:.2f}, diversity {tilt.diversity:.3f} / {held_out:.3f}", flush=True)  # fmt: skip
        scorer = Scorer(None, Reviewed(approval, tilt, ""))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--paint", type=int, default=0, help="scenes a concept by the shipped network; 0: logged pictures"
    )
    parser.add_argument("--orders", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    pictures = pl.read_parquet(SHIPPED / "pictures.parquet").sort("concept_id", "creative_id")
    shown = [
        Image.open(SHIPPED / file).convert("RGB").resize((64, 64), Image.Resampling.BOX) for file in pictures["file"]
    ]
    logged_scenes = np.stack([np.asarray(one, np.uint8) for one in shown])
    logged = picture_features(logged_scenes)
    if chosen.paint:
        scenes, concept = paint_pool(chosen.paint)
    else:
        scenes, concept = logged_scenes, pictures["concept_id"].rank("dense").to_numpy().astype(np.int64)
    told: dict[str, Any] = {
        "machine": {"processor": platform.processor() or platform.machine(), "python": platform.python_version()},
        "simulated": True,
        "arguments": {
            "scenes": len(scenes),
            "painted": bool(chosen.paint),
            "orders": chosen.orders,
            "candidates": CANDIDATES,
            "seeds": chosen.seeds,
        },
    }
    for name, kl, least in (("as shipped", 0.5, 0.999), ("a nat", 1.0, 0.97), ("unbounded", 20.0, 0.01)):
        print(name)
        played = [play(scenes, concept, logged, rounds=chosen.rounds, orders=chosen.orders, seed=seed, kl=kl, least=least)
                  for seed in range(chosen.seeds)]  # fmt: skip
        told[name] = [[vars(one) for one in rows] for rows in played]
        print(f"\n{name}: mean of {chosen.seeds} repetitions (simulated reviewers on simulated pictures)\n")
        print(
            "| round | approved | expected | of the first | thumbnails | Vendi | from the log |\n|---|---|---|---|---|---|---|"
        )
        for number in range(chosen.rounds):
            at = {key: np.array([vars(rows[number])[key] for rows in played]) for key in vars(played[0][0])}
            first = {key: np.array([vars(rows[0])[key] for rows in played]) for key in vars(played[0][0])}
            part = {key: float((at[key] / first[key]).mean()) for key in at}
            print(
                f"| {number + 1} | {at['approved'].mean():.1%} | {at['expected'].mean():.1%} | {part['expected']:.2f} x | "
                f"{part['thumbnails']:.1%} | {part['vendi']:.1%} | {at['from_log'].mean():.3f} |", flush=True
            )  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
