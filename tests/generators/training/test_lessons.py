"""Lessons draw the same batch for the same step, forget what they say, and teach a generator that resumes and warm-starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import ModelError
from generators.examples import Examples, write_examples
from generators.painting.codec import SceneCodec
from generators.painting.network import SceneNetwork
from generators.painting.weights import load_weights
from generators.pixels import to_float
from generators.training.curriculum import Curriculum, teach
from generators.training.lessons import CodecLesson, FlowLesson, Studies, fit_prior, products_on_grey, scenes_behind
from generators.training.training import Progress, Schedule
from tests.generators.short_lessons import losses_of

Made = Callable[..., Examples]


@pytest.fixture(scope="module")
def studies(light_and_dark: Made) -> Studies:
    examples = light_and_dark()
    return Studies.prepare(examples, SceneCodec().eval(), fit_prior(examples))


def flow(studies: Studies, **changes: object) -> FlowLesson:
    return FlowLesson(studies, SceneCodec(), **{"seed": 1, "source": "x", "channels": (32, 32), **changes})  # type: ignore[arg-type]


def tiny(**changes: int) -> Curriculum:
    short = {"steps": 3, "rows": 4, "warmup_steps": 1, "checkpoint_every": 1, "sheet_every": 100, "device": "cpu"}
    same = Schedule(**(short | {"precision": "fp32"} | changes))  # type: ignore[arg-type]
    return Curriculum(codec=same, flow=same, channels=(32, 32))


def test_a_product_is_taken_out_of_its_scene_and_its_scene_out_of_a_product() -> None:
    pictures = torch.full((1, 3, 32, 32), -0.5)
    masks = torch.zeros(1, 1, 32, 32)
    masks[:, :, 12:20, 12:20] = 1
    pictures = torch.where(masks > 0, torch.tensor(0.9), pictures)
    assert torch.allclose(scenes_behind(pictures, masks), torch.tensor(-0.5), atol=1e-5)
    alone = products_on_grey(pictures, masks)
    assert (alone[masks.expand_as(alone) > 0] == 0.9).all()
    assert alone[masks.expand_as(alone) == 0].abs().max() < 0.01


def test_every_picture_is_studied_as_logged_and_mirrored(studies: Studies) -> None:
    half = len(studies.latents) // 2
    assert torch.equal(studies.sketches[half:], studies.sketches[:half].flip(3))
    assert torch.equal(studies.covers[half:], studies.covers[:half].flip(3))
    assert torch.equal(studies.looks[half:], studies.looks[:half])
    assert torch.allclose(studies.looks.mean(0), torch.zeros(6), atol=1e-4)


def test_a_batch_is_of_its_step_alone(studies: Studies) -> None:
    lesson = flow(studies)
    one, again, other = lesson.rows(5, 8), lesson.rows(5, 8), lesson.rows(6, 8)
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


def test_parts_are_forgotten_as_often_as_they_should_be(studies: Studies) -> None:
    _, ground, covers, condition, _ = flow(studies, drop_look=0.3, drop_sketch=0.4, drop_product=0.2).rows(0, 4000)
    assert condition.has_look is not None
    assert condition.has_concept is not None
    no_sketch = (ground[:, -1] == 1).flatten(1).all(1)
    shares = [~condition.has_look, ~condition.has_concept, no_sketch, (covers == 0).flatten(1).all(1)]
    assert [float(share.float().mean()) for share in shares] == pytest.approx([0.3, 0.15, 0.4, 0.2], abs=0.03)


def test_pictures_are_studied_as_often_as_they_were_shown(light_and_dark: Made) -> None:
    examples = light_and_dark()
    studies = Studies.prepare(examples, SceneCodec().eval(), fit_prior(examples))
    shown = np.bincount(examples.impression_picture, minlength=len(examples.pictures))
    assert studies.weight[: len(shown)].tolist() == shown.tolist()


def test_a_sketchbook_holds_pictures_as_logged_from_first_to_last(studies: Studies) -> None:
    book = studies.sketchbook(5)
    assert book.levels.shape == (5, 32, 32)
    for page, picture in ((0, 0), (-1, len(studies.latents) // 2 - 1)):
        hole = studies.holes[picture, 0].numpy()
        assert (book.levels[page][hole] == 0).all()
        assert np.array_equal(book.levels[page][~hole], studies.sketches[picture, 0].numpy()[~hole])
    assert len(studies.sketchbook().levels) == len(studies.latents) // 2  # there are no more


def test_the_codec_s_lesson_gets_easier(light_and_dark: Made) -> None:
    lesson = CodecLesson(light_and_dark(), seed=0, source="x")
    codec = lesson.student()
    optimiser = torch.optim.AdamW(codec.parameters(), lr=1e-3)
    losses = losses_of(optimiser, lambda step: lesson.loss(codec, step, 6), steps=60)
    assert losses[-1] < losses[0] / 2
    assert lesson.sheet(codec.eval()).shape == (2, 8, 32, 32, 3)


@pytest.fixture(scope="module")
def taught(light_and_dark: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Path]:
    """The examples' file, the hash of weights taught in one go, and where they are."""
    folder = tmp_path_factory.mktemp("taught")
    write_examples(light_and_dark(), folder / "examples.safetensors")
    result = teach(folder / "examples.safetensors", folder / "out", tiny())
    return folder / "examples.safetensors", result.weights_hash, result.weights


