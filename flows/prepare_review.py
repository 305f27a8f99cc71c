"""Turns a finished run into what its review pages show beside the creatives: controls, and the ranker's reasons in words."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from PIL import Image

from contracts.errors import AdloomError
from contracts.store import RunStore, StageKey
from contracts.tables import GENERAL_COHORT
from features.words import in_words
from flows.score_day import is_large
from ranking.ranker import Ranker

STAGE = "review"
REASONS = 6
"""Reasons shown of each (cohort, concept)."""

_CONTROL_SIDE = 720


def prepare_review(run: Path, data: Path | None) -> bool:
    """Fills the run's folder `review`, unless it is up to date; False where the run is not finished or being worked on.

    Args:
        run: the run's folder.
        data: the data folder it was made from, whose logged pictures are the controls; None: not known.
    """
    store = RunStore(run)
    reads = ("sources", "features", "ranking", "generators")
    if any(store.manifest(name) is None for name in reads):
        return False
    key = StageKey(
        stage=STAGE,
        inputs={name: store.digest(name) for name in reads},
        settings={"data": None if data is None else data.resolve().name},
        seed=0,
        packages=("ranking",),
        libraries=("lightgbm", "polars", "pillow"),
    )
    if store.current(key) is not None:
        return True
    try:
        with store.locked():
            store.perform(key, lambda folder: _work(run, data, folder))
    except (AdloomError, OSError):
        return False
    return True


def _work(run: Path, data: Path | None, folder: Path) -> None:
    concepts = pl.read_parquet(run / "sources" / "concepts.parquet")
    creatives = pl.read_parquet(run / "generators" / "creatives.parquet").select("cohort", "concept_id").unique()
    reasons(run, creatives, concepts).write_parquet(folder / "reasons.parquet")
    controls(run, data, creatives, folder).write_parquet(folder / "controls.parquet")


def reasons(run: Path, creatives: pl.DataFrame, concepts: pl.DataFrame) -> pl.DataFrame:
    """cohort, concept_id, words, adds: what each feature adds to the score, mean over the cohort's candidates.

    The words are those of the feature's median over the cohort.
    """
    schema = {"cohort": pl.Int32, "concept_id": pl.String, "words": pl.String, "adds": pl.Float64}
    ranker = Ranker.load(run / "ranking" / "ranker")
    table = run / "features" / "daily.parquet"
    if is_large(table, ranker):  # only the candidates are kept
        return pl.DataFrame(schema=schema)
    daily = pl.read_parquet(table)
    members = pl.read_parquet(run / "generators" / "cohorts.parquet")
    about = {row["concept_id"]: row for row in concepts.to_dicts()}
    daily = daily.join(creatives.select("concept_id").unique(), on="concept_id", how="semi")
    daily = daily.join(members, on="user_id", how="left")
    adds = pl.DataFrame(
        ranker.contributions(daily)[:, :-1], schema=[f"+{name}" for name in ranker.features], orient="row"
    )
    whole = pl.concat([daily, adds], how="horizontal")
    found = []
    for cohort, concept in creatives.sort("concept_id", "cohort").iter_rows():
        rows = whole.filter(pl.col("concept_id") == concept)
        if cohort != GENERAL_COHORT:
            rows = rows.filter(pl.col("cohort") == cohort)
        if rows.is_empty():
            continue
        means = {name: float(rows[f"+{name}"].mean() or 0.0) for name in ranker.features}  # type: ignore[arg-type]
        said = {"topics": about[concept]["topics"], "advertiser": about[concept]["advertiser"]}
        for name in sorted(means, key=lambda name: (-abs(means[name]), name))[:REASONS]:
            value = rows[name].cast(pl.Float64, strict=False).median()
            words = in_words(name, None if value is None else float(value), **said)  # type: ignore[arg-type]
            found.append((cohort, concept, words, means[name]))
    return pl.DataFrame(found, schema=schema, orient="row")


def controls(run: Path, data: Path | None, creatives: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """concept_id, creative_id, file, impressions: each concept's logged picture that was shown most, copied into the run."""
    schema = {"concept_id": pl.String, "creative_id": pl.String, "file": pl.String, "impressions": pl.Int64}
    pictures = run / "sources" / "pictures.parquet"
    if data is None or not pictures.is_file():
        return pl.DataFrame(schema=schema)
    shown = (
        pl.scan_parquet(run / "sources" / "impressions.parquet")
        .drop_nulls("creative_id")
        .group_by("creative_id")
        .agg(impressions=pl.len().cast(pl.Int64))
        .collect()
    )
    most = (
        pl.read_parquet(pictures)
        .join(creatives, on="concept_id", how="semi")
        .join(shown, on="creative_id", how="left")
        .with_columns(pl.col("impressions").fill_null(0))
        .sort("concept_id", "impressions", "creative_id", descending=[False, True, False])
        .group_by("concept_id", maintain_order=True)
        .first()
    )
    (folder / "controls").mkdir(exist_ok=True)
    found = []
    for number, row in enumerate(most.iter_rows(named=True)):
        path = (data / row["file"]).resolve()
        if not path.is_relative_to(data.resolve()):
            continue
        try:
            with Image.open(path) as opened:
                image = opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        image.thumbnail((_CONTROL_SIDE, _CONTROL_SIDE))
        image.save(folder / "controls" / f"{number:05d}.png")
        found.append((row["concept_id"], row["creative_id"], f"{STAGE}/controls/{number:05d}.png", row["impressions"]))
    return pl.DataFrame(found, schema=schema, orient="row")


def data_of(run: Path) -> Path | None:
    """The data folder that a run was made from, where the run says so and it is still there."""
    try:
        data = Path(json.loads((run / "job.json").read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return data if data.is_dir() else None
