"""Packs bytes as a file's name says."""

from __future__ import annotations

import gzip

import pyarrow as pa


def packed(content: bytes, name: str) -> bytes:
    """The bytes of a file of that name: gzip for .gz, zstd for .zst."""
    if name.endswith(".gz"):
        return gzip.compress(content)
    if name.endswith(".zst"):
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            stream.write(content)
        return bytes(sink.getvalue())
    return content
