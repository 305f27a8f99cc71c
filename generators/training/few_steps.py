"""Turns a trained flow into a network that paints in one to four steps: the student's lesson, and the GAN's.

Letters: B scenes, L side of the latent grid, Z latent channels. Both start from the flow and learn to say the finished
scene x_0 = x_t - t v at once, at the times at which `sampling.leap` will ask:

    student   t of the grids of 1, 2 and 4 steps; near the flow's own end, and nothing else
    gan       t = 1 alone: from noise in one evaluation; as a discriminator knows logged scenes, and nothing else

The GAN's game is that of R3GAN (Huang et al. 2025, arXiv 2501.05441): a scene is held against the logged one of the same product,
look, concept and sketch (relativistic pairing), and the slope of the scores is held down on both (R1 and R2). Painter and discriminator
are one module with one optimiser: the discriminator sees scenes whose painter is held fixed, and the painter a discriminator that is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from generators.painting.codec import SceneCodec
from generators.painting.devices import Precision, mixed_precision
from generators.painting.network import Condition, SceneNetwork, add_noise, scene_loss, time_shift
from generators.painting.sampling import Guidance, denoise, leap, time_grid
from generators.training.discriminator import Discriminator, augment
from generators.training.lessons import FlowLesson, Studies, scene_sheet, seeded


@dataclass(frozen=True)
class Game:
    """What a painter in few steps is taught by.

    Attributes:
        name: of the lesson.
        steps: of the samplers it will paint with.
        likeness: weight of the distance to the flow's own end (`network.scene_loss`, on finished scenes).
        realism: weight of the discriminator.
        penalty: of the slope of the scores, R1 and R2. Too much of it, and scores that can be told apart stay equal (ADR 37).
        flow_steps: the flow takes to its end from t = 1.
        slim: channels of its own decoder (`codec.slim_decoder`); None: it keeps the flow's.
    """

    name: str
    steps: tuple[int, ...]
    likeness: float
    realism: float = 1.0
    penalty: float = 1.0
    flow_steps: int = 4
    slim: tuple[int, int, int] | None = None


STUDENT = Game("student", (1, 2, 4), likeness=1.0, realism=0.0, slim=(64, 32, 16))
GAN = Game("gan", (1,), likeness=0.0)


class Players(nn.Module):
    """A painter, and the discriminator that judges it.

    Args:
        flow: the trained flow; the painter starts from it, and it pools conditions for the discriminator. It is not a part of this module.
        game: what counts.
    """

    def __init__(self, flow: SceneNetwork, game: Game) -> None:
        super().__init__()
        self._flow, self.game = (flow,), game  # in a tuple, so that it is no submodule
        self.painter: SceneNetwork = SceneNetwork(**dict(flow.config))
        self.painter.load_state_dict(flow.state_dict())
        self.discriminator = Discriminator(flow) if game.realism else None

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        ground: Tensor,
        cover: Tensor,
        condition: Condition,
        logged: Tensor,
        target: Tensor | None,
        lot: torch.Generator,
    ) -> Tensor:
        """The loss of both, a scalar.

        Args:
            noisy, time, ground, condition: see `SceneNetwork.forward`.
            cover: (B, 1, L, L), see `network.lay_ground`.
            logged: (B, Z, L, L) the logged scenes.
            target: (B, Z, L, L) the flow's own ends; None where likeness does not count.
            lot: of the augmentation.
        """
        painted = noisy - time[:, None, None, None] * self.painter(noisy, time, ground, condition).float()
        loss = torch.zeros((), device=painted.device)
        if target is not None:
            loss = loss + self.game.likeness * scene_loss(-painted, target, torch.zeros_like(target), cover)
        if self.game.realism:
            loss = loss + self._play(painted, logged, ground, condition, lot)
        return loss

    def _play(
        self, painted: Tensor, logged: Tensor, ground: Tensor, condition: Condition, lot: torch.Generator
    ) -> Tensor:
        """The painter's and the discriminator's losses, added: each moves its own parameters alone."""
        assert self.discriminator is not None
        fake, real, ground = augment([painted, logged, ground], lot)
        with torch.no_grad():
            _, pooled = self._flow[0].condition(condition, len(fake))
        scores, slopes = zip(*(self._steep(scene, ground, pooled) for scene in (real, fake)), strict=True)
        judges = functional.softplus(scores[1] - scores[0]).mean() + self.game.penalty / 2 * (slopes[0] + slopes[1])
        held = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        by_held = cast(Tensor, functional_call(self.discriminator, held, (fake, ground, pooled)))
        painters = functional.softplus(scores[0].detach() - by_held).mean()
        loss: Tensor = self.game.realism * painters + judges
        return loss

    def _steep(self, scene: Tensor, ground: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the square of the slope of their mean, a mean over scenes, of which the discriminator alone is to blame."""
        assert self.discriminator is not None
        scene = scene.detach().requires_grad_()
        scores = self.discriminator(scene, ground, pooled)
        (slope,) = torch.autograd.grad(scores.mean((1, 2, 3)).sum(), scene, create_graph=True)
        return scores, slope.square().sum() / len(scene)


class FewStepsLesson(FlowLesson):
    """Paint as the flow does, in few steps.

    Args:
        studies, codec, seed, source: as of `FlowLesson`.
        flow: what to start from, and to learn from.
        game: how.
        precision: in which the flow goes to its ends.
    """

    def __init__(
        self,
        studies: Studies,
        codec: SceneCodec,
        flow: SceneNetwork,
        game: Game,
        *,
        seed: int,
        source: str,
        precision: Precision = "fp32",
    ) -> None:
        super().__init__(studies, codec, seed=seed, source=source, channels=tuple(flow.config["channels"]), start=flow)
        self.name, self.game, self.precision = game.name, game, precision
        self.flow = copy.deepcopy(flow).requires_grad_(False).eval()
        self.identity = f"{self.identity} {game}"
        shift = time_shift(self.side)
        self.times = sorted(time for steps in game.steps for time in time_grid(steps, shift=shift)[:-1])

    def student(self) -> Players:  # type: ignore[override]
        """The flow's weights, and a discriminator that depends on the seed alone."""
        players: Players = seeded(lambda: Players(self.flow, self.game), self.seed, "first discriminator")
        return players

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """See `Players.forward`."""
        latents, ground, cover, condition, lot = self.rows(step, rows)
        device = next(module.parameters()).device
        time = self.times[int(torch.randint(len(self.times), (1,), generator=lot))]
        times = torch.full((rows,), time, device=device)
        noise = torch.randn(latents.shape, generator=lot).to(device)
        latents, ground, cover, condition = (
            latents.to(device),
            ground.to(device),
            cover.to(device),
            condition.to(device),
        )
        noisy, flow, target = add_noise(latents, noise, times), self.flow.to(device), None
        if self.game.likeness:
            with torch.no_grad(), mixed_precision(device.type, self.precision):
                grid = time_grid(self.game.flow_steps, shift=time_shift(self.side), first=time)
                *_, target = denoise(flow, condition, ground, noisy, times=grid, guidance=Guidance())
            target = target.float()
        loss: Tensor = module(noisy, times, ground, cover, condition, latents, target, lot)
        return loss

    def sheet(self, module: nn.Module) -> Tensor:
        """In three rows: as logged; painted for the same look; painted for the look of the next column."""
        assert isinstance(module, Players)
        return scene_sheet(
            module.painter, self.codec, self.studies, seed=self.seed, way=partial(leap, steps=self.game.steps[0])
        )
