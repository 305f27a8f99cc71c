"""Turns orders (whom, which concept, which product, which seed) into finished creatives, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image

from contracts.seeds import seed_of
from generators.checking.findings import CHECKS, Finding, failed
from generators.checking.gate import Gate
from generators.hands import share_out
from generators.layout import SQUARE, Layout, with_product
from generators.painting.painters import Floats, Painter, SceneRequest
from generators.products import Pixels
from generators.typesetting.backdrop import Backdrop, prepare
from generators.typesetting.brand import Brand
from generators.typesetting.typesetter import PLAIN, TypesetReport, typeset
from generators.typesetting.wording import Copy

Appeal = Callable[["Order", Pixels], Floats]
"""An order, and candidate scenes (N, S, S, 3) for it, into (N,) of which the largest is kept."""


@dataclass(frozen=True)
class Order:
    """One creative to make.

    Attributes:
        name: of the creative; also names it in errors.
        concept_id: whose creative it is.
        user: (D,) whom it is for; None: nobody in particular.
        concept: (D,) what it advertises; None: the network does not know this space.
        product: RGBA pixels from `load_product`; None: without a product.
        copy: the words.
        seed: of the scene and the film grain.
        topics: of the concept, for ways to draw that read text.
        plate: least opacity of the shade behind the type, 0 to 1.
        product_scale: of the product in the layout, see `layout.with_product`.
        cohort: number of the group of people it is for; -1: nobody in particular.
        brand: fonts, logo, colours.
    """

    name: str
    concept_id: str
    user: Floats | None
    concept: Floats | None
    product: Pixels | None
    copy: Copy
    seed: int
    topics: tuple[str, ...] = ()
    plate: float = 0.0
    product_scale: float = 1.0
    cohort: int = -1
    brand: Brand = PLAIN

    def scene(self) -> SceneRequest:
        """The scene that this creative needs."""
        words = {"headline": self.copy.headline, "advertiser": self.copy.advertiser}
        return SceneRequest(self.user, self.concept, self.product, self.seed, topics=self.topics, **words)


@dataclass(frozen=True)
class Finished:
    """A creative: the scene as painted around the product (S, S, 3), and as it stands ready for any size; the finished ad;
    and what the checks found.
    """

    order: Order
    scene: Pixels
    backdrop: Backdrop
    image: Image.Image
    findings: tuple[Finding, ...]
    redraws: int = 0

    @property
    def checks(self) -> list[str]:
        """Names of the failed checks."""
        return failed(self.findings)

    @property
    def may_be_mended(self) -> bool:
        """Whether it failed, and only in what another seed may mend."""
        return bool(self.checks) and all(CHECKS[name].another_seed for name in self.checks)


def make(
    painter: Painter,
    orders: Sequence[Order],
    *,
    side: int,
    redraws: int,
    candidates: int = 1,
    appeal: Appeal | None = None,
    gate: Gate | None = None,
) -> list[Finished]:
    """Draws, sets and checks one batch of orders; one that fails a check is drawn again with a new seed, up to a budget.

    A redrawn order keeps its name and gets the seed `seed_of(seed, "redraw", attempt)`.

    Args:
        painter: the way to draw.
        orders: what to make.
        side: of the finished square, pixels.
        redraws: new seeds tried for one that fails.
        candidates: scenes painted per order, of which the most appealing one is kept; needs `appeal` when above 1.
        appeal: the scorer.
        gate: the checks of the run, which remembers what passed; None: a new one with the default settings.

    Returns:
        One finished creative per order, in order; the last attempt, where all failed.
    """
    gate = gate or Gate()
    done: dict[str, Finished] = {}
    wanted = list(orders)
    for attempt in range(redraws + 1):
        chosen = choose(painter, wanted, candidates, appeal)
        for ready in share_out(partial(_set, side=side), chosen):
            finished = replace(_examined(ready, gate), redraws=attempt)
            done[finished.order.name] = finished
            if not finished.checks:
                gate.remember(finished.order.name, finished.order.cohort, finished.image)
        wanted = [
            replace(order, seed=seed_of(order.seed, "redraw", attempt + 1))
            for order in wanted
            if done[order.name].may_be_mended
        ]
        if not wanted:
            break
    return [done[order.name] for order in orders]


def choose(
    painter: Painter, orders: Sequence[Order], candidates: int, appeal: Appeal | None
) -> list[tuple[Order, Pixels]]:
    """Paints `candidates` scenes per order, each from a seed of its own, and keeps the one that appeals most.

    Returns:
        The orders with the seed of the scene that was kept, and that scene (S, S, 3).
    """
    if appeal is None or candidates == 1:
        return list(zip(orders, painter.paint([order.scene() for order in orders]), strict=True))
    tried = [
        replace(order, seed=seed_of(order.seed, "candidate", number))
        for order in orders
        for number in range(candidates)
    ]
    scenes = painter.paint([order.scene() for order in tried])
    kept = []
    for index, order in enumerate(orders):
        own = slice(index * candidates, (index + 1) * candidates)
        best = own.start + int(appeal(order, scenes[own]).argmax())
        kept.append((tried[best], scenes[best]))
    return kept


def finish(order: Order, scene: Pixels, *, side: int, gate: Gate) -> Finished:
    """Sets product and type on a scene, and checks the result."""
    return _examined(_set((order, scene), side=side), gate)


@dataclass(frozen=True)
class _Set:
    """A creative before it is checked."""

    order: Order
    scene: Pixels
    backdrop: Backdrop
    image: Image.Image
    report: TypesetReport
    layout: Layout


def _set(chosen: tuple[Order, Pixels], *, side: int) -> _Set:
    order, scene = chosen
    layout = with_product(SQUARE, order.product_scale)
    backdrop = prepare(scene, order.product)
    image, report = typeset(
        backdrop,
        order.product,
        order.copy,
        layout,
        side,
        seed=order.seed % 2**32,
        plate=order.plate,
        brand=order.brand,
        where=f"creative {order.name}",
    )
    return _Set(order, scene, backdrop, image, report, layout)


def _examined(ready: _Set, gate: Gate) -> Finished:
    order = ready.order
    findings = gate.examine(
        ready.image, order.product, order.copy, ready.report, ready.layout, cohort=order.cohort,
        where=f"creative {order.name}",
    )  # fmt: skip
    return Finished(order, ready.scene, ready.backdrop, ready.image, findings)
