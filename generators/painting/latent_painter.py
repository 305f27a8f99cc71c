"""Turns scene requests into scenes by way of latents: the ways to draw called `diffusion`, `student` and `gan`.

Whom a scene is for decides its look (generators/taste/prior.py), a sketch is lent (generators/painting/sketches.py), a network paints it
over in that look in latents, the codec turns it into pixels, and the product's own pixels are laid on top. The ways differ in
how the latents come alone (generators/painting/sampling.py): the flow in many steps, its student in a few, the GAN in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from contracts.errors import ModelError
from contracts.seeds import stream
from generators.painting.codec import REDUCTION
from generators.painting.grading import grade
from generators.painting.network import Condition, lay_ground
from generators.painting.painters import Floats, SceneRequest, frame_product, lay_product, stack_vectors
from generators.painting.sampling import Way, noise_of
from generators.painting.sketches import sketch_cells
from generators.painting.weights import Generator
from generators.pixels import to_bytes, to_float
from generators.products import Pixels
from generators.taste.prior import product_numbers
from generators.taste.taste import Taste

ROWS_AT_ONCE = 16
"""Pictures painted together; fixed, so that bytes repeat."""

_PRODUCTS = 64  # whose latents are remembered: all candidates of all cohorts stand around the same few


class LatentPainter:
    """Paints with a trained generator.

    Args:
        generator: the weights, on the device to paint on.
        taste: of users; None: looks are as logged, whoever it is for.
        way: how latents come from noise, `sampling.draw` or `sampling.leap` with its steps.
        guidance: how hard the look is drawn to what the user clicks, `weight` of `LookPrior.tilted`.
    """

    def __init__(self, generator: Generator, taste: Taste | None, way: Way, *, guidance: float) -> None:
        self.generator, self.taste, self.weights_hash = generator, taste, generator.weights_hash
        self.way, self.guidance = way, guidance
        self._encoded = lru_cache(_PRODUCTS)(self._encode)

    @property
    def side(self) -> int:
        """S of the scenes, pixels."""
        return self.generator.network.side * REDUCTION

    def looks(self, requests: Sequence[SceneRequest], framed: Pixels, masks: Floats) -> Floats:
        """(B, F) the looks to paint, which depend on each request alone.

        Raises:
            ModelError: a user vector holds a NaN or an infinity.
        """
        dimensions = 0 if self.taste is None else len(self.taste.user_centre)
        users = np.full((len(requests), dimensions), np.nan, np.float32)
        for row, request in enumerate(requests):
            if request.user is None or self.taste is None:
                continue
            if not np.isfinite(request.user).all():
                raise ModelError("a user vector is not finite", where="scene request", fix="Build the features again")
            users[row] = request.user
        noise = np.stack(
            [stream(request.seed, "look").standard_normal(len(self.generator.prior.base)) for request in requests]
        )
        return self.generator.prior.draw(product_numbers(framed, masks), users, self.taste, self.guidance, noise)

    def _cells(self, requests: Sequence[SceneRequest], masks: Floats, looks: Floats) -> torch.Tensor:
        """The sketches lent to the requests, as busy as their looks, (B, CHANNELS, L, L)."""
        lent = [
            self.generator.sketchbook.lend(mask, stream(request.seed, "sketch"), busyness)
            for request, mask, busyness in zip(requests, masks, self.generator.prior.busyness(looks), strict=True)
        ]
        sketches, holes = (torch.stack(part) for part in zip(*lent, strict=True))
        return sketch_cells(sketches, holes)

    def paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        """Scenes around the products, uint8 (B, S, S, 3)."""
        return np.concatenate(
            [self._paint(requests[first : first + ROWS_AT_ONCE]) for first in range(0, len(requests), ROWS_AT_ONCE)]
        )

    def _encode(self, framed: bytes) -> torch.Tensor:
        """Latents (Z, L, L) of a framed product, one at a time, so that they are the same whatever it is painted with."""
        pixels = torch.frombuffer(bytearray(framed), dtype=torch.uint8).view(1, self.side, self.side, 3)
        device = next(self.generator.codec.parameters()).device
        with torch.inference_mode():
            return self.generator.codec.encode(to_float(pixels.permute(0, 3, 1, 2)).to(device))[0]

    def _paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        network, codec = self.generator.network, self.generator.codec
        framed, masks = (
            np.stack(part) for part in zip(*(frame_product(r.product, self.side) for r in requests), strict=True)
        )
        looks = self.looks(requests, framed, masks)
        condition = Condition(
            torch.from_numpy(self.generator.prior.tell(looks)),
            stack_vectors([request.concept for request in requests]),
            has_concept=torch.tensor([request.concept is not None for request in requests]),
        )
        device = next(network.parameters()).device
        noise = noise_of(torch.tensor([request.seed for request in requests]), network.latent, network.side).to(device)
        covers = functional.avg_pool2d(torch.from_numpy(masks)[:, None].to(device), REDUCTION)
        with torch.inference_mode():
            products = torch.stack([self._encoded(one.tobytes()) for one in framed])
            ground = lay_ground(products, covers, self._cells(requests, masks, looks).to(device))
            latents = self.way(network, condition.to(device), ground, noise)
            scenes = to_bytes(codec.decode(latents)).permute(0, 2, 3, 1).cpu().numpy()
        graded = grade(scenes, framed, masks, looks)
        return np.stack([lay_product(scene, request.product) for scene, request in zip(graded, requests, strict=True)])
