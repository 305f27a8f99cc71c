"""The peak of a stretch of work is its own, not the process's."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from contracts import memory
from contracts.memory import Peak

MB = 1_000_000


def held(size: int) -> int:
    with Peak() as peak:
        np.ones(size // 8).sum()
    return peak.bytes


def test_a_small_stretch_after_a_large_one_has_a_small_peak() -> None:
    nothing = held(8)
    large, small = held(400 * MB), held(40 * MB)
    assert 350 * MB < large - nothing < 500 * MB, "what other work gives back meanwhile is not counted against it"
    assert small < large - 300 * MB


def test_where_the_mark_cannot_be_reset_memory_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_RESET", tmp_path / "missing" / "clear_refs")
    nothing = held(8)
    with Peak() as peak:
        block = np.ones(200 * MB // 8)
        time.sleep(0.3)
        assert block.any()
    assert 150 * MB < peak.bytes - nothing < 300 * MB
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "missing")
    assert held(8) > 0.9 * peak.bytes, "the mark since the process began"
