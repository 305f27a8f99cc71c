"""Turns `adloom provenance FILE...` into what picture files say of how they were made, and whether their pixels bear it out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from contracts.errors import DataError, SettingsError
from contracts.provenance import Provenance
from contracts.stamps import is_as_stamped, read_stamp
from flows.console import Json, app, out
from flows.sign_pictures import Manifest, read_manifest


@dataclass(frozen=True)
class Told:
    """What one file says.

    Attributes:
        file: its path.
        facts: of its stamp; None: it has none.
        as_stamped: whether its pixels are those that were stamped.
        manifest: signed, of C2PA; None: it has none, or adloom[provenance] is not installed.
    """

    file: Path
    facts: Provenance | None
    as_stamped: bool
    manifest: Manifest | None

    @property
    def holds(self) -> bool:
        """Whether what it says is borne out."""
        return self.as_stamped and (self.manifest is None or self.manifest.state != "Invalid")

    def as_json(self) -> dict[str, Any]:
        """By name; `provenance` null where the file says nothing."""
        return {
            "file": str(self.file),
            "as_stamped": self.as_stamped,
            "provenance": self.facts.as_json() if self.facts else None,
            "c2pa": asdict(self.manifest) if self.manifest else None,
        }


def ask(file: Path) -> Told:
    """What a file says. Raises DataError when it is no picture, or is damaged."""
    if not file.is_file():
        raise DataError("there is no such file", where=str(file), fix="Give PNG or JPEG files.")
    content = file.read_bytes()
    facts = read_stamp(content, where=str(file))
    as_stamped = facts is not None and is_as_stamped(content, facts, where=str(file))
    return Told(file, facts, as_stamped, read_manifest(content, where=str(file)))


@app.command
def provenance(*files: Path, as_json: Json = False) -> int:
    """Print how pictures say that they were made; exit 1 if one says nothing, its pixels are not those it speaks of,
    or it was changed after it was signed.

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
    return 0 if all(one.holds for one in told) else 1


def _table(told: Told) -> Table:
    table = Table(title=str(told.file), title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a hash is shown whole
    if told.facts is None:
        table.add_row("provenance", "the file says nothing of how it was made")
        return table
    rows = {**told.facts.as_json(), "label": told.facts.label or "none"}
    for name, value in rows.items():
        table.add_row(name.replace("_", " "), str(value), end_section=name == "pixels")
    if told.manifest is not None:
        table.add_row("signed by", f"{told.manifest.signed_by} (C2PA: {told.manifest.state.lower()})")
    table.add_row("verdict", "its pixels are those that were stamped" if told.as_stamped else "ITS PIXELS ARE OTHERS")
    return table
