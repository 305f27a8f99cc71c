"""Turns a data folder and its mapping into the files of each table, or one line with all that is missing."""

from __future__ import annotations

from pathlib import Path

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES
from sources.mapping import Mapping, load_mapping
from sources.places import Part, find_parts


def locate(folder: Path) -> dict[str, tuple[Part, ...]]:
    """The files of every table of a data folder. Raises DataError with all that is missing."""
    require_folder(folder)
    found, faults = inventory(folder, load_mapping(folder))
    raise_together(folder, faults)
    return found


def require_folder(folder: Path) -> None:
    """Raises DataError when there is no such folder."""
    if not folder.is_dir():
        fix = "Give a folder with events, concepts and impressions, or its URL."
        raise DataError("is no folder", where=str(folder), fix=fix)


def inventory(folder: Path, mapping: Mapping) -> tuple[dict[str, tuple[Part, ...]], list[DataError]]:
    """The files of every table, and a fault for each table that is missing or ambiguous."""
    found: dict[str, tuple[Part, ...]] = {}
    faults: list[DataError] = []
    for table in INPUT_TABLES:
        try:
            found[table] = find_parts(folder, table, mapping.of(table).path)
        except DataError as fault:
            faults.append(fault)
            found[table] = ()
    return found, faults


def raise_together(folder: Path, faults: list[DataError]) -> None:
    """Raises all faults as one DataError, in one line; nothing when there are none."""
    if len(faults) == 1:
        raise DataError(faults[0].what, where=str(folder / faults[0].where), fix=faults[0].fix)
    if faults:
        what = "; ".join(f"{fault.where}: {fault.what}" for fault in faults)
        raise DataError(what, where=str(folder), fix=" ".join(dict.fromkeys(fault.fix for fault in faults)))
