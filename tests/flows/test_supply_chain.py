"""What Adloom is built from: every package is pinned by hash, under a licence that is known, listed, and asked about."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from flows.audit_dependencies import CANARY, audit, pinned
from flows.list_licences import UNKNOWN, Licence, licences, locked

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
LOCKS = ("lock.txt", "lock-dev.txt")
SERVED = "lock-server.txt"


def blocks(file: Path) -> dict[str, str]:
    """The text of each package of a lock file: its line and its hashes."""
    return {part.split("==")[0]: part for part in re.split(r"\n(?=\S)", file.read_text()) if part.strip()}


@pytest.mark.parametrize("name", [*LOCKS, SERVED])
def test_every_locked_package_has_hashes_and_only_torch_stands_apart(name: str) -> None:
    found = blocks(REQUIREMENTS / name)
    assert set(found) == set(locked(REQUIREMENTS / name))
    assert [package for package, text in found.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}", text)] == []
    assert not [package for package in found if package.startswith(("torch", "nvidia-", "cuda-", "triton"))]
    assert list(locked(REQUIREMENTS / "torch.txt")) == ["torch"]


def test_the_lock_files_agree_and_fit_what_the_project_asks_for() -> None:
    runs, tests = (locked(REQUIREMENTS / name) for name in LOCKS)
    served = locked(REQUIREMENTS / SERVED)
    assert {name: tests.get(name) for name in runs} == runs == {name: served.get(name) for name in runs}
    assert served.items() <= tests.items()
    everything = tests | locked(REQUIREMENTS / "torch.txt")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    asked = [Requirement(line) for line in [*project["dependencies"], *extras] if not line.startswith("adloom[")]
    faults = [str(one) for one in asked if not one.specifier.contains(everything.get(_plain(one.name), "0"))]
    assert faults == [], "run: make lock"


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_registry_is_named_in_what_is_installed_from() -> None:
    for file in sorted(REQUIREMENTS.glob("*.txt")):
        assert not re.search(r"://|--(extra-)?index-url|--find-links|^-[if] ", file.read_text(), re.MULTILINE), file


def test_every_licence_is_known_and_accepted() -> None:
    refused = {one.package: sorted(one.refused) for one in licences(REQUIREMENTS) if one.refused}
    assert refused == {}, "take another package, or read its licence and say so in flows/list_licences.py"


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", []),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", []),
        ("GPL-3.0-only OR MIT", []),
        ("AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("MIT AND AGPL-3.0-or-later", ["AGPL-3.0-or-later"]),
        ("AGPL-3.0-only OR SSPL-1.0", ["AGPL-3.0-only", "SSPL-1.0"]),
        (UNKNOWN, [UNKNOWN]),
    ],
)
def test_a_licence_that_takes_or_says_nothing_is_refused(licence: str, refused: list[str]) -> None:
    assert sorted(Licence("some-package", licence, runs=True).refused) == refused


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ("License-Expression: AGPL-3.0-only", "AGPL-3.0-only"),
        ("License: MIT\nClassifier: License :: OSI Approved :: GNU Affero GPL v3", "GNU Affero GPL v3"),
        ("License: All rights reserved", "All rights reserved"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("Summary: says nothing", UNKNOWN),
    ],
)
def test_the_licence_is_what_the_package_states_and_the_strictest_of_it(
    metadata: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"planted-{abs(hash(metadata))}"
    folder = tmp_path / "site" / f"{name.replace('-', '_')}-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{metadata}\n")
    for file in ("lock.txt", "torch.txt", "lock-dev.txt"):
        (tmp_path / file).write_text(f"{name}==1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (one,) = licences(tmp_path)
    assert one == Licence(name, found, runs=True)
    assert bool(one.refused) == (found != "MIT")


def test_the_bill_of_materials_lists_what_is_locked_by_hash_and_is_valid_cyclonedx(tmp_path: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    file = tmp_path / "sbom.json"
    words = ["make", "-o", ".venv/.installed-dev", "sbom", f"BIN={Path(sys.executable).parent}", f"SBOM={file}"]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    told = json.loads(file.read_text())
    assert told["bomFormat"] == "CycloneDX"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text().replace('"library"', '"loom"', 1))
    assert told["metadata"]["component"]["name"] == "adloom"
    wanted = locked(REQUIREMENTS / "lock.txt") | locked(REQUIREMENTS / "torch.txt")
    assert {one["name"]: one["version"] for one in told["components"]} == wanted
    bare = [one["name"] for one in told["components"] if "hashes" not in one["externalReferences"][0]]
    assert bare == ["torch"]


def answering(*services: str, faults: dict[str, str] | None = None, quiet: bool = False) -> Any:
    """A stand-in for pip-audit: which services answer, and what they know."""

    def ask(service: str, lines: Sequence[str]) -> list[dict[str, Any]] | None:
        if service not in services:
            return None
        if quiet:
            return [{"name": line.split("==")[0], "skip_reason": "not found"} for line in lines]
        known = {CANARY.split("==")[0]: "OLD-1"} if list(lines) == [CANARY] else (faults or {})
        split = [line.split("==") for line in lines]
        return [
            {
                "name": name,
                "version": version,
                "vulns": [{"id": known[name], "fix_versions": ["9"]}] if name in known else [],
            }
            for name, version in split
        ]

    return ask


def test_the_audit_never_takes_silence_for_soundness() -> None:
    lines = ["polars==2.1", "torch==2.13.0"]
    for ask in (answering(), answering("pypi", "osv", quiet=True)):
        code, said = audit(lines, ask)
        assert (code, said.count("\n")) == (2, 0)
        assert "no database of known vulnerabilities can be reached (pypi and osv)" in said
    assert audit(lines, answering("osv")) == (0, "2 packages asked for in osv, 0 known vulnerabilities")
    code, said = audit(lines, answering("pypi", faults={"torch": "PYSEC-1"}))
    assert code == 1
    assert said.splitlines()[0] == "torch 2.13.0: PYSEC-1, mended in 9"


def test_the_audit_asks_for_every_locked_package() -> None:
    names = {line.split("==")[0] for line in pinned(REQUIREMENTS)}
    assert names == {"torch", *(name for file in LOCKS for name in locked(REQUIREMENTS / file))}
