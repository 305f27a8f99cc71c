"""What the intake goes by: settings, mapping, clock, consent and pseudonyms, in one record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from sources.mapping import Mapping
from sources.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class Rules:
    """What the intake goes by.

    Attributes:
        folder: the data folder, for the pictures that it names.
        mapping: their names and units in ours.
        now: rows beyond it by `ahead_hours` are from the future.
        max_user_rows_per_minute: more make a bot.
        late_days, ahead_hours: how far rows may lie before and beyond the day of their file.
        tolerated: checks that are counted and set nothing aside.
        sensitive_topics: events on such topics are left out.
        pseudonyms: of user ids; None: ids stay as they are.
        consenting: user_id of those who consent; None: everybody does.
        listed: user_id of all in the users table, consenting or not.
        has_clicks: clicks come in a table of their own.
        barred: users, as they are kept, whose rows are left out: they were erased.
    """

    folder: Path
    mapping: Mapping
    now: datetime
    max_user_rows_per_minute: int = 300
    late_days: int = 3
    ahead_hours: float = 14.0
    tolerated: frozenset[str] = frozenset()
    sensitive_topics: frozenset[str] = frozenset()
    pseudonyms: Pseudonyms | None = None
    consenting: pl.DataFrame | None = None
    listed: pl.DataFrame | None = None
    has_clicks: bool = False
    barred: frozenset[str] = frozenset()
