"""Turns a finished picture into the headline that a reader of pictures sees, and how far it is from the ordered one."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np

from generators.checking.findings import Finding, at_most
from generators.products import Pixels
from generators.typesetting.typesetter import TypesetReport

_KNOWN_SCRIPTS = ("LATIN", "CJK", "HIRAGANA", "KATAKANA")
_MARGIN = 0.25  # around a line, in sizes of its type


class Reader:
    """Reads lines of type with PP-OCR through rapidocr, on the CPU; wants adloom[ocr]."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @classmethod
    def load(cls) -> Reader | None:
        """The reader; None where adloom[ocr] is not installed."""
        try:
            from rapidocr import RapidOCR  # noqa: PLC0415 - an extra
        except ImportError:
            return None
        threads = "EngineConfig.onnxruntime.intra_op_num_threads"
        return cls(RapidOCR(params={"Global.log_level": "error", threads: 1}))

    def read(self, line: Pixels) -> str:
        """The text of a picture of one line, uint8 (h, w, 3) RGB; empty when nothing is read."""
        found = self._engine(np.ascontiguousarray(line[..., ::-1]), use_det=False, use_cls=False, use_rec=True)
        return " ".join(found.txts or ())


def check_headline(pixels: Pixels, report: TypesetReport, headline: str, reader: Reader, *, limit: float) -> Finding:
    """Whether the headline is read as it was ordered.

    Args:
        pixels: uint8 (h, w, 3), finished.
        report: where the lines of the headline stand.
        headline: as ordered.
        reader: which reads.
        limit: `misread` at most.
    """
    unknown = _unknown_scripts(headline)
    if unknown:
        return Finding("text_illegible", None, reason=f"the reader does not know {', '.join(sorted(unknown))} letters")
    lines = [line for line in report.lines if line.name == "headline"]
    seen = " ".join(reader.read(_cut(pixels, line.box, _MARGIN * line.size)) for line in lines)
    wrong = misread(headline, seen)
    return at_most("text_illegible", wrong, limit, f'the headline is read as "{seen}"')


def misread(wanted: str, read: str) -> float:
    """Share of the letters and digits that must be changed to get from one to the other, 0 (the same) to 1.

    Levenshtein's distance over the longer length (normalised edit distance); case, spaces, punctuation and accents do
    not count, since readers take liberties with them.
    """
    one, other = _letters(wanted), _letters(read)
    if not one and not other:
        return 0.0
    row = np.arange(len(other) + 1)
    for number, letter in enumerate(one, start=1):
        swapped = row[:-1] + np.array([letter != seen for seen in other], dtype=np.int64)
        best = np.concatenate(([number], np.minimum(swapped, row[1:] + 1)))
        row = np.minimum.accumulate(best - np.arange(len(best))) + np.arange(len(best))  # insertions, left to right
    return float(row[-1]) / max(len(one), len(other))


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _unknown_scripts(text: str) -> set[str]:
    names = {unicodedata.name(letter, "unknown").split(" ")[0].removesuffix("-") for letter in text if letter.isalpha()}
    return {name.capitalize() for name in names if name not in _KNOWN_SCRIPTS}


def _cut(pixels: Pixels, box: Any, margin: float) -> Pixels:
    around = round(margin)
    return pixels[max(box.top - around, 0) : box.bottom + around, max(box.left - around, 0) : box.right + around]
