"""Lines break where a reader of the script expects it, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features

from generators.typesetting.line_breaking import NEVER_FIRST, NEVER_LAST, breaks, fit_text, pieces
from generators.typesetting.typeface import (
    DISPLAY_FONT,
    Typeface,
    clean_text,
    draw_line,
    load_typeface,
    runs_from_right,
)
from tests.generators.tiny_fonts import write_box_font

JAPANESE = "「静かな朝」を、一杯のコーヒーから。もっと、ゆっくり……いいね！（限定ブレンド）ショップで￥1,200〜"
CHINESE = "“慢下来”，好好喝一杯；个性化的早晨，从这里开始。《手冲》咖啡——每天新鲜烘焙！"
KOREAN = "느린 아침, 제대로 내린 커피 한 잔으로 시작하세요."
MIXED = "New 個性化 coffee、every day。Wi-Fi 6 対応"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Typeface:
    return load_typeface(
        write_box_font(tmp_path_factory.mktemp("font") / "boxes.ttf", JAPANESE + CHINESE + KOREAN + MIXED + "日")
    )


def fitted(face: Typeface, text: str, width: float) -> tuple[str, ...]:
    found = fit_text(face, text, width=width, height=1e9, most_lines=9, largest=10, smallest=1, leading=1.0)
    assert found is not None
    return found.lines


@pytest.mark.parametrize("text", [JAPANESE, CHINESE, MIXED], ids=["Japanese", "Chinese", "mixed"])
@pytest.mark.parametrize("width", [60, 90, 130])
def test_no_line_starts_with_a_stop_or_ends_with_an_opening_mark(boxes: Typeface, text: str, width: float) -> None:
    lines = fitted(boxes, text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert len(lines) > 1
    assert not [line for line in lines[1:] if line[0] in NEVER_FIRST]
    assert not [line for line in lines[:-1] if line[-1] in NEVER_LAST]


def test_the_rules_that_kinsoku_is_known_for() -> None:
    for never in ("」", "、", "。", "！", "ッ", "ー", "ょ", "）", "”", "；", "々", "〜"):
        assert pieces(f"朝{never}夜") == [f"朝{never}", "夜"], never
    for opening in ("「", "（", "“", "《", "￥"):
        assert pieces(f"朝{opening}夜") == ["朝", f"{opening}夜"], opening
    assert pieces("静か……に") == ["静", "か……", "に"]
    assert pieces("手冲——咖啡") == ["手", "冲", "——", "咖", "啡"] or "——" in "".join(pieces("手冲——咖啡"))
    assert not any(piece.strip() in ("—", "…") for piece in pieces("手冲——咖啡……"))


def test_latin_words_and_numbers_stay_whole_among_wide_characters() -> None:
    assert pieces("対応Wi-Fi 6で1,200円") == ["対", "応", "Wi-Fi ", "6", "で", "1,200", "円"]


def test_korean_and_latin_break_at_their_spaces() -> None:
    assert pieces(KOREAN) == [word + " " for word in KOREAN.split(" ")[:-1]] + [KOREAN.rsplit(" ", maxsplit=1)[-1]]
    assert pieces("Prêt à partir ? Oui !") == ["Prêt ", "à ", "partir ? ", "Oui !"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab 朝夜「」、。ーっ…—x1 ¥。", min_size=1, max_size=30).map(clean_text).filter(bool))
def test_pieces_are_the_text_and_no_piece_starts_or_ends_wrongly(text: str) -> None:
    found = pieces(text)
    assert "".join(found) == text
    wide = [piece for piece in found[1:] if not piece[0].isascii()]
    assert not [piece for piece in wide if piece[0] in NEVER_FIRST]
    assert not [piece for piece in found[:-1] if piece[-1] in NEVER_LAST and not piece[-1].isascii()]


def test_a_break_is_as_good_as_the_best_of_all(boxes: Typeface) -> None:
    text = "静かな朝、一杯から。いい日"
    words = pieces(text)
    for count in (2, 3):
        lines, widest = breaks(boxes, text, 0.0, 3)[count - 1]
        cuts = [(a,) for a in range(1, len(words))] if count == 2 else [
            (a, b) for a in range(1, len(words)) for b in range(a + 1, len(words))
        ]  # fmt: skip
        best = min(
            max(boxes.width("".join(words[a:b])) for a, b in zip((0, *cut), (*cut, len(words)), strict=True))
            for cut in cuts
        )
        assert widest == pytest.approx(best)
        assert max(boxes.width(line) for line in lines) == pytest.approx(widest)


def dejavu() -> Typeface:
    matplotlib = pytest.importorskip("matplotlib")
    return load_typeface(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def inked(text: str) -> np.ndarray:
    """The columns of a line from its first ink to its last."""
    line, _ = draw_line(dejavu(), text, 60)
    columns = np.flatnonzero(line.any(axis=0))
    return line[:, columns[0] : columns[-1] + 1]


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow finds no FriBiDi here")
class TestFromRightToLeft:
    """With HarfBuzz and FriBiDi at hand."""

    def test_which_way_a_text_runs(self) -> None:
        assert runs_from_right("קפה טוב")
        assert runs_from_right("“قهوة” Arabica")
        assert not runs_from_right("Arabica قهوة")
        assert not runs_from_right("123 !")

    def test_arabic_letters_join(self) -> None:
        face = dejavu()
        joined = face.width("قهوة")
        apart = sum(face.advances[face.glyphs[ord(letter)]] for letter in "قهوة")
        assert joined < 0.9 * apart, "the joined forms are narrower than the isolated ones"

    def test_the_first_letter_stands_at_the_right(self) -> None:
        whole, first = inked("אב"), inked("א")
        assert np.abs(whole[:, -first.shape[1] :] - first).mean() < 0.03

    def test_numbers_keep_their_own_direction(self) -> None:
        whole, number = inked("אב 12"), inked("12")
        assert np.abs(whole[:, : number.shape[1]] - number).mean() < 0.03, "at the left, and not 21"

    def test_lines_break_in_reading_order(self) -> None:
        face, text = dejavu(), "قهوة طازجة محمصة كل يوم في المدينة"
        lines = fitted(face, text, 60)
        assert len(lines) > 2
        assert " ".join(lines) == text
        assert max(face.width(line) for line in lines) * 1 <= 60

    def test_joiners_are_kept_where_they_matter_and_only_there(self) -> None:
        assert clean_text("می\u200cخواهم") == "می\u200cخواهم"
        assert clean_text("co\u200cop") == "coop"


def test_latin_is_set_the_same_whether_or_not_the_system_can_shape() -> None:
    face = load_typeface(DISPLAY_FONT)
    line, ascent = draw_line(face, "AVoid", 40)
    assert line.shape[0] > ascent > 0
    assert abs(np.flatnonzero(line.any(axis=0))[0]) <= 1
