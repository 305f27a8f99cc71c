"""What is taught to paint in few steps: a discriminator and a painter move only themselves, a batch is of its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contracts.errors import ModelError
from generators.examples import Examples, write_examples
from generators.painting.codec import SceneCodec
from generators.painting.network import SceneNetwork
from generators.painting.sampling import draw, leap
from generators.painting.weights import Generator, load_weights, save_weights
from generators.training.discriminator import Discriminator, augment
from generators.training.few_steps import GAN, STUDENT, FewStepsLesson, Game, Players
from generators.training.lessons import Studies, fit_prior
from generators.training.shorten import schedule_of, shorten
from generators.training.training import Progress
from tests.generators.short_lessons import losses_of

Made = Callable[..., Examples]
STERN = replace(STUDENT, realism=0.5)
"""A student that a discriminator judges too."""

Networks = Callable[..., SceneNetwork]
SHORT = {"rows": 4, "checkpoint_every": 1, "sheet_every": 100, "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def lesson(
    light_and_dark: Made, tiny_network: Networks, tiny_codec: Callable[..., SceneCodec]
) -> Callable[[Game], FewStepsLesson]:
    examples, codec, flow = light_and_dark(), tiny_codec(), tiny_network()
    studies = Studies.prepare(examples, codec, fit_prior(examples))
    return lambda game: FewStepsLesson(studies, codec, flow, game, seed=1, source="x")


def test_a_student_is_asked_at_the_times_of_its_samplers_and_a_gan_at_noise_alone(
    lesson: Callable[[Game], FewStepsLesson],
) -> None:
    assert lesson(STUDENT).times == pytest.approx([0.25, 0.5, 0.5, 0.75, 1.0, 1.0, 1.0])  # a side of 4 shifts no time
    assert lesson(GAN).times == [1.0]


def test_both_set_out_from_the_flow(lesson: Callable[[Game], FewStepsLesson]) -> None:
    one = lesson(GAN)
    painter, flow = one.student().painter.state_dict(), one.flow.state_dict()
    assert all(torch.equal(painter[name], flow[name]) for name in flow)
    assert not any(name.startswith("_flow") for name, _ in one.student().named_parameters())


def gradients(module: Players) -> dict[str, bool]:
    """By part: whether anything in it is asked to move."""
    return {
        name: any(p.grad is not None and bool(p.grad.abs().max() > 0) for p in part.parameters())
        for name, part in module.named_children()
    }


def test_a_game_moves_both_players_and_likeness_the_painter_alone(
    lesson: Callable[[Game], FewStepsLesson],
) -> None:
    for game, moved in (
        (STERN, {"painter": True, "discriminator": True}),
        (GAN, {"painter": True, "discriminator": True}),
        (STUDENT, {"painter": True}),
    ):
        one = lesson(game)
        players = one.student()
        one.loss(players, 0, 4).backward()
        assert gradients(players) == moved
        assert all(p.grad is None for p in one.flow.parameters())


def test_the_discriminator_is_not_pulled_by_the_painters_wish(lesson: Callable[[Game], FewStepsLesson]) -> None:
    """The painter's weight in the loss changes the painter's gradient, and no bit of the discriminator's."""
    found = []
    for realism in (1.0, 3.0):
        one = lesson(replace(GAN, realism=realism))
        players = one.student()
        one.loss(players, 0, 4).backward()
        found.append(players)
    one, other = ({name: p.grad for name, p in players.named_parameters() if p.grad is not None} for players in found)
    judges = [name for name in one if name.startswith("discriminator")]
    assert judges
    assert all(torch.equal(one[name], other[name]) for name in judges)
    name = "painter.unet.conv_out.weight"
    assert torch.allclose(3 * one[name], other[name], rtol=1e-3)


def test_a_step_decides_the_loss(lesson: Callable[[Game], FewStepsLesson]) -> None:
    one = lesson(STUDENT)
    players = one.student()
    first, again, other = (float(one.loss(players, step, 4).detach()) for step in (3, 3, 4))
    assert first == again != other


@pytest.mark.parametrize(("penalty", "told"), [(GAN.penalty, True), (1e6, False)])
def test_a_discriminator_alone_learns_to_tell_painted_from_logged_unless_its_slope_is_held_down(
    penalty: float, told: bool, lesson: Callable[[Game], FewStepsLesson]
) -> None:
    one = lesson(replace(GAN, penalty=penalty))
    players = one.student()
    players.painter.requires_grad_(False)
    optimiser = torch.optim.Adam(players.discriminator.parameters(), lr=1e-3)
    losses_of(optimiser, lambda step: one.loss(players, step, 8), steps=25)
    latents, ground, _, condition, lot = one.rows(99, 16)
    with torch.no_grad():
        painted = leap(players.painter, condition, ground, torch.randn(latents.shape, generator=lot), steps=1)
        _, pooled = one.flow.condition(condition, 16)
        real, fake = (players.discriminator(scene, ground, pooled) for scene in (latents, painted))
    gap = (real - fake).mean((1, 2, 3))
    assert (float((gap > 0).float().mean()) > 0.9 and float(gap.mean()) > 0.5) == told


