"""Small files that say they are huge, made by hand: refused, in little time and memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from latsearch.data.events.formats import read_events
from latsearch.data.idx import read_idx
from latsearch.data.npz import read_npz
from latsearch.data.pictures import read_header, read_picture
from latsearch.errors import LatsearchError
from latsearch.search.query import parse
from latsearch.snn.checkpoint import CONFIG_FILE, read_info
from tests.fuzz.texts import ROOT

GIGABYTE = 2**30


def npz(file: Path) -> None:
    """A gigabyte and a quarter of zeros in six megabytes, with a true header."""
    header = io.BytesIO()
    shape = (5 * GIGABYTE // 4,)
    kind = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(header, kind)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open(
        "x.npy", "w", force_zip64=True
    ) as member:  # fmt: skip
        member.write(header.getvalue())
        for _ in range(80):
            member.write(bytes(GIGABYTE // 64))


def npz_header(file: Path) -> None:
    """An archive whose header speaks of a terabyte."""
    header = io.BytesIO()
    kind = {"descr": "<f8", "fortran_order": False, "shape": (2**37,)}
    np.lib.format.write_array_header_2_0(header, kind)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())


def idx(file: Path) -> None:
    """Four gigabytes of zeros, of which the header speaks."""
    packed = zlib.compressobj(9, wbits=31)
    with file.open("wb") as out:
        out.write(packed.compress(struct.pack(">4I", 0x803, 2**12, 2**10, 2**10)))
        out.write(packed.flush())


def idx_longer(file: Path) -> None:
    """More than its small header speaks of."""
    with gzip.open(file, "wb", compresslevel=1) as out:
        out.write(struct.pack(">4I", 0x803, 1, 2, 2))
        for _ in range(512):
            out.write(bytes(2**20))


def hdf5(file: Path) -> None:
    """Columns of a trillion events that were never written."""
    with h5py.File(file, "w") as content:
        for name in "txyp":
            content.create_dataset(name, (10**12,), "i8", chunks=(10**6,), compression="gzip")


def picture(file: Path) -> None:
    """A PNG of 20,000 by 20,000 pixels."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(60_001) * 100)
    chunks = ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )


def read_idx_file(file: Path) -> object:
    return read_idx(file, 3)


def read_image(file: Path) -> object:
    return read_header(file), read_picture(file, 3)


BOMBS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object]]] = {
    "a.npz": (npz, read_npz),
    "b.npz": (npz_header, read_npz),
    "a.gz": (idx, read_idx_file),
    "b.gz": (idx_longer, read_idx_file),
    "a.h5": (hdf5, read_events),
    "a.png": (picture, read_image),
}


# in a process that may take little more than its imports: what is refused is never allocated
_PROGRAM = """
import resource, sys
from pathlib import Path
from tests.fuzz.test_bombs import BOMBS, LatsearchError
import PIL.Image, h5py
pages = int(Path("/proc/self/statm").read_text().split()[0])
most = pages * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (most, most))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for name in BOMBS:
    try:
        BOMBS[name][1](Path(sys.argv[1]) / name)
        print("taken:", name)
    except LatsearchError as error:
        print(error)
"""


def test_what_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    for name, (write, _) in BOMBS.items():
        write(tmp_path / name)
        assert (tmp_path / name).stat().st_size < 8_000_000
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(BOMBS)
    for name, line in zip(BOMBS, lines, strict=True):
        assert line.startswith(str(tmp_path / name))
        assert "Unable to allocate" not in line


@pytest.mark.parametrize(
    "text", ["(" * 100_000, "not " * 100_000 + "trial < 3", "trial < 3 or " * 50_000]
)
def test_a_deep_condition(text: str) -> None:
    try:
        holds = parse(text, ["trial"])
    except LatsearchError:
        return
    assert holds({"trial": 1}) in (True, False)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"version":' * 200_000, "9" * 900_000])
def test_a_deep_description(tmp_path: Path, text: str) -> None:
    (tmp_path / CONFIG_FILE).write_text(text)
    with pytest.raises(LatsearchError):
        read_info(tmp_path)


def test_a_description_of_a_network_that_no_memory_holds(tmp_path: Path) -> None:
    from latsearch.evaluation import load_checkpoint
    from tests.fuzz.models import write_small

    place = write_small(tmp_path)
    described = json.loads((place / CONFIG_FILE).read_text())
    described["trial"]["network"].update(hidden=65536, width=1024)
    described["input_shape"] = [1, 60_000, 60_000]
    (place / CONFIG_FILE).write_text(json.dumps(described))
    with pytest.raises(LatsearchError, match="do not fit"):
        load_checkpoint(place)
