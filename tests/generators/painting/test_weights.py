"""Weights come back as they were saved, or not at all: space, architecture, hash and every byte are checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import ModelError
from generators.painting.weights import MAX_FILE_BYTES, Generator, load_weights, module_config, save_weights

FILE = "weights-00001-of-00001.safetensors"
Make = Callable[..., Generator]


def save(made: Generator, folder: Path, **changes: Any) -> str:
    return save_weights(
        made.network, made.codec, made.prior, made.sketchbook, folder, **{"space_hash": "space-a", **changes}
    )


@pytest.fixture
def folder(tmp_path: Path, tiny_generator: Make) -> Path:
    save(tiny_generator(), tmp_path / "weights", made_from={"seed": 3})
    return tmp_path / "weights"


def test_weights_come_back_as_saved_but_for_half_precision(tmp_path: Path, tiny_generator: Make) -> None:
    made = tiny_generator()
    saved = save(made, tmp_path / "w", made_from={"seed": 3})
    loaded = load_weights(tmp_path / "w", space_hash="space-a", weights_hash=saved)
    assert (loaded.weights_hash, loaded.space_hash, loaded.made_from) == (saved, "space-a", {"seed": 3})
    for one, other in ((made.network, loaded.network), (made.codec, loaded.codec)):
        assert module_config(other) == module_config(one)
        assert not other.training
        for name, tensor in one.state_dict().items():
            assert torch.equal(other.state_dict()[name], tensor.half().float()), name
    for name, value in vars(made.prior).items():
        assert np.array_equal(getattr(loaded.prior, name), value), name
    assert np.array_equal(loaded.sketchbook.levels, made.sketchbook.levels)
    loaded.sketchbook.lend(np.zeros((32, 32), np.float32), np.random.default_rng(0))  # what it then keeps is not saved
    assert save(loaded, tmp_path / "again") == saved


def test_the_hash_is_the_sha256_of_the_safetensors(folder: Path) -> None:
    assert load_weights(folder).weights_hash == hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def test_large_weights_are_cut_into_files_under_the_limit(tmp_path: Path, tiny_generator: Make) -> None:
    made = tiny_generator()
    whole = save(made, tmp_path / "one")
    save(made, tmp_path / "many", max_file_bytes=150_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 200_000
    many = load_weights(tmp_path / "many")
    assert many.weights_hash != whole
    for name, tensor in made.network.state_dict().items():
        assert torch.equal(many.network.state_dict()[name], tensor.half().float()), name


def test_files_of_weights_stay_under_16_megabytes() -> None:
    assert MAX_FILE_BYTES < 16_000_000


def test_weights_of_another_space_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="embedding space space-a, but the vectors are of space space-b"):
        load_weights(folder, space_hash="space-b")


def test_other_weights_than_were_meant_are_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="the weights have hash"):
        load_weights(folder, weights_hash="0" * 64)


def test_one_changed_byte_is_noticed(folder: Path) -> None:
    content = bytearray((folder / FILE).read_bytes())
    content[-1] ^= 1
    (folder / FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"but config\.json says"):
        load_weights(folder)


def test_weights_that_were_cut_short_are_refused_even_with_their_own_hash(folder: Path) -> None:
    content = (folder / FILE).read_bytes()[:-1000]
    (folder / FILE).write_bytes(content)
    change_config(folder, weights_hash=hashlib.sha256(content).hexdigest())
    with pytest.raises(ModelError, match="do not fit"):
        load_weights(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    change_config(folder, network={**config["network"], "channels": [32, 64]})
    with pytest.raises(ModelError, match="do not fit"):
        load_weights(folder)


@pytest.mark.parametrize("network", [{"depth": 3}, {"side": 5}])
def test_a_network_that_cannot_be_built_is_refused(folder: Path, network: dict[str, int]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change_config(folder, network=config["network"] | network)
    with pytest.raises(ModelError, match="do not fit"):
        load_weights(folder)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"architecture": "SomethingElse"}, "architecture is 'SomethingElse'"),
        ({"format": "adloom-generator-0"}, "format is"),
        ({"files": ["../elsewhere.safetensors"]}, "no safetensors file of this folder"),
        ({"files": ["weights.bin"]}, "no safetensors file of this folder"),
        ({"files": ["missing.safetensors"]}, "cannot be read"),
    ],
)
def test_a_config_that_names_something_else_is_refused(folder: Path, change: dict[str, object], what: str) -> None:
    change_config(folder, **change)
    with pytest.raises(ModelError, match=what):
        load_weights(folder)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no readable config\.json"):
        load_weights(tmp_path)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "generator.pt", "model.ckpt"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04cos\nsystem\n")
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(ModelError, match="is a pickle, which can run code"):
            load_weights(place)


def test_weights_that_overflow_half_precision_are_not_saved(tmp_path: Path, tiny_generator: Make) -> None:
    made = tiny_generator()
    with torch.no_grad():
        made.network.unet.conv_in.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ModelError, match=r"1 tensors hold values that are not finite.*conv_in"):
        save(made, tmp_path / "w")
    assert not (tmp_path / "w").exists()


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
