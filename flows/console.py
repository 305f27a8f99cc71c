"""Turns the name adloom into one command line: the app that every command joins, and what they share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from flows.keep_log import is_open, log

app = App(
    name="adloom",
    help="Browsing logs in; personalised ads that an analyst has approved, and honest evidence of their worth, out.",
    version_flags=["--version"],
)
out = Console(soft_wrap=True, highlight=False)
Config = Annotated[Path | None, Parameter(help="Settings, TOML; see configs/default.toml.")]
Cluster = Annotated[str, Parameter(help="Spread work over Dask: local, local:4, tcp://host:8786; see docs/cluster.md.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for machines.")]
Models = Annotated[Path, Parameter(help="Where learned models are.")]
Runs = Annotated[Path, Parameter(help="Where runs are, and beside them the key of the pseudonyms.")]


def complain(line: str, code: int = 2) -> int:
    """One line on stderr, by the log where one is kept; returns the exit code."""
    if is_open():
        log.error(" ".join(line.split()))
        return code
    print("adloom: " + " ".join(line.split()), file=sys.stderr)
    return code
