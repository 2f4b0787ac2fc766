"""AEDAT 4, the format of iniVation's cameras, read with every offset checked.

A file is ``#!AER-DAT4.0``, a header, then packets of (stream, size, content); header and contents
are flatbuffers, contents compressed with LZ4 or Zstandard where the header says so
(https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-4.0.html).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = b"#!AER-DAT4.0\r\n"
_CODECS = {0: None, 1: "lz4", 2: "lz4", 3: "zstd", 4: "zstd"}
_EVENTS = b"EVTS"
_EVENT = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<i2", "<i2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": 16,
    }
)
_LARGEST_PACKET = 2**28  # bytes, once it is decompressed; cameras write some hundred kilobytes


class Aedat4Error(ValueError):
    """A file that is no AEDAT 4, or damaged."""


def read_aedat4(file: Path) -> NDArray[np.void]:
    """The events of the first stream that has any, fields t (µs), x, y and p.

    Raises:
        Aedat4Error: the file is no such file, or damaged.
    """
    content = file.read_bytes()
    if not content.startswith(MAGIC):
        raise Aedat4Error(f"it does not start with {MAGIC.decode().strip()}")
    try:
        streams: dict[int, list[NDArray[np.void]]] = {}
        for stream, packet in _packets(content):
            if packet[4:8] == _EVENTS:
                streams.setdefault(stream, []).append(_events(packet))
    except struct.error:
        raise Aedat4Error("it ends within a packet, or an offset points out of it") from None
    return np.concatenate(streams[min(streams)]) if streams else np.zeros(0, _EVENT)


def _packets(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The stream and the decompressed content of each packet, without its size."""
    at = len(MAGIC)
    size = _number("<I", content, at)
    header = content[at + 4 : at + 4 + size]
    root = _number("<I", header, 0)
    compression, table = _field(header, root, 0), _field(header, root, 1)
    codec = 0 if compression is None else _number("<i", header, compression)
    if codec not in _CODECS:
        raise Aedat4Error(f"it has the unknown compression {codec}")
    end = -1 if table is None else _number("<q", header, table)  # the table of packets is last
    end = len(content) if end < 0 else min(end, len(content))
    at += 4 + size
    while at < end:
        stream, size = _number("<i", content, at), _number("<I", content, at + 4)
        if at + 8 + size > len(content):
            raise Aedat4Error("it ends within a packet")
        yield stream, _plain(content[at + 8 : at + 8 + size], _CODECS[codec])[4:]
        at += 8 + size


def _plain(packet: bytes, codec: str | None) -> bytes:
    if codec is None:
        return packet
    import pyarrow as pa

    with pa.CompressedInputStream(pa.BufferReader(packet), codec) as stream:
        plain: bytes = stream.read(_LARGEST_PACKET + 1)
    if len(plain) > _LARGEST_PACKET:
        raise Aedat4Error(f"a packet is larger than {_LARGEST_PACKET} bytes once decompressed")
    return plain


def _events(packet: bytes) -> NDArray[np.void]:
    """The vector of structs that is a packet's only field."""
    elements = _field(packet, _number("<I", packet, 0), 0)
    if elements is None:
        return np.zeros(0, _EVENT)
    vector = elements + _number("<I", packet, elements)
    count = _number("<I", packet, vector)
    if vector + 4 + count * _EVENT.itemsize > len(packet):
        raise Aedat4Error(f"a packet says that it has {count} events, and ends before")
    return np.frombuffer(packet, _EVENT, count, vector + 4)


def _field(buffer: bytes, table: int, index: int) -> int | None:
    """Where a flatbuffer's table has a field; None where it has its default."""
    layout = table - _number("<i", buffer, table)
    entry = 4 + 2 * index
    if entry + 2 > _number("<H", buffer, layout):
        return None
    offset = _number("<H", buffer, layout + entry)
    return table + offset if offset else None


def _number(form: str, buffer: bytes, at: int) -> int:
    if at < 0:
        raise struct.error("before the start")
    (value,) = struct.unpack_from(form, buffer, at)
    return int(value)
