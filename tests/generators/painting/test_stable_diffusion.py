"""A pretrained checkpoint as a way to draw: what is read and what is refused, schedulers, users, styles, folders."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import diffusers
import huggingface_hub
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from contracts.errors import ModelError
from generators.painting.adapter import (
    Adapter,
    add_style,
    load_adapter,
    new_adapter,
    plug_in,
    save_adapter,
    style_tensors,
)
from generators.painting.painters import SceneRequest, frame_product, lay_product
from generators.painting.pretrained import Pretrained, Scheduler, find_checkpoint, load_pretrained
from generators.painting.stable_diffusion import StableDiffusionPainter, Wish
from tests.generators.tiny_checkpoints import KINDS, Kind, tiny_checkpoint

D = 5
USERS = np.random.default_rng(0).normal(2.0, 0.5, size=(50, D)).astype(np.float32)
WISH = Wish(steps=3, guidance=3.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    home = tmp_path_factory.mktemp("checkpoints")
    return {kind: tiny_checkpoint(home / kind, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def learned(folders: dict[Kind, Path]) -> Adapter:
    """An adapter for sd15 as training might leave it, with a style for Stride."""
    pretrained = load_pretrained(str(folders["sd15"]))
    blank = new_adapter(
        pretrained.pipeline.unet, USERS, space_hash="space", checkpoint_hash=pretrained.weights_hash, seed=0
    )
    draws = torch.Generator().manual_seed(0)
    loud = {n: torch.randn(t.shape, generator=draws) if "to_v_ip" in n else t for n, t in blank.tensors.items()}
    plug_in(pretrained.pipeline, blank)
    add_style(pretrained.pipeline.unet, "new")
    style = {
        n: torch.randn(t.shape, generator=draws) for n, t in style_tensors(pretrained.pipeline.unet, "new").items()
    }
    return Adapter(loud, "space", pretrained.weights_hash, {"Stride": style}, {"why": "a test"})


def wanted(user: int | None = 0, *, seed: int = 1, advertiser: str = "Lighthouse") -> SceneRequest:
    product = np.zeros((80, 60, 4), np.uint8)
    product[5:75, 5:55] = (20, 90, 160, 255)
    vector = None if user is None else USERS[user]
    return SceneRequest(vector, None, product, seed, "Run further", advertiser, ("shoes",))


def painted(
    checkpoint: Path | Pretrained, adapter: Adapter | None, *requests: SceneRequest, wish: Wish = WISH
) -> npt.NDArray[np.uint8]:
    pretrained = load_pretrained(str(checkpoint)) if isinstance(checkpoint, Path) else checkpoint
    return StableDiffusionPainter(pretrained, adapter, wish).paint(requests or [wanted()])


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_adapter_changes_nothing(folders: dict[Kind, Path], kind: Kind) -> None:
    pretrained = load_pretrained(str(folders[kind]))
    before = painted(pretrained, None)
    blank = new_adapter(pretrained.pipeline.unet, USERS, space_hash="s", checkpoint_hash="c", seed=0)
    assert (before == painted(pretrained, blank)).all()


def test_the_slot_is_diffusers_own(folders: dict[Kind, Path], learned: Adapter, tmp_path: Path) -> None:
    """By another road: diffusers reads our folder with its public loaders, and is told the user by hand."""
    save_adapter(learned, tmp_path)
    wish = replace(WISH, prompt="a shoe", negative_prompt="text")
    mine = painted(folders["sd15"], learned, wanted(3, advertiser="Stride"), wish=wish)[0]

    pipeline = diffusers.AutoPipelineForInpainting.from_pretrained(folders["sd15"], use_safetensors=True)
    pipeline.load_ip_adapter(str(tmp_path), subfolder="", weight_name="adapter.safetensors", image_encoder_folder=None)
    pipeline.load_lora_weights(str(tmp_path), weight_name="style-1.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    standard = (USERS[3] - USERS.mean(axis=0)) / USERS.std(axis=0)
    told = torch.from_numpy(np.concatenate([standard, standard, [1.0]]).astype(np.float32))[None, None]
    product, mask = frame_product(wanted().product, 32)
    theirs = pipeline(
        prompt="a shoe", negative_prompt="text", image=torch.from_numpy(product).permute(2, 0, 1)[None] / 255,
        mask_image=1 - torch.from_numpy(mask)[None, None], height=32, width=32, strength=1.0, num_inference_steps=3,
        guidance_scale=3.0, generator=[torch.Generator().manual_seed(1)], output_type="np",
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(told), told])],
    ).images[0]  # fmt: skip
    laid = lay_product(np.round(theirs * 255).astype(np.uint8), wanted().product)
    assert np.abs(mine.astype(int) - laid).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_back_every_bit(folders: dict[Kind, Path], kind: Kind, tmp_path: Path) -> None:
    pretrained = load_pretrained(str(folders[kind]))
    adapter = new_adapter(pretrained.pipeline.unet, USERS, space_hash="space", checkpoint_hash="c", seed=1)
    loud = {name: tensor + 0.1 for name, tensor in adapter.tensors.items()}
    adapter = replace(adapter, tensors=loud, made_from={"steps": 3})
    digest = save_adapter(adapter, tmp_path)
    again = load_adapter(tmp_path, space_hash="space")
    assert again.weights_hash == digest == adapter.weights_hash
    assert again.tensors.keys() == loud.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in loud.items())
    assert (again.space_hash, again.checkpoint_hash, again.made_from) == ("space", "c", {"steps": 3})
    assert (painted(pretrained, adapter) == painted(folders[kind], again)).all()
    assert sorted(file.suffix for file in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_styles_come_back_too(folders: dict[Kind, Path], learned: Adapter, tmp_path: Path) -> None:
    save_adapter(learned, tmp_path)
    again = load_adapter(tmp_path)
    assert again.weights_hash == learned.weights_hash
    assert all(torch.equal(again.styles["Stride"][name], t) for name, t in learned.styles["Stride"].items())
    requests = [wanted(advertiser="Stride"), wanted()]
    assert (painted(folders["sd15"], learned, *requests) == painted(folders["sd15"], again, *requests)).all()


def test_a_style_is_its_advertisers_alone(folders: dict[Kind, Path], learned: Adapter) -> None:
    plain = replace(learned, styles={})
    theirs, others, again = painted(folders["sd15"], learned, wanted(advertiser="Stride"), wanted(), wanted(seed=2))
    without = painted(folders["sd15"], plain, wanted(advertiser="Stride"), wanted(), wanted(seed=2))
    assert np.abs(theirs.astype(int) - without[0]).max() > 3
    assert np.abs(others.astype(int) - without[1]).max() <= 1
    assert np.abs(again.astype(int) - without[2]).max() <= 1


def test_what_a_user_says_can_be_turned_down(folders: dict[Kind, Path], learned: Adapter) -> None:
    def gap(scale: float) -> float:
        mine, yours = painted(
            folders["sd15"], learned, wanted(0), wanted(1), wish=replace(WISH, user_scale=scale)
        ).astype(float)
        return float(np.abs(mine - yours).mean())

    assert gap(0.0) == 0
    assert 0 < gap(0.2) < gap(1.0)


def test_without_guidance_users_still_matter(folders: dict[Kind, Path], learned: Adapter) -> None:
    mine, yours = painted(folders["sd15"], learned, wanted(0), wanted(1), wish=replace(WISH, guidance=1.0))
    assert np.abs(mine.astype(int) - yours).max() > 3


def test_the_prompt_and_the_negative_prompt_matter(folders: dict[Kind, Path]) -> None:
    pretrained = load_pretrained(str(folders["sd15"]))
    usual = painted(pretrained, None)
    assert (usual != painted(pretrained, None, wish=replace(WISH, prompt="a house"))).any()
    assert (usual != painted(pretrained, None, wish=replace(WISH, negative_prompt="text"))).any()
    assert (usual != painted(pretrained, None, replace(wanted(), topics=("boats",)))).any()


@pytest.mark.parametrize(
    ("scheduler", "kind", "steps", "guidance"),
    [
        ("own", "DDIMScheduler", 3, 3.0),
        ("ddim", "DDIMScheduler", 3, 3.0),
        ("dpm++", "DPMSolverMultistepScheduler", 3, 3.0),
        ("euler", "EulerDiscreteScheduler", 3, 3.0),
        ("lcm", "LCMScheduler", 4, 1.0),
        ("turbo", "EulerAncestralDiscreteScheduler", 1, 0.0),
    ],
)
def test_schedulers_by_name(
    folders: dict[Kind, Path], scheduler: Scheduler, kind: str, steps: int, guidance: float
) -> None:
    pretrained = load_pretrained(str(folders["sd2"]), scheduler=scheduler)
    assert type(pretrained.pipeline.scheduler).__name__ == kind
    assert pretrained.pipeline.scheduler.config.prediction_type == "v_prediction"
    scenes = [painted(pretrained, None, wish=Wish(steps=steps, guidance=guidance)) for _ in range(2)]
    assert (scenes[0] == scenes[1]).all()
    assert scenes[0].std() > 1


def test_the_hash_is_of_the_weights(folders: dict[Kind, Path], learned: Adapter, tmp_path: Path) -> None:
    hashes = {
        StableDiffusionPainter(load_pretrained(str(folder)), None, WISH).weights_hash for folder in folders.values()
    }
    hashes |= {StableDiffusionPainter(load_pretrained(str(folders["sd15"])), learned, WISH).weights_hash}
    other = tiny_checkpoint(tmp_path / "other", "sd15", seed=1)
    hashes |= {StableDiffusionPainter(load_pretrained(str(other)), None, WISH).weights_hash}
    assert len(hashes) == len(folders) + 2


def test_pickles_are_refused(folders: dict[Kind, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["sd15"], tmp_path / "old")
    unet = tmp_path / "old" / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"unet/diffusion_pytorch_model.bin is a pickle"):
        load_pretrained(str(tmp_path / "old"))
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ModelError, match="is a pickle"):
        load_pretrained(str(tmp_path / "model.ckpt"))


def test_what_is_not_there_or_not_ours_is_a_clear_line(folders: dict[Kind, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_pretrained(str(tmp_path / "nothing"))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="is a single file"):
        load_pretrained(str(tmp_path / "model.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no readable model_index.json"):
        load_pretrained(str(tmp_path / "empty"))
    (tmp_path / "empty" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(ModelError, match="is a FluxPipeline"):
        load_pretrained(str(tmp_path / "empty"))


@pytest.mark.parametrize("damage", ["cut short", "missing", "of another shape"])
def test_a_damaged_checkpoint_is_a_clear_line(folders: dict[Kind, Path], damage: str, tmp_path: Path) -> None:
    shutil.copytree(folders["sd15"], tmp_path / "damaged")
    file = tmp_path / "damaged" / "unet" / "diffusion_pytorch_model.safetensors"
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "missing":
        file.unlink()
    else:
        shutil.copy(folders["xl"] / "unet" / file.name, file)
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load_pretrained(str(tmp_path / "damaged"))
    assert "\n" not in str(caught.value)


def test_a_hub_id_without_a_network_is_a_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot be fetched from the hub") as caught:
        find_checkpoint("nobody/no-such-checkpoint")
    assert "\n" not in str(caught.value)


def test_a_side_that_cannot_be_painted_is_a_clear_line(folders: dict[Kind, Path]) -> None:
    pretrained = load_pretrained(str(folders["sd15"]))
    with pytest.raises(ModelError, match="40 pixels cannot be painted"):
        StableDiffusionPainter(pretrained, None, replace(WISH, side=40))
    assert painted(pretrained, None, wish=replace(WISH, side=48)).shape == (1, 48, 48, 3)


def test_a_vector_of_another_length_is_refused(folders: dict[Kind, Path], learned: Adapter) -> None:
    with pytest.raises(ModelError, match=r"3 dimensions, the adapter's space 5"):
        painted(folders["sd15"], learned, replace(wanted(), user=USERS[0, :3]))


def test_an_adapter_of_another_space_or_checkpoint_is_refused(
    folders: dict[Kind, Path], learned: Adapter, tmp_path: Path
) -> None:
    save_adapter(learned, tmp_path)
    with pytest.raises(ModelError, match="trained in embedding space space"):
        load_adapter(tmp_path, space_hash="another")
    with pytest.raises(ModelError, match="checkpoint of another shape"):
        StableDiffusionPainter(load_pretrained(str(folders["xl"])), learned, WISH)


@pytest.mark.parametrize("damage", ["changed", "cut short", "missing", "another format", "not finite"])
def test_a_damaged_adapter_is_a_clear_line(learned: Adapter, damage: str, tmp_path: Path) -> None:
    if damage == "not finite":
        bad = {name: tensor * float("nan") for name, tensor in learned.tensors.items()}
        with pytest.raises(ModelError, match="not finite"):
            save_adapter(replace(learned, tensors=bad), tmp_path)
        return
    save_adapter(learned, tmp_path)
    file = tmp_path / "adapter.safetensors"
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:50])
    elif damage == "missing":
        file.unlink()
    else:
        (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"not the file|damaged|format"):
        load_adapter(tmp_path)


def test_nothing_in_a_folder_is_a_pickle(learned: Adapter, tmp_path: Path) -> None:
    save_adapter(learned, tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert set(load_file(tmp_path / "adapter.safetensors")) == set(learned.tensors)
