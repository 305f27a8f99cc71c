"""What the reader of one file promises: lines that are no rows are set aside, everything else is read as written."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.errors import DataError
from sources.files import MAX_LINES_PER_RECORD, read_raw
from sources.raw import RawTable, raw_json


def anywhere(column: str) -> bool:
    return True


def nowhere(column: str) -> bool:
    return False


def read(folder: Path, content: bytes, *, breaks: object = anywhere) -> RawTable:
    path = folder / "table.csv"
    path.write_bytes(content)
    return read_raw(path, may_hold_line_break=breaks)  # type: ignore[arg-type]


def texts(table: RawTable) -> list[tuple[str, ...]]:
    return table.frame.fill_null("").rows()


cell = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(cell, min_size=n, max_size=n), max_size=6)))
@example([['a"b', "\n\n", ","], ["", '"', ""], ["", "", ""], ["\n", '\n"\n', "x"]])
def test_a_legal_csv_is_read_as_the_csv_module_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    width = len(rows[0]) if rows else 2
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[f"c{i}" for i in range(width)], *rows])
    table = read(tmp_path_factory.mktemp("legal"), text.getvalue().encode())
    expected = [tuple(row) for row in csv.reader(io.StringIO(text.getvalue(), newline=""))][1:]
    assert texts(table) == expected
    assert table.broken.is_empty()
    assert table.rows.to_list() == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_bom_change_nothing(tmp_path: Path, end: str, bom: bytes) -> None:
    content = end.join(["a,b", '1,"x ""y"""', "2,", ""])
    table = read(tmp_path, bom + content.encode())
    assert table.frame.columns == ["a", "b"]
    assert texts(table) == [("1", 'x "y"'), ("2", "")]


def test_a_missing_end_of_the_last_line_and_blank_lines_lose_no_row(tmp_path: Path) -> None:
    table = read(tmp_path, b"\na,b\n\n1,2\n\n3,4")
    assert texts(table) == [("1", "2"), ("3", "4")]
    assert table.rows.to_list() == [1, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3", "has 1 field(s) instead of 2"),
        ("3,4,5", "has 3 field(s) instead of 2"),
        ('"3","4","5"', "has more than 2 field(s)"),
        ('3,"4', "has a broken quote (never closed)"),
        ('3,4"', "has a broken quote (inside an unquoted field)"),
        ('3,"4" inch', "has a broken quote (text after the closing quote)"),
    ],
)
def test_a_line_that_is_no_row_is_set_aside_alone(tmp_path: Path, line: str, reason: str) -> None:
    table = read(tmp_path, f'a,b\n1,2\n{line}\n5,6\n"7","8"\n'.encode())
    assert texts(table) == [("1", "2"), ("5", "6"), ("7", "8")]
    assert table.rows.to_list() == [1, 3, 4]
    assert table.broken.rows() == [(2, "", reason, "unreadable_row", json.dumps({"line": line}, separators=(",", ":")))]


def test_an_open_quote_does_not_swallow_the_rows_below_where_no_line_break_can_be(tmp_path: Path) -> None:
    content = b'a,b\n"1,2\n3,4\n5",6\n'  # by RFC 4180 one legal record
    assert texts(read(tmp_path, content)) == [("1,2\n3,4\n5", "6")]
    guarded = read(tmp_path, content, breaks=nowhere)
    assert texts(guarded) == [("3", "4")]
    assert guarded.broken["row"].to_list() == [1, 3]


def test_an_open_quote_is_given_up_after_many_lines(tmp_path: Path) -> None:
    below = MAX_LINES_PER_RECORD + 5
    table = read(tmp_path, ('a,b\n1,"x\n' + "1,2\n" * below + '3,"y"\n').encode())
    assert table.frame.height == below + 1
    assert table.broken["row"].to_list() == [1]


def test_only_the_lines_that_are_not_utf8_are_set_aside(tmp_path: Path) -> None:
    table = read(tmp_path, "a,b\n1,é\n".encode() + "2,é\n".encode("latin-1") + b"3,z\n")
    assert texts(table) == [("1", "é"), ("3", "z")]
    assert table.broken.select("row", "reason").rows() == [(2, "is not UTF-8")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\n \n", "is empty"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("é,b\n1,2\n".encode("latin-1"), "header that is not UTF-8"),
        (b'a,"b\n1,2\n', "broken quote in its header"),
        (b"a,b,a\n1,2,3\n", "columns of the same name: 'a'"),
        (b"a;b;c\n1;2;3\n", "not separated by commas"),
        (b",".join(b"c%d" % i for i in range(600)), "600 columns"),
    ],
)
def test_a_csv_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        read(tmp_path, content)
    assert caught.value.where == "table.csv"
    assert "\n" not in str(caught.value)


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path) -> None:
    table = read(tmp_path, b"a,b\n")
    assert (table.read, table.frame.columns) == (0, ["a", "b"])


@pytest.mark.parametrize("keep", [0, 3, 0.3, 0.9, -1])
def test_a_truncated_parquet_says_so(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"a": list(range(500))}).write_parquet(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"empty|damaged, cut off"):
        read_raw(path, may_hold_line_break=anywhere)


def test_a_missing_file_and_a_folder_are_data_errors(tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    for name in ("table.csv", "other.csv", "other.parquet"):
        with pytest.raises(DataError, match="cannot be read"):
            read_raw(tmp_path / name, may_hold_line_break=anywhere)


def test_any_row_can_be_printed_as_json() -> None:
    frame = pl.DataFrame(
        {
            "picture": [b"abc", None],
            "share": [float("nan"), 0.5],
            "topics": [["a"], None],
            "box": [{"left": 1}, None],
            "n": [1, None],
            "days": [[1, 2], []],
        }
    )
    first, second = (json.loads(text) for text in raw_json(frame))
    assert first == {
        "picture": "<3 bytes>", "share": "NaN", "topics": ["a"], "box": "{'left': 1}", "n": 1, "days": "[1, 2]"
    }  # fmt: skip
    assert second["share"] == "0.5"
    assert second["picture"] is None


def test_a_panic_of_the_parquet_reader_is_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("assertion failed: offset + length <= self.length")

    (tmp_path / "table.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(pl, "read_parquet", panics)
    with pytest.raises(DataError, match="damaged, cut off"):
        read_raw(tmp_path / "table.parquet", may_hold_line_break=anywhere)
