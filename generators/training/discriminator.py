"""Turns latents of a scene, the ground and a condition into scores: how much each cell looks as logged scenes do.

Letters: B scenes, L side of the latent grid, W channels of a feature map, E width of a pooled condition.

The trained flow already knows what a scene for this look, concept, product and sketch looks like. So its down blocks, frozen,
are the eyes, and only small heads on their feature maps learn (latent adversarial diffusion distillation: Sauer et al. 2024,
arXiv 2403.12015). Each head is a projection discriminator (Miyato and Koyama 2018, arXiv 1802.05637),

    score = w . h + (V c) . h        h: features of a cell; c: the flow's own pooled look and concept
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from generators.painting.network import Condition, SceneNetwork

_WIDTH = 64
_SHIFT = 2  # cells, at most
_CUTOUT = 0.25  # of the side


class Head(nn.Module):
    """A feature map (B, W, l, l) and a pooled condition (B, E) into scores (B, l * l)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, _WIDTH, 3, padding=1), nn.SiLU(), nn.Conv2d(_WIDTH, _WIDTH, 1), nn.SiLU()
        )
        self.plain = nn.Conv2d(_WIDTH, 1, 1)
        self.told = nn.Linear(embedding, _WIDTH, bias=False)

    def forward(self, features: Tensor, pooled: Tensor) -> Tensor:
        """See the class."""
        hidden = self.hidden(features)
        scores = self.plain(hidden) + (self.told(pooled)[:, :, None, None] * hidden).mean(1, keepdim=True)
        return cast(Tensor, scores).flatten(1)


class Discriminator(nn.Module):
    """The heads.

    Args:
        flow: whose eyes it will see with; only its shape is read.
    """

    def __init__(self, flow: SceneNetwork) -> None:
        super().__init__()
        channels = tuple(flow.config["channels"])
        self.heads = nn.ModuleList(Head(width, 4 * channels[0]) for width in (*channels, channels[-1]))

    def forward(self, seen: list[Tensor], pooled: Tensor) -> Tensor:
        """Scores (B, cells of all feature maps)."""
        return torch.cat([head(features, pooled) for head, features in zip(self.heads, seen, strict=True)], dim=1)


def look_at(
    flow: SceneNetwork, latents: Tensor, time: Tensor, ground: Tensor, condition: Condition
) -> tuple[list[Tensor], Tensor]:
    """What the down blocks of a flow see in noisy latents: a feature map of each level, that of the middle, and the pooled
    condition (B, E); each map of mean 0 and variance 1. Arguments as those of `SceneNetwork.forward`."""
    tokens, pooled = flow.condition(condition, len(latents))
    unet = flow.unet
    embedding = unet.time_embedding(unet.time_proj(time * 1000).to(latents.dtype)) + pooled
    state = unet.conv_in(torch.cat([latents, ground], dim=1))
    seen = []
    for block in unet.down_blocks:
        told = {"encoder_hidden_states": tokens} if getattr(block, "has_cross_attention", False) else {}
        state, levels = block(state, embedding, **told)
        seen.append(levels[0])
    seen.append(unet.mid_block(state, embedding, encoder_hidden_states=tokens))
    return [functional.layer_norm(features, features.shape[1:]) for features in seen], pooled


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
