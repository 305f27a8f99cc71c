"""Turns scenes into small grids of latent numbers and back: the flow paints there, where a step costs a tenth.

Letters: B scenes, S side in pixels (a multiple of 8), L = S / 8, Z latent channels.

A convolutional autoencoder (latent diffusion: Rombach et al. 2022, arXiv 2112.10752), trained on crops of logged
scenes alone. Its first and last layers move 4 x 4 pixels into channels; a last convolution on full-size pixels mends the
seams between them.
"""

from __future__ import annotations

from typing import cast

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from torch import Tensor, nn
from torch.nn import functional

REDUCTION = 8
"""Pixels of a scene per latent cell, along each side."""

LATENT = 8
"""Z of a new codec."""

_PATCH = 4
_FINE = 8  # channels at full size


class _Residual(nn.Module):
    """Two convolutions beside the identity, starting as zero; no norm, so that a crop is coded as it is in the whole."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), last)

    def forward(self, grid: Tensor) -> Tensor:
        return grid + cast(Tensor, self.layers(grid))


class SceneCodec(nn.Module, ConfigMixin):
    """The autoencoder. Latents have mean 0 and variance 1 over the scenes given to `fit`.

    Args:
        latent: Z.
        widths: channels at S / 4 and at S / 8.
        slim: channels of a decoder of a third of the work, at S / 8, S / 4 and S / 2; None: the full one.
    """

    config_name = "config.json"  # type: ignore[assignment]

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent: int = LATENT,
        widths: tuple[int, int] = (48, 96),
        slim: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        outer, inner = widths
        self.latent = latent
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(_PATCH), nn.Conv2d(3 * _PATCH**2, outer, 3, padding=1), _Residual(outer),
            nn.Conv2d(outer, inner, 3, stride=2, padding=1), _Residual(inner), _Residual(inner),
            nn.SiLU(), nn.Conv2d(inner, latent, 1),
        )  # fmt: skip
        self.decoder = _decoder(latent, outer, inner) if slim is None else slim_decoder(latent, *slim)
        self.register_buffer("centre", torch.zeros(latent, 1, 1))
        self.register_buffer("scale", torch.ones(latent, 1, 1))

    def fit(self, scenes: Tensor) -> None:
        """Remember the centre and scale of the latents of scenes (B, 3, S, S)."""
        with torch.no_grad():
            raw = torch.cat([self.encoder(part) for part in torch.split(scenes, 64)])
            self.get_buffer("centre").copy_(raw.mean((0, 2, 3))[:, None, None])
            self.get_buffer("scale").copy_(raw.std((0, 2, 3))[:, None, None].clamp(min=1e-4))

    def forward(self, scenes: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Scenes (B, 3, S, S) coded and rebuilt, and their raw latents (B, Z, L, L).

        Args:
            scenes: in [-1, 1].
            noise: added to the latents, in their standard deviations, broadcast to them.
        """
        raw: Tensor = self.encoder(scenes)
        rebuilt: Tensor = self.decoder(raw + noise * raw.detach().std())
        return rebuilt, raw

    def encode(self, scenes: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] into latents (B, Z, L, L)."""
        raw: Tensor = self.encoder(scenes)
        return (raw - self.get_buffer("centre")) / self.get_buffer("scale")

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, Z, L, L) into scenes (B, 3, S, S), in [-1, 1] but for small overshoots."""
        scenes: Tensor = self.decoder(latents * self.get_buffer("scale") + self.get_buffer("centre"))
        return scenes


def _decoder(latent: int, outer: int, inner: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(latent, inner, 3, padding=1), _Residual(inner), _Residual(inner), _Residual(inner),
        nn.Conv2d(inner, 4 * outer, 3, padding=1), nn.PixelShuffle(2), _Residual(outer), _Residual(outer),
        nn.SiLU(), nn.Conv2d(outer, _FINE * _PATCH**2, 3, padding=1),
        nn.PixelShuffle(_PATCH), nn.SiLU(), nn.Conv2d(_FINE, 3, 3, padding=1),
    )  # fmt: skip


def slim_decoder(latent: int, inner: int, outer: int, fine: int) -> nn.Sequential:
    """Raw latents (B, Z, L, L) into scenes (B, 3, S, S): the last convolution is at S / 2, so that nothing is worked out at full size.

    Args:
        latent: Z. inner, outer, fine: channels at S / 8, S / 4 and S / 2.
    """
    return nn.Sequential(
        nn.Conv2d(latent, inner, 3, padding=1), _Residual(inner), _Residual(inner),
        nn.Conv2d(inner, 4 * outer, 3, padding=1), nn.PixelShuffle(2), _Residual(outer),
        nn.SiLU(), nn.Conv2d(outer, 4 * fine, 3, padding=1), nn.PixelShuffle(2),
        nn.SiLU(), nn.Conv2d(fine, 12, 3, padding=1), nn.PixelShuffle(2),
    )  # fmt: skip


def codec_loss(rebuilt: Tensor, scenes: Tensor) -> Tensor:
    """Mean absolute error of pixels and of their differences to neighbours, at four sizes: colours stay, edges stay edges."""
    loss = torch.zeros((), device=scenes.device)
    for _ in range(4):
        loss = loss + (rebuilt - scenes).abs().mean()
        for axis in (2, 3):
            loss = loss + (rebuilt.diff(dim=axis) - scenes.diff(dim=axis)).abs().mean()
        rebuilt, scenes = functional.avg_pool2d(rebuilt, 2), functional.avg_pool2d(scenes, 2)
    return loss
