"""Weights come back as they were saved, or not at all: space, architecture, hash and every byte are checked."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch

from contracts.errors import ModelError
from generators.network import SceneNetwork, clicked_by
from generators.weights import MAX_FILE_BYTES, load_weights, network_config, save_weights

FILE = "weights-00001-of-00001.safetensors"


def tiny() -> SceneNetwork:
    return SceneNetwork(dimensions=5, side=16, patch=2, channels=(32, 32), token_width=32, refine=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(tiny(), tmp_path / "weights", space_hash="space-a", made_from={"seed": 3})
    return tmp_path / "weights"


def test_weights_come_back_as_saved_but_for_half_precision(tmp_path: Path) -> None:
    network = tiny().eval()
    torch.nn.init.normal_(network.unet.conv_out.weight, std=0.05)
    saved = save_weights(network, tmp_path / "w", space_hash="space-a", made_from={"seed": 3})
    loaded = load_weights(tmp_path / "w", space_hash="space-a", weights_hash=saved)
    assert (loaded.weights_hash, loaded.space_hash, loaded.made_from) == (saved, "space-a", {"seed": 3})
    assert network_config(loaded.network) == network_config(network)
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor.half().float()), name
    noisy, mask = torch.randn(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    condition = clicked_by(torch.randn(2, 5), torch.randn(2, 5))
    one, other = (n(noisy, torch.tensor([0.4, 0.9]), noisy, mask, condition) for n in (network, loaded.network))
    assert torch.allclose(one, other, atol=0.02)
    assert save_weights(loaded.network, tmp_path / "again", space_hash="space-a") == saved


def test_the_hash_is_the_sha256_of_the_safetensors(folder: Path) -> None:
    assert load_weights(folder).weights_hash == hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def test_weights_saved_before_an_option_existed_load_as_they_were(tmp_path: Path) -> None:
    saved = save_weights(tiny(), tmp_path / "w", space_hash="a")
    config = json.loads((tmp_path / "w" / "config.json").read_text())
    older = {name: value for name, value in config["network"].items() if name not in ("coarse", "even")}
    change_config(tmp_path / "w", network=older)
    loaded = load_weights(tmp_path / "w", weights_hash=saved).network
    assert loaded.coarse_head is None
    assert not loaded.condition.even


def test_large_weights_are_cut_into_files_under_the_limit(tmp_path: Path) -> None:
    network = tiny()
    whole = save_weights(network, tmp_path / "one", space_hash="a")
    save_weights(network, tmp_path / "many", space_hash="a", max_file_bytes=150_000)
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 200_000
    many = load_weights(tmp_path / "many")
    assert many.weights_hash != whole
    for name, tensor in network.state_dict().items():
        assert torch.equal(many.network.state_dict()[name], tensor.half().float()), name


def test_the_files_of_the_default_network_stay_under_16_megabytes(tmp_path: Path) -> None:
    save_weights(SceneNetwork(refine=16, coarse=True, even=True), tmp_path / "w", space_hash="a")
    sizes = [file.stat().st_size for file in (tmp_path / "w").iterdir()]
    assert max(sizes) < 16_000_000
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


@pytest.mark.parametrize("network", [{"depth": 3}, {"side": 18}])
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


def test_weights_that_overflow_half_precision_are_not_saved(tmp_path: Path) -> None:
    network = tiny()
    with torch.no_grad():
        network.unet.conv_in.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ModelError, match=r"1 tensors hold values that are not finite.*conv_in"):
        save_weights(network, tmp_path / "w", space_hash="a")
    assert not (tmp_path / "w").exists()


def test_no_file_of_the_learned_half_needs_a_table_library() -> None:
    names = ("network", "examples", "training", "checkpoints", "sheets", "sampling", "weights")
    for name in names:
        spec = importlib.util.find_spec(f"generators.{name}")
        assert spec is not None
        assert spec.origin is not None
        text = Path(spec.origin).read_text(encoding="utf-8")
        assert "polars" not in text
        assert "pandas" not in text


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
