"""Trained networks on their way to a worker: the bytes of their files, as paths differ there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latsearch.evaluation import LoadedNetwork


@dataclass(frozen=True)
class NetworkFiles:
    """A network's files.

    Attributes:
        files: their contents by name.
        device: where it is going to run, as torch names it.
    """

    files: Mapping[str, bytes]
    device: str

    def load(self) -> LoadedNetwork:
        """The network."""
        from latsearch.evaluation import load_checkpoint

        with tempfile.TemporaryDirectory(prefix="latsearch-") as name:
            folder = Path(name)
            for file, content in self.files.items():
                (folder / file).write_bytes(content)
            return load_checkpoint(folder, self.device)


def network_files(folder: Path, device: str) -> NetworkFiles:
    """The files of the network in a folder."""
    names = ("model.safetensors", "config.json")
    return NetworkFiles({name: (folder / name).read_bytes() for name in names}, device)
