"""Turns what went wrong into one line that says what, where and what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class AdloomError(Exception):
    """A fault that a user can mend: shown as one line on stderr, exit code 2, never as a traceback.

    Args:
        what: what is wrong, in a few words, without a full stop.
        where: file, table, column, row or setting it was found in.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, where: str, fix: str) -> None:
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.fix}"

    def __reduce__(self) -> tuple[Callable[[str], AdloomError], tuple[str]]:
        """How it comes back from another process."""
        return partial(type(self), where=self.where, fix=self.fix), (self.what,)


class DataError(AdloomError):
    """An input file or table cannot be used at all (single bad rows are set aside instead)."""


class SettingsError(AdloomError):
    """A setting is unknown, of the wrong type or out of range."""


class ModelError(AdloomError):
    """Learned weights are damaged, or belong to another space, architecture or feature list."""


class RunError(AdloomError):
    """A run folder cannot be written, resumed or read."""


class DiskError(AdloomError):
    """What must be written cannot be: the disk is full or read-only, or belongs to somebody else."""
