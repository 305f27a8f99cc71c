"""Turns what a command names as DATA into a folder here: the one it names, or a copy of the one at a URL."""

from __future__ import annotations

import urllib.parse
import urllib.request
from pathlib import Path

from flows.job import SHIPPED
from flows.show_progress import Bar
from sources.far_storage import is_url
from sources.folder_copy import COPIES, copy_folder


def data_folder(named: str | None, runs: Path) -> Path:
    """The folder that DATA names; None: the shipped sample.

    Args:
        named: a path, a file:// URL, which is a path too, or the URL of a folder, which is copied beside the runs.
        runs: where runs are.

    Raises:
        AdloomError: the folder at the URL cannot be copied.
    """
    if named is None:
        return SHIPPED
    if named.lower().startswith("file://"):
        return Path(urllib.request.url2pathname(urllib.parse.urlsplit(named).path))
    if not is_url(named):
        return Path(named)
    with Bar() as bar:
        return copy_folder(named, runs.parent / COPIES, tell=bar.tell)
