"""The set-up leaves nothing for the first night to compile."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from flows.compile_loops import compile_loops

MODULES = ("features.browsing", "features.log", "features.exposure", "ranking.forest")


@pytest.mark.timeout(900)
def test_every_compiled_loop_is_kept_for_the_next_process() -> None:
    compile_loops()
    modules = [importlib.import_module(name) for name in MODULES]
    loops = {name: one for module in modules for name, one in vars(module).items() if hasattr(one, "signatures")}
    assert len(loops) >= 20
    kept = {name: [*Path(one.stats.cache_path).glob(f"*.{name}-*.nbi")] for name, one in loops.items()}
    assert [name for name, files in kept.items() if not files] == []
