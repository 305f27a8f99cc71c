"""Turns real pictures (product photographs, film posters) into what the generator's training makes of them.

    python -m benchmarks.real_pictures [--only fashion posters] [--codec-steps 600] [--steps 1200] [--data ../shared/datasets]

The same code trains as for the sample, from the sample's weights: so many steps of its codec, and then of its flow; weights are
measured and thrown away. None of the pictures is part of the project, nor are the sheets (benchmarks/results, not kept).

fashion: 60 x 80 photographs on white, told category, colour and usage as a concept, no user and no product: the concept is all there is.
    Distance of painted ones to held-out photographs, beside that of other photographs and of what the codec makes of the held-out ones
    (no painter can be nearer); and how often the category and the colour that were told are seen in a picture, by a logistic
    regression on EfficientNet features of other photographs, beside the same for real ones.
posters: MovieLens-100K with its ratings as proxy clicks (sources/movielens.py). Half of the users teach taste and flow, the other
    half a judge (generators/taste/judge.py). For users of the judge's half, whom no painter saw: share of the pictures made for others, of the
    same film, than which their own has the larger chance by the judge; distance to posters that were held out.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression

from benchmarks.picture_distances import EfficientNetLite0, distance, fidelity
from benchmarks.picture_lift import interval
from contracts.seeds import seed_of, stream
from contracts.settings import load_settings
from flows.choose_models import any_generator
from flows.job import MODELS, Job
from flows.train_generator import SIDE, curriculum_of
from flows.train_models import learnable
from generators.examples import Examples, write_examples
from generators.painting.latent_painter import LatentPainter
from generators.painting.network import Condition, lay_ground
from generators.painting.painters import SceneRequest
from generators.painting.sampling import draw, noise_of
from generators.painting.sketches import no_sketch, sketch_cells
from generators.painting.weights import Generator, load_weights
from generators.pixels import to_bytes, to_float
from generators.sheets import save_sheet
from generators.taste.judge import fit_judge
from generators.taste.look import picture_looks
from generators.taste.taste import fit_taste
from generators.training.curriculum import teach
from generators.training.training import Progress
from sources.movielens import write_movielens

RESULTS = Path(__file__).parent / "results"
SEED = 7
CONCEPT = ("master_category", "base_colour", "usage")
COLOURS = 14  # told apart, the most frequent; all others are one
PER_FILM = 6  # users
AT_ONCE = 32

Numbers = np.ndarray


@dataclass(frozen=True)
class Steps:
    """How long to train: steps of the codec, and of the flow."""

    codec: int
    flow: int


def trained(examples: Examples, steps: Steps, home: Path) -> Generator:
    """A generator after so many steps, from the sample's weights."""
    start = any_generator(MODELS)
    assert start is not None, "the sample's weights come with the code"
    file = home / "examples.safetensors"
    write_examples(examples, file)
    curriculum = curriculum_of(steps=steps.flow, codec_again=steps.codec, seed=SEED, device="auto")

    def tell(progress: Progress) -> None:
        print(
            f"  {progress.lesson} {progress.step} of {progress.steps}, loss {progress.loss:.3f}", end="\r", flush=True
        )

    began = time.process_time()
    taught = teach(file, home, curriculum, tell, start_from=start / "weights")
    print(
        f"  {steps.codec} + {steps.flow} steps in {time.process_time() - began:.0f} s of the processor, loss {taught.loss:.3f}",
        flush=True,
    )
    return load_weights(taught.weights)


def in_parts(work: Callable[[slice], Numbers], count: int) -> Numbers:
    """Rows of `work`, some at a time."""
    return np.concatenate([work(slice(first, first + AT_ONCE)) for first in range(0, count, AT_ONCE)])


def rebuilt(generator: Generator, pictures: Numbers) -> Numbers:
    """What the codec makes of pictures, uint8 (N, S, S, 3)."""
    codec = generator.codec

    def work(part: slice) -> Numbers:
        with torch.inference_mode():
            seen = codec.decode(codec.encode(to_float(torch.from_numpy(pictures[part]).permute(0, 3, 1, 2))))
        return to_bytes(seen).permute(0, 2, 3, 1).numpy()

    return in_parts(work, len(pictures))


