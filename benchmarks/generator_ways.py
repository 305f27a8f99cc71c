"""Turns the ways to draw that have weights on this machine, and diffusers' samplers as their peers, into painters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from benchmarks.flow_solvers import ddim, dpm_solver
from contracts.settings import load_settings
from features.space import Space
from flows.choose_models import find_generator, generator_space, versions
from flows.job import MODELS
from generators.painting.latent_painter import LatentPainter
from generators.painting.painters import Painter
from generators.painting.sampling import draw, leap
from generators.painting.weights import Generator, load_weights
from generators.taste.taste import Taste


@dataclass(frozen=True)
class Way:
    """A way to draw.

    Attributes:
        name: as the settings have it; or of a peer and its steps.
        steps: evaluations of a network for one picture.
        guidance: as shipped.
        build: (taste, guidance) into its painter.
        peer: whether it is somebody else's sampler on our network.
    """

    name: str
    steps: int
    guidance: float
    build: Callable[[Taste | None, float], Painter]
    peer: bool = False

    def painter(self, taste: Taste | None, *, guidance: float | None = None) -> Painter:
        """As shipped, unless another guidance is given."""
        return self.build(taste, self.guidance if guidance is None else guidance)


def ways(wanted: Sequence[str] | None = None, *, device: str = "cpu") -> list[Way]:
    """All ways to draw that have weights here, and the peers; or those wanted, by name."""
    settings = load_settings(None).generators
    space_hash = Space.load(next(versions(MODELS, "space"))).hash
    found = find_generator(MODELS, space_hash)
    assert found is not None, "the sample's weights come with the code"
    flow = load_weights(found / "weights", device=device)

    def way(name: str, steps: int, sampler: Callable[..., Tensor] = draw, generator: Generator = flow) -> Way:
        def build(taste: Taste | None, guidance: float) -> Painter:
            return LatentPainter(generator, taste, partial(sampler, steps=steps), guidance=guidance)

        return Way(name, steps, settings.guidance, build, peer=sampler in (ddim, dpm_solver))

    known = [way("diffusion", settings.steps), way("diffusion-10", 10), way("ddim-50", 50, ddim), way("dpm-solver++-20", 20, dpm_solver)]  # fmt: skip
    student = next((one for one in versions(MODELS, "student") if generator_space(one) == space_hash), None)
    if student is not None:
        taught = load_weights(student / "weights", device=device)
        known += [way(f"student-{steps}", steps, leap, taught) for steps in (1, 2, 4)]
    gan = next((one for one in versions(MODELS, "gan") if generator_space(one) == space_hash), None)
    if gan is not None:
        known.append(way("gan", 1, leap, load_weights(gan / "weights", device=device)))
    return [one for one in known if wanted is None or one.name in wanted]
