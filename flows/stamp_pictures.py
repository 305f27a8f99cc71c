"""Turns a picture that was drawn into a file that says how: who painted it, by which policy, with which seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
from PIL import Image

from contracts.provenance import Provenance, source_type
from contracts.stamps import hash_of, stamped
from generators.renditions import png
from generators.studio import Order
from generators.typesetting.typeface import clean_text


@dataclass(frozen=True)
class Origin:
    """What all pictures of one drawing have in common: the way, the hash of the weights, that of the policy."""

    generator: str
    model_hash: str
    policy_hash: str

    @classmethod
    def of(cls, run: Path, generator: str, model_hash: str) -> Origin:
        """With the policy that drew the slates of a run."""
        slates = pl.read_parquet(run / "ranking" / "slates.parquet", columns=["policy_hash"])
        return cls(generator, model_hash, "+".join(sorted(slates["policy_hash"].unique())))

    def facts(self, order: Order) -> Provenance:
        """Of the pictures of one creative; `order` has the seed that it was drawn with."""
        return Provenance(
            source_type=source_type(order.product is not None),
            creative_id=order.name,
            concept_id=order.concept_id,
            generator=self.generator,
            seed=order.seed,
            model_hash=self.model_hash,
            policy_hash=self.policy_hash,
            label=clean_text(order.copy.notice),
        )


def write_picture(path: Path, picture: Image.Image | bytes, facts: Provenance) -> int:
    """Writes a picture, a PNG unless it comes as a file's content, stamped with the facts; returns the bytes of the file."""
    if isinstance(picture, Image.Image):
        content = stamped(png(picture), facts, where=str(path), pixels=hash_of(picture))
    else:
        content = stamped(picture, facts, where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return len(content)
