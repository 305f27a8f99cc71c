"""Sheets for ad platforms: nothing lost on the way, no cell that runs, landing pages still found."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DataError, SettingsError
from contracts.provenance import COMPOSED
from review.ad_sheets import PLATFORMS, SHEETS, Ad, alt_text, button_of, from_csv, harmless, to_csv
from review.archive import read_archive, write_archive
from review.landing import tagged_url

UTM = {"utm_source": "{platform}", "utm_content": "{creative_id}"}


def ad(**changes: object) -> Ad:
    known: dict[str, object] = {
        "creative_id": "shoe-1-ab", "concept_id": "shoe-1", "advertiser": "Stride", "cohort": 2, "generator": "diffusion",
        "weights_hash": "0" * 64, "topics": ("running", "hiking"), "headline": "Run further", "body": "Light.",
        "call_to_action": "Shop now", "alt_text": "Ad by Stride.", "landing": {name: f"https://x.test/?p={name}" for name in PLATFORMS},
        "display_url": "x.test", "campaign": "Adloom sample", "ad_group": "shoe-1", "file": "shoe-1/shoe-1-ab_720x720.png",
        "sha256": "1" * 64, "bytes": 10, "width": 720, "height": 720, "main": True, "digital_source_type": COMPOSED,
    }  # fmt: skip
    return Ad(**{**known, **changes})  # type: ignore[arg-type]


def test_every_sheet_holds_every_ad_and_reads_back_as_it_was() -> None:
    ads = [ad(), ad(width=300, height=250, main=False, file="shoe-1/small.png", headline='=HYPERLINK("evil")')]
    for name, rows_of in SHEETS.items():
        rows = rows_of(ads)
        assert len(rows) == (1 if name == "meta.csv" else 2)
        assert from_csv(to_csv(rows)) == rows, name
        urls = [cell for cell in rows[0].values() if cell.startswith("https://x.test")]
        assert urls == [f"https://x.test/?p={ {'creatives.csv': 'generic'}.get(name, name.removesuffix('.csv')) }"]
        assert any(
            "AI-generated" in cell or "compositeWithTrainedAlgorithmicMedia" in cell for cell in rows[0].values()
        )


@given(st.text())
def test_no_cell_begins_like_a_formula_and_none_is_changed_for_good(text: str) -> None:
    sheet = to_csv([{"headline": text, "other": "x"}])
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    if not any(character in text for character in "\r\x00"):  # a reader may take these for the end of a line
        assert from_csv(sheet) == [{"headline": text, "other": "x"}]


@given(
    st.sampled_from(["", "a=1", "a=1&b=%20x", "q", "utm_medium=mail&x=", "a=b&"]), st.sampled_from(["", "top", "/route?x=1"])
)  # fmt: skip
def test_a_landing_page_keeps_its_query_and_fragment(query: str, fragment: str) -> None:
    url = "https://shop.test/p/1" + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")
    values = {"platform": "meta", "creative_id": "a&b=c d"}
    parts = urlsplit(tagged_url(url, UTM, values, where="concept x"))
    assert parts._replace(query="").geturl() == urlsplit(url)._replace(query="").geturl()
    assert parts.query.startswith(query.rstrip("&"))
    told = parse_qsl(parts.query, keep_blank_values=True)
    assert [pair for pair in parse_qsl(query, keep_blank_values=True) if pair not in told] == []
    assert dict(told)["utm_content"] == "a&b=c d"


def test_a_parameter_that_the_shop_set_itself_stays() -> None:
    found = tagged_url("https://s.test/?utm_source=own", UTM, {"platform": "meta", "creative_id": "c"}, where="x")
    assert found == "https://s.test/?utm_source=own&utm_content=c"


@pytest.mark.parametrize(
    "url", ["", "shop.test/p", "javascript:alert(1)", "https://", "https://a b.test/", "http://[::1"]
)
def test_what_is_no_web_address_is_refused_with_the_concepts_name(url: str) -> None:
    with pytest.raises(DataError, match="concept x"):
        tagged_url(url, UTM, {}, where="concept x")


def test_a_template_that_names_what_is_not_there_is_refused() -> None:
    with pytest.raises(SettingsError, match="price"):
        tagged_url("https://s.test", {"utm_term": "{price}"}, {}, where="x")
    with pytest.raises(SettingsError, match=r"export\.utm"):
        tagged_url("https://s.test", {"utm_term": "{"}, {}, where="x")


def test_an_archive_has_the_same_bytes_whenever_and_in_whatever_order_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"png")
    contents: dict[str, bytes | Path] = {"b.csv": b"2", "a/b.png": tmp_path / "picture"}
    write_archive(tmp_path / "one.zip", contents)
    write_archive(tmp_path / "two.zip", dict(reversed(contents.items())))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert read_archive(tmp_path / "one.zip") == {"a/b.png": b"png", "b.csv": b"2"}
    (tmp_path / "half.zip").write_bytes((tmp_path / "one.zip").read_bytes()[:40])
    with pytest.raises(DataError, match="half"):
        read_archive(tmp_path / "half.zip")


def test_alt_text_and_buttons_say_what_the_ad_does() -> None:
    assert button_of("Shop the sale") == "SHOP_NOW"
    assert button_of("Mehr erfahren") == "LEARN_MORE"
    told = alt_text("Run further.", "Stride", ("running",), has_product=True)
    assert "Stride" in told
    assert "“Run further”" in told
    assert len(alt_text("x" * 400, "Stride", (), has_product=False)) == 250
