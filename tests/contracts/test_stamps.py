"""A stamp goes into PNG and JPEG bytes without touching a pixel, comes out again, and damaged files are named."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from contracts.errors import DataError
from contracts.provenance import COMPOSED, PAINTED, Provenance, from_xmp, source_type, to_xmp
from contracts.stamps import is_as_stamped, pixel_hash, read_stamp, stamped, unstamped

FACTS = Provenance(COMPOSED, 'shoe-1 "a<b>&', "shoe", "diffusion", 2**62 + 1, "f" * 64, "0a" * 8, label="AI-generated")
SIZES = [(300, 250), (336, 280), (728, 90), (160, 600), (300, 600), (970, 250), (320, 50), (1080, 1080), (1080, 1350),
         (1080, 1920), (1200, 628), (1, 1)]  # fmt: skip


def picture(size: tuple[int, int] = (32, 20), kind: str = "PNG", **how: object) -> bytes:
    pixels = np.random.default_rng(3).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("size", SIZES)
def test_what_goes_in_comes_out_and_the_rest_of_the_file_stays_to_the_byte(size: tuple[int, int], kind: str) -> None:
    bare = picture(size, kind)
    marked = stamped(bare, FACTS)
    told = read_stamp(marked)
    assert told == replace(FACTS, pixels=pixel_hash(bare))
    assert unstamped(marked) == bare
    assert stamped(marked, FACTS) == marked == stamped(bare, FACTS)
    assert is_as_stamped(marked, told)
    assert read_stamp(bare) is None
    with Image.open(io.BytesIO(marked)) as image:
        image.load()
        assert image.tobytes() == Image.open(io.BytesIO(bare)).tobytes()


def test_the_stamp_stands_behind_those_of_jfif_and_exif_and_takes_the_place_of_other_xmp() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    bare = picture(kind="JPEG", exif=exif, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", dpi=(72, 72))
    marked = stamped(bare, FACTS)
    assert marked.count(b"http://ns.adobe.com/xap/1.0/\0") == 1
    assert marked.index(b"JFIF\0") < marked.index(b"Exif\0") < marked.index(b"http://ns.adobe.com/xap")
    assert Image.open(io.BytesIO(marked)).getexif()[0x010E] == "a description"


def test_the_table_of_pixels_is_of_pixels_not_of_their_packing() -> None:
    marked = stamped(picture(compress_level=1), FACTS)
    told = read_stamp(marked)
    assert told is not None
    assert is_as_stamped(picture(compress_level=9), told)
    pixels = np.array(Image.open(io.BytesIO(marked)))
    pixels[7, 7, 1] ^= 1
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    assert not is_as_stamped(out.getvalue(), told), "one bit of one pixel"


def test_other_readers_find_the_packet_where_the_xmp_specification_has_it() -> None:
    with Image.open(io.BytesIO(stamped(picture(), FACTS))) as image:
        assert from_xmp(image.info["XML:com.adobe.xmp"].encode(), where="x") == replace(
            FACTS, pixels=pixel_hash(picture())
        )
    with Image.open(io.BytesIO(stamped(picture(kind="JPEG"), FACTS))) as image:
        assert b"compositeWithTrainedAlgorithmicMedia" in image.info["xmp"]


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="apt-get install libimage-exiftool-perl")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_exiftool_reads_the_iptc_source_type_and_our_facts(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"one.{kind.lower()}"
    path.write_bytes(stamped(picture(kind=kind), FACTS))
    said = subprocess.run(
        ["exiftool", "-json", "-G1", "-all", "-validate", str(path)], capture_output=True, check=True, text=True
    )
    (told,) = json.loads(said.stdout)
    assert told["XMP-iptcExt:DigitalSourceType"] == COMPOSED
    assert told["XMP-xmp:CreatorTool"] == "Adloom"
    assert told["ExifTool:Validate"] == "OK"
    ours = {name.split(":")[1].lower(): value for name, value in told.items() if name.lower().startswith("xmp-adloom")}
    assert str(ours["model_hash"]) == FACTS.model_hash
    assert int(ours["seed"]) == FACTS.seed
    assert ours["creative_id"] == FACTS.creative_id


def test_properties_that_another_tool_wrote_as_elements_or_packed_are_read_too() -> None:
    packet = to_xmp(FACTS).decode()
    moved = packet.replace(f'\n   Iptc4xmpExt:DigitalSourceType="{COMPOSED}"', "").replace(
        "/>\n </rdf:RDF>",
        f"><Iptc4xmpExt:DigitalSourceType>{COMPOSED}</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF>",
    )
    assert moved != packet
    assert from_xmp(moved.encode(), where="x") == FACTS
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet, zip=True)
    assert read_stamp(picture(pnginfo=info)) == FACTS


@given(st.text(), st.text(), st.integers(0, 2**63 - 1))
def test_any_words_survive_but_for_characters_that_xml_has_not(name: str, label: str, seed: int) -> None:
    def known(text: str) -> str:
        return "".join(c if c in "\t\n\r" or (ord(c) >= 32 and c not in "\ufffe\uffff" and not 0xD800 <= ord(c) < 0xE000)
                       else "\ufffd" for c in text)  # fmt: skip

    facts = replace(FACTS, creative_id=name, label=label, seed=seed)
    assert from_xmp(to_xmp(facts), where="x") == replace(facts, creative_id=known(name), label=known(label))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_no_damaged_file_is_more_than_one_line(kind: str) -> None:
    whole = stamped(picture((8, 8), kind), FACTS)
    random = np.random.default_rng(5)
    spoilt = [whole[:end] for end in range(len(whole))]
    for _ in range(300):
        bent = bytearray(whole)
        bent[random.integers(len(bent))] = random.integers(256)
        spoilt.append(bytes(bent))
    faults = 0
    for content in spoilt:
        try:
            told = read_stamp(content, where="cut.png")
            if told is not None:
                is_as_stamped(content, told, where="cut.png")
        except DataError as error:
            faults += str(error).startswith("cut.png: ") and "\n" not in str(error)
    assert faults > len(whole) / 3


def test_what_is_no_picture_or_lies_is_refused() -> None:
    with pytest.raises(DataError, match="neither PNG nor JPEG"):
        stamped(b"GIF89a", FACTS)
    with pytest.raises(DataError, match="damaged PNG"):
        read_stamp(picture()[:20])
    with pytest.raises(DataError, match="damaged JPEG"):
        read_stamp(b"\xff\xd8\xff\xe1\xff\xff")
    with pytest.raises(DataError, match="too much to say"):
        stamped(picture(), replace(FACTS, creative_id="x" * 70_000))
    with pytest.raises(DataError, match="declarations"):
        from_xmp(b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', where="x")
    with pytest.raises(DataError, match="does not say its model_hash"):
        from_xmp(to_xmp(FACTS).replace(b"adloom:model_hash", b"adloom:other"), where="x")
    with pytest.raises(DataError, match="no number as its seed"):
        from_xmp(to_xmp(FACTS).replace(b'seed="4', b'seed="x'), where="x")
    bomb = zlib.compress(b"<" * 50_000_000)
    info = PngImagePlugin.PngInfo()
    info.add(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    with pytest.raises(DataError, match="cannot be read"):
        read_stamp(picture(pnginfo=info))


def test_a_product_makes_it_a_composite_by_iptc_and_without_one_a_model_made_it() -> None:
    assert (source_type(True), source_type(False)) == (COMPOSED, PAINTED)
