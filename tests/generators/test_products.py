"""Product pictures of every kind come in safely, and go out untouched."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from contracts.errors import DataError
from generators.layout import DEFAULT_BOX, LAYOUTS
from generators.products import (
    WORKING_SIDE,
    ProductBox,
    composite,
    fit_product,
    load_product,
    place_product,
    product_mask,
)


def _disc(wide: int = 90, high: int = 60) -> np.ndarray:
    """An orange ellipse with a soft edge on a transparent ground."""
    x, y = np.meshgrid(np.linspace(-1.2, 1.2, wide), np.linspace(-1.2, 1.2, high))
    alpha = np.clip((1 - np.hypot(x, y)) * 12 + 0.5, 0, 1)
    out = np.zeros((high, wide, 4), dtype=np.uint8)
    out[..., :3] = np.stack([220 + 20 * x, 120 + 60 * y, 40 + 0 * x], axis=-1)
    out[..., 3] = np.round(255 * alpha)
    return out


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "LA", "P", "1"])
def test_every_colour_mode_of_png_becomes_rgba(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "product.png"
    Image.fromarray(_disc()).convert("RGB" if mode in ("P", "1") else mode).convert(mode).save(path)
    loaded = load_product(path)
    assert loaded.dtype == np.uint8
    assert loaded.shape[2] == 4
    if mode not in ("RGBA", "LA"):
        assert (loaded[..., 3] == 255).all(), "without alpha it is an opaque rectangle"
        assert loaded.shape[:2] == (60, 90)


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.jpg", "L"), ("a.jpg", "CMYK"), ("a.webp", "RGBA")])
def test_jpeg_and_webp_keep_their_colours(tmp_path: Path, name: str, mode: str) -> None:
    poster = np.full((60, 40, 3), (200, 40, 30), dtype=np.uint8)
    Image.fromarray(poster).convert(mode).save(tmp_path / name, quality=95)
    loaded = load_product(tmp_path / name)
    assert loaded.shape == (60, 40, 4)
    expected = np.array(Image.fromarray(poster).convert(mode).convert("RGB")).astype(int)
    assert np.abs(loaded[..., :3].astype(int) - expected).max() <= 8


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 40 * 40).reshape(40, 40).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    grey = load_product(tmp_path / "deep.png")[..., 0]
    assert grey.min() == 0
    assert grey.max() == 255
    assert 120 <= grey[20, 0] <= 135


@pytest.mark.parametrize("name", ["moving.webp", "moving.png"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("#ff0000", "#0000ff")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert tuple(load_product(tmp_path / name)[20, 20]) == pytest.approx((255, 0, 0, 255), abs=3)


def test_a_palette_keeps_what_it_makes_transparent(tmp_path: Path) -> None:
    flat = np.zeros((40, 40), np.uint8)
    flat[10:30, 10:30] = 1
    picture = Image.fromarray(flat, "P")
    picture.putpalette([0, 0, 0, 200, 40, 30])
    picture.save(tmp_path / "palette.png", transparency=0)
    loaded = load_product(tmp_path / "palette.png")
    assert loaded.shape == (20, 20, 4), "the transparent margin is cut off"
    assert (loaded == (200, 40, 30, 255)).all()


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_sixteen_bits_a_channel_keep_their_colours(tmp_path: Path, mode: str) -> None:
    channels = {"LA": 2, "RGB": 3, "RGBA": 4}[mode]
    deep = np.broadcast_to(np.array([51400, 10280, 30840, 65535])[:channels], (20, 20, channels))
    _write_deep_png(tmp_path / "deep.png", deep)
    shown = load_product(tmp_path / "deep.png")[10, 10].astype(int)
    wanted = {"LA": (200, 200, 200, 40), "RGB": (200, 40, 120, 255), "RGBA": (200, 40, 120, 255)}[mode]
    assert np.abs(shown - wanted).max() <= 1


def _write_deep_png(path: Path, pixels: np.ndarray) -> None:
    """16 bits a channel, which Pillow reads and does not write."""
    high, wide, channels = pixels.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {2: 4, 3: 2, 4: 6}[channels]
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_colours_are_what_the_pictures_own_profile_says(tmp_path: Path, name: str) -> None:
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = plain.replace(b"rXYZ", b"____", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"____", b"bXYZ", 1)
    profiles = {"plain": plain, "swapped": swapped, "damaged": plain[:100], "none": None}
    shown = {}
    for kind, profile in profiles.items():
        Image.new("RGB", (40, 40), (250, 0, 0)).save(tmp_path / name, icc_profile=profile, quality=100)
        shown[kind] = load_product(tmp_path / name)[20, 20].astype(int)
    assert np.abs(shown["swapped"] - (0, 0, 250, 255)).max() <= 6, "what it calls red is blue"
    for kind in ("plain", "damaged", "none"):
        assert np.abs(shown[kind] - (250, 0, 0, 255)).max() <= 6


@pytest.mark.parametrize(("name", "mode"), [("wide.png", "P"), ("wide.png", "RGBA"), ("wide.png", "I;16"),
                                            ("wide.jpg", "RGB"), ("wide.jpg", "CMYK"), ("wide.webp", "RGB")])  # fmt: skip
def test_a_picture_20000_pixels_wide_is_reduced_while_it_is_read(tmp_path: Path, name: str, mode: str) -> None:
    wide = 16_000 if name.endswith("webp") else 20_000  # WebP knows no wider ones
    ramp = np.linspace(0, 255, wide)[None, :].repeat(600, axis=0)
    ramp[200:400, wide // 4 : wide // 2] = 0
    picture = Image.fromarray(ramp.astype(np.uint8))
    picture = Image.fromarray((ramp * 257).astype(np.uint16)) if mode == "I;16" else picture.convert(mode)
    picture.save(tmp_path / name, quality=90, compress_level=1, method=0)
    shown = load_product(tmp_path / name, trim=False)
    assert WORKING_SIDE <= shown.shape[1] < 2 * WORKING_SIDE
    assert abs(shown.shape[1] / shown.shape[0] / (wide / 600) - 1) < 0.03
    lightness = shown[..., :3].mean(axis=(0, 2))
    assert np.abs(shown[: len(shown) // 4, :, :3].mean(axis=(0, 2)) - np.linspace(0, 255, shown.shape[1])).max() < 6
    assert lightness[int(0.4 * len(lightness))] < 0.9 * 0.4 * 255, "with what is in its middle"


@pytest.mark.parametrize(
    ("name", "size", "most"), [("vast.png", (20_000, 5_000), 700), ("vast.jpg", (20_000, 8_000), 300)]
)
def test_memory_stays_bounded_for_the_largest_that_are_read(
    tmp_path: Path, name: str, size: tuple[int, int], most: int
) -> None:
    Image.new("RGB", size, "#336699").save(tmp_path / name, compress_level=1)
    code = (
        "import resource, sys; from pathlib import Path; from generators.products import load_product\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load_product(Path(sys.argv[1])); print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < most, "MiB; 100 million pixels at four bytes are 381"


def test_a_photograph_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (80, 40), "#336699").save(tmp_path / "side.jpg", exif=exif)
    assert load_product(tmp_path / "side.jpg").shape == (80, 40, 4)


def test_transparent_margins_are_cut_off_unless_wanted(tmp_path: Path) -> None:
    wide = np.zeros((200, 300, 4), dtype=np.uint8)
    wide[50:110, 20:110] = _disc()
    wide[:, :, :3][wide[..., 3] == 0] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    rows = np.flatnonzero((_disc()[..., 3] > 4).any(axis=1))
    assert load_product(tmp_path / "wide.png").shape[0] == rows[-1] - rows[0] + 1
    assert load_product(tmp_path / "wide.png", trim=False).shape == (200, 300, 4)


def test_what_is_no_usable_picture_is_refused_by_name(tmp_path: Path) -> None:
    Image.fromarray(_disc(400, 400)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "zip.png", "w") as archive:
        archive.writestr("a.txt", "hello")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("1", (11_000, 10_000)).save(tmp_path / "huge.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png", compress_level=1)
    Image.new("RGBA", (50, 50), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGB", (50, 50)).save(tmp_path / "other.bmp")
    said = {
        "missing.png": "missing", "truncated.png": "damaged", "empty.png": "not a PNG", "zip.png": "not a PNG",
        "dot.png": "only 1 x 1", "huge.png": "over 100 million", "bomb.png": "over 100 million", "clear.png": "transparent", "other.bmp": "not a PNG",
    }  # fmt: skip
    for name, words in said.items():
        with pytest.raises(DataError, match=words) as caught:
            load_product(tmp_path / name)
        assert name in str(caught.value)
        assert caught.value.fix


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(20, 260), height=st.integers(20, 260), side=st.integers(64, 400),
    left=st.floats(0, 0.5), top=st.floats(0, 0.5), share=st.floats(0.2, 0.5),
)  # fmt: skip
def test_opaque_pixels_are_the_products_own_at_every_size(
    width: int, height: int, side: int, left: float, top: float, share: float
) -> None:
    product, box = _disc(width, height), ProductBox(left, top, share, share)
    canvas = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    before = canvas.copy()
    placed = place_product(canvas, product, box)
    resized, at = fit_product(product, box, (side, side))
    shown, opaque = placed[at.top : at.bottom, at.left : at.right], resized[..., 3] == 255
    assert (shown[opaque] == resized[..., :3][opaque]).all()
    assert (canvas == before).all(), "the canvas given is not changed"
    outside = np.ones((side, side), dtype=bool)
    outside[at.top : at.bottom, at.left : at.right] = False
    assert (placed[outside] == canvas[outside]).all()
    clear = resized[..., 3] == 0
    assert (shown[clear] == canvas[at.top : at.bottom, at.left : at.right][clear]).all()
    assert at.right - at.left <= round(box.width * side)
    assert at.bottom - at.top <= round(box.height * side)
    assert abs(at.bottom - box.bottom * side) <= 1, "it stands on the lower edge of its box"
    assert abs((at.right - at.left) / (at.bottom - at.top) / (width / height) - 1) < 3 / min(resized.shape[:2])


def test_half_transparent_pixels_are_mixed_by_their_alpha() -> None:
    canvas = np.full((4, 4, 3), 100, dtype=np.uint8)
    product = np.full((4, 4, 4), (200, 0, 50, 51), dtype=np.uint8)
    _, at = fit_product(product, ProductBox(0, 0, 1, 1), (4, 4))
    assert tuple(composite(canvas, product, at)[0, 0]) == (120, 80, 90)


def test_no_dark_or_bright_rim_comes_from_resizing() -> None:
    product = np.zeros((200, 200, 4), dtype=np.uint8)
    product[..., :3] = (0, 255, 0)  # what hides under full transparency must not bleed
    product[50:150, 50:150] = (180, 60, 60, 255)
    placed = place_product(np.full((90, 90, 3), (180, 60, 60), dtype=np.uint8), product, ProductBox(0, 0, 1, 1))
    assert np.abs(placed.astype(int) - (180, 60, 60)).max() <= 3


@pytest.mark.parametrize("side", [64, 128, 600])
def test_the_mask_is_the_alpha_at_the_place_of_the_product(side: int) -> None:
    mask = product_mask(_disc(), DEFAULT_BOX, side)
    assert mask.dtype == np.float32
    assert mask.shape == (side, side)
    assert mask.min() == 0
    assert mask.max() == 1
    black, white = (place_product(np.full((side, side, 3), v, np.uint8), _disc(), DEFAULT_BOX) for v in (0, 255))
    see_through = (white.astype(float) - black).mean(axis=2) / 255
    assert np.abs(1 - see_through - mask).max() < 0.01, "by another road: what shines through"


def test_the_default_box_is_about_half_the_side_at_the_lower_right() -> None:
    assert LAYOUTS["1:1"].product == DEFAULT_BOX
    assert 0.5 <= DEFAULT_BOX.width <= 0.56
    assert 0.5 <= DEFAULT_BOX.height <= 0.56
    assert DEFAULT_BOX.left > 0.4
    assert DEFAULT_BOX.top > 0.4
    assert DEFAULT_BOX.right < 1
    assert DEFAULT_BOX.bottom < 1


def test_a_loaded_product_is_resized_once_a_size_and_cannot_be_changed(tmp_path: Path) -> None:
    for name, colour in (("one", 200), ("two", 90)):
        picture = _disc()
        picture[..., 0] = colour
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    one, two = (load_product(tmp_path / f"{name}.png") for name in ("one", "two"))
    box = ProductBox(0.1, 0.1, 0.5, 0.5)
    for size in ((64, 64), (200, 90)):
        for product in (one, two):
            first, again = fit_product(product, box, size)[0], fit_product(product, box, size)[0]
            assert first is again
            assert np.array_equal(first, fit_product(product.copy(), box, size)[0])
    with pytest.raises(ValueError, match="read-only"):
        one[0, 0] = 0
