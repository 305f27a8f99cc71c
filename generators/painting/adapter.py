"""Turns user vectors into tokens that a Stable Diffusion UNet attends to, through diffusers' IP-Adapter slot; and styles on top.

The user takes the place that an image has in IP-Adapter (Ye et al. 2023): a linear projection makes TOKENS tokens of
the user, and every cross-attention gets a second pair of key and value matrices that read them. An advertiser's style is a
LoRA (Hu et al. 2021) on the attention's four matrices, used for that advertiser's requests alone.

What is told of a user is (u, c u, c): u the user's vector, standardised, 0 for nobody in particular; c the click, 1
clicked, -1 not clicked, 0 unknown. All zeros is what guidance sets out from.

A folder holds `adapter.safetensors`, in the names of IP-Adapter, so that `load_ip_adapter` of any diffusers pipeline reads it;
`style-1.safetensors`, ..., in those of `load_lora_weights`; and `config.json`.

Letters: B rows, D dimensions of the space.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from contracts.errors import ModelError
from contracts.seeds import stream
from contracts.store import digest_of, file_hash, write_json
from generators.painting.painters import Floats

FORMAT = "adloom-adapter-1"
TOKENS = 4
"""Tokens of a user; `load_ip_adapter` takes this number for granted."""

RANK = 8
"""Of a style's LoRA."""

_CENTRE, _SCALE = "user.centre", "user.scale"
_TRAIN = "Train one for this data and this checkpoint: adloom train adapter DATA"
_COPY = "Restore the folder from a good copy"


@dataclass(frozen=True)
class Adapter:
    """What was learned on top of a checkpoint.

    Attributes:
        tensors: float32, by name: `image_proj.*` and `ip_adapter.*` as in IP-Adapter, and `user.centre` and `user.scale` (D,).
        space_hash: of the embedding space whose user vectors it understands.
        checkpoint_hash: of the checkpoint it was trained on; another one of the same shape is taken, at one's own risk.
        styles: by advertiser, the float32 tensors of a LoRA, in diffusers' names.
        made_from: how it was made, for the record.
    """

    tensors: Mapping[str, Tensor]
    space_hash: str
    checkpoint_hash: str
    styles: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    made_from: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dimensions(self) -> int:
        """D of the user vectors."""
        return len(self.tensors[_CENTRE])

    def tell(self, users: Tensor, known: Tensor, click: Tensor) -> Tensor:
        """What the slot is told, (B, 1, 2D + 1).

        Args:
            users: (B, D) raw vectors; what stands in rows that are not known does not matter.
            known: bool (B,).
            click: (B,) 1 clicked, -1 not clicked, 0 unknown.
        """
        centre, scale = self.tensors[_CENTRE].to(users.device), self.tensors[_SCALE].to(users.device)
        standard = torch.where(known[:, None], (users - centre) / scale, torch.zeros_like(users))
        clicked = click.to(standard)[:, None]
        return torch.cat([standard, clicked * standard, clicked], dim=1)[:, None]

    @property
    def weights_hash(self) -> str:
        """SHA-256 over all tensors."""
        parts = {"": self.tensors, **{f"style {name}": tensors for name, tensors in self.styles.items()}}
        return digest_of({part: {n: _digest(t) for n, t in tensors.items()} for part, tensors in parts.items()})


