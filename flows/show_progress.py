"""Turns stages and long work into lines that tick by, and a bar where a person is watching."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from contracts.store import StageResult
from flows.job import Stage


class Ticker:
    """Prints a line per stage: its number, its name, how long it took, what came out."""

    def __init__(self, console: Console, stages: int, *, quiet: bool) -> None:
        self._console, self._stages, self._quiet = console, stages, quiet

    def tell(self, number: int, stage: Stage, result: StageResult | None) -> None:
        """Tells that a stage begins (`result` None, shown only to a person watching) or has ended."""
        if self._quiet or (result is None and not self._console.is_terminal):
            return
        head = f"[{number + 1}/{self._stages}] {stage.name:<10} "
        if result is None:
            self._console.print(f"{head} ...", end="\r", markup=False)
            return
        took = "up to date" if result.skipped else f"{result.seconds:.1f} s"
        self._console.print(f"{head}{took:>10}  {stage.say(result.folder)}", markup=False)


class Bar:
    """A progress bar on stderr, shown only to a person."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}

    def tell(self, what: str, done: int, total: int) -> None:
        """How far the work called `what` is; what follows a comma may change."""
        name = what.split(",", maxsplit=1)[0]
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(what, total=total)
        self._bar.update(self._tasks[name], completed=done, total=total, description=what)

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
