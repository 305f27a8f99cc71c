"""Turns a folder or a hub id into a Stable Diffusion pipeline that paints around a product, and a hash of its weights.

Stable Diffusion 1.x, 2.x and XL, their inpainting variants, and checkpoints distilled from them (LCM, Turbo), in
diffusers' layout: a folder with model_index.json and one folder of safetensors per component. Everything is read through
diffusers' own inpainting pipelines; pickles and code that comes with a checkpoint are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers

from contracts.errors import ModelError
from contracts.store import digest_of, file_hash

Scheduler = Literal["own", "ddim", "dpm++", "euler", "lcm", "turbo"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_PLAIN, _XL = "StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline"
_PIPELINES = {
    "StableDiffusionPipeline": _PLAIN,
    "StableDiffusionImg2ImgPipeline": _PLAIN,
    _PLAIN: _PLAIN,
    "LatentConsistencyModelPipeline": _PLAIN,
    "StableDiffusionXLPipeline": _XL,
    "StableDiffusionXLImg2ImgPipeline": _XL,
    _XL: _XL,
}
_SCHEDULERS: dict[Scheduler, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "turbo": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"}),
}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LAYOUT = "Give a folder in diffusers' layout, with model_index.json and safetensors, or a hub id; see docs/stable-diffusion.md"


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint, ready to paint.

    Attributes:
        pipeline: one of diffusers' inpainting pipelines, on its device.
        weights_hash: SHA-256 over all files of the checkpoint that decide a picture.
        name: as it was asked for.
    """

    pipeline: Any
    weights_hash: str
    name: str

    @property
    def is_xl(self) -> bool:
        """Whether it is of the XL family: two text encoders, and sizes told to the UNet."""
        return type(self.pipeline).__name__ == _XL

    @property
    def side(self) -> int:
        """The side of the pictures it was trained on, pixels."""
        return int(self.pipeline.unet.config.sample_size * self.pipeline.vae_scale_factor)


def load_pretrained(
    checkpoint: str, *, device: str = "cpu", precision: Precision = "auto", scheduler: Scheduler = "own"
) -> Pretrained:
    """Read a checkpoint.

    Args:
        checkpoint: a folder, or a hub id such as owner/name, which is downloaded once and kept by huggingface_hub.
        device: to paint on.
        precision: of the weights; auto: bf16 on CUDA, else fp32.
        scheduler: `own` is the one the checkpoint comes with; `lcm` and `turbo` are for checkpoints distilled that way.

    Raises:
        ModelError: a missing folder, no network, a pickle, another kind of model, damaged files.
    """
    folder = find_checkpoint(checkpoint)
    kind = _PIPELINES[_class_of(folder)]
    dtype = _DTYPES["bf16" if device != "cpu" else "fp32"] if precision == "auto" else _DTYPES[precision]
    _hush()
    try:
        pipeline = getattr(diffusers, kind).from_pretrained(
            folder, use_safetensors=True, dtype=dtype, local_files_only=True
        )
        if scheduler != "own":
            name, changes = _SCHEDULERS[scheduler]
            pipeline.scheduler = getattr(diffusers, name).from_config(pipeline.scheduler.config, **changes)
    except Exception as error:  # whatever a damaged file makes diffusers, transformers or safetensors raise
        what = f"the checkpoint cannot be read ({_first_line(error)})"
        raise ModelError(what, where=checkpoint, fix=_LAYOUT) from error
    channels = pipeline.unet.config.in_channels
    if channels not in (4, 9):
        raise ModelError(f"its UNet takes {channels} channels, not 4 or 9", where=checkpoint, fix=_LAYOUT)
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
    return Pretrained(pipeline.to(device), checkpoint_hash(folder), checkpoint)


def find_checkpoint(checkpoint: str) -> Path:
    """The folder of a checkpoint, downloaded where it is a hub id. Raises ModelError, also for pickles."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        _refuse_pickles(folder, checkpoint)
        return folder
    if folder.is_file():
        what = "is a pickle, which can run code when it is read" if folder.suffix in _PICKLES else "is a single file"
        raise ModelError(what, where=checkpoint, fix=_LAYOUT)
    if not _HUB_ID.fullmatch(checkpoint):
        raise ModelError("there is no such folder", where=checkpoint, fix=_LAYOUT)
    _hush()
    try:
        found = Path(diffusers.DiffusionPipeline.download(checkpoint, use_safetensors=True))
    except Exception as error:  # the hub's client raises errors of several libraries
        what = f"is no folder here, and cannot be fetched from the hub ({_first_line(error)})"
        fix = "Mend the name or the network; or download it elsewhere and give its folder, see docs/stable-diffusion.md"
        raise ModelError(what, where=checkpoint, fix=fix) from error
    _refuse_pickles(found, checkpoint)
    return found


def checkpoint_hash(folder: Path) -> str:
    """SHA-256 over the names and contents of all configurations, vocabularies and safetensors of a checkpoint."""
    kept = [file for file in sorted(folder.rglob("*")) if file.suffix in (".json", ".txt", ".safetensors")]
    return digest_of({file.relative_to(folder).as_posix(): file_hash(file) for file in kept if file.is_file()})


def _class_of(folder: Path) -> str:
    """The pipeline that model_index.json names. Raises ModelError when it is none of ours."""
    try:
        name = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError("has no readable model_index.json", where=str(folder), fix=_LAYOUT) from error
    if name not in _PIPELINES:
        fix = "Give a checkpoint of Stable Diffusion 1, 2 or XL, or an inpainting variant"
        raise ModelError(f"is a {name}", where=str(folder), fix=fix)
    return str(name)


def _refuse_pickles(folder: Path, name: str) -> None:
    """Raises ModelError for a component whose weights are pickles only."""
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        files = [file for file in sorted(place.iterdir()) if file.is_file()]
        pickles = [file for file in files if file.suffix in _PICKLES]
        if pickles and not any(file.suffix == ".safetensors" for file in files):
            what = f"{pickles[0].relative_to(folder)} is a pickle, which can run code when it is read"
            raise ModelError(what, where=name, fix="Take the checkpoint's safetensors variant")


def _hush() -> None:
    """Faults come as our errors; the libraries' bars and notes would drown them."""
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
