"""The judge learns from other people than the scorer, finds a planted taste, and knows how little it may know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import ModelError
from contracts.seeds import stream
from generators.examples import Examples
from generators.taste.judge import Judge, _ridge, fit_judge, of_judge
from generators.taste.look import picture_looks
from generators.taste.taste import ClickModel

S, D, USERS, PICTURES = 16, 3, 300, 8


def examples(seed: int = 0, rows: int = 4_000, pull: float = 1.5) -> tuple[Examples, np.ndarray]:
    """Two concepts; people with u[0] > 0 click light pictures, the others dark ones."""
    rng = np.random.default_rng(seed)
    users = rng.normal(size=(USERS, D)).astype(np.float32)
    light = np.linspace(40, 215, PICTURES)
    pictures = np.broadcast_to(light[:, None, None, None], (PICTURES, S, S, 3)).astype(np.uint8).copy()
    who, what = rng.integers(USERS, size=rows), rng.integers(PICTURES, size=rows)
    odds = -1.5 + pull * np.sign(users[who, 0]) * (light[what] - light.mean()) / light.std()
    clicked = rng.random(rows) < 1 / (1 + np.exp(-odds))
    made = Examples(
        pictures=pictures, masks=np.zeros((PICTURES, S, S), np.uint8),
        picture_concept=(np.arange(PICTURES) % 2).astype(np.int32),
        concept_vectors=np.eye(D, dtype=np.float32)[:2], user_vectors=users, impression_picture=what.astype(np.int32),
        impression_user=who.astype(np.int32), clicked=clicked.astype(np.uint8), space_hash="space", split="test",
    )  # fmt: skip
    return made, who.astype(np.int64)


def gain(judge: Judge, made: Examples, user: np.ndarray) -> np.ndarray:
    """(1 + B,) what the lightest picture of the first concept gains over its darkest one, for a user."""
    chances = judge.chances(user[None], 0, made.concept_vectors[0], picture_looks(made.pictures[[6, 0]]))
    return chances[:, 0, 0] - chances[:, 0, 1]


def test_half_of_all_users_are_the_judge_s_and_stay_so() -> None:
    names = [f"user {number}" for number in range(4000)]
    mine = of_judge(names)
    assert 0.46 < mine.mean() < 0.54
    assert (of_judge(names[::-1]) == mine[::-1]).all()


def test_the_judge_finds_a_planted_taste() -> None:
    made, people = examples()
    judge = fit_judge(made, picture_looks(made.pictures), people, seed=1, resamples=20)
    for sign in (1, -1):
        user = np.array([1.5 * sign, 0, 0], np.float32)
        assert (sign * gain(judge, made, user) > 0.1).all()


def test_a_judge_taught_by_few_doubts_itself_more() -> None:
    def doubt(users: int) -> float:
        made, people = examples()
        mine = people < users
        few = replace(made, impression_picture=made.impression_picture[mine],
                      impression_user=made.impression_user[mine], clicked=made.clicked[mine])  # fmt: skip
        judge = fit_judge(few, picture_looks(few.pictures), people[mine], seed=1, resamples=60)
        return float(gain(judge, made, np.array([1.0, 0, 0], np.float32))[1:].std())

    assert doubt(40) > 1.5 * doubt(300)


def test_the_doubt_is_that_of_judges_who_asked_other_people() -> None:
    """Against the real thing: judges taught by new samples of people from the same world."""
    user, opinions = np.array([1.0, 0, 0], np.float32), []
    for seed in range(10):
        made, people = examples(seed)
        judge = fit_judge(made, picture_looks(made.pictures), people, seed=1, resamples=100)
        opinions.append(gain(judge, made, user))
    between = float(np.std([one[0] for one in opinions], ddof=1))
    within = float(np.mean([one[1:].std(ddof=1) for one in opinions]))
    assert 0.5 < within / between < 2.0


def test_the_first_opinion_is_of_everybody_and_the_same_seed_repeats() -> None:
    made, people = examples(rows=2000)
    features = picture_looks(made.pictures)
    one, again = (fit_judge(made, features, people, seed=3, resamples=2) for _ in range(2))
    user = made.user_vectors[:1]
    assert (gain(one, made, user[0]) == gain(again, made, user[0])).all()
    assert one.users == len(np.unique(people))
    assert one.clicks == made.clicked.sum()


def test_too_few_clicks_teach_nobody() -> None:
    made, people = examples(rows=2000)
    with pytest.raises(ModelError, match="teach no judge"):
        fit_judge(replace(made, clicked=np.zeros_like(made.clicked)), picture_looks(made.pictures), people, seed=1)


def test_an_opinion_is_a_newton_step_with_the_whole_hessian() -> None:
    made, people = examples(rows=1_500)
    looks = picture_looks(made.pictures)
    judge = fit_judge(made, looks, people, seed=1, resamples=3)
    rng, count = stream(1, "judge"), int(people.max()) + 1
    drawn = np.stack([np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(3)]) - 1.0

    def numbers(fit: ClickModel) -> np.ndarray:
        taste = fit.taste
        return np.concatenate([fit.bias, [fit.match], taste.common, taste.bend.ravel(), taste.curvature], dtype=float)

    first = judge.fits[0]
    users = made.user_vectors - first.taste.user_centre
    concept = made.picture_concept[made.impression_picture]
    look = ((looks - first.taste.centre) / first.taste.scale)[made.impression_picture]
    user, vector = made.user_vectors[made.impression_user], made.concept_vectors[concept]
    match = (user * vector).sum(axis=1) / np.linalg.norm(user, axis=1) / np.linalg.norm(vector, axis=1)
    bent = np.einsum("nf,nd->nfd", look, users[made.impression_user]).reshape(len(look), -1)
    design = np.column_stack([np.eye(2)[concept], match, look, bent, -0.5 * look**2])
    chance = 1 / (1 + np.exp(-design @ numbers(first)))
    hessian = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(_ridge(first, users))
    steps = np.linalg.solve(hessian, ((drawn[:, people] * (made.clicked - chance)) @ design).T).T
    moved = numbers(first) + steps
    moved[:, -look.shape[1] :] = np.maximum(moved[:, -look.shape[1] :], 0)
    assert np.abs(steps).max() > 0.01
    np.testing.assert_allclose([numbers(fit) for fit in judge.fits[1:]], moved, rtol=1e-4, atol=1e-5)
