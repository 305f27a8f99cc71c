"""Claims about the choice of a ranker: better comes into use, worse does not, and repeating a training changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.errors import ModelError
from contracts.settings import RankingSettings
from flows.choose_ranker import Choice, choose, in_use, keep, load, rival, use
from flows.compare_rankers import compare
from flows.list_models import find_version, list_versions, put_in_use
from ranking.ranker import Ranker, train
from ranking.split import split

START = datetime(2025, 1, 1, tzinfo=UTC)
SETTINGS = RankingSettings(
    rounds=40, leaves=8, learning_rate=0.1, min_rows_per_leaf=20, l2=0.0, feature_share=1.0, threads=1
)


def log(slates: int = 2500, *, days_later: int = 0, seed: int = 3) -> pl.DataFrame:
    """Four concepts a slate, liked by `taste`; `luck` means nothing."""
    rng = np.random.default_rng(seed)
    taste, luck = rng.normal(size=(2, slates, 4))
    clicked = rng.random((slates, 4)) < 1 / (1 + np.exp(1.0 - 1.2 * taste))
    at = [START + timedelta(days=days_later, minutes=7 * n) for n in range(slates) for _ in range(4)]
    return pl.DataFrame(
        {
            "user_id": [f"u{n % 97}" for n in range(slates) for _ in range(4)],
            "at": pl.Series(at, dtype=pl.Datetime("us", "UTC")),
            "slot": pl.Series(np.tile(np.arange(4), slates), dtype=pl.Int32),
            "concept_id": [f"c{n}" for _ in range(slates) for n in range(4)],
            "clicked": clicked.ravel(),
            "taste": taste.ravel(),
            "luck": luck.ravel(),
        }
    )


def learned(rows: pl.DataFrame, *, flip: bool = False, seed: int = 7) -> Ranker:
    """A ranker of these rows; flipped, one that took every taste for its opposite."""
    seen = rows.with_columns(taste=-pl.col("taste")) if flip else rows
    return train(split(seen, SETTINGS), ("taste", "luck"), SETTINGS, seed, space_hash="space")


def last_days(rows: pl.DataFrame) -> pl.DataFrame:
    return split(rows, SETTINGS).filter(pl.col("part") == "test")


@pytest.fixture(scope="module")
def monday() -> pl.DataFrame:
    return log()


@pytest.fixture(scope="module")
def tuesday() -> pl.DataFrame:
    return log(days_later=30, seed=4)


@pytest.fixture(scope="module")
def good(monday: pl.DataFrame) -> Ranker:
    return learned(monday)


@pytest.fixture(scope="module")
def better(tuesday: pl.DataFrame) -> Ranker:
    return learned(tuesday)


@pytest.fixture(scope="module")
def bad(tuesday: pl.DataFrame) -> Ranker:
    return learned(tuesday, flip=True)


def decide(ranker: Ranker, models: Path, rows: pl.DataFrame, by: str) -> Choice:
    return choose(ranker, models, last_days(rows), by=by, made_by=f"run {by}", k=4, seed=7)


def test_the_first_ranker_comes_into_use_and_an_equal_one_after_it(
    good: Ranker, better: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame, tmp_path: Path
) -> None:
    first = decide(good, tmp_path, monday, "mon")
    assert (first.kept, first.comparison) == (False, None)
    second = decide(better, tmp_path, tuesday, "tue")
    assert second.ranker is better
    assert second.comparison is not None
    assert second.comparison.worse is None
    assert "not worse" in second.sentence
    found = in_use(tmp_path, "space")
    assert found is not None
    assert (found.version, found.after) == (second.version, first.version)


def test_a_worse_one_is_kept_out_and_the_old_one_stays(
    good: Ranker, bad: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame, tmp_path: Path
) -> None:
    first = decide(good, tmp_path, monday, "mon")
    second = decide(bad, tmp_path, tuesday, "tue")
    assert second.kept
    assert second.ranker.hash == good.hash
    assert second.comparison is not None
    assert second.comparison.ndcg.interval is not None
    assert second.comparison.ndcg.interval.high < 0
    assert f"{first.version} stays in use" in second.sentence
    found = in_use(tmp_path, "space")
    assert found is not None
    assert found.version == first.version
    kept_out = [one for one in list_versions(tmp_path) if one.kind == "ranker" and not one.in_use]
    assert [one.version for one in kept_out] == [bad.hash[:12]], "it can still be looked at, and used by hand"


def test_a_training_that_is_repeated_meets_the_same_rival(
    good: Ranker, better: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame, tmp_path: Path
) -> None:
    decide(good, tmp_path, monday, "mon")
    assert rival(tmp_path, "space", "mon") is None, "its own ranker is no rival"
    assert rival(tmp_path, "space", "tue") == good.hash[:12]
    once = decide(better, tmp_path, tuesday, "tue")
    assert rival(tmp_path, "space", "tue") == good.hash[:12]
    pointer = (tmp_path / "ranker" / "in_use.json").read_bytes()
    again = decide(better, tmp_path, tuesday, "tue")
    assert again.as_json() == once.as_json()
    assert (tmp_path / "ranker" / "in_use.json").read_bytes() == pointer
    assert rival(tmp_path, "space", "wed") == better.hash[:12]


def test_noise_alone_keeps_nobody_out(monday: pl.DataFrame, tmp_path: Path) -> None:
    later = log(days_later=30, seed=9)
    outcomes = []
    for seed in range(6):
        root = tmp_path / str(seed)
        decide(learned(log(seed=20 + seed)), root, monday, "mon")
        outcomes.append(decide(learned(log(seed=40 + seed)), root, later, "tue").kept)
    assert sum(outcomes) <= 1


def test_another_space_and_other_features_are_no_rivals(good: Ranker, monday: pl.DataFrame, tmp_path: Path) -> None:
    decide(good, tmp_path, monday, "mon")
    assert rival(tmp_path, "another space", "tue") is None
    narrow = train(split(monday, SETTINGS), ("taste",), SETTINGS, 7, space_hash="space")
    choice = decide(narrow, tmp_path, monday, "tue")
    assert not choice.kept
    assert "reads other features" in choice.sentence


def test_days_that_one_has_learned_from_are_not_compared_on(
    good: Ranker, better: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame
) -> None:
    assert compare(better, good, last_days(monday), k=4, seed=7) is None
    found = compare(better, good, pl.concat([last_days(monday), last_days(tuesday)]), k=4, seed=7)
    assert found is not None
    assert found.impressions == len(last_days(tuesday))


def test_a_damaged_rival_is_an_error_that_names_the_file(
    good: Ranker, better: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame, tmp_path: Path
) -> None:
    decide(good, tmp_path, monday, "mon")
    (tmp_path / "ranker" / good.hash[:12] / "model.txt").write_text("tree")
    with pytest.raises(ModelError, match=r"model\.txt: is not the model"):
        decide(better, tmp_path, tuesday, "tue")
    damaged = next(one for one in list_versions(tmp_path) if one.version == good.hash[:12])
    assert "cannot be used" in damaged.about


def test_going_back_is_one_call(
    good: Ranker, better: Ranker, monday: pl.DataFrame, tuesday: pl.DataFrame, tmp_path: Path
) -> None:
    decide(good, tmp_path, monday, "mon")
    decide(better, tmp_path, tuesday, "tue")
    assert put_in_use(tmp_path, "ranker", good.hash[:5]) == good.hash[:12]
    assert rival(tmp_path, "space", "tue") == good.hash[:12]
    assert json.loads((tmp_path / "ranker" / "in_use.json").read_text())["version"] == good.hash[:12]
    with pytest.raises(ModelError, match="there is no ranker zz"):
        find_version(tmp_path, "ranker", "zz")
    (tmp_path / "ranker" / f"{good.hash[:3]}000000000").mkdir()
    with pytest.raises(ModelError, match="several versions begin with"):
        find_version(tmp_path, "ranker", good.hash[:3])


def test_a_person_may_use_any_version(good: Ranker, tmp_path: Path) -> None:
    keep(good, tmp_path, made_by="m")
    assert in_use(tmp_path, "space") is None
    use(tmp_path, good.hash[:12], "space")
    assert rival(tmp_path, "space", "any training") == good.hash[:12]
    assert load(tmp_path, good.hash[:12]).hash == good.hash
