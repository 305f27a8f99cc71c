"""Turns orders (whom, which concept, which product, which seed) into finished creatives, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from contracts.seeds import seed_of
from generators.checks import check_creative, perceptual_hash
from generators.examples import to_float
from generators.layout import DEFAULT_BOX, SQUARE
from generators.network import Click, Condition, SceneNetwork
from generators.products import place_product, product_mask
from generators.sampling import Guidance, draw
from generators.typesetter import typeset
from generators.wording import Copy

Appeal = Callable[["Floats | None", "Pixels"], "Floats"]
"""(D,) a user or None, and scenes (N, S, S, 3), into (N,) how much each is expected to please."""

ROWS_AT_ONCE = 16
"""Pictures denoised together; fixed, so that bytes repeat."""

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_MID_GREY = 128


@dataclass(frozen=True)
class Order:
    """One creative to make.

    Attributes:
        name: of the creative; also names it in errors.
        concept_id: whose creative it is; creatives of one concept must not repeat each other.
        user: (D,) whom it is for; None: nobody in particular.
        concept: (D,) what it advertises; None: the network does not know this space.
        product: RGBA pixels from `load_product`; None: without a product.
        copy: the words.
        seed: of the scene and the film grain.
    """

    name: str
    concept_id: str
    user: Floats | None
    concept: Floats | None
    product: Pixels | None
    copy: Copy
    seed: int


@dataclass(frozen=True)
class Finished:
    """A creative: the scene as painted around the product (S, S, 3), the finished ad, and the failed checks."""

    order: Order
    scene: Pixels
    image: Image.Image
    checks: tuple[str, ...]


def make(
    network: SceneNetwork,
    orders: Sequence[Order],
    *,
    steps: int,
    guidance: float,
    side: int,
    redraws: int,
    candidates: int = 1,
    appeal: Appeal | None = None,
    known_hashes: Mapping[str, Collection[int]] = MappingProxyType({}),
    font_path: Path | None = None,
) -> list[Finished]:
    """Draws, sets and checks one batch of orders; one that fails a check is drawn again with a new seed, up to a budget.

    A redrawn order keeps its name and gets the seed `seed_of(seed, "redraw", attempt)`.

    Args:
        network: which paints.
        orders: what to make.
        steps, guidance: see `sampling.draw`.
        side: of the finished square, pixels.
        redraws: new seeds tried for one that fails.
        candidates: scenes painted per order, of which the most appealing one is kept; needs `appeal` when above 1.
        appeal: the scorer.
        known_hashes: by concept_id, the perceptual hashes of creatives that these must not repeat.
        font_path: one font for all type, instead of the shipped ones.

    Returns:
        One finished creative per order, in order; the last attempt, where all failed.
    """
    hashes = {order.concept_id: set(known_hashes.get(order.concept_id, ())) for order in orders}
    done: dict[str, Finished] = {}
    wanted = list(orders)
    for attempt in range(redraws + 1):
        chosen = choose(network, wanted, candidates, appeal, steps=steps, guidance=guidance)
        for order, scene in chosen:
            known = hashes[order.concept_id]
            finished = finish(order, scene, side=side, hashes=known, font_path=font_path)
            done[order.name] = finished
            if not finished.checks:
                known.add(perceptual_hash(finished.image))
        wanted = [
            replace(order, seed=seed_of(order.seed, "redraw", attempt + 1))
            for order in wanted
            if done[order.name].checks
        ]
        if not wanted:
            break
    return [done[order.name] for order in orders]


def choose(
    network: SceneNetwork,
    orders: Sequence[Order],
    candidates: int,
    appeal: Appeal | None,
    *,
    steps: int,
    guidance: float,
) -> list[tuple[Order, Pixels]]:
    """Paints `candidates` scenes per order, each from a seed of its own, and keeps the one that appeals most.

    Returns:
        The orders with the seed of the scene that was kept, and that scene (S, S, 3).
    """
    if appeal is None or candidates == 1:
        return list(zip(orders, paint(network, orders, steps=steps, guidance=guidance), strict=True))
    tried = [
        replace(order, seed=seed_of(order.seed, "candidate", number))
        for order in orders
        for number in range(candidates)
    ]
    scenes = paint(network, tried, steps=steps, guidance=guidance)
    kept = []
    for index, order in enumerate(orders):
        own = slice(index * candidates, (index + 1) * candidates)
        best = own.start + int(appeal(order.user, scenes[own]).argmax())
        kept.append((tried[best], scenes[best]))
    return kept


def paint(network: SceneNetwork, orders: Sequence[Order], *, steps: int, guidance: float) -> Pixels:
    """Scenes around the orders' products, uint8 (B, S, S, 3); the product's pixels are exactly those given."""
    side = int(dict(network.config)["side"])
    products, masks = zip(*(_framed(order.product, side) for order in orders), strict=True)
    device = next(network.parameters()).device
    condition = Condition(
        user=_vectors([order.user for order in orders]),
        concept=_vectors([order.concept for order in orders]),
        click=torch.full((len(orders),), int(Click.CLICKED)),
        has_user=torch.tensor([order.user is not None for order in orders]),
        has_concept=torch.tensor([order.concept is not None for order in orders]),
    )
    drawn = draw(
        network,
        condition.to(device),
        to_float(torch.from_numpy(np.stack(products)).permute(0, 3, 1, 2)).to(device),
        torch.from_numpy(np.stack(masks))[:, None].to(device),
        torch.tensor([order.seed for order in orders], dtype=torch.int64),
        steps=steps,
        guidance=Guidance(weight=guidance),
        rows_at_once=ROWS_AT_ONCE,
    )
    return np.asarray(drawn.numpy(), np.uint8)


def finish(
    order: Order, scene: Pixels, *, side: int, hashes: Collection[int], font_path: Path | None = None
) -> Finished:
    """Sets product and type on a scene, and checks the result."""
    image, report = typeset(
        scene,
        order.product,
        order.copy,
        SQUARE,
        side,
        seed=order.seed % 2**32,
        font_path=font_path,
        where=f"creative {order.name}",
    )
    failed = check_creative(image, order.product, report, SQUARE, known_hashes=hashes)
    return Finished(order, scene, image, tuple(failed))


def _framed(product: Pixels | None, side: int) -> tuple[Pixels, Floats]:
    """The product on grey where the layout wants it, and its mask in {0, 1}."""
    canvas = np.full((side, side, 3), _MID_GREY, np.uint8)
    if product is None:
        return canvas, np.zeros((side, side), np.float32)
    mask = (product_mask(product, DEFAULT_BOX, side) > 0.5).astype(np.float32)
    return place_product(canvas, product, DEFAULT_BOX), mask


def _vectors(vectors: Sequence[Floats | None]) -> torch.Tensor | None:
    known = next((vector for vector in vectors if vector is not None), None)
    if known is None:
        return None
    return torch.from_numpy(np.stack([np.zeros_like(known) if vector is None else vector for vector in vectors]))
