"""The set-up leaves nothing for the first night to compile."""

from __future__ import annotations

import importlib
import sqlite3
from pathlib import Path

import pytest

from flows.set_up import compile_loops, lay_tables

MODULES = (
    "features.browsing",
    "features.log",
    "features.exposure",
    "ranking.forest",
    "ranking.retrieval",
    "generators.typesetting.filling",
)


@pytest.mark.timeout(900)
def test_every_compiled_loop_is_kept_for_the_next_process() -> None:
    compile_loops()
    modules = [importlib.import_module(name) for name in MODULES]
    loops = {name: one for module in modules for name, one in vars(module).items() if hasattr(one, "signatures")}
    assert len(loops) >= 20
    kept = {name: [*Path(one.stats.cache_path).glob(f"*.{name}-*.nbi")] for name, one in loops.items()}
    assert [name for name, files in kept.items() if not files] == []


def test_the_server_finds_its_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    lay_tables(tmp_path / "runs")
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"flow_run", "task_run", "artifact"} <= tables
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
