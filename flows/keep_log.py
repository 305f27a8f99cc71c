"""Turns what happens in a run into lines on stderr: words for a person at a terminal, JSON for everything else."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

LEVEL = "ADLOOM_LOG"
"""Environment variable: debug, info, warning or error; else what went well is told to machines alone."""

log = logging.getLogger("adloom")


class JsonLines(logging.Formatter):
    """One JSON object a line: at (UTC), level, logger, message, what the record carries in `fields`, and any traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        said: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        said["message"] = record.getMessage()
        said |= getattr(record, "fields", {})
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False, default=str)


class Words(logging.Formatter):
    """adloom: what happened."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, or, with a traceback, the lines."""
        told = f"{record.name.partition('.')[0]}: {' '.join(record.getMessage().split())}"
        return told + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


def open_log() -> None:
    """Lets this process's log go to stderr as it is now; again: to the stderr of then."""
    watched = sys.stderr.isatty()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Words() if watched else JsonLines())
    level = os.environ.get(LEVEL, "").upper()
    known = level if level in {"DEBUG", "INFO", "WARNING", "ERROR"} else None
    log.setLevel(known or ("WARNING" if watched else "INFO"))
    log.handlers, log.propagate = [handler], False


def adopt_prefect() -> None:
    """Lets Prefect's loggers speak through the same handler; what it sends to its server stays. How much it says is its
    own setting, PREFECT_LOGGING_LEVEL. To be called after its import.
    """
    if not log.handlers:
        return
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "prefect"]
    for logger in (logging.root, *map(logging.getLogger, names)):
        kept = [one for one in logger.handlers if not type(one).__name__.startswith("Prefect")]
        if len(kept) < len(logger.handlers):
            logger.handlers = [*kept, *log.handlers]


def is_open() -> bool:
    """Whether `open_log` was called in this process."""
    return bool(log.handlers)


def close_log() -> None:
    """Ends what `open_log` began."""
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)
