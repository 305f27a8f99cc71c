"""What every way to draw keeps: shape, the product's pixels, seeds, company, users; one battery for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from contracts.errors import ModelError
from generators.layout import DEFAULT_BOX
from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import Painter, SceneRequest
from generators.painting.sampling import Guidance, Way, draw, leap
from generators.painting.weights import Generator
from generators.products import fit_product
from generators.taste.taste import Taste
from tests.generators.tiny_checkpoints import KINDS, Kind, tiny_checkpoint

D = 5


def stable_diffusion(kind: Kind) -> Callable[[Path], Painter]:
    def build(folder: Path) -> Painter:
        from generators.painting.adapter import Adapter, new_adapter
        from generators.painting.pretrained import load_pretrained
        from generators.painting.stable_diffusion import StableDiffusionPainter, Wish

        pretrained = load_pretrained(str(tiny_checkpoint(folder / kind, kind)), scheduler="dpm++")
        users = np.random.default_rng(0).normal(size=(50, D)).astype(np.float32)
        blank = new_adapter(
            pretrained.pipeline.unet, users, space_hash="space", checkpoint_hash=pretrained.weights_hash, seed=0
        )
        draws = torch.Generator().manual_seed(0)
        learned = {
            name: torch.randn(tensor.shape, generator=draws) if "to_v_ip" in name else tensor
            for name, tensor in blank.tensors.items()
        }
        adapter = Adapter(learned, "space", pretrained.weights_hash)
        return StableDiffusionPainter(pretrained, adapter, Wish(steps=3, guidance=3.0))

    return build


WAYS: dict[str, Callable[[Path], Painter]] = {
    **{f"stable-diffusion {kind}": stable_diffusion(kind) for kind in KINDS},
}

THROUGH_LATENTS: dict[str, Way] = {
    "diffusion": partial(draw, steps=2, guidance=Guidance(4.0)),
    "student": partial(leap, steps=2),
    "gan": partial(leap, steps=1),
}


@pytest.fixture(scope="module", params=[*THROUGH_LATENTS, *WAYS])
def painter(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny_generator: Callable[[], Generator],
    tiny_taste: Taste,
) -> Painter:
    if request.param in THROUGH_LATENTS:
        return LatentPainter(tiny_generator(), tiny_taste, THROUGH_LATENTS[request.param], guidance=8.0)
    return WAYS[request.param](tmp_path_factory.mktemp("way"))


def wanted(user: int | None = 0, seed: int = 1, *, product: bool = True) -> SceneRequest:
    users, concept = np.split(np.random.default_rng(1).normal(size=(3, D)).astype(np.float32), [2])
    return SceneRequest(
        user=None if user is None else users[user],
        concept=concept[0],
        product=shoe() if product else None,
        seed=seed,
        headline="Run further",
        advertiser="Stride",
        topics=("running",),
    )


def shoe() -> npt.NDArray[np.uint8]:
    pixels = np.random.default_rng(2).integers(0, 256, (80, 60, 4)).astype(np.uint8)
    pixels[..., 3] = 0
    pixels[5:75, 5:55, 3] = 255
    return pixels


def apart(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other).max())


def test_scenes_have_the_side_that_the_painter_says(painter: Painter) -> None:
    scenes = painter.paint([wanted(), wanted(None, 2, product=False)])
    assert scenes.shape == (2, painter.side, painter.side, 3)
    assert scenes.dtype == np.uint8
    assert all(scene.std() > 1 for scene in scenes)


def test_the_products_pixels_are_those_given(painter: Painter) -> None:
    scene = painter.paint([wanted()])[0]
    resized, at = fit_product(shoe(), DEFAULT_BOX, (painter.side, painter.side))
    opaque = resized[..., 3] == 255
    assert opaque.sum() > 20
    inside = scene[at.top : at.bottom, at.left : at.right]
    assert (inside[opaque] == resized[..., :3][opaque]).all()
    assert apart(scene, painter.paint([wanted(product=False)])[0]) > 0


def test_a_seed_decides_the_bytes(painter: Painter) -> None:
    first, again, other = (painter.paint([wanted(seed=seed)]) for seed in (1, 1, 2))
    assert (first == again).all()
    assert apart(first, other) > 10


def test_no_global_seed_matters(painter: Painter) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        first = painter.paint([wanted()])
        torch.default_generator.manual_seed(2)
        assert (first == painter.paint([wanted()])).all()


def test_a_scene_does_not_depend_on_its_company(painter: Painter) -> None:
    """But for the last bits of float sums, which some processors add in another order for another number of rows."""
    alone = painter.paint([wanted()])[0]
    together = painter.paint([wanted(1, 5), wanted(), wanted(None, 7, product=False)])
    assert apart(alone, together[1]) <= 2
    assert apart(alone, together[0]) > 10


def test_another_user_gets_another_scene(painter: Painter) -> None:
    mine, yours, nobodys = painter.paint([wanted(0), wanted(1), wanted(None)])
    assert apart(mine, yours) > 3
    assert apart(mine, nobodys) > 3


def test_nobody_in_particular_can_be_painted_for_alone(painter: Painter) -> None:
    nobody = replace(wanted(None), concept=None)
    alone = painter.paint([nobody])[0]
    assert alone.std() > 1
    assert apart(alone, painter.paint([nobody, wanted()])[0]) <= 2


def test_a_vector_that_is_not_finite_is_refused(painter: Painter) -> None:
    for value in (np.nan, np.inf):
        user = np.full(D, 0.1, np.float32)
        user[2] = value
        with pytest.raises(ModelError, match="not finite"):
            painter.paint([replace(wanted(), user=user), wanted()])


def test_the_weights_have_a_hash(painter: Painter) -> None:
    assert painter.weights_hash
