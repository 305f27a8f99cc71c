"""Turns a text file, near or far, packed or not, into blocks of bytes that end where lines end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pyarrow as pa

from contracts.errors import DataError
from sources.far_storage import far_file_system, is_far
from sources.places import Part

BLOCK_BYTES = 1 << 24
MAX_LINE_BYTES = 1 << 26
"""A longer line is taken for a file without lines."""


def blocks(part: Part, *, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[bytes, bool]]:
    """Blocks of whole lines, and whether the block is the last; a byte order mark is left out.

    Raises:
        DataError: the file is empty, UTF-16, badly packed, or has a line of more than `MAX_LINE_BYTES`.
        OSError: it cannot be opened or read.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_opened(part))
        block = _read(part, stream, block_bytes)
        if block.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError("is UTF-16", where=part.name, fix="Save the file as UTF-8.")
        block = block.removeprefix(b"\xef\xbb\xbf")
        if not block:
            raise DataError("is empty (0 bytes)", where=part.name, fix="Write the file again, with a header.")
        held = b""
        while block:
            following = _read(part, stream, block_bytes)
            text = held + block
            if not following:
                yield text, True
                return
            end = text.rfind(b"\n") + 1
            if not end and len(text) > MAX_LINE_BYTES:
                raise DataError(
                    f"has a line of more than {MAX_LINE_BYTES:,} bytes", where=part.name, fix="Write rows as lines."
                )
            if end:
                yield text[:end], False
            held, block = text[end:], following


def _opened(part: Part) -> Any:
    if is_far(part.path):
        system, path = far_file_system(part.path)
        stream = system.open_input_stream(path, compression=None)
    else:
        stream = pa.OSFile(part.path)
    return pa.CompressedInputStream(stream, part.packing) if part.packing else stream


def _read(part: Part, stream: Any, size: int) -> bytes:
    pieces, left = [], size
    try:
        while left > 0 and (piece := stream.read(left)):
            pieces.append(piece)
            left -= len(piece)
    except (OSError, pa.ArrowException) as error:
        if not part.packing:
            raise
        raise DataError(f"is damaged or no {part.packing} file", where=part.name, fix="Write it again.") from error
    return b"".join(pieces)