def new_adapter(unet: nn.Module, user_vectors: Floats, *, space_hash: str, checkpoint_hash: str, seed: int) -> Adapter:
    """An adapter that changes nothing yet: its values are zero, its keys those of the text, its projection random.

    Args:
        unet: of a checkpoint without an adapter.
        user_vectors: (U, D) to take centre and scale from.
        seed: of the projection.
    """
    mean, spread = user_vectors.mean(axis=0), user_vectors.std(axis=0)
    width = int(unet.config.cross_attention_dim)  # type: ignore[union-attr, arg-type]
    told = 2 * len(mean) + 1
    projection = stream(seed, "adapter").standard_normal((TOKENS * width, told)) / np.sqrt(told)
    tensors = {
        _CENTRE: torch.from_numpy(mean.astype(np.float32)),
        _SCALE: torch.from_numpy(np.maximum(spread, 1e-3 * max(float(spread.max()), 1e-6)).astype(np.float32)),
        "image_proj.proj.weight": torch.from_numpy(projection.astype(np.float32)),
        "image_proj.proj.bias": torch.zeros(TOKENS * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    for number, layer in _cross_attentions(unet):
        text_key = unet.get_submodule(f"{layer}.to_k").weight
        assert isinstance(text_key, Tensor)
        key = text_key.detach().float().cpu().clone()
        tensors |= {_key_name(number): key, _value_name(number): torch.zeros_like(key)}
    return Adapter(tensors, space_hash, checkpoint_hash)


def plug_in(pipeline: Any, adapter: Adapter, *, where: str = "adapter") -> None:
    """Put an adapter and its styles into a pipeline; the styles are off until `use_style`.

    Raises:
        ModelError: it was trained for a UNet of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in new_adapter_shapes(pipeline.unet, adapter.dimensions).items()}
    found = {name: tensor.shape for name, tensor in adapter.tensors.items()}
    if found != wanted:
        wrong = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        what = f"it is for a checkpoint of another shape: {len(wrong)} tensors do not fit, the first is {wrong[0]}"
        raise ModelError(what, where=where, fix=_TRAIN)
    state: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in adapter.tensors.items():
        part, _, rest = name.partition(".")
        if part in state:
            state[part][rest] = tensor
    pipeline.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
    pipeline.prepare_ip_adapter_image_embeds = _one_each
    for number, tensors in enumerate(adapter.styles.values()):
        try:
            pipeline.load_lora_weights(dict(tensors), adapter_name=_style(number))
        except (RuntimeError, ValueError, KeyError) as error:
            what = f"a style does not fit the checkpoint ({str(error).splitlines()[0]})"
            raise ModelError(what, where=where, fix=_TRAIN) from error
    if adapter.styles:
        pipeline.unet.disable_lora()


def use_style(pipeline: Any, adapter: Adapter, advertiser: str | None) -> None:
    """Switch to an advertiser's style; None, or an advertiser without one: no style."""
    if advertiser is not None and advertiser in adapter.styles:
        pipeline.unet.enable_lora()
        pipeline.unet.set_adapters([_style(list(adapter.styles).index(advertiser))])
    elif adapter.styles:
        pipeline.unet.disable_lora()


def new_adapter_shapes(unet: nn.Module, dimensions: int) -> dict[str, Tensor]:
    """Tensors of the names and shapes that an adapter for a UNet has, without values."""
    width = int(unet.config.cross_attention_dim)  # type: ignore[union-attr, arg-type]
    shapes: dict[str, tuple[int, ...]] = {
        _CENTRE: (dimensions,),
        _SCALE: (dimensions,),
        "image_proj.proj.weight": (TOKENS * width, 2 * dimensions + 1),
        "image_proj.proj.bias": (TOKENS * width,),
        "image_proj.norm.weight": (width,),
        "image_proj.norm.bias": (width,),
    }
    for number, layer in _cross_attentions(unet):
        channels = int(unet.get_submodule(f"{layer}.to_k").out_features)  # type: ignore[arg-type]
        shapes |= {_key_name(number): (channels, width), _value_name(number): (channels, width)}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def slot_parameters(unet: nn.Module) -> dict[str, str]:
    """Name in the UNet of each tensor of the slot, by its name in the file; there must be an adapter in it."""
    layers = "encoder_hid_proj.image_projection_layers.0"
    names = {
        "image_proj.proj.weight": f"{layers}.image_embeds.weight",
        "image_proj.proj.bias": f"{layers}.image_embeds.bias",
        "image_proj.norm.weight": f"{layers}.norm.weight",
        "image_proj.norm.bias": f"{layers}.norm.bias",
    }
    for number, layer in _cross_attentions(unet):
        names[_key_name(number)] = f"{layer}.processor.to_k_ip.0.weight"
        names[_value_name(number)] = f"{layer}.processor.to_v_ip.0.weight"
    return names


def add_style(unet: nn.Module, name: str, *, rank: int = RANK) -> None:
    """Add a LoRA that changes nothing yet to the attentions of a UNet, and switch to it."""
    config = LoraConfig(
        r=rank, lora_alpha=rank, init_lora_weights=True, target_modules=["to_q", "to_k", "to_v", "to_out.0"]
    )
    unet.add_adapter(config, adapter_name=name)  # type: ignore[operator]


def style_tensors(unet: nn.Module, name: str) -> dict[str, Tensor]:
    """The tensors of a LoRA, in diffusers' names."""
    found = get_peft_model_state_dict(unet, adapter_name=name)
    return {f"unet.{key}": tensor.detach().float().cpu().clone() for key, tensor in found.items()}


def save_adapter(adapter: Adapter, folder: Path) -> str:
    """Write an adapter into a folder, and return its weights hash.

    Raises:
        ModelError: a weight is not finite.
    """
    parts = {"adapter.safetensors": adapter.tensors}
    parts |= {f"style-{number}.safetensors": tensors for number, tensors in enumerate(adapter.styles.values(), 1)}
    for tensors in parts.values():
        wrong = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
        if wrong:
            what = f"{len(wrong)} tensors hold values that are not finite, the first is {wrong[0]}"
            raise ModelError(what, where=str(folder), fix="Train with a lower learning rate")
    folder.mkdir(parents=True, exist_ok=True)
    for file, tensors in parts.items():
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / file)
    said = {
        "format": FORMAT,
        "space_hash": adapter.space_hash,
        "checkpoint_hash": adapter.checkpoint_hash,
        "weights_hash": adapter.weights_hash,
        "files": {file: file_hash(folder / file) for file in parts},
        "styles": list(adapter.styles),
        "made_from": dict(adapter.made_from),
    }
    write_json(folder / "config.json", said)
    return adapter.weights_hash


def load_adapter(folder: Path, *, space_hash: str | None = None) -> Adapter:
    """Read a folder that `save_adapter` wrote.

    Args:
        folder: where it is.
        space_hash: of the space whose vectors will be given; None if it does not matter.

    Raises:
        ModelError: missing, of another space, damaged, changed or cut short.
    """
    said = adapter_config(folder)
    if space_hash is not None and said["space_hash"] != space_hash:
        what = f"trained in embedding space {said['space_hash'][:12]}, but the vectors are of space {space_hash[:12]}"
        raise ModelError(what, where=str(folder), fix=_TRAIN)
    try:
        changed = [file for file, digest in said["files"].items() if file_hash(folder / file) != digest]
        if changed:
            raise ModelError(f"{changed[0]} is not the file that was written", where=str(folder), fix=_COPY)
        parts = [load_file(folder / file) for file in said["files"]]
        return Adapter(
            tensors=parts[0],
            space_hash=said["space_hash"],
            checkpoint_hash=said["checkpoint_hash"],
            styles=dict(zip(said["styles"], parts[1:], strict=True)),
            made_from=said["made_from"],
        )
    except (OSError, SafetensorError, KeyError, ValueError, IndexError) as error:
        raise ModelError(f"the adapter is damaged ({error})", where=str(folder), fix=_COPY) from error


def adapter_config(folder: Path) -> dict[str, Any]:
    """config.json of an adapter. Raises ModelError when there is none of this format."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"no readable config.json ({error})", where=str(folder), fix=_TRAIN) from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        found = said.get("format") if isinstance(said, dict) else None
        raise ModelError(f"format is {found!r}, not {FORMAT!r}", where=str(folder), fix=_TRAIN)
    return said


def _one_each(_: object, told: list[Tensor], device: torch.device, *__: object) -> list[Tensor]:
    """Every row's own. The inpainting pipelines would repeat the whole list for every row, and show each row all users."""
    return [one.to(device) for one in told]


def _cross_attentions(unet: nn.Module) -> Iterable[tuple[int, str]]:
    """(number in IP-Adapter's names, name of the layer) of every cross-attention, in the UNet's order."""
    layers = [name.removesuffix(".processor") for name in unet.attn_processors]  # type: ignore[union-attr]
    cross = [layer for layer in layers if layer.endswith("attn2")]
    return [(2 * place + 1, layer) for place, layer in enumerate(cross)]


def _key_name(number: int) -> str:
    return f"ip_adapter.{number}.to_k_ip.weight"


def _value_name(number: int) -> str:
    return f"ip_adapter.{number}.to_v_ip.weight"


def _style(number: int) -> str:
    return f"style_{number}"


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
