"""Stages of a pipeline whose runs folder is in object storage: their files there and here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from latsearch.errors import StudyFailed
from latsearch.pipelines.workspace import MANIFEST, Workspace, write_text
from latsearch.search.checkpoints import StorageError, outlast
from latsearch.search.objects import below, file_system, read_text


class Mirror:
    """Keeps stages in object storage, so that a driver on another machine goes on.

    Args:
        home: URI of the study's objects.
        folder: of the pipeline on this machine.
    """

    def __init__(self, home: str, folder: Path):
        self._uri = below(home, "pipeline")
        self._folder = folder

    def fetch(self, stages: Sequence[str]) -> None:
        """Fetch the stages that are there and not here.

        Raises:
            StudyFailed: storage stays away.
        """
        for stage in stages:
            self._try(stage, self._fetch)

    def store(self, stage: str) -> None:
        """Store a finished stage: its manifest last, so that it is whole or not there.

        Raises:
            StudyFailed: storage stays away.
        """
        self._try(stage, self._store)

    def _try(self, stage: str, call: Callable[[str], None]) -> None:
        try:
            outlast(lambda: call(stage), self._uri.partition("?")[0])
        except StorageError as error:
            raise StudyFailed(str(error)) from error

    def _fetch(self, stage: str) -> None:
        manifest = read_text(below(self._uri, stage), MANIFEST)
        here = self._folder / stage
        if manifest is None or ((here / MANIFEST).is_file() and _text(here) == manifest):
            return
        place, root = file_system(self._uri)
        for name in json.loads(manifest)["outputs"]:
            file = _inside(here, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            with place.open_input_stream(f"{root}/{stage}/{name}") as stream:
                file.write_bytes(stream.read())
        write_text(here / MANIFEST, manifest)

    def _store(self, stage: str) -> None:
        place, root = file_system(self._uri)
        here = self._folder / stage
        manifest = Workspace(here).manifest()
        assert manifest is not None
        for name in [*manifest.outputs, MANIFEST]:
            with place.open_output_stream(f"{root}/{stage}/{name}") as stream:
                stream.write((here / name).read_bytes())


def _text(folder: Path) -> str:
    return (folder / MANIFEST).read_text(encoding="utf-8")


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; what storage says could be anybody's words.

    Raises:
        StorageError: it would be elsewhere.
    """
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise StorageError(f"{name!r} leads out of {folder}; the pipeline's storage is damaged")
    return file
