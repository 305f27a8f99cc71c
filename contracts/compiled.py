"""Turns a loop over arrays into machine code, once: later processes read it from a cache beside the source.

The cache watches the file of the compiled function alone, so whatever compiled code it calls stands in the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """The function, compiled at its first call, free of the interpreter's lock. Division by zero follows IEEE 754.

    Sums keep their written order (no fast math): equal arguments give equal bytes, on any number of threads. It makes
    no arrays of its own, so no references are counted and a call of another compiled function costs nothing.
    """
    return _compile(function, {"nogil": True, "error_model": "numpy", "_nrt": False})


def compiled_with_arrays(function: _Function) -> _Function:
    """The same for a function that makes arrays."""
    return _compile(function, {"nogil": True, "error_model": "numpy"})


def _compile(function: _Function, options: dict[str, Any]) -> _Function:
    try:
        return cast(_Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no folder that the cache could be written to: each process compiles
        return cast(_Function, numba.njit(**options)(function))
