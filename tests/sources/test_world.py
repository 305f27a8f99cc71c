"""The planted world: reproducible, within the contracts, and true to its own laws."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse
from scipy.sparse.linalg import svds
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from contracts.errors import DataError, RunError, SettingsError
from contracts.tables import INPUT_TABLES
from sources.browsing import browse
from sources.campaigns import planted_concepts
from sources.law import TOPICS
from sources.logging_policy import LoggingPolicy, draw_slates
from sources.population import BLOCK, DAY, blocks_of, draw_users, planted_items
from sources.truth import Truth
from sources.world import write_world

USERS, DAYS = 200, 20
TABLES = tuple(table for table in INPUT_TABLES if table != "clicks")  # clicks stand in the impressions


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "data"
    write_world(out, USERS, DAYS, seed=1, pictures_per_concept=3, side=64)
    return out


@pytest.fixture(scope="module")
def truth(world: Path) -> Truth:
    return Truth.load(world)


@pytest.fixture(scope="module")
def shown(world: Path, truth: Truth) -> pl.DataFrame:
    impressions = pl.read_parquet(world / "impressions.parquet")
    return impressions.join(truth.creatives.drop("concept_id"), on="creative_id", maintain_order="left").join(
        pl.read_parquet(world / "truth" / "impressions.parquet"), on="impression_id", maintain_order="left"
    )


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "again", USERS, DAYS, seed=1, pictures_per_concept=3, side=64)
    files = sorted(path.relative_to(world) for path in world.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*"))
    assert all((world / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)
    write_world(tmp_path / "other", 20, DAYS, seed=2, pictures_per_concept=1, side=64)
    assert (world / "concepts.parquet").read_bytes() == (tmp_path / "other" / "concepts.parquet").read_bytes()
    other = pl.read_parquet(tmp_path / "other" / "events.parquet")
    mine = pl.read_parquet(world / "events.parquet")
    both = mine.select("item_id", "topics").unique().join(other.select("item_id", "topics").unique(), on="item_id")
    assert both.height > 50
    assert (both["topics"] == both["topics_right"]).all()
    assert mine.head(50)["item_id"].to_list() != other.head(50)["item_id"].to_list()


@pytest.mark.parametrize("table", TABLES)
def test_every_table_keeps_its_contract(world: Path, table: str) -> None:
    rows = pl.read_parquet(world / f"{table}.parquet")
    good, faults = INPUT_TABLES[table].filter(rows)
    assert faults.counts() == {}
    assert good.height == rows.height > 0


def test_every_file_named_is_there_and_the_simulation_says_so(world: Path) -> None:
    pictures, concepts = (pl.read_parquet(world / f"{name}.parquet") for name in ("pictures", "concepts"))
    assert all((world / file).is_file() for file in [*pictures["file"], *concepts["product_image"]])
    assert pictures.height == 48 * 3
    assert "SIMULATED" in (world / "SOURCE.md").read_text().splitlines()[0]
    assert json.loads((world / "truth" / "law.json").read_text())["simulated"] is True


def test_concepts_are_shown_only_while_active_and_a_few_start_late_or_end_early(world: Path) -> None:
    concepts = pl.read_parquet(world / "concepts.parquet")
    assert concepts["active_from"].count() == concepts["active_until"].count() == 3
    shown = pl.read_parquet(world / "impressions.parquet").join(concepts, on="concept_id")
    assert shown.filter(pl.col("at") < pl.col("active_from")).is_empty()
    assert shown.filter(pl.col("at") >= pl.col("active_until")).is_empty()


def test_ads_come_after_some_browsing_and_never_in_the_first_days(world: Path) -> None:
    events = pl.read_parquet(world / "events.parquet")
    impressions = pl.read_parquet(world / "impressions.parquet")
    second = events.sort("at").group_by("user_id").agg(pl.col("at").slice(1, 1).first().alias("second"))
    assert impressions.join(second, on="user_id").filter(pl.col("at") <= pl.col("second")).is_empty()
    assert impressions["at"].min() >= events["at"].min().replace(hour=0, minute=0) + dt.timedelta(days=2)  # type: ignore
    slates = impressions.group_by("user_id", "at").agg(pl.col("slot").sort(), pl.col("concept_id").n_unique())
    assert slates["slot"].to_list() == [[0, 1, 2, 3]] * slates.height
    assert (slates["concept_id"] == 4).all()
    assert 6 < slates.height / USERS < 10


def test_fewer_slates_leave_the_browsing_as_it_was(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / "few", USERS, DAYS, seed=1, pictures_per_concept=1, side=64, slates=1)
    impressions = pl.read_parquet(tmp_path / "few" / "impressions.parquet")
    assert impressions.select("user_id", "at").n_unique() == impressions["user_id"].n_unique() == USERS
    assert (tmp_path / "few" / "events.parquet").read_bytes() == (world / "events.parquet").read_bytes()


def test_logged_propensities_are_those_of_the_policy(shown: pl.DataFrame, truth: Truth) -> None:
    """Recomputed in plain Python, slate by slate: weight over the weights of what is left."""
    policy, concepts = LoggingPolicy(), planted_concepts()
    start = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    for (user, at), slate in itertools.islice(shown.group_by("user_id", "at", maintain_order=True), 60):
        moment = np.array([round((at - start).total_seconds() * 1e6)])  # type: ignore[operator]
        mix = truth.mix_before[[truth.user_rows[str(user)]]]
        weights = policy.weights(mix, concepts.topic_vectors, concepts.active(moment, DAYS))[0]
        left = dict(zip(concepts.ids, weights.tolist(), strict=True))
        for concept, propensity in zip(slate["concept_id"], slate["propensity"], strict=True):
            assert propensity == pytest.approx(left[concept] / sum(left.values()), rel=1e-9)
            del left[concept]
    assert shown["propensity"].is_between(0.004, 1.0).all()


def test_slates_are_drawn_as_their_propensities_say() -> None:
    weights = np.array([0.5, 0.25, 0.15, 0.1, 0.0])
    count = 40_000
    chosen, propensity = draw_slates(np.tile(weights, (count, 1)), 2, np.random.default_rng(0))
    for first, second in itertools.permutations(range(4), 2):
        rows = (chosen[:, 0] == first) & (chosen[:, 1] == second)
        expected = weights[first] * weights[second] / (1 - weights[first])
        assert np.allclose(propensity[rows].prod(axis=1), expected)
        assert abs(rows.mean() - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count)
    assert not (chosen == 4).any()


def test_clicks_come_as_often_as_the_true_chance_says(shown: pl.DataFrame) -> None:
    assert 0.04 < shown["clicked"].mean() < 0.09  # type: ignore[operator]
    ranked = shown.sort("click_chance").with_row_index().with_columns(part=pl.col("index") * 5 // shown.height)
    for part in ranked.partition_by("part"):
        expected = part["click_chance"].mean()
        noise = np.sqrt((part["click_chance"] * (1 - part["click_chance"])).sum()) / part.height
        assert abs(part["clicked"].mean() - expected) < 4 * noise  # type: ignore[operator]


def test_the_reader_of_the_truth_gives_back_the_chance_that_was_used(shown: pl.DataFrame, truth: Truth) -> None:
    chance = truth.click_chance(
        shown["user_id"], shown["at"], shown["concept_id"], shown["slot"].to_numpy(), shown["look"].to_numpy(),
        shown["standout"].to_numpy(),
    )  # fmt: skip
    assert np.allclose(chance, shown["click_chance"].to_numpy())


def test_a_logged_picture_judged_from_its_file_has_its_logged_value(
    world: Path, shown: pl.DataFrame, truth: Truth
) -> None:
    from PIL import Image

    rows = shown.head(40).join(pl.read_parquet(world / "pictures.parquet").drop("concept_id"), on="creative_id",
                               maintain_order="left")  # fmt: skip
    pixels = np.stack([np.asarray(Image.open(world / file)) for file in rows["file"]])
    boxes = rows.select("box_left", "box_top", "box_width", "box_height").to_numpy()
    value = truth.picture_value(
        rows["user_id"], pixels, rows["concept_id"], boxes, rows["at"], slot=rows["slot"].to_numpy()
    )
    assert np.allclose(value, rows["click_chance"].to_numpy())
    one = truth.picture_value(rows["user_id"], pixels[:1], [rows["concept_id"][0]], boxes[:1], rows["at"][0])
    assert one.shape == (40,)


def test_oracle_scores_are_means_over_the_logged_creatives(truth: Truth) -> None:
    at = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
    users, concepts = ["u000003", "u000007"], [planted_concepts().ids[4], planted_concepts().ids[9]]
    scores = truth.oracle_scores(users, at, concepts)
    for user, concept, score in zip(users, concepts, scores, strict=True):
        mine = truth.creatives.filter(pl.col("concept_id") == concept)
        chances = [
            truth.click_chance([user], at, [concept], 0, np.array([row["look"]]), np.array([row["standout"]]))[0]
            for row in mine.iter_rows(named=True)
        ]
        assert score == pytest.approx(np.mean(chances))
    at_once = truth.oracle_scores(users, at, concepts, np.arange(3)[:, None])
    assert at_once.tolist() == [truth.oracle_scores(users, at, concepts, slot).tolist() for slot in range(3)]
    looks, standouts = truth.creatives["look"].to_numpy(), truth.creatives["standout"].to_numpy()
    assert (truth.best_of(users, at, concepts, looks, standouts) > scores).all()


def test_moments_mean_the_same_in_every_form(truth: Truth) -> None:
    at = [dt.datetime(2026, 1, day, 12, tzinfo=dt.UTC) for day in (8, 20)]
    users, concepts = ["u000001", "u000002"], list(planted_concepts().ids[:2])
    forms = [at, pl.Series(at), np.array([moment.replace(tzinfo=None) for moment in at], dtype="datetime64[us]")]
    values = [truth.topic_match(users, form, concepts) for form in forms]
    assert np.allclose(values[0], values[1])
    assert np.allclose(values[0], values[2])


def test_strangers_and_missing_truth_are_named(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nobody"):
        truth.tastes(["nobody"])
    assert not Truth.exists(tmp_path)
    with pytest.raises(DataError, match="no truth"):
        Truth.load(tmp_path)


def test_bad_numbers_are_listed_at_once_and_nothing_is_overwritten(world: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"users is 0.*days is 1.*slate_size is 40"):
        write_world(tmp_path / "bad", 0, 1, seed=1, slate_size=40)
    with pytest.raises(SettingsError, match="slates is 0"):
        write_world(tmp_path / "bad", 1, 4, seed=1, slates=0)
    assert not (tmp_path / "bad").exists()
    with pytest.raises(RunError, match="not empty"):
        write_world(world, 5, 5, seed=1)


def test_users_are_drawn_alike_whatever_follows_them() -> None:
    few, many = draw_users(BLOCK, 20, 5), draw_users(BLOCK + 10, 20, 5)
    assert np.array_equal(few.tau, many.tau[:BLOCK])
    assert [len(rows) for rows in blocks_of(BLOCK + 10)] == [BLOCK, 10]
    assert np.allclose(few.mix_before.sum(axis=1), 1)
    assert np.allclose(few.mix_after.sum(axis=1), 1)
    assert np.corrcoef(few.tau[:, 0], few.style[:, 0])[0, 1] == pytest.approx(0.8, abs=0.03)


def test_interests_drift_and_the_browsing_follows() -> None:
    users, items = draw_users(1500, 30, 2), planted_items()
    seen = browse(users, items, 30, 2, 0)
    assert (np.diff(seen.user) >= 0).all()
    assert seen.at.min() >= 0
    assert seen.at.max() < 30 * DAY
    owned = np.zeros((len(items.ids), len(TOPICS)))
    owned[items.entry, items.topic_index] = 1
    late = seen.at > users.switch_at[seen.user] + users.ramp[seen.user]
    switched = (users.switch_at[seen.user] > 0) & late
    before = (owned[seen.item[switched]] * users.mix_before[seen.user[switched]]).sum(axis=1).mean()
    after = (owned[seen.item[switched]] * users.mix_after[seen.user[switched]]).sum(axis=1).mean()
    assert after > 1.5 * before
    per_user = np.bincount(seen.user, minlength=1500)
    assert per_user.min() >= 2
    assert np.quantile(per_user, 0.97) > 120
    assert np.quantile(per_user, 0.05) < 9


def test_people_stay_longer_with_what_they_like() -> None:
    users, items = draw_users(400, 30, 4), planted_items()
    seen = browse(users, items, 30, 4, 0)
    fit = (users.style[seen.user] * items.style[seen.item]).sum(axis=1)
    known = ~np.isnan(seen.dwell)
    assert 0.05 < 1 - known.mean() < 0.2
    assert np.median(seen.dwell[known & (fit > 2)]) > 1.5 * np.median(seen.dwell[known & (fit < 0)])
    assert (seen.action == "view").mean() > 0.6


def _taste_found(user: np.ndarray, item: np.ndarray, tau: np.ndarray) -> float:
    """R^2, on held-out users, of taste regressed on the mean co-visit vector of what they browsed."""
    count, train = len(tau), np.arange(len(tau)) < 0.7 * len(tau)
    visits = sparse.csr_matrix((np.ones(len(user)), (user, item)), shape=(count, len(planted_items().ids)))
    together = (visits[train].T @ visits[train]).toarray()
    np.fill_diagonal(together, 0)
    scale = np.sqrt(together.sum(axis=1) + 1)
    vectors, weights, _ = svds(together / scale[:, None] / scale[None, :], 32, random_state=0)
    means = (visits @ (vectors * np.sqrt(weights))) / np.asarray(visits.sum(axis=1))
    means = means / means[train].std(axis=0)
    found = Ridge(30.0).fit(means[train], tau[train]).predict(means[~train])
    return float(r2_score(tau[~train], found))


def test_taste_can_be_read_from_browsing_and_not_from_another_users() -> None:
    users = draw_users(BLOCK, 30, 6)
    seen = browse(users, planted_items(), 30, 6, 0)
    assert 0.36 < _taste_found(seen.user, seen.item, users.tau) < 0.64
    swapped = np.random.default_rng(0).permutation(BLOCK)[seen.user]
    assert _taste_found(swapped, seen.item, users.tau) < 0.03
