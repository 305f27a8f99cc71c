"""Nothing is read as a pickle: no code does it, and a pickle that runs code is refused wherever a file can be given."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts.errors import AdloomError
from contracts.settings import ExportSettings, load_settings
from features.space import Space
from flows.command_line import execute
from flows.prepare_examples import read_picture
from flows.read_slates import read_slates
from flows.sign_pictures import Seal
from generators.examples import read_examples
from generators.painting.adapter import load_adapter
from generators.painting.pretrained import load_pretrained
from generators.painting.weights import load_weights
from generators.products import load_product
from generators.taste.approval import Approval
from generators.taste.taste import Taste
from generators.taste.tilt import Tilt
from generators.training.checkpoints import read_checkpoint
from generators.typesetting.brand_kits import load_brands
from generators.typesetting.typeface import load_typeface
from ranking.policy import Policy
from ranking.ranker import Ranker
from review.database import open_database
from sources.mapping import load_mapping
from sources.movielens_files import read_movielens
from sources.truth import Truth

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
PACKAGES = ("contracts", "sources", "features", "ranking", "generators", "evaluation", "review", "flows", "benchmarks")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
PICKLERS = {"pickle", "_pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal", "pickletools"}
UNPICKLERS = {"read_pickle", "to_pickle", "unsafe_load", "full_load", "load_pickle"}


def faults(source: str) -> Iterator[str]:
    """Ways in which a file of Python may read a pickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in PICKLERS)
        if not isinstance(node, ast.Call):
            continue
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        called = ast.unparse(node.func)
        if called.split(".")[-1] in UNPICKLERS:
            yield called
        if called == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if called.split(".")[-1] == "from_pretrained" and given.get("use_safetensors") != "True":
            yield "from_pretrained without use_safetensors=True"
        if called == "SentenceTransformer" and "'use_safetensors': True" not in given.get("model_kwargs", ""):
            yield "SentenceTransformer without use_safetensors"
        if given.get("allow_pickle", "False") != "False":
            yield "allow_pickle"


def test_no_code_reads_a_pickle() -> None:
    found = {str(path.relative_to(ROOT)): list(faults(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {path: said for path, said in found.items() if said} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file, allow_pickle=True)",
        "pd.read_pickle(file)",
        "Model.from_pretrained(folder)",
    ],
)
def test_code_that_would_is_found(line: str) -> None:
    assert list(faults(line))


def bomb(marker: Path) -> bytes:
    """A pickle that makes a folder when it is read."""
    return f"cos\nmkdir\n(V{marker}\ntR.".encode()


