"""A training that was killed ends in the same bytes; a tiny trained network draws what each user clicks."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from contracts.errors import ModelError
from generators.examples import Examples, rows_of, write_examples
from generators.network import clicked_by
from generators.sampling import Guidance, draw
from generators.training import (
    NetworkShape,
    Progress,
    TrainConfig,
    config_rate,
    drop_conditions,
    new_network,
    train,
    warm_start,
)
from generators.weights import load_weights

SHAPE = NetworkShape(patch=2, channels=(32, 32), token_width=32, refine=4)
S, D = 16, 5


def light_and_dark(*, space: str = "space-a", dimensions: int = D, impressions: int = 2000) -> Examples:
    """Plain scenes from dark to light; a user clicks what is as light as the first number of their vector says."""
    random = np.random.default_rng(0)
    level = random.uniform(30, 225, 200)
    tilt = np.linspace(-20, 20, S)[None, :, None, None]
    pictures = (level[:, None, None, None] + tilt + random.normal(0, 3, (200, S, S, 3))).clip(0, 255)
    masks = np.zeros((200, S, S), np.uint8)
    masks[:, 6:10, 6:10] = 255
    users = random.choice([-1.0, 1.0], (40, dimensions))
    picture, user = random.integers(0, 200, impressions), random.integers(0, 40, impressions)
    gap = (level[picture] - 127.5) / 60 - users[user, 0]
    return Examples(
        pictures=pictures.astype(np.uint8),
        masks=masks,
        picture_concept=random.integers(0, 3, 200).astype(np.int32),
        concept_vectors=random.normal(size=(3, dimensions)).astype(np.float32),
        user_vectors=users.astype(np.float32),
        impression_picture=picture.astype(np.int32),
        impression_user=user.astype(np.int32),
        clicked=(random.random(impressions) < 0.4 * np.exp(-(gap**2))).astype(np.uint8),
        space_hash=space,
        split="all",
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("training") / "examples.safetensors"
    write_examples(light_and_dark(), path)
    return path


def short(**changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {
        "network": SHAPE, "steps": 7, "rows": 4, "warmup_steps": 2, "checkpoint_every": 2, "sheet_every": 100,
        "log_every": 3, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


class KilledError(Exception):
    pass


def kill_after(step: int) -> Any:
    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise KilledError

    return tell


def test_a_killed_training_ends_in_the_same_bytes(file: Path, tmp_path: Path) -> None:
    straight = train(file, tmp_path / "straight", short())
    for step in (3, 5):
        with pytest.raises(KilledError):
            train(file, tmp_path / "killed", short(), kill_after(step))
    resumed = train(file, tmp_path / "killed", short())
    assert resumed.weights_hash == straight.weights_hash
    for name in ("losses.jsonl", "checkpoint.safetensors", "weights/config.json", "sheets/step-000007.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name
    assert resumed.loss == straight.loss
    again = train(file, tmp_path / "killed", short())  # a finished one has nothing to do
    assert again.weights_hash == straight.weights_hash


def test_another_seed_ends_elsewhere_and_no_global_stream_is_touched(file: Path, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    one = train(file, tmp_path / "one", short(steps=2))
    other = train(file, tmp_path / "other", short(steps=2, seed=1))
    assert one.weights_hash != other.weights_hash
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_folder_is_not_resumed_with_other_settings_or_data(file: Path, tmp_path: Path) -> None:
    train(file, tmp_path / "out", short(steps=2))
    with pytest.raises(ModelError, match="other data or with other settings"):
        train(file, tmp_path / "out", short(steps=2, learning_rate=1e-4))
    other = tmp_path / "other.safetensors"
    write_examples(light_and_dark(impressions=500), other)
    with pytest.raises(ModelError, match="other data or with other settings"):
        train(other, tmp_path / "out", short(steps=2))


def test_a_damaged_checkpoint_is_named(file: Path, tmp_path: Path) -> None:
    train(file, tmp_path / "out", short(steps=2))
    saved = tmp_path / "out" / "checkpoint.safetensors"
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not a whole checkpoint"):
        train(file, tmp_path / "out", short(steps=2))


def test_a_training_leaves_weights_a_log_and_a_sheet(file: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    result = train(file, tmp_path / "out", short(), told.append)
    loaded = load_weights(result.weights, space_hash="space-a", weights_hash=result.weights_hash)
    assert loaded.made_from["split"] == "all"
    assert loaded.made_from["settings"]["steps"] == 7
    lines = [json.loads(line) for line in (tmp_path / "out" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert lines[0]["loss"] == pytest.approx(np.mean([p.loss for p in told[:3]]))
    assert [p.step for p in told] == list(range(1, 8))
    assert Image.open(tmp_path / "out" / "sheets" / "step-000007.png").size == (8 * S * 2, 4 * S * 2)
    assert (result.steps, result.device, result.precision) == (7, "cpu", "fp32")


def test_a_warm_start_keeps_the_painter_and_forgets_only_another_space(file: Path, tmp_path: Path) -> None:
    first = train(file, tmp_path / "out", short())
    before = load_weights(first.weights).network.state_dict()
    same = warm_start(new_network(light_and_dark(), short(seed=5)), first.weights, "space-a").state_dict()
    assert all(torch.equal(before[name], same[name]) for name in before)
    elsewhere = light_and_dark(space="space-b", dimensions=9)
    fresh = new_network(elsewhere, short(seed=5)).state_dict()
    other = warm_start(new_network(elsewhere, short(seed=5)), first.weights, "space-b").state_dict()
    for name, tensor in other.items():
        source = fresh if name.startswith(("condition.user.", "condition.concept.")) else before
        assert torch.equal(tensor, source[name]), name


def test_a_warm_start_sets_out_where_the_other_training_ended(file: Path, tmp_path: Path) -> None:
    first = train(file, tmp_path / "first", short(steps=40, rows=8, learning_rate=2e-3))
    warm, cold = [], []
    train(file, tmp_path / "w", short(steps=3), lambda p: warm.append(p.loss), start_from=first.weights)
    train(file, tmp_path / "c", short(steps=3), lambda p: cold.append(p.loss))
    assert np.mean(warm) < 0.7 * np.mean(cold)


def test_a_warm_start_from_another_architecture_is_refused(file: Path, tmp_path: Path) -> None:
    first = train(file, tmp_path / "out", short(steps=1))
    wider = short(network=SHAPE.model_copy(update={"channels": (32, 64)}))
    with pytest.raises(ModelError, match="another architecture"):
        warm_start(new_network(light_and_dark(), wider), first.weights, "space-a")


def test_the_learning_rate_warms_up_and_falls_to_two_per_cent() -> None:
    config = short(steps=1000, warmup_steps=100, learning_rate=1.0)
    rates = [config_rate(config, step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == pytest.approx(1)
    assert rates[550] == pytest.approx(0.51, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=0.001)
    assert all(a >= b for a, b in pairwise(rates[100:]))


def test_conditions_are_forgotten_as_often_as_the_settings_say() -> None:
    examples = light_and_dark()
    batch = rows_of(examples, np.random.default_rng(0).integers(0, 2000, 20000))
    kept = drop_conditions(batch, short(), torch.Generator().manual_seed(0))
    assert kept.has_user is not None
    assert kept.has_concept is not None
    no_user, no_click = ~kept.has_user, kept.click == 0
    shares = [float(x.float().mean()) for x in (no_user & ~no_click, no_click & ~no_user, no_user & no_click)]
    assert shares == pytest.approx([0.15, 0.15, 0.1], abs=0.01)
    assert float((~kept.has_concept).float().mean()) == pytest.approx(0.05, abs=0.01)
    assert torch.equal(kept.click[~no_click], batch.click[~no_click])


def test_vectors_are_scaled_by_those_of_the_training_file() -> None:
    examples = light_and_dark()
    far = replace(examples, user_vectors=examples.user_vectors * 50 + 9)
    user = new_network(far, short()).condition.user
    standard = (torch.from_numpy(far.user_vectors) - user.get_buffer("centre")) * user.get_buffer("scale")
    assert float(standard.mean()) == pytest.approx(0, abs=1e-4)
    assert float(standard.std()) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_a_tiny_trained_network_draws_lighter_pictures_for_those_who_click_light_ones(
    file: Path, tmp_path: Path
) -> None:
    result = train(file, tmp_path / "out", short(steps=260, rows=16, learning_rate=2e-3, warmup_steps=20, ema=0.98))
    network = load_weights(result.weights).network
    rows = 12
    concept, product, mask = torch.zeros(rows, D), torch.zeros(rows, 3, S, S), torch.zeros(rows, 1, S, S)

    def lightness(first: float, weight: float) -> float:
        user = torch.zeros(rows, D)
        user[:, 0] = first
        condition = clicked_by(user, concept)
        drawn = draw(network, condition, product, mask, torch.arange(rows), steps=8, guidance=Guidance(weight))
        return float(drawn.float().mean())

    assert lightness(1, 3) - lightness(-1, 3) > 8  # of 255
    assert lightness(1, 0) == lightness(-1, 0)
