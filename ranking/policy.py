"""Turns settings, a ranker and what fairness takes into one policy: all that decides a slate's chance, under one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import ValidationError

from contracts.errors import ModelError
from contracts.settings import SlateSettings
from contracts.store import write_json

_FORMAT = "sequential-plackett-luce/4"


@dataclass(frozen=True)
class Policy:
    """Chances of slates, given scores.

    Attributes:
        settings: of candidates and slates.
        ranker_hash: which ranker's scores.
        cascade_hash: which first model thinned out the candidates; empty: none.
        boosts: log-odds added to every concept of an advertiser, so that its share of positions is as it
            should be (`ranking.shares`).
        resting: advertisers none of whose concepts is a candidate, so that their budgets are kept.
    """

    settings: SlateSettings
    ranker_hash: str = ""
    boosts: Mapping[str, float] = field(default_factory=dict)
    cascade_hash: str = ""
    resting: tuple[str, ...] = ()

    @cached_property
    def hash(self) -> str:
        """sha256 hex of everything here; it names the streams of the draw, so equal seeds and hashes draw equal rows."""
        return hashlib.sha256(json.dumps(self._about(), sort_keys=True).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Writes JSON from which `load` makes an equal policy."""
        write_json(path, {**self._about(), "hash": self.hash})

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing or damaged, of another format, or does not match its hash.
        """
        fix = "Run the batch again; it draws the slates anew."
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
            policy = cls(
                SlateSettings.model_validate(about["settings"]),
                str(about["ranker"]),
                {str(name): float(boost) for name, boost in about["boosts"].items()},
                str(about["cascade"]),
                tuple(str(name) for name in about["resting"]),
            )
            sound = about["draw"] == _FORMAT and about["hash"] == policy.hash
        except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            raise ModelError(f"the policy cannot be read ({type(error).__name__})", where=str(path), fix=fix) from error
        if not sound:
            raise ModelError("the policy does not match its hash", where=str(path), fix=fix)
        return policy

    def boost_of(self, advertisers: pl.Series) -> pl.Series:
        """Log-odds that each advertiser's concepts gain, Float64."""
        gains = pl.DataFrame(
            {"advertiser": list(self.boosts), "boost": list(self.boosts.values())},
            schema={"advertiser": pl.String, "boost": pl.Float64},
        )
        named = pl.DataFrame({"advertiser": advertisers})
        return named.join(gains, on="advertiser", how="left", maintain_order="left")["boost"].fill_null(0.0)

    def _about(self) -> dict[str, Any]:
        return {
            "draw": _FORMAT,
            "ranker": self.ranker_hash,
            "settings": self.settings.model_dump(mode="json", include=set(SlateSettings.model_fields)),
            "boosts": dict(self.boosts),
            "cascade": self.cascade_hash,
            "resting": list(self.resting),
        }
