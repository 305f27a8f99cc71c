"""Turns a URL into the storage behind it: its file system, the files below it, and what may be said of the URL."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pyarrow import fs

from contracts.errors import DataError

SCHEMES = ("s3://", "gs://", "az://")
"""Storage that Polars streams tables from, and that PyArrow lists, reads and writes; other URLs are read by fsspec."""

_AZURE = ("az", "abfs", "abfss")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class FarFile:
    """A file below a URL.

    Attributes:
        inside: its path relative to the URL.
        path: its path in the file system.
        size: in bytes; None: the storage does not say.
        stamp: changes when the file does: an entity tag or the time of change; empty: the storage has neither.
    """

    inside: str
    path: str
    size: int | None
    stamp: str


def is_far(path: str) -> bool:
    """Whether a path is a URL of cloud storage that tables are streamed from."""
    return path.startswith(SCHEMES)


def is_url(text: str) -> bool:
    """Whether a text is a URL of any kind."""
    return _URL.match(text) is not None


def shown(url: str) -> str:
    """A URL as it may be logged and kept: passwords and the values of its query are left out."""
    if not is_url(url):
        return url
    parts = urllib.parse.urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{colon}***{at}{host}" if colon else parts.netloc
    query = "&".join(f"{name}=***" for name, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    return f"{parts.scheme}://{netloc}{parts.path}" + (f"?{query or '***'}" if parts.query else "")


def holds_secret(url: str) -> bool:
    """Whether a URL carries what must not be kept: a password, or a query, such as a signature."""
    return shown(url) != urllib.parse.urlsplit(url)._replace(fragment="").geturl()


def far_file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; keys, region and endpoint come from the usual environment.

    Raises:
        DataError: it cannot be had, or the URL itself carries keys.
    """
    scheme, _, path = url.partition("://")
    if holds_secret(url):
        fix = "Put keys into the environment (AWS_ACCESS_KEY_ID, AZURE_STORAGE_SAS_TOKEN, ...), see docs/sources.md."
        raise DataError("carries a secret, which lists of processes show", where=shown(url), fix=fix)
    try:
        if scheme == "s3":
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            given = {"region": os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")}
            if endpoint:
                kind, _, host = endpoint.partition("://")
                given |= {"endpoint_override": host, "scheme": kind}
            return fs.S3FileSystem(**{name: value for name, value in given.items() if value}), path
        if scheme == "gs":
            return fs.GcsFileSystem(), path
        container, at, account = path.partition("/")[0].partition("@")
        if at:
            path = f"{container}/{path.partition('/')[2]}"
        return fs.AzureFileSystem(account_name=account.partition(".")[0] or os.environ["AZURE_STORAGE_ACCOUNT_NAME"],
                                  account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
                                  sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN")), path  # fmt: skip
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise DataError(f"cannot be reached ({error})", where=url, fix="Check the keys in the environment.") from error


def far_options() -> dict[str, str]:
    """What Polars' cloud readers need beside the usual environment: a plain-http endpoint has to be allowed."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return {"aws_endpoint_url": endpoint, "aws_allow_http": "true"} if endpoint.startswith("http://") else {}


def list_far(url: str) -> tuple[list[FarFile], Callable[[str], BinaryIO]]:
    """The files below the URL of a folder, in order of path, and what opens one by its path; hidden ones are left out.

    Raises:
        DataError: the URL is of no kind that can be read here, nobody answers there, or it holds no files.
    """
    url = url.rstrip("/")
    try:
        found, opened = (_by_arrow if url.partition("://")[0] in ("s3", "gs", *_AZURE) else _by_fsspec)(url)
    except FileNotFoundError as error:
        raise DataError("is not there", where=shown(url), fix="Check the address.") from error
    except Exception as error:  # those of libraries for storage share no base class
        if isinstance(error, DataError):
            raise
        told = without_secrets(url, error)
        raise DataError(
            f"cannot be listed ({told})", where=shown(url), fix="Check address, rights and network."
        ) from None
    files = [one for one in found if not any(step.startswith(".") for step in one.inside.split("/"))]
    if not files:
        raise DataError("holds no files", where=shown(url), fix="Check the address: give a folder with tables.")
    return sorted(files, key=lambda one: one.inside), opened


def without_secrets(url: str, error: BaseException) -> str:
    """What an error says, in one line, without what the URL keeps secret."""
    told = " ".join(str(error).split()) or type(error).__name__
    parts = urllib.parse.urlsplit(url)
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    hidden = [parts.query, password, *(value for _, value in urllib.parse.parse_qsl(parts.query))]
    for secret in sorted({one for one in hidden if one}, key=len, reverse=True):
        told = told.replace(secret, "***").replace(urllib.parse.unquote(secret), "***")
    return told


def _by_arrow(url: str) -> tuple[list[FarFile], Callable[[str], BinaryIO]]:
    system, path = far_file_system(url)
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = [
        FarFile(one.path.removeprefix(path).lstrip("/"), one.path, one.size, str(one.mtime_ns or ""))
        for one in found
        if one.type == fs.FileType.File
    ]
    return files, system.open_input_stream


def _by_fsspec(url: str) -> tuple[list[FarFile], Callable[[str], BinaryIO]]:
    import fsspec  # noqa: PLC0415 - slow to import
    from fsspec.registry import known_implementations  # noqa: PLC0415

    scheme = url.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        fix = known_implementations.get(scheme, {}).get("err", "Install what reads it.")
        raise DataError("needs a package that is not installed", where=shown(url), fix=f"{fix}.") from error
    except ValueError as error:
        fix = "Give a folder, or a URL: s3://, gs://, abfs://, https://."
        raise DataError("is of no kind that is read", where=shown(url), fix=fix) from error
    system.invalidate_cache()
    files = []
    for _, _, present in system.walk(path, detail=True, on_error="raise"):
        for said in present.values():
            stamp = next((str(said[name]) for name in _STAMPS if said.get(name)), "")
            inside = said["name"].removeprefix(path).lstrip("/")
            files.append(FarFile(inside, said["name"], said.get("size"), stamp))
    return files, lambda place: system.open(place, "rb")