def test_the_condition_is_projected_on_what_is_seen(tiny_network: Networks) -> None:
    lot = torch.Generator().manual_seed(0)
    latents, ground = torch.randn(2, 4, 4, 4, generator=lot), torch.randn(2, 4 + 1 + 65, 4, 4, generator=lot)
    judge, pooled = Discriminator(tiny_network()), torch.randn(2, 128, generator=lot)
    with torch.no_grad():
        none, once, twice = (judge(latents, ground, scale * pooled) for scale in (0, 1, 2))
        bare = judge(latents, torch.zeros_like(ground), pooled)
        alone = judge(latents[1:], ground[1:], pooled[1:])
    assert once.shape == (2, 3, 4, 4)
    assert float((once - none).abs().max()) > 1e-4
    assert torch.allclose(twice - once, once - none, atol=1e-5)  # linear in the condition
    assert float((once - bare).abs().max()) > 1e-3  # it sees the product and the sketch
    assert torch.allclose(once[1:], alone, atol=1e-5)  # and each row alone


def test_an_augmentation_moves_and_cuts_and_changes_no_value() -> None:
    lot = torch.Generator().manual_seed(0)
    grid = torch.arange(1, 257, dtype=torch.float32).view(1, 1, 16, 16).expand(50, 2, 16, 16).clone().requires_grad_()
    one, other = augment([grid, 10 * grid], lot)
    assert torch.equal(10 * one, other)  # the same for both
    cut = one == 0
    assert (cut.flatten(1).sum(1) == 2 * 16).all()  # a quarter of the side, squared, in both channels
    assert set(one.detach().unique().tolist()) <= {0.0, *map(float, range(1, 257))}
    assert len({tuple(row.tolist()) for row in one.detach()[:, 0, 8]}) > 5
    one.sum().backward()
    assert grid.grad is not None
    assert float(grid.grad.sum()) == float((~cut).sum())


@pytest.fixture(scope="module")
def flow(
    tmp_path_factory: pytest.TempPathFactory, tiny_generator: Callable[..., Generator], light_and_dark: Made
) -> Path:
    """A folder with the weights of a flow, and the examples to learn from."""
    folder = tmp_path_factory.mktemp("flow")
    write_examples(light_and_dark(), folder / "examples.safetensors")
    made = tiny_generator("space-a")
    save_weights(made.network, made.codec, made.prior, made.sketchbook, folder / "weights", space_hash="space-a")
    return folder


class KilledError(Exception):
    pass


@pytest.mark.parametrize("game", [STUDENT, GAN], ids=lambda game: game.name)
def test_a_killed_lesson_ends_in_the_same_bytes_and_says_what_it_was(game: Game, flow: Path, tmp_path: Path) -> None:
    def taught(folder: str, tell: Callable[[Progress], None] | None = None) -> str:
        schedule = schedule_of(steps=3, **SHORT)
        return shorten(
            flow / "examples.safetensors",
            tmp_path / folder,
            game,
            schedule,
            tell,
            flow=flow / "weights",
            decoder_steps=2,
        ).weights_hash

    def kill(progress: Progress) -> None:
        if progress.step == 2 and progress.lesson == game.name:
            raise KilledError

    with pytest.raises(KilledError):
        taught("killed", kill)
    assert taught("killed") == taught("straight")
    before, made = load_weights(flow / "weights"), load_weights(tmp_path / "straight" / "weights", space_hash="space-a")
    assert made.made_from["way"] == game.name
    assert made.made_from["flow"] == before.weights_hash
    assert made.made_from["settings"]["steps"] == 3

    def moved(part: str) -> bool:
        old, new = (dict(one.get_submodule(part).state_dict()) for one in (before_all, made_all))
        return old.keys() != new.keys() or any(not torch.equal(old[name], new[name]) for name in old)

    before_all, made_all = (torch.nn.ModuleDict({"network": one.network, "codec": one.codec}) for one in (before, made))
    assert moved("network")
    assert not moved("codec.encoder")
    assert moved("codec.decoder") == (game is STUDENT)  # which has a slim one of its own
    assert (made.sketchbook.levels == before.sketchbook.levels).all()
    assert (made.prior.typical == before.prior.typical).all()


def test_weights_of_another_space_or_side_are_refused(flow: Path, light_and_dark: Made, tmp_path: Path) -> None:
    write_examples(light_and_dark(space="space-b"), tmp_path / "examples.safetensors")
    with pytest.raises(ModelError, match="trained in embedding space space-a"):
        shorten(tmp_path / "examples.safetensors", tmp_path, GAN, schedule_of(steps=1, **SHORT), flow=flow / "weights")
    examples = light_and_dark()
    wide = replace(
        examples, pictures=examples.pictures.repeat(2, 1).repeat(2, 2), masks=examples.masks.repeat(2, 1).repeat(2, 2)
    )
    write_examples(wide, tmp_path / "examples.safetensors")
    with pytest.raises(ModelError, match="paints scenes of 32 pixels, not of 64"):
        shorten(tmp_path / "examples.safetensors", tmp_path, GAN, schedule_of(steps=1, **SHORT), flow=flow / "weights")


@pytest.mark.slow
def test_likeness_brings_one_step_nearer_to_the_flows_own_end(lesson: Callable[[Game], FewStepsLesson]) -> None:
    """Half a minute: the whole point, on a tiny flow."""
    one = lesson(STUDENT)
    players = one.student()
    latents, ground, _, condition, lot = one.rows(1000, 64)
    noise = torch.randn(latents.shape, generator=lot)

    def gap() -> float:
        with torch.no_grad():
            end: Tensor = draw(one.flow, condition, ground, noise, steps=4)
            return float((leap(players.painter, condition, ground, noise, steps=1) - end).square().mean())

    before = gap()
    optimiser = torch.optim.Adam(players.painter.parameters(), lr=1e-3)
    losses_of(optimiser, lambda step: one.loss(players, step, 16), steps=150)
    assert gap() < before / 2