class KilledError(Exception):
    pass


def test_a_killed_curriculum_ends_in_the_same_bytes(taught: tuple[Path, str, Path], tmp_path: Path) -> None:
    for lesson, step in (("codec", 2), ("flow", 1), ("flow", 2)):

        def kill(progress: Progress, lesson: str = lesson, step: int = step) -> None:
            if (progress.lesson, progress.step) == (lesson, step):
                raise KilledError

        with pytest.raises(KilledError):
            teach(taught[0], tmp_path / "killed", tiny(), kill)
    assert teach(taught[0], tmp_path / "killed", tiny()).weights_hash == taught[1]


def test_what_is_taught_can_be_loaded_and_says_where_it_comes_from(taught: tuple[Path, str, Path]) -> None:
    loaded = load_weights(taught[2], space_hash="space-a", weights_hash=taught[1])
    assert loaded.made_from["split"] == "all"
    assert loaded.made_from["settings"]["flow"]["steps"] == 3
    assert loaded.network.side == 4
    assert len(loaded.sketchbook.levels) == 40


def test_a_warm_start_keeps_the_painter_and_forgets_only_another_space(
    taught: tuple[Path, str, Path], studies: Studies, light_and_dark: Made
) -> None:
    before = load_weights(taught[2]).network.state_dict()
    same = flow(studies, start=load_weights(taught[2]).network).student().state_dict()
    assert all(torch.equal(before[name], same[name]) for name in before)
    other = light_and_dark(space="space-b", dimensions=9)
    elsewhere = Studies.prepare(other, SceneCodec().eval(), fit_prior(other))
    fresh = flow(elsewhere).student().state_dict()
    found = flow(elsewhere, start=load_weights(taught[2]).network, same_space=False).student().state_dict()
    for name, tensor in found.items():
        assert torch.equal(tensor, fresh[name] if name.startswith("condition.concept.") else before[name]), name


def test_a_warm_start_from_another_architecture_is_refused(studies: Studies) -> None:
    wider: SceneNetwork = flow(studies, channels=(32, 64)).student()
    with pytest.raises(ModelError, match="another architecture"):
        flow(studies, start=wider).student()


def test_a_warm_start_keeps_the_codec(taught: tuple[Path, str, Path], tmp_path: Path) -> None:
    result = teach(taught[0], tmp_path / "warm", tiny(steps=2), start_from=taught[2])
    old, new = load_weights(taught[2]), load_weights(result.weights)
    for name, tensor in old.codec.state_dict().items():
        assert torch.equal(new.codec.state_dict()[name], tensor), name
    assert not (tmp_path / "warm" / "codec").exists()


def test_a_known_codec_that_goes_on_learning_codes_these_pictures_better(
    taught: tuple[Path, str, Path], light_and_dark: Made, tmp_path: Path
) -> None:
    again = tiny(steps=1).model_copy(update={"codec_again": 40, "codec": tiny(steps=1, checkpoint_every=20).codec})
    made = load_weights(teach(taught[0], tmp_path / "again", again, start_from=taught[2]).weights)
    pictures = torch.from_numpy(light_and_dark().pictures[:8]).permute(0, 3, 1, 2)
    seen = to_float(pictures)

    def error(codec: SceneCodec) -> float:
        with torch.inference_mode():
            return float((codec.decode(codec.encode(seen)) - seen).square().mean())

    assert error(made.codec) < 0.8 * error(load_weights(taught[2]).codec)


@pytest.mark.slow
def test_a_tiny_flow_paints_the_lightness_of_the_look_it_is_told(light_and_dark: Made, tmp_path: Path) -> None:
    from generators.painting.network import Condition, lay_ground
    from generators.painting.sampling import draw, noise_of
    from generators.painting.sketches import no_sketch, sketch_cells
    from generators.taste.look import LOOK

    write_examples(light_and_dark(pictures=200), tmp_path / "examples.safetensors")
    longer = tiny(steps=300, rows=16, warmup_steps=20, checkpoint_every=300).model_copy(
        update={"codec": tiny(steps=150, rows=8, checkpoint_every=150).codec}
    )
    made = load_weights(teach(tmp_path / "examples.safetensors", tmp_path / "out", longer).weights)
    cells = sketch_cells(*no_sketch(8, 32))
    side, latent = made.network.side, made.network.latent
    ground = lay_ground(torch.zeros(8, latent, side, side), torch.zeros(8, 1, side, side), cells)

    def lightness(told: float) -> float:
        look = torch.zeros(8, len(LOOK))
        look[:, 0] = told
        with torch.inference_mode():
            latents = draw(
                made.network, Condition(look, None), ground, noise_of(torch.arange(8), latent, side), steps=8
            )
            return float(made.codec.decode(latents).mean())

    assert lightness(1.0) - lightness(-1.0) > 0.4  # of 2
