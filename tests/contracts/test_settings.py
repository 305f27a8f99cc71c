"""Settings: one file, every fault named at once, the nearest known key beside an unknown one."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import SettingsError
from contracts.settings import Settings, load_settings, parse_settings

ROOT = Path(__file__).resolve().parents[2]


def test_the_shipped_file_holds_the_defaults() -> None:
    assert load_settings(ROOT / "configs" / "default.toml") == Settings()


def test_an_unknown_key_names_the_nearest_known_one_and_every_fault_is_listed() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings({"rankng": {}, "ranking": {"leafs": 3, "rounds": 0}}, where="mine.toml")
    text = str(caught.value)
    assert text.startswith("mine.toml: ")
    assert "rankng: unknown key, the nearest known one is ranking" in text
    assert "ranking.leafs: unknown key, the nearest known one is ranking.leaves" in text
    assert "ranking.rounds: input should be greater than or equal to 1" in text


@pytest.mark.parametrize(("content", "words"), [(b"x = ", "is not TOML"), (b"\xff\xfe", "is not TOML")])
def test_a_file_that_is_not_toml_is_one_clear_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        load_settings(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