def torch_bomb(marker: Path) -> bytes:
    """The same as torch.save packs it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("archive/data.pkl", bomb(marker))
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


KINDS = [bomb, torch_bomb]


def test_the_bombs_go_off_where_pickles_are_read(tmp_path: Path) -> None:
    files = [tmp_path / "plain", tmp_path / "torch"]
    readers = ["import pickle; pickle.load(open({!r}, 'rb'))", "import torch; torch.load({!r}, weights_only=False)"]
    for file, make, reader in zip(files, KINDS, readers, strict=True):
        file.write_bytes(make(tmp_path / f"{file.name}-ran"))
        subprocess.run([sys.executable, "-c", reader.format(str(file))], check=False, capture_output=True)
        assert (tmp_path / f"{file.name}-ran").is_dir()


def shipped(kind: str, home: Path) -> Path:
    """A copy of the shipped model of a kind."""
    (found,) = (path for path in (SAMPLE / "models" / kind).iterdir() if path.is_dir())
    return Path(shutil.copytree(found, home / kind))


def weights(home: Path, content: bytes) -> object:
    """Safetensors of the generator, with the hash that config.json then says."""
    folder = shipped("generator", home) / "weights"
    config = json.loads((folder / "config.json").read_text())
    for name in config["files"]:
        (folder / name).write_bytes(content)
    digest = hashlib.sha256(content * len(config["files"])).hexdigest()
    (folder / "config.json").write_text(json.dumps({**config, "weights_hash": digest}))
    return load_weights(folder)


def taste(home: Path, content: bytes) -> object:
    folder = shipped("generator", home)
    (folder / "taste.safetensors").write_bytes(content)
    return Taste.load(folder, "space")


def space(name: str) -> Callable[[Path, bytes], object]:
    def load(home: Path, content: bytes) -> object:
        folder = shipped("space", home)
        (folder / name).write_bytes(content)
        return Space.load(folder)

    return load


def ranker(name: str) -> Callable[[Path, bytes], object]:
    def load(home: Path, content: bytes) -> object:
        about = {"format": 2, "features": [], "calibration": {}, "meta": {}, "model_sha256": ""}
        (home / "ranker.json").write_text(json.dumps(about))
        (home / "model.txt").write_text("tree")
        (home / name).write_bytes(content)
        return Ranker.load(home)

    return load


def policy(home: Path, content: bytes) -> object:
    (home / "policy.json").write_bytes(content)
    return Policy.load(home / "policy.json")


def checkpoint(name: str) -> Callable[[Path, bytes], object]:
    """A Stable Diffusion folder with one component of this file."""

    def load(home: Path, content: bytes) -> object:
        folder = home / "checkpoint"
        (folder / "unet").mkdir(parents=True)
        index = {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.42.0",
            "unet": ["diffusers", "UNet2DConditionModel"],
        }
        (folder / "model_index.json").write_text(json.dumps(index))
        (folder / "unet" / "config.json").write_text(
            json.dumps({"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.0"})
        )
        (folder / "unet" / name).write_bytes(content)
        return load_pretrained(str(folder))

    return load


def adapter(home: Path, content: bytes) -> object:
    digest = hashlib.sha256(content).hexdigest()
    said = {"format": "adloom-adapter-1", "files": {"adapter.safetensors": digest}, "styles": [], "made_from": {}}
    (home / "config.json").write_text(json.dumps({**said, "space_hash": "s", "checkpoint_hash": "c"}))
    (home / "adapter.safetensors").write_bytes(content)
    return load_adapter(home)


def given(name: str, read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    """A file of this name, given to what reads it, or, for a folder, to what reads that."""

    def load(home: Path, content: bytes) -> object:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_bytes(content)
        return read(home / name)

    return load


def signing(home: Path, content: bytes) -> object:
    for name in ("chain.pem", "key.pem"):
        (home / name).write_bytes(content)
    known = {"certificate": home / "chain.pem", "private_key": home / "key.pem"}
    return Seal.open(ExportSettings.model_validate(known))


READERS: dict[str, Callable[[Path, bytes], object]] = {
    "generator weights": weights,
    "generator config": given("weights/config.json", lambda file: load_weights(file.parent)),
    "generator pickle": given("generator.pt", load_weights),
    "taste": taste,
    "approval": given("approval.safetensors", lambda file: Approval.load(file.parent)),
    "tilt": given("tilt.safetensors", lambda file: Tilt.load(file.parent)),
    "training checkpoint": given("checkpoint.safetensors", lambda file: read_checkpoint(file, "x")),
    "training examples": given("examples.safetensors", read_examples),
    "adapter": adapter,
    "adapter config": given("config.json", lambda file: load_adapter(file.parent)),
    "checkpoint, pickle": checkpoint("diffusion_pytorch_model.bin"),
    "checkpoint, safetensors": checkpoint("diffusion_pytorch_model.safetensors"),
    "checkpoint, index": given("model_index.json", lambda file: load_pretrained(str(file.parent))),
    "checkpoint, one file": given("model.ckpt", lambda file: load_pretrained(str(file))),
    "space": space("space.safetensors"),
    "space, names": space("space.json"),
    "ranker": ranker("model.txt"),
    "ranker, about": ranker("ranker.json"),
    "policy": policy,
    "slates, Parquet": given("slates.parquet", read_slates),
    "slates, CSV": given("slates.csv", read_slates),
    "truth": given("truth/law.json", lambda file: Truth.load(file.parent.parent)),
    "product": given("product.png", load_product),
    "picture": given("picture.jpg", lambda file: read_picture(file, 8)),
    "font": given("font.ttf", load_typeface),
    "brands": given("brands.toml", lambda file: load_brands(file.parent)),
    "settings": given("settings.toml", load_settings),
    "mapping": given("mapping.toml", lambda file: load_mapping(file.parent)),
    "ratings": given("ml-100k.zip", read_movielens),
    "certificate": signing,
    "decisions": given("decisions.sqlite", lambda file: open_database(f"sqlite:///{file}")),
}


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("what", READERS)
def test_a_bomb_is_refused_in_one_line_and_does_not_go_off(
    what: str, make: Callable[[Path], bytes], tmp_path: Path
) -> None:
    home, marker = tmp_path / "home", tmp_path / "ran"
    home.mkdir()
    with pytest.raises(AdloomError) as refused:
        READERS[what](home, make(marker))
    assert str(refused.value).count("\n") == 0
    assert str(home) in str(refused.value)
    assert not marker.exists()


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", ["events.parquet", "events.csv", "events.csv.gz", "events.tsv", "events.ndjson"])
def test_a_bomb_as_a_table_is_refused_by_the_check(
    name: str, make: Callable[[Path], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, marker = tmp_path / "data", tmp_path / "ran"
    data.mkdir()
    for table in ("concepts", "impressions"):
        shutil.copy(SAMPLE / f"{table}.parquet", data)
    content = make(marker)
    (data / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert execute(["check", str(data), "--out", str(tmp_path / "check")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert name in line
    assert not marker.exists()
