"""Turns the environment, a key file, or nothing yet into the secret key of the pseudonyms."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from contracts.errors import SettingsError
from contracts.store import write_atomically

VARIABLE = "ADLOOM_KEY"
FILE = "adloom.key"
"""Name of the key file beside the runs folder, made when there is none."""


def find_key(folder: Path, given: Path | None = None) -> bytes:
    """The key: from the environment (ADLOOM_KEY), else from the file given, else from `folder`/adloom.key.

    The last is made, readable by its owner alone, when it is not there. Keep it: without it nobody can be erased, and
    tomorrow's pseudonyms are others than today's.

    Raises:
        SettingsError: a file was given and cannot be read.
    """
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE].encode()
    path = given or folder / FILE
    try:
        return path.read_bytes().strip()
    except OSError as error:
        if given is not None:
            raise SettingsError(
                f"the key file cannot be read ({error.strerror})", where=str(path), fix=f"Mend it, or set {VARIABLE}."
            ) from error
    folder.mkdir(parents=True, exist_ok=True)
    old = os.umask(0o077)
    try:
        write_atomically(path, secrets.token_hex(32).encode() + b"\n")
    finally:
        os.umask(old)
    return path.read_bytes().strip()
