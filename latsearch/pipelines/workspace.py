"""A stage's folder: files written whole, and the manifest that says what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
MANIFEST = "manifest.json"
WORK = "work"  # what is being made; no output
_BLOCK = 1 << 20


def digest_of(value: Any) -> str:
    """Digest of a value of JSON's types."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    whole = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            whole.update(block)
    return whole.hexdigest()


def write_text(file: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.part")
    with aside.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(file)


def write_json(file: Path, value: Any) -> None:
    """Write a value of JSON's types, whole or not at all."""
    write_text(file, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Manifest:
    """What a finished stage was made from, and what it made.

    Attributes:
        stage: its name.
        code: version of the program and of the stage.
        settings: what it was told.
        inputs: digest of each file that it read, by its path below the pipeline's folder.
        outputs: digest of each file that it wrote, by its path below the stage's folder.
    """

    stage: str
    code: str
    settings: Any
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]

    def changes(self, other: Manifest) -> str | None:
        """Why a stage with this manifest has to run again as the other; None where it has not."""
        if self.code != other.code:
            return f"made by {self.code}, this is {other.code}"
        if self.settings != other.settings:
            return _difference(self.settings, other.settings)
        for name in sorted({*self.inputs, *other.inputs}):
            if self.inputs.get(name) != other.inputs.get(name):
                return f"{name} is another"
        return None


class Workspace:
    """The folder of one stage.

    Args:
        folder: the stage's folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def work(self) -> Path:
        """What is being made; goes when the stage ends."""
        return self.folder / WORK

    def read(self, name: str) -> Any:
        """The value in a file of the stage."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def write(self, name: str, value: Any) -> None:
        """Write a value of JSON's types to a file of the stage."""
        write_json(self.folder / name, value)

    def keep(self, name: str, key: str, value: Mapping[str, Any]) -> None:
        """Write a part of what the stage makes, for `kept` to find."""
        self.write(name, {"key": key, "digest": digest_of(value), **value})

    def kept(self, name: str, key: str) -> Any:
        """What `keep` wrote for this key; None where there is none, or somebody changed it.

        It was made by a run that was interrupted, or before other settings were changed.
        """
        try:
            value = self.read(name)
            known, digest = value.pop("key"), value.pop("digest")
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            return None
        return value if known == key and digest_of(value) == digest else None

    def manifest(self) -> Manifest | None:
        """The manifest of the stage's last whole run; None where there was none."""
        try:
            data = self.read(MANIFEST)
            if data.pop("version") != FORMAT:
                return None
            return Manifest(**data)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def damaged(self, manifest: Manifest) -> str | None:
        """The first of the stage's outputs that is not as it was written; None for none."""
        for name, digest in manifest.outputs.items():
            file = self.folder / name
            if not file.is_file():
                return f"{name} is gone"
            if file_digest(file) != digest:
                return f"{name} was changed"
        return None

    def finish(self, manifest: Manifest, outputs: Sequence[str]) -> Manifest:
        """Remove all but the outputs, then write the manifest with their digests."""
        shutil.rmtree(self.work, ignore_errors=True)
        wanted = set(outputs)
        for file in sorted(self.folder.rglob("*"), reverse=True):  # what is in a folder before it
            name = str(file.relative_to(self.folder))
            if file.is_dir():
                if not any(file.iterdir()):
                    file.rmdir()
            elif name not in wanted:
                file.unlink()
        digests = {name: file_digest(self.folder / name) for name in sorted(wanted)}
        done = Manifest(manifest.stage, manifest.code, manifest.settings, manifest.inputs, digests)
        write_json(self.folder / MANIFEST, {"version": FORMAT, **asdict(done)})
        return done


def _difference(before: Any, after: Any, path: str = "") -> str:
    """The first setting that differs, in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                inner = f"{path}.{name}" if path else name
                return _difference(before.get(name), after.get(name), inner)
    return f"{path}: {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:39]}…"
