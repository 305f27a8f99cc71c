"""Turns a frozen dataclass of arrays and numbers into a safetensors file, and back to the bit."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from contracts.errors import ModelError

T = TypeVar("T")


def save_record(record: Any, path: Path) -> None:
    """Writes every field of a dataclass: arrays as tensors, ints and floats as JSON in the header."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    arrays = {name: np.ascontiguousarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    numbers = {name: value for name, value in values.items() if name not in arrays}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path, {"numbers": json.dumps(numbers)})


def load_record(kind: type[T], path: Path, *, what: str, fix: str) -> T | None:
    """Reads a record back; None where there is no such file.

    Args:
        kind: the dataclass.
        path: of the file.
        what: the record is, and `fix`: what to do, for the error.

    Raises:
        ModelError: it is damaged, or has other fields.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        values: dict[str, Any] = {**load_file(path), **json.loads(header["__metadata__"]["numbers"])}
        return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]
    except (OSError, SafetensorError, KeyError, ValueError, OverflowError, MemoryError) as error:
        raise ModelError(f"{what} is damaged", where=str(path), fix=fix) from error
