"""A slim decoder learns to show latents as the full one does; what codes scenes stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from generators.examples import Examples
from generators.painting.codec import SceneCodec, codec_loss, slim_decoder
from generators.painting.network import SceneNetwork
from generators.painting.weights import module_config
from generators.training.lessons import Studies, fit_prior
from generators.training.slim import DecoderLesson, with_decoder
from tests.generators.short_lessons import losses_of

SLIM = (12, 8, 8)


@pytest.fixture(scope="module")
def lesson(
    light_and_dark: Callable[..., Examples],
    tiny_network: Callable[..., SceneNetwork],
    tiny_codec: Callable[..., SceneCodec],
) -> DecoderLesson:
    examples, codec = light_and_dark(), tiny_codec()
    studies = Studies.prepare(examples, codec, fit_prior(examples))
    return DecoderLesson(studies, codec, tiny_network(), SLIM, seed=1, source="x")


def test_a_slim_decoder_gives_the_same_shape_for_a_third_of_the_work() -> None:
    latents, full, slim = torch.randn(2, 8, 16, 16), SceneCodec().decoder, slim_decoder(8, 64, 32, 16)
    assert slim(latents).shape == full(latents).shape == (2, 3, 128, 128)
    with FlopCounterMode(display=False) as counted:
        slim(latents)
    work = counted.get_total_flops()
    with FlopCounterMode(display=False) as counted:
        full(latents)
    assert work < 0.34 * counted.get_total_flops()


def test_a_step_decides_the_loss_and_the_decoder_alone_moves(lesson: DecoderLesson) -> None:
    decoder = lesson.student()
    first, again, other = (lesson.loss(decoder, step, 4) for step in (3, 3, 4))
    assert float(first.detach()) == float(again.detach()) != float(other.detach())
    first.backward()
    assert all(weight.grad is not None for weight in decoder.parameters())
    assert all(weight.grad is None for one in (lesson.flow, lesson.codec) for weight in one.parameters())


def test_it_learns_to_show_what_the_full_one_shows(lesson: DecoderLesson) -> None:
    decoder = lesson.student()
    optimiser = torch.optim.Adam(decoder.parameters(), lr=3e-3)
    losses = losses_of(optimiser, lambda step: lesson.loss(decoder, step, 8), steps=60)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_codec_with_it_codes_as_before_and_is_built_again_from_its_settings(lesson: DecoderLesson) -> None:
    decoder = lesson.student()
    codec = with_decoder(lesson.codec, SLIM, decoder)
    scenes = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        latents = codec.encode(scenes)
        assert torch.equal(latents, lesson.codec.encode(scenes))
        raw = latents * codec.get_buffer("scale") + codec.get_buffer("centre")
        assert torch.equal(codec.decode(latents), decoder(raw))
        assert float(codec_loss(codec.decode(latents), scenes)) > 0
    again: SceneCodec = SceneCodec(**module_config(codec))
    again.load_state_dict(codec.state_dict())
