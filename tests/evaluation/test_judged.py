"""Judged pictures: figures by hand, intervals from resampled judges, and a judge without skill is called so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from contracts.settings import EvaluationSettings
from evaluation.judged import JudgedPictures, judged_section
from evaluation.labels import labels_section

SETTINGS = EvaluationSettings(bootstraps=200)


def judged(*, skill: float = 1.0, noise: float = 0.01) -> JudgedPictures:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(40)], "concept_id": ["shoe"] * 20 + ["pot"] * 20, "cohort": [0, 1] * 20,
            "creative_id": [f"{'shoe' if n < 20 else 'pot'}-{n % 2}" for n in range(40)],
        }
    )  # fmt: skip
    chances = np.tile(np.array([0.12, 0.09, 0.10, 0.08]), (31, 40, 1))
    chances[:, 20:, 0] += 0.02
    chances[1:] += noise * rng.normal(size=(30, 1, 4))
    chances[:, :, 1] = np.nan
    advantage = rng.normal(size=3000)
    clicked = rng.random(3000) < 1 / (1 + np.exp(2 - skill * advantage))
    held = pl.DataFrame({"user": rng.integers(0, 200, 3000), "clicked": clicked, "advantage": advantage})
    return JudgedPictures(rows, chances, users=50, impressions=999, clicks=88, held_out=held)


def test_gains_are_means_over_rows_and_kinds_that_are_missing_are_null() -> None:
    section = judged_section(judged(), SETTINGS, seed=1, true=None)
    assert section["chances"]["own"]["value"] == pytest.approx(0.13)
    assert section["gains"]["general"]["value"] == pytest.approx(0.03)
    assert section["gains"]["other"] == {"value": None, "interval": None, "rows": 0}
    assert section["rank_correlation_with_truth"] is None
    assert section["skill"]["auc"] > 0.6
    assert section["skill"]["interval"]["low"] > 0.5


def test_the_interval_is_as_wide_as_resampled_judges_differ() -> None:
    span = judged_section(judged(noise=0.02), SETTINGS, seed=1, true=None)["chances"]["own"]["interval"]
    draws = judged(noise=0.02).chances[1:, :, 0].mean(axis=1)
    assert span["high"] - span["low"] == pytest.approx(2 * 1.95996 * draws.std(ddof=1), rel=1e-4)


def test_creatives_come_by_gain_and_are_held_against_the_truth() -> None:
    found = judged()
    true = found.rows.select("user_id", "concept_id").with_columns(
        own=pl.when(pl.col("concept_id") == "pot").then(0.2).otherwise(0.1), general=pl.lit(0.1)
    )
    section = judged_section(found, SETTINGS, seed=1, true=true)
    assert [one["concept_id"] for one in section["creatives"]] == ["pot", "pot", "shoe", "shoe"]
    assert section["creatives"][0]["true_lift"] == pytest.approx(0.1)
    assert section["creatives"][0]["users"] == 10
    assert section["rank_correlation_with_truth"] > 0.9


def test_a_judge_without_skill_has_an_auc_whose_interval_holds_one_half() -> None:
    span = judged_section(judged(skill=0.0), SETTINGS, seed=1, true=None)["skill"]["interval"]
    assert span["low"] < 0.5 < span["high"]


# labels


def shown(effect: float, *, rows: int = 6000, seed: int = 0) -> pl.DataFrame:
    """Two concepts, the weaker of which is labelled more often: the raw difference misleads."""
    rng = np.random.default_rng(seed)
    weak = rng.random(rows) < 0.5
    labelled = rng.random(rows) < np.where(weak, 0.8, 0.2)
    clicked = rng.random(rows) < np.where(weak, 0.1, 0.4) + effect * labelled
    return pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in rng.integers(0, 500, rows)], "concept_id": np.where(weak, "weak", "strong"),
            "slot": rng.integers(0, 2, rows), "clicked": clicked, "labelled": labelled,
        }
    )  # fmt: skip


@pytest.mark.parametrize("effect", [0.0, -0.08])
def test_the_difference_is_within_concepts(effect: float) -> None:
    section = labels_section(shown(effect), SETTINGS, seed=1)
    raw = section["labelled"]["value"] - section["unlabelled"]["value"]
    assert raw < effect - 0.1
    assert section["difference"]["interval"]["low"] < effect < section["difference"]["interval"]["high"]
    assert (section["difference"]["interval"]["high"] < 0) == (effect < 0)


def test_the_difference_is_that_of_mantel_and_haenszel() -> None:
    rows = shown(-0.05)
    above = below = 0.0
    for _, stratum in rows.group_by("concept_id", "slot"):
        one, zero = stratum.filter("labelled")["clicked"], stratum.filter(~pl.col("labelled"))["clicked"]
        weight = len(one) * len(zero) / len(stratum)
        above += weight * (one.mean() - zero.mean())  # type: ignore[operator]
        below += weight
    assert labels_section(rows, SETTINGS, seed=1)["difference"]["value"] == pytest.approx(above / below)


def test_a_log_that_does_not_say_or_has_one_kind_only_is_told_so() -> None:
    nothing = shown(0).with_columns(labelled=pl.lit(None, pl.Boolean))
    assert "does not say" in labels_section(nothing, SETTINGS, seed=1)["absent"]
    assert "does not say" in labels_section(None, SETTINGS, seed=1)["absent"]
    assert "nothing to compare" in labels_section(shown(0).filter("labelled"), SETTINGS, seed=1)["absent"]


def test_where_nobody_had_two_pictures_to_choose_from_the_judge_is_not_tried() -> None:
    found = judged()
    assert found.held_out is not None
    section = judged_section(replace(found, held_out=found.held_out.clear()), SETTINGS, seed=1, true=None)
    assert section["skill"] == {"absent": "no concept has two logged pictures of which one might be preferred"}
