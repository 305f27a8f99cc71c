"""Turns `adloom provenance FILE...` into what picture files say of how they were made, and whether their pixels bear it out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from contracts.errors import DataError, SettingsError
from contracts.provenance import Provenance
from contracts.stamps import is_as_stamped, read_stamp
from flows.console import Json, app, out


@dataclass(frozen=True)
class Told:
    """What one file says: the facts, None where it says nothing; and whether its pixels are those that were stamped."""

    file: Path
    facts: Provenance | None
    as_stamped: bool

    def as_json(self) -> dict[str, Any]:
        """By name; `provenance` null where the file says nothing."""
        return {
            "file": str(self.file),
            "as_stamped": self.as_stamped,
            "provenance": self.facts.as_json() if self.facts else None,
        }


def ask(file: Path) -> Told:
    """What a file says. Raises DataError when it is no picture, or is damaged."""
    if not file.is_file():
        raise DataError("there is no such file", where=str(file), fix="Give PNG or JPEG files.")
    content = file.read_bytes()
    facts = read_stamp(content, where=str(file))
    return Told(file, facts, facts is not None and is_as_stamped(content, facts, where=str(file)))


@app.command
def provenance(*files: Path, as_json: Json = False) -> int:
    """Print how pictures say that they were made; exit 1 if one says nothing, or its pixels are not those it speaks of.

    Example: adloom provenance data/runs/shop-1a2b3c4d/generators/images/*.png

    Parameters
    ----------
    files: PNG or JPEG files.
    """
    if not files:
        raise SettingsError("names no file", where="adloom provenance", fix="See: adloom provenance --help")
    told = [ask(file) for file in files]
    if as_json:
        print(json.dumps([one.as_json() for one in told]))
    else:
        for one in told:
            out.print(_table(one))
    return 0 if all(one.as_stamped for one in told) else 1


def _table(told: Told) -> Table:
    table = Table(title=str(told.file), title_justify="left", show_header=False)
    if told.facts is None:
        table.add_row("provenance", "the file says nothing of how it was made")
        return table
    rows = {**told.facts.as_json(), "label": told.facts.label or "none"}
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), str(value), end_section=name == "pixels")
    table.add_row("verdict", "its pixels are those that were stamped" if told.as_stamped else "ITS PIXELS ARE OTHERS")
    return table
