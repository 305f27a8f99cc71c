"""Colours and looks of many scenes at once are those of generators/colour.py and generators/taste/look.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from generators.colour import lab_to_srgb, srgb_to_lab
from generators.painting.tones import (
    brighten,
    change,
    lab_of,
    shown_lab,
    small_roots,
    to_levels,
    to_roots,
    tone_looks,
)
from generators.taste.look import Surroundings, average_lab, lab_looks

B, S = 3, 128
SCENES = np.random.default_rng(0).integers(0, 256, (B, S, S, 3)).astype(np.uint8)
FIRST = np.ascontiguousarray(SCENES.transpose(0, 3, 1, 2))


def last(grids: torch.Tensor) -> np.ndarray:
    """Channels last, as numpy has them."""
    return grids.permute(0, 2, 3, 1).numpy()


def test_roots_are_cielab_and_go_back_to_their_bytes() -> None:
    roots = to_roots(FIRST)
    assert np.abs(last(lab_of(roots)) - srgb_to_lab(SCENES)).max() < 1e-3
    assert np.array_equal(to_levels(roots), FIRST)


@pytest.mark.parametrize("gain", [0.4, 1.6])
def test_a_change_of_cielab_is_made_in_roots(gain: float) -> None:
    """Beyond what a screen shows, too."""
    gains, shift, light = np.array([gain, 1.3, 1.3], np.float32), np.array([20, -15, 9], np.float32), 7.0
    told = [torch.from_numpy(np.tile(one, (B, 1))) for one in (gains, shift)]
    roots = brighten(change(to_roots(FIRST), *told), torch.full((B, 1, S, S), light))
    lab = gains * srgb_to_lab(SCENES) + shift + np.array([light, 0, 0], np.float32)
    assert np.abs(last(lab_of(roots)) - lab).max() < 2e-3
    assert np.abs(last(shown_lab(roots)) - srgb_to_lab(lab_to_srgb(lab))).max() < 0.02
    off = np.abs(to_levels(roots).astype(int) - np.round(lab_to_srgb(lab)).transpose(0, 3, 1, 2))
    assert off.max() <= 1
    assert off.mean() < 1e-2


def test_looks_are_those_of_pictures() -> None:
    lab = average_lab(SCENES)
    assert np.abs(last(lab_of(small_roots(FIRST, 2))) - lab).max() < 1e-3
    cover = np.zeros((B, 64, 64), np.float32)
    cover[:2, 20:40, 25:45] = 1  # the last has no product
    around = Surroundings.of(cover)
    gaps, known = around.gaps(lab)
    tones = torch.from_numpy(lab).permute(0, 3, 1, 2)
    seen = tone_looks(tones, torch.from_numpy(gaps), torch.from_numpy(known.copy()))
    assert np.abs(seen.numpy() - lab_looks(lab, around)).max() < 1e-4
