"""Turns the reasons of a rejection into what is changed when the picture is drawn again, and how candidates are then chosen.

| reason | knob | what changes |
|---|---|---|
| too_dark | lightness | the wished look is one standard deviation lighter than the rejected scene |
| illegible | plate | the shade behind the type is at least 60 % opaque |
| off_brand | palette | the wished look has the hue of the advertiser's colours (nothing changes where it has none) |
| product_hidden | product_scale, standout | the product is set larger; scenes that differ from it in lightness are preferred |
| unsafe | guidance | weight 1: what the concept looks like for anybody, nothing personal; and far from the rejected scene |
| looks_fake | guidance, steps | an eighth of the weight above 1, which is what burns colours, and twice the steps |
| duplicate | apart | far from the rejected scene and its siblings, and no near duplicate of any of them |
| wrong_message | headline | the concept's next headline |
| other | seed | a new seed, as in every other case |

Several reasons turn several knobs. A wished look is a preference among candidate scenes, in the features of
`look.picture_looks`, added to what the scorer thinks of them: -1/2 weight |standardised difference|^2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from contracts.decisions import Reason
from contracts.seeds import seed_of
from generators.studio import Order
from generators.taste.look import LOOK, colour_look, picture_looks

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_LIGHTNESS, _RED_GREEN, _YELLOW_BLUE = (LOOK.index(n) for n in ("lightness", "red_green", "yellow_blue"))
_FIRM = 4.0  # weight of a wish: half a standard deviation off costs as much as halving the odds of a click


@dataclass(frozen=True)
class Knobs:
    """How a picture is drawn again; the defaults change nothing but the seed.

    Attributes:
        lightness: standard deviations lighter than the rejected scene.
        plate: least opacity of the shade behind the type, 0 to 1.
        palette: weight of the brand's hue.
        product_scale: of the product in the layout, 1 as it was.
        standout: weight of the scene's difference from the product in lightness.
        guidance: share kept of the guidance weight above 1.
        steps: times as many denoising steps.
        apart: weight of the distance from scenes that are to be avoided.
        headline: places further in the concept's headlines.
    """

    lightness: float = 0.0
    plate: float = 0.0
    palette: float = 0.0
    product_scale: float = 1.0
    standout: float = 0.0
    guidance: float = 1.0
    steps: int = 1
    apart: float = 0.0
    headline: int = 0


_TURNS: dict[Reason, dict[str, float | int]] = {
    Reason.TOO_DARK: {"lightness": 1.0},
    Reason.ILLEGIBLE: {"plate": 0.6},
    Reason.OFF_BRAND: {"palette": _FIRM},
    Reason.PRODUCT_HIDDEN: {"product_scale": 1.15, "standout": 1.0},
    Reason.UNSAFE: {"guidance": 0.0, "apart": 1.0},
    Reason.LOOKS_FAKE: {"guidance": 0.125, "steps": 2},
    Reason.DUPLICATE: {"apart": 1.0},
    Reason.WRONG_MESSAGE: {"headline": 1},
    Reason.OTHER: {},
}


def knobs_for(reasons: Iterable[Reason], *, times: int = 1) -> Knobs:
    """The knobs that these reasons turn; a knob that two of them turn takes the stronger turn.

    Args:
        reasons: why the picture was rejected.
        times: how often it has been rejected for this, from 1: lightness and headline go further each time.
    """
    found = Knobs()
    for reason in reasons:
        for name, value in _TURNS[reason].items():
            known = getattr(found, name)
            weaker = name in ("guidance",)
            found = replace(found, **{name: min(known, value) if weaker else max(known, value)})
    return replace(found, lightness=found.lightness * times, headline=found.headline * times)


def turned(order: Order, knobs: Knobs, headlines: Sequence[str], *, name: str, number: int) -> Order:
    """The order for the new picture.

    Args:
        order: of the rejected one.
        knobs: what is changed.
        headlines: of the concept, the first is what was set.
        name: of the new creative.
        number: of the attempt, from 1; it seeds the new scene.
    """
    at = knobs.headline % len(headlines)
    return replace(
        order,
        name=name,
        seed=seed_of(order.seed, "drawn again", number),
        copy=replace(order.copy, headline=headlines[at]),
        plate=knobs.plate,
        product_scale=knobs.product_scale,
    )


def wish(
    knobs: Knobs,
    scenes: Pixels,
    rejected: Floats,
    *,
    scale: Floats,
    brand: Sequence[str] = (),
    product_lightness: float | None = None,
    avoid: Floats | None = None,
    mask: Floats | None = None,
) -> Floats:
    """(N,) how far each candidate scene answers the reasons, in log-odds, to be added to its appeal.

    Args:
        knobs: what is wished.
        scenes: (N, S, S, 3) candidates.
        rejected: (F,) features of the rejected scene.
        scale: (F,) standard deviation of the features.
        brand: colours "#rrggbb".
        product_lightness: mean lightness of the product, 0 to 1; None without a product.
        avoid: (A, F) features of scenes not to come near; None: only the rejected one.
        mask: (S, S) of the product in the scenes; None: not known.
    """
    features = picture_looks(scenes, mask)
    found = np.zeros(len(scenes), np.float32)
    if knobs.lightness:
        lighter = rejected[_LIGHTNESS] + knobs.lightness * scale[_LIGHTNESS]
        found -= _FIRM / 2 * ((features[:, _LIGHTNESS] - lighter) / scale[_LIGHTNESS]) ** 2
    if knobs.palette and brand:
        hues = np.array([_opponent(colour) for colour in brand], np.float32)
        gaps = (features[:, None, [_RED_GREEN, _YELLOW_BLUE]] - hues[None]) / scale[[_RED_GREEN, _YELLOW_BLUE]]
        found -= knobs.palette / 2 * (gaps**2).sum(axis=2).min(axis=1)
    if knobs.standout and product_lightness is not None:
        found += knobs.standout * np.abs(features[:, _LIGHTNESS] - product_lightness) / scale[_LIGHTNESS]
    if knobs.apart:
        known = rejected[None] if avoid is None else np.vstack([rejected[None], avoid])
        gaps = np.linalg.norm((features[:, None] - known[None]) / scale, axis=2)
        found += knobs.apart * gaps.min(axis=1).astype(np.float32)
    return found


def _opponent(colour: str) -> Floats:
    """Red-green and yellow-blue of "#rrggbb", as a look has them, (2,)."""
    values = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return colour_look(np.array(values, np.uint8))[1:]


def product_lightness(product: Pixels | None) -> float | None:
    """Mean lightness, 0 to 1, of the opaque pixels of RGBA (h, w, 4); None without any."""
    if product is None or not (opaque := product[..., 3] > 200).any():
        return None
    return float(colour_look(product[opaque][:, :3])[:, 0].mean())
