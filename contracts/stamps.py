"""Turns a PNG or JPEG file and an XMP packet into the same file with the packet in it: no pixel is coded again.

PNG: an iTXt chunk `XML:com.adobe.xmp` right behind IHDR. JPEG: an APP1 segment behind those of JFIF and Exif. Both as the
XMP specification, part 3, has them.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from contracts.errors import DataError
from contracts.provenance import Provenance, from_xmp, to_xmp

if TYPE_CHECKING:
    from PIL import Image

MOST_PACKET = 65_502
"""Bytes of a packet: what an APP1 segment holds beside its name."""

_PNG = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp\0"
_ITXT = _KEYWORD + b"\0\0\0\0"  # not compressed, no language, no translated keyword
_JPEG = b"\xff\xd8"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_APP0, _APP1, _SOS, _EOI = 0xE0, 0xE1, 0xDA, 0xD9
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment
_FIX = "Take the file from the run again."

Part = tuple[int, int, bytes]  # where it begins and ends in the file, and its name: a chunk's type, a segment's marker


def stamped(content: bytes, facts: Provenance, *, where: str = "picture", pixels: str = "") -> bytes:
    """The file with the facts and the hash of its own pixels in it, in place of an earlier stamp.

    Args:
        content: of a PNG or JPEG file.
        facts: how it was made; `pixels` is filled in.
        where: names the file in errors.
        pixels: their hash, where it is known already; else the picture is decoded.

    Raises:
        DataError: the file is neither, is damaged, or the facts are too long for it.
    """
    bare = unstamped(content, where=where)
    packet = to_xmp(replace(facts, pixels=pixels or pixel_hash(bare, where=where)))
    if len(packet) > MOST_PACKET:
        raise DataError("has too much to say for XMP", where=where, fix="Shorten the ids of creatives and concepts.")
    if bare.startswith(_PNG):
        at, part = next(_chunks(bare, where))[1], _chunk(b"iTXt", _ITXT + packet)
    else:
        at, body = len(_JPEG), _XMP + packet
        for _, end, name in _segments(bare, where):
            if name[0] not in (_APP0, _APP1):
                break
            at = end
        part = struct.pack(">BBH", 0xFF, _APP1, len(body) + 2) + body
    return bare[:at] + part + bare[at:]


def unstamped(content: bytes, *, where: str = "picture") -> bytes:
    """The file without any XMP packet. Raises DataError as `stamped` does."""
    kept, begin = [], 0
    for start, end in _packets(content, where):
        kept.append(content[begin:start])
        begin = end
    return b"".join([*kept, content[begin:]])


def read_stamp(content: bytes, *, where: str = "picture") -> Provenance | None:
    """What the file says of how it was made; None: nothing. Raises DataError when it, or what it says, is damaged."""
    for start, end in _packets(content, where):
        part = content[start:end]
        packet = _text(part[8:-4], where) if content.startswith(_PNG) else part[4 + len(_XMP) :]
        found = from_xmp(packet, where=where)
        if found is not None:
            return found
    return None


def pixel_hash(content: bytes, *, where: str = "picture") -> str:
    """SHA-256 of mode, size and decoded pixels: another compression of the same pixels has the same.

    Raises:
        DataError: the picture cannot be decoded.
    """
    from PIL import Image  # noqa: PLC0415 - slow to import

    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            return hash_of(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("cannot be decoded", where=where, fix=_FIX) from error


def hash_of(image: Image.Image) -> str:
    """`pixel_hash` of a picture in memory: of the file, if that keeps it without loss."""
    told = f"{image.mode} {image.width}x{image.height}\n".encode()
    return hashlib.sha256(told + image.tobytes()).hexdigest()


def is_as_stamped(content: bytes, facts: Provenance, *, where: str = "picture") -> bool:
    """Whether the pixels are those that were stamped."""
    return pixel_hash(content, where=where) == facts.pixels


def _packets(content: bytes, where: str) -> Iterator[tuple[int, int]]:
    """Where parts with XMP begin and end."""
    if content.startswith(_PNG):
        for start, end, name in _chunks(content, where):
            if name == b"iTXt" and content.startswith(_KEYWORD, start + 8):
                yield start, end
    elif content.startswith(_JPEG):
        for start, end, name in _segments(content, where):
            if name[0] == _APP1 and content.startswith(_XMP, start + 4):
                yield start, end
    else:
        raise DataError("is neither PNG nor JPEG", where=where, fix="Only these two carry provenance here.")


def _chunks(content: bytes, where: str) -> Iterator[Part]:
    """The chunks of a PNG file, IHDR first, IEND last."""
    at, name = len(_PNG), b""
    while name != b"IEND":
        first = name == b""
        header = content[at : at + 8]
        if len(header) < 8:
            raise _cut_off("PNG", where)
        length, name = struct.unpack(">I4s", header)
        end = at + 12 + length
        if end > len(content) or (first and name != b"IHDR"):
            raise _cut_off("PNG", where)
        yield at, end, name
        at = end


def _segments(content: bytes, where: str) -> Iterator[Part]:
    """The segments of a JPEG file up to the first scan."""
    at = len(_JPEG)
    while True:
        if content[at : at + 1] != b"\xff" or at + 4 > len(content):
            raise _cut_off("JPEG", where)
        marker = content[at + 1]
        if marker == 0xFF or marker in _BARE:  # fill bytes, and markers that stand alone
            at += 1 if marker == 0xFF else 2
            continue
        if marker in (_SOS, _EOI):
            return
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(content):
            raise _cut_off("JPEG", where)
        yield at, end, bytes([marker])
        at = end


def _text(body: bytes, where: str) -> bytes:
    """The text of an iTXt chunk, unpacked where another tool packed it, at most MOST_PACKET bytes."""
    packed = body[len(_KEYWORD) : len(_KEYWORD) + 1] == b"\1"
    rest = body[len(_KEYWORD) + 2 :].split(b"\0", 2)
    if len(rest) != 3:
        raise _cut_off("PNG", where)
    if not packed:
        return rest[2]
    try:
        return zlib.decompressobj().decompress(rest[2], MOST_PACKET)
    except zlib.error as error:
        raise _cut_off("PNG", where) from error


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _cut_off(kind: str, where: str) -> DataError:
    return DataError(f"is a damaged {kind} file", where=where, fix=_FIX)
