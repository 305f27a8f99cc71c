"""Turns a job into the painter of the way to draw that its settings name."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import ModelError, SettingsError
from contracts.settings import StableDiffusionSettings
from flows.choose_models import find_adapter, generator_space, versions
from flows.console import complain
from flows.job import Job
from generators.knobs import Knobs
from generators.painting.frugal import FrugalPainter
from generators.painting.painters import Painter

if TYPE_CHECKING:
    from generators.painting.pretrained import Pretrained

MOST_STUDENT_STEPS = 4
"""What a student is taught."""


def painter_of(job: Job, generator: Path, space_hash: str | None, knobs: Knobs | None = None) -> Painter:
    """The painter of the job's way to draw, on the device that the settings name.

    Args:
        job: whose settings.
        generator: the version whose weights `diffusion` draws with, and whose taste every way through latents follows.
        space_hash: of the vectors that it will be given; None: none of users or concepts.
        knobs: how a picture is drawn again.

    Raises:
        ModelError: the weights are missing, damaged or of another space; no student or GAN was trained for it.
        SettingsError: stable-diffusion without a checkpoint.
    """
    turned = knobs or Knobs()
    if job.settings.generators.way == "stable-diffusion":
        return _stable_diffusion(job, space_hash, turned)
    from generators.painting.latent_painter import ROWS_AT_ONCE, LatentPainter  # noqa: PLC0415 - one way is enough to load
    from generators.painting.sampling import Way, draw, leap  # noqa: PLC0415
    from generators.painting.weights import load_weights  # noqa: PLC0415
    from generators.taste.taste import Taste  # noqa: PLC0415

    known = job.settings.generators
    way: Way = partial(draw, steps=known.steps * turned.steps)
    version = generator
    if known.way != "diffusion":
        steps = min(known.student_steps * turned.steps, MOST_STUDENT_STEPS) if known.way == "student" else 1
        way, version = partial(leap, steps=steps), find_short_cut(job, space_hash)
    painter = LatentPainter(
        load_weights(version / "weights", space_hash=space_hash, device=device_of(job)),
        None if space_hash is None else Taste.load(generator, space_hash),
        way,
        guidance=1 + (known.guidance - 1) * turned.guidance,
    )
    return FrugalPainter(painter, rows=ROWS_AT_ONCE, tell=complain)


def find_short_cut(job: Job, space_hash: str | None) -> Path:
    """The version of the student or the GAN in use for a space; None: of any.

    Raises:
        ModelError: none was trained.
    """
    kind = job.settings.generators.way
    found = next((v for v in versions(job.models, kind) if space_hash in (None, generator_space(v))), None)
    if found is None:
        what = f"there is no {kind}" + ("" if space_hash is None else f" for space {space_hash[:12]}")
        raise ModelError(what, where=str(job.models / kind), fix=f"Train one: adloom train {kind} {job.data}")
    return found


def device_of(job: Job) -> str:
    """Where to draw."""
    import torch  # noqa: PLC0415 - only its answer is needed here

    wish = job.settings.generators.device
    return ("cuda" if torch.cuda.is_available() else "cpu") if wish == "auto" else wish


def load_checkpoint(job: Job, *, device: str) -> Pretrained:
    """The checkpoint that the settings name. Raises SettingsError where they name none, ModelError where it is unfit."""
    from generators.painting.pretrained import load_pretrained  # noqa: PLC0415 - slow to import

    known = job.settings.stable_diffusion
    return load_pretrained(
        checkpoint_of(known), device=device, precision=known.precision, scheduler=known.scheduler
    )  # fmt: skip


def checkpoint_of(settings: StableDiffusionSettings) -> str:
    """The checkpoint's folder or hub id. Raises SettingsError where there is none."""
    if settings.checkpoint is None:
        fix = "Name a folder or a hub id, see docs/stable-diffusion.md."
        raise SettingsError("is not set", where="stable_diffusion.checkpoint", fix=fix)
    return settings.checkpoint


def painter_key(job: Job) -> dict[str, str]:
    """What is drawn with from outside the run, by hash."""
    way = job.settings.generators.way
    if way == "diffusion":
        return {}
    if way != "stable-diffusion":
        choice = json.loads((job.run / "training" / "choice.json").read_text())
        return {way: find_short_cut(job, None if choice["origin"] == "none" else choice["space_hash"]).name}
    from generators.painting.pretrained import checkpoint_hash, find_checkpoint  # noqa: PLC0415 - slow to import

    found = find_adapter(job.models, _space_of(job))
    checkpoint = find_checkpoint(checkpoint_of(job.settings.stable_diffusion))
    return {"checkpoint": checkpoint_hash(checkpoint), "adapter": "none" if found is None else found.name}


def look_for_checkpoint(job: Job) -> None:
    """Finds, or fetches, the checkpoint before anything is computed. Raises SettingsError or ModelError."""
    if job.settings.generators.way == "stable-diffusion":
        from generators.painting.pretrained import find_checkpoint  # noqa: PLC0415 - slow to import

        find_checkpoint(checkpoint_of(job.settings.stable_diffusion))


def _space_of(job: Job) -> str:
    return str(json.loads((job.run / "features" / "facts.json").read_text())["space_hash"])


def _stable_diffusion(job: Job, space_hash: str | None, knobs: Knobs) -> Painter:
    from generators.painting.adapter import load_adapter  # noqa: PLC0415 - slow to import
    from generators.painting.stable_diffusion import StableDiffusionPainter, Wish  # noqa: PLC0415

    known = job.settings.stable_diffusion
    adapter = None
    if space_hash is not None:
        found = find_adapter(job.models, space_hash)
        if found is None:
            what = f"there is no adapter for space {space_hash[:12]}"
            fix = f"Train one: adloom train adapter {job.data}, with the same settings"
            raise ModelError(what, where=str(job.models / "adapter"), fix=fix)
        adapter = load_adapter(found, space_hash=space_hash)
    wish = Wish(
        steps=known.steps * knobs.steps,
        guidance=1 + (known.guidance - 1) * knobs.guidance if known.guidance > 1 else known.guidance,
        prompt=known.prompt,
        negative_prompt=known.negative_prompt,
        user_scale=known.user_scale * min(knobs.guidance, 1.0),
        side=known.side,
    )
    painter = StableDiffusionPainter(load_checkpoint(job, device=device_of(job)), adapter, wish)
    return FrugalPainter(painter, rows=known.rows, tell=complain)
