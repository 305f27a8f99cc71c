"""Turns users and audiences of the sample into sets of scenes drawn for them as a run draws them, and into sets that are all one scene.

A user's set is what a slate shows: as many concepts as a slate has, drawn for the user. An audience's is the same for the mean of 25 users of
like leanings, the least cohort. A planted set stands on one scene: the others keep a share of what sets them apart from it, drawn at random
up to about a third, and are a little lighter or darker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.generator_ways import ways
from benchmarks.picture_world import World
from contracts.seeds import seed_of, stream
from flows.job import SHIPPED
from generators.checking.likeness import colours_around, distances
from generators.painting.painters import SceneRequest
from generators.products import Pixels

KINDS = ("user", "audience")
SLATE = 4
COHORT = 25
MOST_KEPT, MOST_LIGHT = 0.35, 6.0  # share of the difference; levels of 255


@dataclass(frozen=True)
class Sets:
    """Sound sets of scenes (SLATE, S, S, 3) by kind, and the seed that spoils them."""

    sound: dict[str, list[Pixels]]
    seed: int

    @classmethod
    def paint(cls, each: int, seed: int) -> Sets:
        """`each` sets of each kind, by the way to draw that is shipped, with its guidance."""
        world = World.open(SHIPPED, max(each, 40 * COHORT), seed)
        vectors = world.vectors(world.events)
        leanings = world.taste.leanings(vectors)
        painter = ways(["diffusion"])[0].painter(world.taste)
        sound: dict[str, list[Pixels]] = {kind: [] for kind in KINDS}
        for kind in KINDS:
            for number in range(each):
                rng = stream(seed, "variety", kind, number)
                near = np.argsort(((leanings - leanings[number]) ** 2).sum(axis=1))[
                    : COHORT if kind == "audience" else 1
                ]
                concepts = rng.choice(len(world.products), SLATE, replace=False)
                wanted = [
                    SceneRequest(vectors[near].mean(axis=0), world.concept_vectors[one], world.products[one], seed_of(seed, kind, number, int(one)))
                    for one in concepts
                ]  # fmt: skip
                sound[kind].append(painter.paint(wanted))
                print(f"painted for {number + 1} of {each} {kind}s", end="\r", flush=True)
        return cls(sound, seed)

    def spoilt(self, kind: str, number: int) -> Pixels:
        """All on one scene of a sound set."""
        scenes = self.sound[kind][number].astype(np.float32)
        rng = stream(self.seed, "alike", kind, number)
        light = rng.uniform(-MOST_LIGHT, MOST_LIGHT, (len(scenes), 1, 1, 1))
        made = scenes[:1] + rng.uniform(0, MOST_KEPT) * (scenes - scenes[:1]) + light
        return np.asarray(np.clip(made, 0, 255), np.uint8)


def apart(scenes: Pixels) -> float:
    """Mean distance of two scenes of a set, as a run measures it."""
    looks = np.stack([colours_around(scene) for scene in scenes])
    return float(distances(looks)[np.triu_indices(len(looks), k=1)].mean())
