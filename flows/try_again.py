"""Turns a fault into whether it may pass by itself, and settings into the pauses before a stage is tried again."""

from __future__ import annotations

import errno
import re

from contracts.errors import DiskError
from contracts.settings import NightSettings

_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ENOLCK, errno.EMFILE, errno.ENFILE),
    *(errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ECONNABORTED, errno.ECONNRESET, errno.ECONNREFUSED, errno.EPIPE, errno.EREMOTEIO, errno.ECOMM),
}
_TOLD = re.compile(
    r"\(os error (\d+)\)|timed? ?out|connection (?:was )?(?:reset|refused|closed|aborted)|error sending request|"
    r"service unavailable|too many requests|slow ?down|temporary failure|\b(?:429|500|502|503|504) ",
    re.IGNORECASE,
)
_LIBRARIES = {"polars", "pyarrow", "botocore", "aiohttp", "httpx", "urllib3", "requests", "huggingface_hub"}
"""Of whose errors the words are believed."""


def is_transient(error: BaseException) -> bool:
    """Whether the same work may well succeed a little later: a network, a server or a disk far away did not answer.

    Bad input, wrong settings, a full disk and faults of our own never are. What a library wrapped into an error of its
    own is looked for in the errors it came from.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DiskError):
            return False
        if isinstance(seen, OSError) and (seen.errno in _PASSING or isinstance(seen, TimeoutError | ConnectionError)):
            return True
        wordy = isinstance(seen, OSError) and seen.errno is None
        if (wordy or type(seen).__module__.partition(".")[0] in _LIBRARIES) and _says_so(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _says_so(error: BaseException) -> bool:
    told = _TOLD.search(str(error))
    return told is not None and (told[1] is None or int(told[1]) in _PASSING)


def pauses(settings: NightSettings) -> list[float]:
    """Seconds before each retry: first, twice as long, and so on, up to the longest."""
    return [
        min(settings.first_pause_seconds * 2.0**number, settings.longest_pause_seconds)
        for number in range(settings.retries)
    ]
