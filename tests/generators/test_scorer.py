"""Choosing among candidates: by appeal alone until reviewers have spoken, then so that what they approve comes up more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generators.scorer import Reviewed, Scorer
from generators.studio import Order
from generators.taste.approval import TERMS, Approval, Verdicts, fit_approval
from generators.taste.look import picture_looks
from generators.taste.taste import Taste
from generators.taste.tilt import fit_tilt
from generators.taste.variety import Looks, thumbnails
from generators.typesetting.wording import Copy

ORDER = Order("one", "shoe", None, None, None, Copy(headline="h", body="", call_to_action="c", advertiser="a"), 1)


def scenes(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = rng.integers(20, 220, size=(count, 1, 1, 3))
    return (level + rng.integers(0, 35, size=(count, 16, 16, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def reviewed() -> Reviewed:
    """Reviewers who approve light scenes."""
    pictures = scenes(200, 0)
    features = picture_looks(pictures)
    looks = Looks(features, thumbnails(pictures))
    centre, scale = looks.standard
    every = np.arange(200)
    verdicts = Verdicts(features, np.zeros(200, np.int64), every, np.zeros(200, np.int64), features[:, 0] > centre[0],
                        every[:0], every[:0])  # fmt: skip
    approval = fit_approval(verdicts, centre=centre, scale=scale)
    return Reviewed(approval, fit_tilt(looks, approval.log_chance(features), most_kl=1.0, least_diversity=0.8), "d")


def test_what_reviewers_approve_comes_up_more_often_and_the_rest_still_does(reviewed: Reviewed) -> None:
    light = []
    for number in range(200):
        candidates = scenes(6, 100 + number)
        kept = int(Scorer(None, reviewed)(replace(ORDER, seed=number), candidates).argmax())
        light.append(picture_looks(candidates)[kept, 0] > reviewed.approval.centre[0])
    assert 0.75 < np.mean(light) < 1


def test_the_same_order_keeps_the_same_scene(reviewed: Reviewed) -> None:
    candidates = scenes(6, 5)
    assert (Scorer(None, reviewed)(ORDER, candidates) == Scorer(None, reviewed)(ORDER, candidates)).all()


def test_without_reviewers_it_is_the_appeal_alone() -> None:
    F = len(TERMS) // 2
    taste = Taste(np.zeros(F, np.float32), np.ones(F, np.float32), np.eye(F, dtype=np.float32)[0], np.zeros((F, 2), np.float32),
                  np.zeros(F, np.float32), np.zeros(2, np.float32), "s")  # fmt: skip
    candidates = scenes(6, 5)
    assert Scorer(taste, None)(ORDER, candidates).argmax() == picture_looks(candidates)[:, 0].argmax()
    assert not Scorer(None, None).knows_anything


def test_a_generator_that_learned_nothing_from_reviewers_has_no_such_part(reviewed: Reviewed, tmp_path: Path) -> None:
    assert Reviewed.load(tmp_path) is None
    reviewed.approval.save(tmp_path)
    assert Reviewed.load(tmp_path) is None
    reviewed.tilt.save(tmp_path)
    again = Reviewed.load(tmp_path)
    assert again is not None
    assert isinstance(again.approval, Approval)
    assert len(again.digest) == 64
