"""Turns a user's taste and a product into the look to paint: how pictures look, tilted by what the user clicks.

Click-guided generation in two steps, as unCLIP draws an embedding first (Ramesh et al. 2022, arXiv 2204.06125):

    p(picture | concept, user, clicked)  =  p(look | product) * [odds of a click | user, look]^weight  *  p(picture | look, concept)

Over pictures a click says next to nothing about any pixel; over six numbers of look (generators/taste/look.py) it says much, and
the tilt is exact. Looks are normal given the product,

    look ~ N(m, S),     m = b + A x,     x = what the product itself looks like and how much it covers,

and the click model's log-odds are quadratic in the look (generators/taste/taste.py), g . z - 1/2 z' Q z with z = look - c. So the tilted looks
are normal again, with

    precision = S^-1 + weight * Q,       mean = precision^-1 (S^-1 m + weight * (g + Q c))

weight 0 ignores the user, 1 is Bayes' rule (odds stand for chances: they differ by log(1 - p), small where clicks are
rare), larger is stronger, and never beyond the look that pleases the user most.

A product that stands out pleases everybody, so with the weight the wish for contrast grows without end. A look that wishes for more
than MOST_CONTRAST is drawn as if it had wished for just that: the normal of the other numbers given this contrast, so that they
do not follow a wish that no picture has.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from generators.colour import srgb_to_lab
from generators.taste.look import LOOK
from generators.taste.taste import Taste

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]

PRODUCT = ("lightness", "red_green", "yellow_blue", "cover")
"""Numbers of a product: mean L*, a* and b* over 100 of its pixels, and its share of the picture; zeros without one."""

MOST_CONTRAST = 0.85
"""The contrast that is wished for at most: about what pictures have whose product stands out most, and what a scene can be graded to."""

_CONTRAST, _BUSYNESS = LOOK.index("contrast"), LOOK.index("busyness")
_RIDGE = 10.0  # pictures' worth of belief that the product does not matter


def product_numbers(framed: Pixels, masks: npt.NDArray[np.generic]) -> Floats:
    """(P, 4) in the order of PRODUCT.

    Args:
        framed: uint8 (P, S, S, 3); only pixels under the masks are read.
        masks: (P, S, S), above half of its range on the product.
    """
    half = 127 if masks.dtype == np.uint8 else 0.5
    numbers = np.zeros((len(framed), len(PRODUCT)), np.float32)
    for row, (picture, mask) in enumerate(zip(framed, masks, strict=True)):
        held = picture[mask > half]
        if len(held):
            numbers[row, :3] = srgb_to_lab(held).mean(0) / 100
            numbers[row, 3] = len(held) / mask.size
    return numbers


@dataclass(frozen=True)
class LookPrior:
    """How logged pictures look, given their product.

    Attributes:
        base: (F,) b. slope: (F, 4) A, for `product_numbers` less `product_centre` (4,).
        covariance: (F, F) S.
        typical: (F,) standard deviations of all looks, in whose units a network is told a look.
    """

    base: Doubles
    slope: Doubles
    product_centre: Doubles
    covariance: Doubles
    typical: Doubles

    @classmethod
    def fit(cls, looks: Floats, products: Floats) -> LookPrior:
        """From the looks (P, F) of pictures and the numbers (P, 4) of their products, by ridge regression.

        Raises:
            ValueError: fewer than two pictures.
        """
        if len(looks) < 2:
            raise ValueError("a prior needs two pictures or more")
        centre, base = products.mean(0, dtype=np.float64), looks.mean(0, dtype=np.float64)
        x, y = products - centre, looks - base
        spread = np.maximum(x.var(0), 1e-8)
        slope = np.linalg.solve(x.T @ x + np.diag(_RIDGE * spread), x.T @ y).T
        typical = np.maximum(y.std(0), 1e-4)
        rest = y - x @ slope.T
        covariance = rest.T @ rest / len(rest) + np.diag(1e-4 * typical**2)
        return cls(base, slope, centre, covariance, typical)

    def mean(self, products: Floats) -> Doubles:
        """(B, F) mean look of pictures with these products (B, 4)."""
        return np.asarray(self.base + (products - self.product_centre) @ self.slope.T)

    def tilted(
        self, products: Floats, users: Floats | None, taste: Taste | None, weight: float
    ) -> tuple[Doubles, Doubles]:
        """Means (B, F) and the common covariance (F, F) of the looks to paint.

        Args:
            products: (B, 4). users: (B, D), rows of NaN for nobody in particular; None: nobody in any row.
            taste: of users; None: looks are as logged.
            weight: see the top of this file, 0 or more.
        """
        plain = self.mean(products)
        if taste is None or weight == 0:
            return plain, self.covariance
        gradient = np.broadcast_to(taste.common, plain.shape).astype(np.float64)
        if users is not None:
            known = ~np.isnan(users).any(axis=1)
            leaning = np.zeros(plain.shape)
            leaning[known] = taste.leanings(users[known])
            gradient = gradient + leaning
        quadratic = taste.curvature / taste.scale.astype(np.float64) ** 2
        before = np.linalg.inv(self.covariance)
        covariance = np.linalg.inv(before + weight * np.diag(quadratic))
        pull = plain @ before + weight * (gradient / taste.scale + quadratic * taste.centre)
        return np.asarray(pull @ covariance), np.asarray(covariance)

    def draw(
        self, products: Floats, users: Floats | None, taste: Taste | None, weight: float, noise: Doubles
    ) -> Floats:
        """(B, F) looks to paint; `noise` (B, F) is standard normal, one row a picture. See the top of this file."""
        mean, covariance = self.tilted(products, users, taste, weight)
        looks = mean + noise @ np.linalg.cholesky(covariance).T
        excess = np.maximum(looks[:, _CONTRAST] - MOST_CONTRAST, 0)
        follow = covariance[:, _CONTRAST] / covariance[_CONTRAST, _CONTRAST]
        return np.asarray(looks - excess[:, None] * follow, np.float32)

    def busyness(self, looks: Floats) -> list[float]:
        """For each look (B, F) the share of logged pictures that are calmer, as a normal distribution has it."""
        normal = NormalDist(float(self.base[_BUSYNESS]), float(self.typical[_BUSYNESS]))
        return [normal.cdf(float(one)) for one in looks[:, _BUSYNESS]]

    def tell(self, looks: Floats) -> Floats:
        """(B, F) looks as a network is told them: mean 0 and variance 1 over logged pictures."""
        return np.asarray((looks - self.base) / self.typical, np.float32)
