"""House rules that a reader would otherwise have to trust."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.store import file_hash
from flows.write_docs import pages

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contracts", "sources", "features", "ranking", "generators", "evaluation", "review", "flows")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("path", sorted(pages()))
def test_a_generated_page_is_in_step_with_the_code(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == pages()[path], "run: python -m flows.write_docs"


def test_packages_are_ours_from_any_folder(tmp_path: Path) -> None:
    code = f"import importlib\nfor name in {PACKAGES!r}: print(importlib.import_module(name).__file__)"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == [str(ROOT / name / "__init__.py") for name in PACKAGES]


def test_the_ground_floor_imports_nothing_heavy() -> None:
    code = "import sys, contracts, contracts.errors, contracts.seeds; print([m for m in ('polars', 'torch', 'pandas', 'prefect') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


def test_drawing_and_training_run_without_polars() -> None:
    code = (
        "import sys; sys.modules['polars'] = None; sys.modules['pandas'] = None\n"
        "import generators.studio, generators.training.training, generators.taste.taste, generators.taste.cohorts; print('ok')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "ok", result.stderr


def test_nothing_is_pickled_and_nothing_is_unfinished() -> None:
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not imported & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text(encoding="utf-8")), path


def test_the_shipped_weights_are_small_whole_and_of_the_shipped_space() -> None:
    import json

    models = ROOT / "data" / "sample" / "models"
    generators = [path for path in (models / "generator").iterdir() if path.is_dir()]
    spaces = [path for path in (models / "space").iterdir() if path.is_dir()]
    assert len(generators) == len(spaces) == 1
    config = json.loads((generators[0] / "weights" / "config.json").read_text())
    assert config["space_hash"][:12] == spaces[0].name
    files = list((generators[0] / "weights").glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) < 20_000_000
    assert file_hash(files[0])[:12] == generators[0].name or len(files) > 1


def test_the_makefile_refuses_an_old_python(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\ncase "$1" in -c) exit 1;; --version) echo "Python 3.9.1";; esac\n')
    old.chmod(0o755)
    result = subprocess.run(
        ["make", "python-is-new-enough", f"PYTHON={old}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert result.returncode != 0
    assert "Python 3.9.1 will not do, Adloom needs 3.11, 3.12 or 3.13" in result.stderr
