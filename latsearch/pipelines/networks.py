"""Trained networks on their way to a worker: the bytes of their files, as paths differ there."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.config.code import allowing_code
from latsearch.search.worker import code_folder

if TYPE_CHECKING:
    from latsearch.evaluation import LoadedNetwork


@dataclass(frozen=True)
class NetworkFiles:
    """A network's files.

    Attributes:
        files: their contents by name.
        device: where it is going to run, as torch names it.
        code: folder from which the code of the user's networks is imported; None: none may run.
    """

    files: Mapping[str, bytes]
    device: str
    code: str | None

    def load(self) -> LoadedNetwork:
        """The network."""
        from latsearch.evaluation import load_checkpoint

        if self.code is not None and self.code not in sys.path:
            sys.path.append(self.code)
        with (
            tempfile.TemporaryDirectory(prefix="latsearch-") as name,
            allowing_code(self.code is not None),
        ):
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            return load_checkpoint(folder, self.device)


def network_files(folder: Path, device: str) -> NetworkFiles:
    """The files of the network in a folder."""
    names = ("model.safetensors", "config.json")
    files = {name: (folder / name).read_bytes() for name in names}
    return NetworkFiles(files, device, code_folder())
