"""Turns latents of a scene, the ground and a condition into scores: how much each cell looks as logged scenes do.

Letters: B scenes, L side of the latent grid, Z latent channels, G ground channels, W channels of a level, E width of a pooled condition.

A small residual network without norms, as in R3GAN (Huang et al. 2025, arXiv 2501.05441), over three sizes of the grid. It sees the ground
too, so that a scene is judged as one for this product and this sketch. At each size a head on every cell is a projection
discriminator (Miyato and Koyama 2018, arXiv 1802.05637),

    score = w . h + (V c) . h        h: features of a cell; c: the flow's own pooled look and concept
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generators.painting.network import SceneNetwork

_WIDTHS = (64, 96, 128)
_SLOPE = 0.2  # of the leaky rectifiers, below 0
_FIRST = (
    0.25  # share of the usual size that the last convolution of a block begins with, so that blocks begin near nothing
)
_SHIFT = 2  # cells, at most
_CUTOUT = 0.25  # of the side


class Block(nn.Module):
    """Features (B, W, l, l) and what two convolutions add to them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.normal_(self.second.weight, std=_FIRST * (2 / (9 * channels)) ** 0.5)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        hidden = self.first(functional.leaky_relu(features, _SLOPE))
        return features + cast(Tensor, self.second(functional.leaky_relu(hidden, _SLOPE)))


class Head(nn.Module):
    """A feature map (B, W, l, l) and a pooled condition (B, E) into scores (B, 1, l, l)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(channels, 1, 1)
        self.told = nn.Linear(embedding, channels, bias=False)

    def forward(self, features: Tensor, pooled: Tensor) -> Tensor:
        """See the class."""
        hidden = functional.leaky_relu(features, _SLOPE)
        scores = self.plain(hidden) + (self.told(pooled)[:, :, None, None] * hidden).mean(1, keepdim=True)
        return cast(Tensor, scores)


class Discriminator(nn.Module):
    """Scores of latents; see the top of this file.

    Args:
        flow: the shape of whose latents, ground and condition it reads; none of its weights.
    """

    def __init__(self, flow: SceneNetwork) -> None:
        super().__init__()
        embedding, grids = 4 * flow.channels[0], int(flow.unet.config["in_channels"])
        self.stem = nn.Conv2d(grids, _WIDTHS[0], 3, padding=1)
        self.blocks = nn.ModuleList(Block(width) for width in _WIDTHS)
        self.widen = nn.ModuleList(nn.Conv2d(narrow, wide, 1) for narrow, wide in pairwise(_WIDTHS))
        self.heads = nn.ModuleList(Head(width, embedding) for width in _WIDTHS)

    def forward(self, latents: Tensor, ground: Tensor, pooled: Tensor) -> Tensor:
        """Scores (B, sizes, L, L): one of a coarser size stands in all the cells that it covers, so that all sizes weigh the same.

        Args:
            latents: (B, Z, L, L), mean 0 and variance 1.
            ground: (B, G, L, L), see `network.lay_ground`.
            pooled: (B, E) of `SceneNetwork.condition`.
        """
        features, scores = self.stem(torch.cat([latents, ground], dim=1)), []
        for level, (block, head) in enumerate(zip(self.blocks, self.heads, strict=True)):
            if level:
                features = self.widen[level - 1](functional.avg_pool2d(features, 2))
            features = block(features)
            scores.append(functional.interpolate(head(features, pooled).float(), size=latents.shape[2:]))
        return torch.cat(scores, dim=1)


def augment(grids: list[Tensor], lot: torch.Generator) -> list[Tensor]:
    """The same shift and cutout for the same row of each of some grids (B, *, L, L): differentiable, and none changes a
    colour, so that looks stay what they are (Zhao et al. 2020, arXiv 2006.10738)."""
    rows, _, side, _ = grids[0].shape
    across, down = torch.randint(-_SHIFT, _SHIFT + 1, (2, rows), generator=lot)
    hole = round(_CUTOUT * side)
    corner = torch.randint(0, side - hole + 1, (2, rows), generator=lot)
    cells = torch.arange(side)
    cut = [((cells >= at[:, None]) & (cells < at[:, None] + hole)) for at in corner]
    kept = ~(cut[0][:, :, None] & cut[1][:, None, :])[:, None]
    places = [(cells + by[:, None]).clamp(0, side - 1) for by in (down, across)]  # the edge goes on
    index = (places[0][:, :, None] * side + places[1][:, None, :]).flatten(1)
    return [
        grid.flatten(2).gather(2, index[:, None].expand(-1, grid.shape[1], -1).to(grid.device)).view(grid.shape)
        * kept.to(grid.device)
        for grid in grids
    ]
