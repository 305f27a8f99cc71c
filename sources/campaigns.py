"""Turns the product catalogue into the ad concepts of every planted world: 24 products, two advertisers each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from sources.drawings import catalogue, product_image_path
from sources.law import Floats, topic_vectors
from sources.population import DAY

_LATE, _LATE_SHARE = (5, 17, 29), 0.3  # concepts that start when 30 % of the days are over
_EARLY, _EARLY_SHARE = (11, 23, 41), 0.7  # concepts that end when 70 % of the days are over
_SENSITIVE = "skincare"  # the last concept on this topic is marked: never to be personalised


@dataclass(frozen=True)
class Concepts:
    """The ad concepts, C = 48, in a fixed order.

    Attributes:
        ids, advertisers, headlines, bodies, calls, colours: C each, as in the concepts table.
        topics: C lists. topic_vectors: (C, 12) rows sum to 1.
        products: C paths of the product pictures that ship with the package.
        sensitive: (C,).
    """

    ids: tuple[str, ...]
    advertisers: tuple[str, ...]
    headlines: tuple[str, ...]
    bodies: tuple[str, ...]
    calls: tuple[str, ...]
    colours: tuple[str, ...]
    topics: tuple[tuple[str, ...], ...]
    topic_vectors: Floats
    products: tuple[Path, ...]
    sensitive: npt.NDArray[np.bool_]

    def active(self, at: npt.NDArray[np.int64], days: int) -> npt.NDArray[np.bool_]:
        """Which concepts may be shown at each moment (E,) in microseconds from the start, (E, C)."""
        begin, end = self.spans(days)
        inside: npt.NDArray[np.bool_] = (at[:, None] >= begin) & (at[:, None] < end)
        return inside

    def spans(self, days: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """First and past-the-last microsecond (C,) of each concept, from the start; whole days."""
        begin = np.zeros(len(self.ids), dtype=np.int64)
        end = np.full(len(self.ids), days * DAY, dtype=np.int64)
        begin[list(_LATE)] = round(_LATE_SHARE * days) * DAY
        end[list(_EARLY)] = round(_EARLY_SHARE * days) * DAY
        return begin, end


@lru_cache(maxsize=1)
def planted_concepts() -> Concepts:
    """The 48 concepts of every planted world."""
    pairs = [(product, ad, number) for product in catalogue() for number, ad in enumerate(product.ads, start=1)]
    topics = tuple((product.topic,) for product, _, _ in pairs)
    sensitive = np.zeros(len(pairs), dtype=np.bool_)
    sensitive[max(index for index, named in enumerate(topics) if _SENSITIVE in named)] = True
    return Concepts(
        ids=tuple(f"{product.name}-{number}" for product, _, number in pairs),
        advertisers=tuple(ad.advertiser for _, ad, _ in pairs),
        headlines=tuple(ad.headline for _, ad, _ in pairs),
        bodies=tuple(ad.body for _, ad, _ in pairs),
        calls=tuple(ad.call_to_action for _, ad, _ in pairs),
        colours=tuple(product.colour for product, _, _ in pairs),
        topics=topics,
        topic_vectors=topic_vectors(topics),
        products=tuple(product_image_path(product.name) for product, _, _ in pairs),
        sensitive=sensitive,
    )


def concepts_table(concepts: Concepts, start: int, days: int) -> pl.DataFrame:
    """Rows of the concepts table; `start` is the world's first moment in microseconds since 1970."""
    begin, end = concepts.spans(days)
    from_start, to_end = begin == 0, end == days * DAY
    return pl.DataFrame(
        {
            "concept_id": concepts.ids,
            "advertiser": concepts.advertisers,
            "topics": [list(topics) for topics in concepts.topics],
            "headline": [[headline] for headline in concepts.headlines],
            "body": concepts.bodies,
            "call_to_action": concepts.calls,
            "product_image": [f"images/products/{product.name}" for product in concepts.products],
            "colours": [[colour] for colour in concepts.colours],
            "landing_url": [f"https://shop.example/{name}" for name in concepts.ids],
            "active_from": _moments(begin + start, from_start),
            "active_until": _moments(end + start, to_end),
            "sensitive": concepts.sensitive,
        }
    )


def _moments(values: npt.NDArray[np.int64], missing: npt.NDArray[np.bool_]) -> pl.Series:
    known = [None if gone else int(value) for value, gone in zip(values, missing, strict=True)]
    return pl.Series(known, dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
