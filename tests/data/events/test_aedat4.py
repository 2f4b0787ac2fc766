"""AEDAT 4: as the aedat package reads it, and refused where it is damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import aedat
import numpy as np
import pytest

from latsearch.data.events.aedat4 import Aedat4Error, read_aedat4
from tests.data.events.formats import events, write_aedat4


def columns(file: Path) -> list[list[int]]:
    found = read_aedat4(file)
    return np.stack([found[name] for name in "txyp"], axis=1).astype(int).tolist()


@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("packets", [1, 3])
def test_read_as_the_aedat_package_does(tmp_path: Path, codec: str | None, packets: int) -> None:
    file, wanted = tmp_path / "a.aedat4", events(1, width=128, height=128)
    write_aedat4(file, wanted, packets, codec)
    assert columns(file) == wanted.tolist()
    theirs = np.concatenate([packet["events"] for packet in aedat.Decoder(str(file))])
    names = theirs.dtype.names
    assert names is not None
    assert columns(file) == np.stack([theirs[n] for n in names], axis=1).astype(int).tolist()


def test_no_events(tmp_path: Path) -> None:
    write_aedat4(tmp_path / "a.aedat4", events(1, 0))
    assert columns(tmp_path / "a.aedat4") == []


def test_of_several_streams_the_first(tmp_path: Path) -> None:
    first, second = tmp_path / "a.aedat4", tmp_path / "b.aedat4"
    write_aedat4(first, events(1), packets=1)
    write_aedat4(second, events(2), packets=1)
    header = len(first.read_bytes()) - _packet(first)
    packet = second.read_bytes()[header:]
    later = struct.pack("<i", 3) + packet[4:]
    first.write_bytes(first.read_bytes()[:header] + later + first.read_bytes()[header:])
    assert columns(first) == events(1).tolist()


def _packet(file: Path) -> int:
    """Bytes of a file's only packet with its head."""
    content = file.read_bytes()
    at = 14 + 4 + int.from_bytes(content[14:18], "little")
    return len(content) - at


def test_every_cut_is_refused_or_lacks_whole_packets(tmp_path: Path) -> None:
    file, wanted = tmp_path / "a.aedat4", events(1, 6)
    write_aedat4(file, wanted, packets=2)
    content = file.read_bytes()
    whole = set()
    for end in range(len(content)):
        file.write_bytes(content[:end])
        try:
            whole.add(len(columns(file)))
        except Aedat4Error:
            continue
    assert whole == {0, 3}


def test_a_packet_that_fills_the_memory(tmp_path: Path) -> None:
    import pyarrow as pa

    file = tmp_path / "a.aedat4"
    write_aedat4(file, events(1, 6), packets=1, codec="zstd")
    content = file.read_bytes()
    head = content[: len(content) - _packet(file)]
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        for _ in range(300):
            stream.write(bytes(2**20))
    bomb = packed.getvalue().to_pybytes()
    file.write_bytes(head + struct.pack("<iI", 0, len(bomb)) + bomb)
    assert file.stat().st_size < 100_000
    with pytest.raises(Aedat4Error, match="is larger than"):
        read_aedat4(file)
