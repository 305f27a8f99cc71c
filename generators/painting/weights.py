"""Turns a trained generator into a folder of safetensors with a hash, and such a folder into a generator again.

A generator is a network that paints latents, the codec that turns them into scenes, the prior of looks, and the sketches that
pictures are painted over. The folder holds
`config.json` and `weights-00001-of-0000N.safetensors`, each under 15 MB, networks in float16. The weights hash
is the SHA-256 of the safetensors files, one after the other; a creative records it, so it can always be told which
weights drew a picture. The space hash names the embedding space whose vectors the network understands.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from contracts.errors import ModelError
from generators.painting.codec import SceneCodec
from generators.painting.network import SceneNetwork
from generators.painting.sketches import Sketchbook
from generators.taste.prior import LookPrior

FORMAT = "adloom-generator-2"
MAX_FILE_BYTES = 15_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_TRAIN = "Train the generator again for this data (adloom train generator), or use other weights"


@dataclass(frozen=True)
class Generator:
    """Networks ready to draw, and where they come from.

    Attributes:
        network, codec: in evaluation mode, float32, on one device.
        prior: of looks. sketchbook: what is painted over.
        weights_hash: SHA-256 of the weights.
        space_hash: of the embedding space it was trained in.
        made_from: how it was made, for the record.
    """

    network: SceneNetwork
    codec: SceneCodec
    prior: LookPrior
    sketchbook: Sketchbook
    weights_hash: str
    space_hash: str
    made_from: Mapping[str, Any]


def save_weights(
    network: SceneNetwork,
    codec: SceneCodec,
    prior: LookPrior,
    sketchbook: Sketchbook,
    folder: Path,
    *,
    space_hash: str,
    made_from: Mapping[str, Any] | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> str:
    """Write a generator into `folder` (replaced as a whole) and return its weights hash.

    Raises:
        ModelError: a weight is not finite, or does not fit float16.
    """
    tensors = {
        f"{part}.{name}": tensor.detach().cpu().half().contiguous()
        for part, module in (("network", network), ("codec", codec))
        for name, tensor in module.state_dict().items()
    }
    for what, held in (("prior", prior), ("sketchbook", sketchbook)):
        tensors |= {f"{what}.{one.name}": torch.from_numpy(getattr(held, one.name).copy()) for one in fields(held)}
    wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if wrong:
        raise ModelError(
            f"{len(wrong)} tensors hold values that are not finite in float16, the first is {wrong[0]}",
            where=str(folder),
            fix="Train with a lower learning rate",
        )
    temporary = folder.with_name(folder.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    parts = _parts(tensors, max_file_bytes)
    files = [f"weights-{number:05d}-of-{len(parts):05d}.safetensors" for number in range(1, len(parts) + 1)]
    for file, part in zip(files, parts, strict=True):
        save_file(part, temporary / file, metadata={"format": FORMAT})
    weights_hash = _hash(temporary, files)
    config = {
        "format": FORMAT,
        "architecture": type(network).__name__,
        "network": module_config(network),
        "codec": module_config(codec),
        "space_hash": space_hash,
        "weights_hash": weights_hash,
        "files": files,
        "made_from": dict(made_from or {}),
    }
    (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    return weights_hash


def load_weights(
    folder: Path, *, space_hash: str | None = None, weights_hash: str | None = None, device: str = "cpu"
) -> Generator:
    """Read a folder that `save_weights` wrote.

    Args:
        folder: where they are.
        space_hash: of the space whose vectors will be given; None if it does not matter (a warm start).
        weights_hash: which weights are meant, if that is known.
        device: to put the network on.

    Raises:
        ModelError: a pickle, another space, architecture or hash, a file that is missing, cut short or changed.
    """
    where = str(folder)
    config = _config(folder)
    if space_hash is not None and config["space_hash"] != space_hash:
        what = f"trained in embedding space {config['space_hash'][:12]}, but the vectors are of space {space_hash[:12]}"
        raise ModelError(what, where=where, fix=_TRAIN)
    found = _hash(folder, config["files"])
    if found != config["weights_hash"]:
        what = f"the weights have hash {found[:12]}, but config.json says {config['weights_hash'][:12]}"
        raise ModelError(what, where=where, fix="Restore the folder from a good copy")
    if weights_hash is not None and found != weights_hash:
        what = f"the weights have hash {found[:12]}, not {weights_hash[:12]}"
        raise ModelError(what, where=where, fix="Point to the version that is meant (adloom models list)")
    try:
        network, codec = SceneNetwork(**config["network"]), SceneCodec(**config["codec"])
        tensors: dict[str, Tensor] = {}
        for file in config["files"]:
            tensors |= load_file(folder / file)
        for name, module in (("network", network), ("codec", codec)):
            module.load_state_dict({key: tensor.float() for key, tensor in _part(tensors, name).items()})
        prior = LookPrior(**{name: tensor.numpy() for name, tensor in _part(tensors, "prior").items()})
        sketchbook = Sketchbook(**{name: tensor.numpy() for name, tensor in _part(tensors, "sketchbook").items()})
    except (SafetensorError, RuntimeError, ValueError, TypeError) as error:
        what = f"the weights do not fit the network that config.json describes ({str(error).splitlines()[0]})"
        raise ModelError(what, where=where, fix="Restore the folder from a good copy") from error
    return Generator(
        network.eval().to(device),
        codec.eval().to(device),
        prior,
        sketchbook,
        found,
        config["space_hash"],
        config["made_from"],
    )


def module_config(module: SceneNetwork | SceneCodec) -> dict[str, Any]:
    """The arguments that build this module again."""
    config = {name: value for name, value in dict(module.config).items() if not name.startswith("_")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of one part, without its name in front."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def _config(folder: Path) -> dict[str, Any]:
    """config.json, checked for its keys, format and architecture."""
    where = str(folder)
    pickles = [folder] if folder.suffix in _PICKLES else []
    if folder.is_dir() and not (folder / "config.json").is_file():
        pickles = [file for file in sorted(folder.iterdir()) if file.suffix in _PICKLES]
    if pickles:
        what = f"{pickles[0].name} is a pickle, which can run code when it is read"
        raise ModelError(what, where=where, fix="Give a folder of safetensors with its config.json")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"no readable config.json ({error})", where=where, fix=_TRAIN) from error
    expected = {"format": FORMAT, "architecture": SceneNetwork.__name__}
    for name, value in expected.items():
        if not isinstance(config, dict) or config.get(name) != value:
            found = config.get(name) if isinstance(config, dict) else None
            raise ModelError(f"{name} is {found!r}, not {value!r}", where=where, fix=_TRAIN)
    missing = [n for n in ("network", "codec", "space_hash", "weights_hash", "files", "made_from") if n not in config]
    if missing:
        raise ModelError(f"config.json lacks {', '.join(missing)}", where=where, fix="Restore it from a good copy")
    wrong = [name for name in config["files"] if Path(name).name != name or not name.endswith(".safetensors")]
    if wrong:
        what = f"config.json names {wrong[0]!r}, which is no safetensors file of this folder"
        raise ModelError(what, where=where, fix="Restore it from a good copy")
    return dict(config)


def _parts(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """Tensors in name order, cut into runs of at most `max_bytes` (a larger tensor stands alone)."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        if parts[-1] and size + tensor.nbytes > max_bytes:
            parts.append({})
            size = 0
        parts[-1][name] = tensor
        size += tensor.nbytes
    return parts


def _hash(folder: Path, files: Sequence[str]) -> str:
    """SHA-256 of the files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update((folder / file).read_bytes())
        except OSError as error:
            what = f"{file} cannot be read ({error.strerror})"
            raise ModelError(what, where=str(folder), fix="Restore the folder from a good copy") from error
    return digest.hexdigest()
