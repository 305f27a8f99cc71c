"""Tiny generators and training files that the tests of generators share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from generators.examples import Examples
from generators.painting.codec import SceneCodec
from generators.painting.network import SceneNetwork
from generators.painting.sketches import Sketchbook
from generators.painting.weights import Generator
from generators.taste.look import LOOK
from generators.taste.prior import LookPrior
from generators.taste.taste import Taste

D = 5
S = 32
SHAPE = {"dimensions": D, "latent": 4, "side": S // 8, "channels": (32, 32), "token_width": 32}
CODEC = {"latent": 4, "widths": (8, 16)}


def _network(seed: int = 0, **changes: object) -> SceneNetwork:
    """A network whose output convolution is not zero, so that conditions show at once."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = SceneNetwork(**{**SHAPE, **changes}).eval()
        nn.init.normal_(network.unet.conv_out.weight, std=0.1)
    return network


def _codec(seed: int = 0) -> SceneCodec:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        codec = SceneCodec(**CODEC).eval()
        codec.decoder[-1].weight.data *= 5  # so that scenes are not all grey
        return codec


def _generator(space_hash: str = "space") -> Generator:
    random = np.random.default_rng(0)
    prior = LookPrior.fit(
        random.normal(0.5, 0.1, (30, len(LOOK))).astype(np.float32), random.random((30, 4)).astype(np.float32)
    )
    levels = random.integers(1, 256, (3, S, S)).astype(np.uint8)
    levels[:, 8:20, 8:20] = 0
    return Generator(_network(), _codec(), prior, Sketchbook(levels), "weights", space_hash, {})


def _light_and_dark(
    *, space: str = "space-a", dimensions: int = D, pictures: int = 40, impressions: int = 600
) -> Examples:
    """Plain scenes from dark to light; a user clicks what is as light as the first number of their vector says."""
    random = np.random.default_rng(0)
    level = random.uniform(30, 225, pictures)
    tilt = np.linspace(-20, 20, S)[None, :, None, None]
    shown = (level[:, None, None, None] + tilt + random.normal(0, 3, (pictures, S, S, 3))).clip(0, 255)
    masks = np.zeros((pictures, S, S), np.uint8)
    masks[:, 12:20, 12:20] = 255
    users = random.choice([-1.0, 1.0], (40, dimensions))
    picture, user = random.integers(0, pictures, impressions), random.integers(0, 40, impressions)
    gap = (level[picture] - 127.5) / 60 - users[user, 0]
    return Examples(
        pictures=shown.astype(np.uint8),
        masks=masks,
        picture_concept=random.integers(0, 3, pictures).astype(np.int32),
        concept_vectors=random.normal(size=(3, dimensions)).astype(np.float32),
        user_vectors=users.astype(np.float32),
        impression_picture=picture.astype(np.int32),
        impression_user=user.astype(np.int32),
        clicked=(random.random(impressions) < 0.4 * np.exp(-(gap**2))).astype(np.uint8),
        space_hash=space,
        split="all",
    )


@pytest.fixture(scope="session")
def tiny_network() -> Callable[..., SceneNetwork]:
    return _network


@pytest.fixture(scope="session")
def tiny_codec() -> Callable[..., SceneCodec]:
    return _codec


@pytest.fixture(scope="session")
def tiny_generator() -> Callable[..., Generator]:
    return _generator


@pytest.fixture(scope="session")
def light_and_dark() -> Callable[..., Examples]:
    return _light_and_dark


@pytest.fixture(scope="session")
def tiny_taste() -> Taste:
    """Everyone likes mid-grey; who has a large first number likes light pictures."""
    bend = np.zeros((len(LOOK), D), np.float32)
    bend[:, 0] = 9
    return Taste(
        centre=np.full(len(LOOK), 0.5, np.float32), scale=np.full(len(LOOK), 0.1, np.float32),
        common=np.zeros(len(LOOK), np.float32), bend=bend, curvature=np.full(len(LOOK), 0.5, np.float32),
        user_centre=np.zeros(D, np.float32), space_hash="space",
    )  # fmt: skip
