"""Turns scene requests into scenes by a pretrained Stable Diffusion: the way to draw called `stable-diffusion`.

The scene is inpainted around the product by diffusers' own pipelines; the user enters through the IP-Adapter slot
(generators/painting/adapter.py), the concept through the prompt (generators/painting/prompts.py), and the product's pixels are laid on top.
Guidance goes from (negative prompt, nobody, click unknown) to (prompt, this user, clicked).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from contracts.errors import ModelError
from contracts.store import digest_of
from generators.painting.adapter import Adapter, plug_in, use_style
from generators.painting.painters import SceneRequest, frame_product, lay_product, stack_vectors
from generators.painting.pretrained import Pretrained
from generators.painting.prompts import concept_prompt
from generators.products import Pixels

SIDE_STEP = 16
"""A side is a multiple of this: eight pixels a latent, and features of looks are measured in blocks."""


@dataclass(frozen=True)
class Wish:
    """How to paint.

    Attributes:
        steps: of the scheduler.
        guidance: weight of the prompt and the user over the negative prompt and nobody; up to 1, both of these are left out.
        prompt: template of `concept_prompt`. negative_prompt: what is not wanted.
        user_scale: how loudly the user speaks beside the prompt; 1 as trained, 0 not at all.
        side: of the scenes, pixels; None: the checkpoint's own.
    """

    steps: int
    guidance: float
    prompt: str = "{topics}, {words}"
    negative_prompt: str = ""
    user_scale: float = 1.0
    side: int | None = None


class StableDiffusionPainter:
    """Paints with a checkpoint, and an adapter where there is one.

    Args:
        pretrained: the checkpoint; the adapter is plugged into it.
        adapter: None: every scene is for nobody in particular.
        wish: how to paint.

    Raises:
        ModelError: the adapter does not fit the checkpoint, or the side does not.
    """

    def __init__(self, pretrained: Pretrained, adapter: Adapter | None, wish: Wish) -> None:
        self.pretrained, self.adapter, self.wish = pretrained, adapter, wish
        self.side = wish.side or pretrained.side
        step = max(SIDE_STEP, pretrained.pipeline.vae_scale_factor)
        if self.side % step:
            fix = f"Set stable_diffusion.side to a multiple of {step}"
            raise ModelError(f"a side of {self.side} pixels cannot be painted", where=pretrained.name, fix=fix)
        if adapter is not None:
            plug_in(pretrained.pipeline, adapter)
            pretrained.pipeline.set_ip_adapter_scale(wish.user_scale)

    @property
    def weights_hash(self) -> str:
        """SHA-256 over checkpoint and adapter."""
        return digest_of([self.pretrained.weights_hash, None if self.adapter is None else self.adapter.weights_hash])

    def paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        """Scenes around the products, uint8 (B, S, S, 3).

        Requests with the style of one advertiser are painted together, all of them at once (see generators/painting/frugal.py).

        Raises:
            ModelError: a user vector is not finite, or of another length than the adapter's.
        """
        self._check(requests)
        scenes = np.zeros((len(requests), self.side, self.side, 3), np.uint8)
        styles = {} if self.adapter is None else self.adapter.styles
        groups: dict[str | None, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(request.advertiser if request.advertiser in styles else None, []).append(place)
        for advertiser, places in groups.items():
            if self.adapter is not None:
                use_style(self.pretrained.pipeline, self.adapter, advertiser)
            scenes[places] = self._paint([requests[place] for place in places])
        return scenes

    def _check(self, requests: Sequence[SceneRequest]) -> None:
        for user in (request.user for request in requests if request.user is not None):
            fix = "Build the features again, or train an adapter for them: adloom train adapter DATA"
            if not np.isfinite(user).all():
                raise ModelError("a user vector is not finite", where="scene request", fix=fix)
            if self.adapter is not None and len(user) != self.adapter.dimensions:
                what = f"a user vector has {len(user)} dimensions, the adapter's space {self.adapter.dimensions}"
                raise ModelError(what, where="scene request", fix=fix)

    def _told(self, requests: Sequence[SceneRequest]) -> Tensor | None:
        """What the slot is told: under guidance (2B, 1, .), first of nobody; else (B, 1, .); None without an adapter."""
        if self.adapter is None:
            return None
        users = stack_vectors([request.user for request in requests])
        if users is None:
            users = torch.zeros(len(requests), self.adapter.dimensions)
        known = torch.tensor([request.user is not None for request in requests])
        wanted = self.adapter.tell(users, known, torch.ones(len(requests)))
        return torch.cat([torch.zeros_like(wanted), wanted]) if self._guided else wanted

    @property
    def _guided(self) -> bool:
        """Whether the pipeline takes a second, unconditional half; checkpoints that are told their guidance never do."""
        return self.wish.guidance > 1 and self.pretrained.pipeline.unet.config.time_cond_proj_dim is None

    def _paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        pipeline, wish = self.pretrained.pipeline, self.wish
        products, masks = (
            np.stack(part) for part in zip(*(frame_product(r.product, self.side) for r in requests), strict=True)
        )
        prompts = [
            concept_prompt(wish.prompt, topics=r.topics, headline=r.headline, advertiser=r.advertiser) for r in requests
        ]
        told = self._told(requests)
        painted = pipeline(
            prompt=prompts,
            negative_prompt=[wish.negative_prompt] * len(requests),
            image=torch.from_numpy(products).permute(0, 3, 1, 2).float() / 255,
            mask_image=1 - torch.from_numpy(masks)[:, None],
            height=self.side,
            width=self.side,
            strength=1.0,
            num_inference_steps=wish.steps,
            guidance_scale=wish.guidance,
            generator=[torch.Generator().manual_seed(request.seed) for request in requests],
            ip_adapter_image_embeds=None if told is None else [told.to(pipeline.device, pipeline.unet.dtype)],
            output_type="pt",
        ).images
        scenes = (painted.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return np.stack([lay_product(scene, request.product) for scene, request in zip(scenes, requests, strict=True)])
