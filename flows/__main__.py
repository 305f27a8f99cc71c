"""Turns a command line into an exit code: python -m flows, or adloom."""

from __future__ import annotations

import contextlib
import gc
import os
import sys

# Threads that spin while they wait cost more than they gain on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A fifth of the time of all imports is the collector's, which looks through what stays for good.
gc.set_threshold(50_000)


def main() -> None:
    """Runs the command line and exits: 0 done, 1 rows were set aside (check), 2 bad input.

    It leaves at once: all files are closed by now, and what the libraries would take down piece by piece is a second or more.
    """
    from flows.command_line import execute  # noqa: PLC0415 - after the environment is set

    code = execute(sys.argv[1:])
    with contextlib.suppress(OSError):  # whoever read our words may have gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
