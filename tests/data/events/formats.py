"""Writes small event sets in the true file formats."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tonic.datasets import CIFAR10DVS

Columns = NDArray[np.int64]  # [N, 4]: t in µs, x, y, p

CIFAR10 = list(CIFAR10DVS.classes)  # in the order of their labels


def events(
    seed: int, count: int = 40, *, width: int = 34, height: int = 34, end: int = 300_000
) -> Columns:
    """Random events in order of time."""
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, end, count))
    columns = [t, *(random.integers(0, most, count) for most in (width, height, 2))]
    return np.stack(columns, axis=1)


def nmnist_bytes(columns: Columns) -> bytes:
    """N-MNIST's bytes: 23 bits of time; each overflow marker adds 8192 to all times after it."""
    written, overflow = bytearray(), 0
    for t, x, y, p in columns.tolist():
        while t - overflow >= 2**23:
            written += bytes([0, 240, 0, 0, 0])
            overflow += 2**13
        written += bytes([x, y])
        written += ((p << 23) | (t - overflow)).to_bytes(3, "big")
    return bytes(written)


def write_nmnist(root: Path, train: int = 30, test: int = 10) -> Path:
    """Recording ``n`` of a part has label ``n % 10`` and the events of seed ``n``."""
    folder = root / "NMNIST"
    for part, count, first in (("Train", train, 0), ("Test", test, 1000)):
        for number in range(count):
            file = folder / part / str(number % 10) / f"{number:05d}.bin"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(nmnist_bytes(events(first + number)))
    return folder


def write_gesture(
    root: Path, users: Sequence[int] = (1, 2, 3), tests: Sequence[int] = (24,)
) -> Path:
    """Each user makes the eleven gestures once; times in ms as tonic's archive has them."""
    folder = root / "DVSGesture"
    for part, who in (("Train", users), ("Test", tests)):
        for user in who:
            below = folder / f"ibmGesture{part}" / f"user{user:02d}_fluorescent_led"
            below.mkdir(parents=True)
            for label in range(11):
                t, x, y, p = events(100 * user + label, width=128, height=128, end=1400).T
                np.save(below / f"{label}.npy", np.stack([x, y, p, t], axis=1).astype(np.uint64))
    return folder


def write_shd(root: Path, train: int = 60, test: int = 20) -> Path:
    """Recording ``n`` of a part has label ``n % 20``."""
    folder = root / "SHD"
    folder.mkdir(parents=True)
    for part, count, first in (("train", train, 0), ("test", test, 1000)):
        columns = [events(first + n, width=700, height=1, end=1_300_000) for n in range(count)]
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", count, h5py.vlen_dtype(np.float16))
            units = file.create_dataset("spikes/units", count, h5py.vlen_dtype(np.uint16))
            for index, column in enumerate(columns):
                times[index] = (column[:, 0] / 1e6).astype(np.float16)
                units[index] = column[:, 1].astype(np.uint16)
            file["labels"] = (np.arange(count) % 20).astype(np.uint16)
            file["extra/keys"] = np.array([f"digit {n}".encode() for n in range(20)])
            file["extra/speaker"] = np.zeros(count, dtype=np.uint16)
    return folder


def write_cifar10_dvs(root: Path, each: int = 10, suffix: str = ".aedat4") -> Path:
    folder = root / "CIFAR10DVS"
    write = write_aedat4 if suffix == ".aedat4" else write_aedat2
    for label, name in enumerate(CIFAR10):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            columns = events(1000 * label + number, width=128, height=128, end=1_200_000)
            columns[:, 0] += 77_000_000  # the camera's clock ran before
            write(folder / name / f"cifar10_{name}_{number}{suffix}", columns)
    return folder


def write_aedat2(file: Path, columns: Columns) -> None:
    """jAER's AEDAT 2 of a DVS128, turned as CIFAR10-DVS is."""
    t, x, y, p = columns.T
    address = ((127 - y) << 1) | ((127 - x) << 8) | (1 - p)
    pairs = np.stack([address, t], axis=1).astype(">u4")
    header = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# written by a test\r\n"
    file.write_bytes(header + pairs.tobytes())


def write_aedat4(file: Path, columns: Columns, packets: int = 2, codec: str | None = None) -> None:
    """AEDAT 4: a flatbuffer header, then packets of flatbuffers, each compressed by a codec."""
    info = (
        b'<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        b'<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        b'<attr key="compression" type="string">NONE</attr>'
        b'<attr key="typeIdentifier" type="string">EVTS</attr>'
        b'<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        b'<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        b"</node></node></node></dv>"
    )
    compression = {None: 0, "lz4": 1, "zstd": 3}[codec]
    content = bytearray(b"#!AER-DAT4.0\r\n" + _io_header(info, compression))
    for part in np.array_split(columns, packets) if len(columns) else ():
        packet = _event_packet(part)
        if codec is not None:
            packed = pa.BufferOutputStream()
            with pa.CompressedOutputStream(packed, codec) as stream:
                stream.write(packet)
            packet = packed.getvalue().to_pybytes()
        content += struct.pack("<ii", 0, len(packet)) + packet
    file.write_bytes(bytes(content))


def _io_header(info: bytes, compression: int) -> bytes:
    """IOHeader {compression: int32 = NONE, dataTablePosition: int64 = -1, infoNode: string}."""
    table_at = 8 + 12  # after the root's offset, the identifier and the padded vtable
    # the vtable lies 12 bytes before the table; a field that has its default is left out
    if compression == 0:
        vtable = struct.pack("<HHHHH", 10, 8, 0, 0, 4)
        table = struct.pack("<ii", 12, 4)  # the string comes 4 after
    else:
        vtable = struct.pack("<HHHHH", 10, 12, 8, 0, 4)
        table = struct.pack("<iii", 12, 8, compression)
    text = struct.pack("<I", len(info)) + info + b"\0"
    body = struct.pack("<I", table_at) + b"IOHE" + vtable + b"\0\0" + table + text
    body += b"\0" * (-len(body) % 4)
    return struct.pack("<I", len(body)) + body


def _event_packet(columns: Columns) -> bytes:
    """EventPacket {elements: [Event {timestamp: int64, x: int16, y: int16, on: bool}]}."""
    vtable = struct.pack("<HHH", 6, 8, 4)
    table_at = 8 + 8
    table = struct.pack("<ii", 8, 8)  # the vector's length comes 8 after, so its events are aligned
    element = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("pad", "V3")])
    array = np.zeros(len(columns), dtype=element)
    for index, name in enumerate("txyp"):
        array[name] = columns[:, index]
    vector = struct.pack("<iI", 0, len(array)) + array.tobytes()
    body = struct.pack("<I", table_at) + b"EVTS" + vtable + b"\0\0" + table + vector
    return struct.pack("<I", len(body)) + body
