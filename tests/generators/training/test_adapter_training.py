"""Teaching on a frozen checkpoint: only the slot learns, or only a style; what is clicked is learned; a kill costs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import DataError, ModelError
from generators.examples import Examples, write_examples
from generators.painting.adapter import new_adapter, plug_in, slot_parameters
from generators.painting.painters import SceneRequest
from generators.painting.pretrained import Pretrained, load_pretrained
from generators.painting.stable_diffusion import StableDiffusionPainter, Wish
from generators.training.adapter_lessons import Grafted, StyleLesson, UserLesson, study
from generators.training.adapter_training import Course, teach, teach_adapter
from tests.generators.tiny_checkpoints import KINDS, Kind, tiny_checkpoint

D, S = 3, 32
PROMPTS = ("shoes", "boats")
COURSE = Course(steps=3, rows=4, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2)


def made() -> Examples:
    """Two pictures, dark and light; users of one kind click the dark one, of the other kind the light one."""
    random = np.random.default_rng(0)
    pictures = np.stack([np.full((S, S, 3), 40), np.full((S, S, 3), 215)]).astype(np.uint8)
    masks = np.zeros((2, S, S), np.uint8)
    masks[:, 12:20, 12:20] = 255
    kind, picture = random.integers(0, 2, 200), random.integers(0, 2, 200)
    users = random.normal(0, 0.1, (200, D)) + np.where(kind == 1, 1.0, -1.0)[:, None]
    return Examples(
        pictures=pictures,
        masks=masks,
        picture_concept=np.zeros(2, np.int32),
        concept_vectors=np.ones((2, D), np.float32),
        user_vectors=users.astype(np.float32),
        impression_picture=picture.astype(np.int32),
        impression_user=np.arange(200, dtype=np.int32),
        clicked=(kind == picture).astype(np.uint8),
        space_hash="space",
        split="all",
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Pretrained]:
    home = tmp_path_factory.mktemp("checkpoints")

    def load(kind: Kind) -> Pretrained:
        folder = home / kind
        return load_pretrained(str(folder if folder.exists() else tiny_checkpoint(folder, kind)))

    return load


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "examples.safetensors"
    write_examples(made(), path)
    return path


def lessons(pretrained: Pretrained) -> tuple[UserLesson, Callable[[], StyleLesson]]:
    examples = made()
    blank = new_adapter(
        pretrained.pipeline.unet, examples.user_vectors, space_hash="space", checkpoint_hash="c", seed=0
    )
    studies = study(pretrained, examples, PROMPTS)
    plug_in(pretrained.pipeline, blank)
    users = UserLesson(pretrained, blank, studies, examples, source="test", seed=0)
    return users, lambda: StyleLesson(
        pretrained, blank, studies, pictures=np.array([1]), concepts=examples.picture_concept, advertiser="Stride",
        source="test", seed=0,
    )  # fmt: skip


def everything(pretrained: Pretrained) -> dict[str, torch.Tensor]:
    parts: dict[str, Any] = pretrained.pipeline.components
    modules = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    return {f"{name}.{n}": p for name, module in modules.items() for n, p in module.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_into_the_slot_or_a_style_and_nowhere_else(
    checkpoint: Callable[[Kind], Pretrained], kind: Kind
) -> None:
    pretrained = checkpoint(kind)
    users, style = lessons(pretrained)
    for lesson, is_ours in (
        (users, lambda name: name.removeprefix("unet.") in set(slot_parameters(pretrained.pipeline.unet).values())),
        (style(), lambda name: ".lora_A." in name or ".lora_B." in name),
    ):
        module = lesson.student()
        with torch.no_grad():
            for name, parameter in module.tensors().items():  # what starts at zero lets nothing through
                if "to_v_ip" in name or "lora_B" in name:
                    parameter.add_(0.1)
        lesson.loss(module, 0, 4).backward()
        for name, parameter in everything(pretrained).items():
            if lesson is users or ".processor." not in name:
                assert (parameter.grad is not None) == is_ours(name), name
        moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()]
        assert all(moved)
        module.requires_grad_(False)
        for parameter in module.parameters():
            parameter.grad = None


@pytest.mark.parametrize("kind", KINDS)
def test_teaching_changes_nothing_else(
    checkpoint: Callable[[Kind], Pretrained], kind: Kind, file: Path, tmp_path: Path
) -> None:
    pretrained = checkpoint(kind)
    before = {name: tensor.clone() for name, tensor in everything(pretrained).items()}
    adapter = teach_adapter(pretrained, file, PROMPTS, tmp_path, COURSE, styles={"Stride": np.array([1])})
    after = {name.replace(".base_layer", ""): tensor for name, tensor in everything(pretrained).items()}
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(bool(t.abs().sum() > 0) for name, t in adapter.tensors.items() if "to_v_ip" in name)
    assert all(bool(t.abs().sum() > 0) for t in adapter.styles["Stride"].values())
    request = SceneRequest(np.ones(D, np.float32), None, None, 1, "Run further", "Stride", ("shoes",))
    fresh = checkpoint(kind)
    scene = StableDiffusionPainter(fresh, adapter, Wish(steps=2, guidance=3.0)).paint([request])
    assert scene.shape == (1, S, S, 3)


def test_the_loss_falls_where_clicks_tell_the_picture(checkpoint: Callable[[Kind], Pretrained], tmp_path: Path) -> None:
    users, _ = lessons(checkpoint("sd2"))

    def mean_loss(module: Grafted) -> float:
        with torch.no_grad():
            return float(np.mean([users.loss(module, 10_000 + step, 16) for step in range(4)]))

    before = mean_loss(users.student())
    course = replace(COURSE, steps=40, rows=8, learning_rate=2e-2, warmup_steps=5, checkpoint_every=100)
    taught = mean_loss(teach(users, tmp_path, course, lambda *_: None))
    assert taught < 0.97 * before


def test_a_killed_training_ends_in_the_same_bytes(
    checkpoint: Callable[[Kind], Pretrained], file: Path, tmp_path: Path
) -> None:
    def learn(folder: Path, stop: tuple[str, int] | None = None) -> str:
        def tell(name: str, step: int, _: int) -> None:
            if (name, step) == stop:
                raise KeyboardInterrupt

        styles = {"Stride": np.array([1]), "Lighthouse": np.array([0])}
        return teach_adapter(
            checkpoint("sd15"), file, PROMPTS, folder, COURSE, styles=styles, tell=tell
        ).weights_hash  # fmt: skip

    whole = learn(tmp_path / "whole")
    for stop in (("users", 2), ("style of Stride", 3), ("style of Lighthouse", 1)):
        with pytest.raises(KeyboardInterrupt):
            learn(tmp_path / "cut", stop)
    assert learn(tmp_path / "cut") == whole
    logged = [
        json.loads(line)["step"] for line in (tmp_path / "cut" / "users" / "losses.jsonl").read_text().splitlines()
    ]
    assert logged == [1, 2, 3]
    with pytest.raises(ModelError, match="other data or with other settings"):
        teach_adapter(checkpoint("sd15"), file, PROMPTS, tmp_path / "cut", replace(COURSE, seed=1))


def test_memory_can_be_spared_without_another_result(
    checkpoint: Callable[[Kind], Pretrained], file: Path, tmp_path: Path
) -> None:
    plain = teach_adapter(checkpoint("sd15"), file, PROMPTS, tmp_path / "plain", COURSE)
    spared = teach_adapter(checkpoint("sd15"), file, PROMPTS, tmp_path / "spared", replace(COURSE, spare_memory=True))
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(spared.tensors[name], tensor, atol=1e-5, rtol=1e-4)


def test_an_advertiser_without_pictures_is_a_clear_line(
    checkpoint: Callable[[Kind], Pretrained], file: Path, tmp_path: Path
) -> None:
    none = {"Nobody": np.array([], np.int64)}
    with pytest.raises(DataError, match="no logged picture"):
        teach_adapter(checkpoint("sd15"), file, PROMPTS, tmp_path, COURSE, styles=none)
