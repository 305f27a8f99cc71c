"""Ads in scripts that the shipped fonts lack: refused by name, and set in every size once a font is named."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features

from contracts.errors import DataError
from generators.layout import LAYOUTS
from generators.products import Pixels
from generators.typesetting.brand import Brand
from generators.typesetting.contrast import LEAST_CONTRAST
from generators.typesetting.line_breaking import NEVER_FIRST
from generators.typesetting.typesetter import TypesetReport, typeset
from generators.typesetting.wording import Copy
from tests.generators.tiny_fonts import write_box_font
from tests.generators.typesetting.test_brand_kits import collisions

CHINESE = Copy("个性化的早晨，从一杯好咖啡开始。", "每天新鲜烘焙，“慢下来”，好好喝一杯。", "立即选购", "港湾咖啡")
ARABIC = Copy("صباح هادئ يبدأ بقهوة طازجة", "حبوب محمصة كل يوم، 25% خصم هذا الأسبوع.", "تسوق الآن", "Harbour")
HEBREW = Copy("בוקר רגוע מתחיל בקפה טרי", "פולים קלויים מדי יום.", "לקנייה", "Harbour")
SYSTEM_FONTS = ("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc", "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
                "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf")  # fmt: skip


def product() -> Pixels:
    out = np.zeros((150, 120, 4), np.uint8)
    out[5:-5, 5:-5] = (200, 90, 60, 255)
    return out


def scene() -> Pixels:
    return np.broadcast_to(np.linspace(40, 200, 64)[:, None, None], (64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Brand:
    """A font of boxes for every character of the Chinese copy."""
    words = CHINESE.headline + CHINESE.body + CHINESE.call_to_action + CHINESE.advertiser
    return Brand.in_font(write_box_font(tmp_path_factory.mktemp("font") / "boxes.ttf", words))


@pytest.fixture(scope="module")
def real() -> Brand:
    """A real Chinese font, such as Debian's fonts-wqy-microhei."""
    found = [path for path in map(Path, SYSTEM_FONTS) if path.exists()]
    if not found:
        pytest.skip("no Chinese font here; .ci/run installs one")
    return Brand.in_font(found[0])


@pytest.fixture(scope="module")
def dejavu() -> Brand:
    if not features.check("raqm"):
        pytest.skip("Pillow finds no FriBiDi here")
    matplotlib = pytest.importorskip("matplotlib")
    return Brand.in_font(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def in_small(name: str) -> int | None:
    """The width to set a large format in, to be quick; the small ones as they are."""
    wide, high = LAYOUTS[name].size
    return None if min(wide, high) < 500 else wide // 3


def sound(report: TypesetReport) -> None:
    assert collisions(report) == []
    assert min(report.contrasts.values()) >= LEAST_CONTRAST
    rest = [report.boxes[one] for one in ("wordmark", "headline", "body") if one in report.boxes]
    assert all(upper.bottom <= lower.top for upper, lower in pairwise(rest)), "they follow downwards"
    by_line = [line.box for line in report.lines if line.name != "label"]
    assert not any(one.overlaps(other) for one, other in pairwise(by_line)), "and no line touches the next"


def test_without_a_font_for_it_the_missing_glyphs_are_named_and_the_setting_that_helps() -> None:
    with pytest.raises(DataError) as caught:
        typeset(scene(), None, CHINESE, LAYOUTS["1:1"], 300, where="concept c3")
    said = str(caught.value)
    for words in ("concept c3", "个 (U+4E2A)", "性 (U+6027)", "化 (U+5316)", "generators.font_path", "brands.toml"):
        assert words in said


@pytest.mark.parametrize("name", LAYOUTS)
def test_chinese_is_set_in_every_size_and_broken_by_its_own_rules(name: str, boxes: Brand) -> None:
    _, report = typeset(scene(), product(), CHINESE, LAYOUTS[name], in_small(name), brand=boxes)
    sound(report)
    for text in ("headline", "body"):
        lines = [line.text for line in report.lines if line.name == text]
        assert not [line for line in lines if line[0] in NEVER_FIRST]
        assert "".join(lines) in ("", CHINESE.headline, CHINESE.body)


@pytest.mark.parametrize("name", ["1:1", "160x600", "320x50"])
def test_a_real_chinese_font_sets_it_too(name: str, real: Brand) -> None:
    _, report = typeset(scene(), product(), CHINESE, LAYOUTS[name], brand=real)
    sound(report)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("copy", [ARABIC, HEBREW], ids=["Arabic", "Hebrew"])
def test_what_runs_from_the_right_is_set_in_every_size_and_aligned_there(name: str, copy: Copy, dejavu: Brand) -> None:
    _, report = typeset(scene(), product(), copy, LAYOUTS[name], in_small(name), brand=dejavu)
    sound(report)
    ends = [line.box.right for line in report.lines if line.name == "headline"]
    assert max(ends) - min(ends) <= 0.12 * report.type_sizes["headline"] + 1


_LETTERS = "个性化的早晨，从一杯好咖啡开始。每天新鲜烘焙“慢下来”立即选购 "


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(sorted(LAYOUTS)), headline=st.text(_LETTERS, min_size=1, max_size=40).filter(str.strip),
    body=st.text(_LETTERS, max_size=50), call=st.text("立即选购", min_size=1, max_size=9),
)  # fmt: skip
def test_whatever_chinese_it_is_in_place_or_refused_by_name(
    name: str, headline: str, body: str, call: str, boxes: Brand
) -> None:
    layout, size = LAYOUTS[name], in_small(name)
    try:
        _, report = typeset(scene(), product(), Copy(headline, body, call, "港湾"), layout, size, brand=boxes)
    except DataError as error:
        if "does not fit" not in str(error):
            raise
        return
    sound(report)
