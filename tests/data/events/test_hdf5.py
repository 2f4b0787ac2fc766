"""HDF5 files are read by a process of their own."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

READ = """
import resource, sys
from pathlib import Path
from latsearch.data.events.hdf5 import read_columns

resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
print(read_columns(Path(sys.argv[1]), [(["t"], None)])[0].tolist())
"""


def test_a_process_whose_memory_is_bounded_already_reads_them(tmp_path: Path) -> None:
    file, bound = tmp_path / "events.h5", 6 * 2**30  # below what the reader would bound itself to
    with h5py.File(file, "w") as content:
        content["t"] = np.arange(3)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    assert hard == resource.RLIM_INFINITY or hard >= bound
    done = subprocess.run(
        [sys.executable, "-c", READ, str(file), str(bound)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[0, 1, 2]\n", "")