def by_concept(generator: Generator, concepts: Numbers, *, steps: int) -> Numbers:
    """Pictures from noise that are told nothing but a concept (N, D): no look, no product, no sketch."""
    network = generator.network

    def work(part: slice) -> Numbers:
        told = torch.from_numpy(concepts[part])
        rows, side = len(told), network.side
        cells = sketch_cells(*no_sketch(rows, 8 * side))
        ground = lay_ground(torch.zeros(rows, network.latent, side, side), torch.zeros(rows, 1, side, side), cells)
        noise = noise_of(
            torch.tensor([seed_of(SEED, "fashion", part.start + row) for row in range(rows)]), network.latent, side
        )
        with torch.inference_mode():
            seen = generator.codec.decode(draw(network, Condition(None, told), ground, noise, steps=steps))
        return to_bytes(seen).permute(0, 2, 3, 1).numpy()

    return in_parts(work, len(concepts))


def photograph(jpeg: bytes) -> Numbers:
    """On a white square, uint8 (SIDE, SIDE, 3)."""
    with Image.open(io.BytesIO(jpeg)) as opened:
        image = opened.convert("RGB")
    high = SIDE
    wide = min(SIDE, round(image.width * high / image.height))
    square = Image.new("RGB", (SIDE, SIDE), "white")
    square.paste(image.resize((wide, high), Image.Resampling.LANCZOS), ((SIDE - wide) // 2, 0))
    return np.asarray(square, np.uint8)


def fashion(data: Path, steps: Steps, count: int, home: Path) -> dict[str, Any]:
    """Photographs by category, colour and usage."""
    table = (
        pl.read_parquet(data / "fashion_small" / "fashion_small.parquet")
        .drop_nulls(CONCEPT)
        .sample(fraction=1, shuffle=True, seed=SEED)
    )
    frequent = table["base_colour"].value_counts(sort=True)["base_colour"].head(COLOURS)
    table = table.with_columns(
        base_colour=pl.when(pl.col("base_colour").is_in(frequent.implode()))
        .then("base_colour")
        .otherwise(pl.lit("other"))
    )
    held = min(512, count // 4)
    table = table.head(count + 2 * held)
    pictures = np.stack([photograph(jpeg) for jpeg in table["jpeg"]])
    vectors = table.select(CONCEPT).to_dummies().to_numpy().astype(np.float32)
    concepts, which = np.unique(vectors[:count], axis=0, return_inverse=True)
    examples = Examples(
        pictures=pictures[:count], masks=np.zeros(pictures[:count].shape[:3], np.uint8),
        picture_concept=which.ravel().astype(np.int32), concept_vectors=concepts,
        user_vectors=np.zeros((1, concepts.shape[1]), np.float32), impression_picture=np.arange(count, dtype=np.int32),
        impression_user=np.zeros(count, np.int32), clicked=np.zeros(count, np.uint8), space_hash="fashion", split="fashion",
    )  # fmt: skip
    generator = trained(examples, steps, home)
    real, other = slice(count, count + held), slice(count + held, None)
    painted = by_concept(generator, vectors[real], steps=10)
    features = EfficientNetLite0()
    known, taught = features(pictures[real]), features(pictures[:count][: 4 * held])
    sets = {
        "other photographs": features(pictures[other]),
        "through the codec": features(rebuilt(generator, pictures[real])),
        "painted": features(painted),
    }
    told: dict[str, Any] = {name: asdict(distance(seen, known)) for name, seen in sets.items()}
    print("\n| fashion | Frechet | kernel x 1000 | precision | recall |\n|---|---|---|---|---|")
    for name, row in told.items():
        print(f"| {name} | {fidelity(row)} |")
    for column in CONCEPT[:2]:
        reader = LogisticRegression(C=0.01, max_iter=500).fit(taught, table[column][: len(taught)].to_numpy())
        right = table[column][real].to_numpy()
        often = float((right == table[column][: len(taught)].mode()[0]).mean())
        told[column] = {
            "real": float(reader.score(known, right)),
            "painted": float(reader.score(sets["painted"], right)),
            "most frequent": often,
        }
        print(
            f"{column} read: {told[column]['painted']:.1%} of painted, {told[column]['real']:.1%} of real ones; the most frequent is {often:.1%}"
        )
    save_sheet(torch.from_numpy(np.stack([pictures[real][:12], painted[:12]])), RESULTS / "fashion.png")
    return told | {"steps": asdict(steps), "photographs": count, "held out": held}


def without(examples: Examples, kept: Numbers) -> Examples:
    """Examples of some of their pictures, (P,) bool."""
    place = np.cumsum(kept) - 1
    shown = kept[examples.impression_picture]
    return replace(
        examples, pictures=examples.pictures[kept], masks=examples.masks[kept], picture_concept=examples.picture_concept[kept],
        impression_picture=place[examples.impression_picture[shown]].astype(np.int32),
        impression_user=examples.impression_user[shown], clicked=examples.clicked[shown],
    )  # fmt: skip


def posters(data: Path, steps: Steps, users: int, home: Path) -> dict[str, Any]:
    """Posters by those who rated films."""
    folder = data / "ml100k_posters"
    write_movielens(home / "data", ratings=folder, posters=folder / "posters.parquet")
    settings = load_settings(None)
    prepared = learnable(Job(home / "data", settings, home / "runs", home / "models"), "benchmark")
    scorers, judges = prepared.half(judges=False), prepared.half(judges=True)
    assert scorers is not None
    assert judges is not None
    kept = stream(SEED, "held-out posters").random(len(prepared.examples.pictures)) > 0.15
    examples = without(scorers.examples, kept)
    generator = trained(examples, steps, home)
    columns = (
        "user_vectors",
        "concept_vectors",
        "impression_picture",
        "impression_user",
        "picture_concept",
        "clicked",
        "space_hash",
    )
    taste = fit_taste(picture_looks(examples.pictures), **{name: getattr(examples, name) for name in columns})
    judge = fit_judge(judges.examples, picture_looks(judges.examples.pictures), judges.people, seed=SEED, resamples=1)
    last = {
        int(person): int(moment) for person, moment in zip(judges.people, judges.examples.impression_user, strict=True)
    }
    drawn = stream(SEED, "people").choice(sorted(last), users, replace=False)
    vectors = judges.examples.user_vectors[[last[int(person)] for person in drawn]]
    films = stream(SEED, "films").choice(len(examples.concept_vectors), users // PER_FILM, replace=False)
    dealt = np.repeat(films, PER_FILM)[:users]
    painter = LatentPainter(
        generator, taste, partial(draw, steps=settings.generators.steps), guidance=settings.generators.guidance
    )
    requests = [
        SceneRequest(vector, examples.concept_vectors[film], None, seed_of(SEED, "poster", row))
        for row, (vector, film) in enumerate(zip(vectors, dealt, strict=True))
    ]
    painted = painter.paint(requests)
    looks, won = picture_looks(painted), np.zeros(users)
    for film in films:
        rows = np.flatnonzero(dealt == film)
        table = judge.chances(vectors[rows], int(film), examples.concept_vectors[film], looks[rows])[0]
        won[rows] = (table.diagonal()[:, None] > table).sum(axis=1) / (len(rows) - 1)
    beats = interval(lambda rows: float(won[rows].mean()), users)
    features = EfficientNetLite0()
    unseen = features(prepared.examples.pictures[~kept])
    half = len(unseen) // 2
    told: dict[str, Any] = {
        "own beats other": {"share": float(won.mean()), "interval": beats},
        "halves": asdict(distance(unseen[:half], unseen[half:])), "painted": asdict(distance(features(painted), unseen)),
    }  # fmt: skip
    print(f"\nown beats other by the judge: {won.mean():.1%} ({beats[0]:.1%} to {beats[1]:.1%}) of {users} users\n"
          "\n| posters | Frechet | kernel x 1000 | precision | recall |\n|---|---|---|---|---|\n"
          f"| halves of the held-out | {fidelity(told['halves'])} |\n| painted | {fidelity(told['painted'])} |")  # fmt: skip
    save_sheet(
        torch.from_numpy(np.stack([examples.pictures[:12], painted[:12], painted[PER_FILM : PER_FILM + 12]])),
        RESULTS / "posters.png",
    )
    return told | {
        "steps": asdict(steps),
        "users": users,
        "judge": {"users": judge.users, "impressions": judge.impressions},
    }


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=("fashion", "posters"), default=("fashion", "posters"))
    parser.add_argument("--codec-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--photographs", type=int, default=4000)
    parser.add_argument("--users", type=int, default=96)
    parser.add_argument("--data", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    file = RESULTS / "real_pictures.json"
    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    RESULTS.mkdir(exist_ok=True)
    for name in given.only:
        needed = given.data / {"fashion": "fashion_small", "posters": "ml100k_posters"}[name]
        if not needed.is_dir():
            print(f"{name}: not measured, there is no {needed}")
            continue
        with tempfile.TemporaryDirectory() as home:
            run = fashion if name == "fashion" else posters
            results[name] = run(
                given.data,
                Steps(given.codec_steps, given.steps),
                given.photographs if name == "fashion" else given.users,
                Path(home),
            )
        file.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
