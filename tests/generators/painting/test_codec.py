"""The codec learns to give scenes back, crops are coded as in the whole, and latents have the scale they promise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from generators.painting.codec import REDUCTION, SceneCodec, codec_loss

Codecs = Callable[..., SceneCodec]


def scenes(rows: int = 4, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(rows, 3, 4, 4, generator=generator) * 2 - 1
    return nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")


def test_a_cell_of_latents_stands_for_eight_by_eight_pixels(tiny_codec: Codecs) -> None:
    codec = tiny_codec()
    latents = codec.encode(scenes())
    assert latents.shape == (4, 4, 64 // REDUCTION, 64 // REDUCTION)
    assert codec.decode(latents).shape == (4, 3, 64, 64)


def test_latents_have_mean_zero_and_variance_one_over_what_they_were_fitted_to(tiny_codec: Codecs) -> None:
    codec = tiny_codec()
    with torch.no_grad():
        codec.fit(scenes())
        latents = codec.encode(scenes())
        plain = codec.decode(latents)
        rebuilt, raw = codec(scenes(), torch.zeros(()))
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(plain, rebuilt, atol=1e-4)  # the scale is undone before decoding
    assert not torch.allclose(raw, latents, atol=1e-2)


def test_the_middle_of_a_crop_is_coded_as_in_the_whole(tiny_codec: Codecs) -> None:
    codec, whole = tiny_codec(), scenes(1, 256)
    with torch.no_grad():
        all_cells, crop_cells = codec.encode(whole), codec.encode(whole[:, :, 64:192, 64:192])
    inside = slice(6, 10)
    assert torch.allclose(all_cells[:, :, 14:18, 14:18], crop_cells[:, :, inside, inside], atol=1e-5)


def test_the_loss_is_zero_for_the_scene_itself_and_sees_blurred_edges() -> None:
    sharp = torch.where(torch.arange(64) % 16 < 8, 1.0, -1.0).expand(1, 3, 64, 64)
    blurred = nn.functional.avg_pool2d(sharp, 5, 1, 2)
    assert codec_loss(sharp, sharp) == 0
    flat = sharp + (blurred - sharp).abs().mean()  # as far off, but with its edges
    assert codec_loss(blurred, sharp) > 1.2 * codec_loss(flat, sharp)


def test_a_few_steps_halve_the_error(tiny_codec: Codecs) -> None:
    codec, optimiser = tiny_codec().train(), None
    optimiser = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        rebuilt, _ = codec(scenes(), torch.zeros(()))
        loss = codec_loss(rebuilt, scenes())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
