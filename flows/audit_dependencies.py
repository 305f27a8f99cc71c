"""Turns the lock files into the known vulnerabilities of what they name, or a line that says the database cannot be reached."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("lock.txt", "torch.txt", "lock-dev.txt")
SERVICES = ("pypi", "osv")
CANARY = "jinja2==2.10"
"""Has vulnerabilities that every database knows: a service that is silent about it knows nothing of the others either."""

Ask = Callable[[str, Sequence[str]], list[dict[str, Any]] | None]


def ask_pip_audit(service: str, lines: Sequence[str]) -> list[dict[str, Any]] | None:
    """What pip-audit says of requirements: {"name", "version", "vulns"}, or "skip_reason"; None when it got no answer."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(lines))
        file.flush()
        words = [
            "-s",
            service,
            "-r",
            file.name,
            "--no-deps",
            "--disable-pip",
            "-f",
            "json",
            "--progress-spinner",
            "off",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, check=False, timeout=1800
        )
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return None
    return found


def audit(lines: Sequence[str], ask: Ask = ask_pip_audit) -> tuple[int, str]:
    """Exit code and what to say: 0 nothing known against them, 1 vulnerabilities, 2 nobody could be asked.

    Args:
        lines: `name==version`.
        ask: what asks a service.
    """
    service = next((one for one in SERVICES if _knows(ask(one, [CANARY]))), None)
    if service is None:
        asked = " and ".join(SERVICES)
        return 2, f"no database of known vulnerabilities can be reached ({asked}): nothing was audited"
    found = ask(service, lines)
    if found is None:
        return 2, f"the database of known vulnerabilities ({service}) stopped answering: nothing was audited"
    faults = [
        f"{one['name']} {one['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in found
        for fault in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in found if "skip_reason" in one]
    unknown = f"; not known to it: {', '.join(sorted(skipped))}" if skipped else ""
    end = f"{len(found) - len(skipped)} packages asked for in {service}, {len(faults)} known vulnerabilities{unknown}"
    return (1 if faults else 0), "\n".join([*faults, end])


def _knows(found: list[dict[str, Any]] | None) -> bool:
    return bool(found and found[0].get("vulns"))


def pinned(requirements: Path) -> list[str]:
    """`name==version` of every locked package, once, by name."""
    lines = {
        line.split(" ")[0] for name in LOCKS for line in (requirements / name).read_text().splitlines() if "==" in line
    }
    return sorted(line for line in lines if not line.startswith("#"))


def main() -> None:
    """Audits the lock files."""
    code, said = audit(pinned(ROOT / "requirements"))
    print(f"make audit: {said}" if code == 2 else said, file=sys.stderr if code else sys.stdout)
    sys.exit(code)


if __name__ == "__main__":
    main()
