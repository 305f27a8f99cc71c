"""Turns scene requests into scenes by the click-guided flow: the way to draw called `diffusion`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from generators.examples import to_float
from generators.network import Click, Condition
from generators.painters import SceneRequest, frame_product, stack_vectors
from generators.products import Pixels
from generators.sampling import Guidance, draw
from generators.weights import Generator

ROWS_AT_ONCE = 16
"""Pictures denoised together; fixed, so that bytes repeat."""


class DiffusionPainter:
    """Paints with a trained network.

    Args:
        generator: the weights, on the device to paint on.
        steps, guidance: see `sampling.draw`.
    """

    def __init__(self, generator: Generator, *, steps: int, guidance: float) -> None:
        self.network, self.weights_hash = generator.network, generator.weights_hash
        self.steps, self.guidance = steps, guidance

    @property
    def side(self) -> int:
        """S of the scenes, pixels."""
        return int(dict(self.network.config)["side"])

    def paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        """Scenes around the products, uint8 (B, S, S, 3)."""
        products, masks = zip(*(frame_product(request.product, self.side) for request in requests), strict=True)
        device = next(self.network.parameters()).device
        condition = Condition(
            user=stack_vectors([request.user for request in requests]),
            concept=stack_vectors([request.concept for request in requests]),
            click=torch.full((len(requests),), int(Click.CLICKED)),
            has_user=torch.tensor([request.user is not None for request in requests]),
            has_concept=torch.tensor([request.concept is not None for request in requests]),
        )
        drawn = draw(
            self.network,
            condition.to(device),
            to_float(torch.from_numpy(np.stack(products)).permute(0, 3, 1, 2)).to(device),
            torch.from_numpy(np.stack(masks))[:, None].to(device),
            torch.tensor([request.seed for request in requests], dtype=torch.int64),
            steps=self.steps,
            guidance=Guidance(weight=self.guidance),
            rows_at_once=ROWS_AT_ONCE,
        )
        return np.asarray(drawn.numpy(), np.uint8)
