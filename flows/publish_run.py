"""Turns a finished run into a copy of it in a bucket, or below a folder that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyarrow import fs

from contracts.errors import RunError, SettingsError
from flows.sum_up_run import SUMMARY
from sources.far_storage import SCHEMES, far_file_system, is_far, shown, without_secrets

_LOCAL = "file:///"


def destination(url: str) -> tuple[Any, str]:
    """File system and path of a URL to publish to. Raises SettingsError or DataError when it is none, or cannot be reached."""
    if url.startswith(_LOCAL):
        return fs.LocalFileSystem(), url.removeprefix("file://").rstrip("/")
    if is_far(url):
        system, path = far_file_system(url)
        return system, path.rstrip("/")
    schemes = ", ".join((*SCHEMES, _LOCAL))
    raise SettingsError("is no place to publish to", where=f"--publish {shown(url)}", fix=f"Give a URL: {schemes}.")


def publish_run(run: Path, url: str) -> str:
    """Copies a run to `url/<run>`; its summary goes first and comes last: where it stands, all else does.

    Args:
        run: folder of a finished run.
        url: s3://, gs://, az:// or file:///; keys, region and endpoint come from the usual environment.

    Returns:
        The URL of the copy.

    Raises:
        SettingsError, DataError: it is no such URL, or cannot be reached. RunError: it cannot be written there.
    """
    system, root = destination(url)
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and not _unfinished(path.relative_to(run))]
    files.sort(key=lambda path: path == run / SUMMARY)
    target = f"{root}/{run.name}"
    try:
        if system.get_file_info(f"{target}/{SUMMARY}").type == fs.FileType.File:
            system.delete_file(f"{target}/{SUMMARY}")
        for path in files:
            place = f"{target}/{path.relative_to(run).as_posix()}"
            system.create_dir(place.rpartition("/")[0], recursive=True)
            with system.open_output_stream(place) as output:
                output.write(path.read_bytes())
    except OSError as error:
        fix = "Check the address and the rights, then repeat the command: stages that are up to date are skipped."
        told = without_secrets(url, error)
        raise RunError(
            f"the run cannot be published there ({told})", where=f"--publish {shown(url)}", fix=fix
        ) from error
    return f"{url.rstrip('/')}/{run.name}"


def _unfinished(inside: Path) -> bool:
    return any(step.startswith(".") or step.endswith(".part") for step in inside.parts)
