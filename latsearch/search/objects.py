"""Object storage through pyarrow: ``s3://``, ``gs://`` and whatever else it knows."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from latsearch.errors import UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


@lru_cache(maxsize=16)
def file_system(uri: str) -> tuple[FileSystem, str]:
    """Pyarrow's view of a URI: the file system, and the path in it.

    Raises:
        UserError: there is no such kind of storage.
    """
    from pyarrow.fs import FileSystem

    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise UserError(
            f"{uri.rpartition('@')[2].partition('?')[0]}: write no credentials into the address: "
            "everybody on this machine sees it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        place, path = FileSystem.from_uri(uri)
    except Exception as error:  # pyarrow has many
        raise UserError(f"{uri.partition('?')[0]}: {first_line(error)}") from None
    return place, path.rstrip("/")


def below(uri: str, name: str) -> str:
    """The URI of what is below another.

    Example:
        >>> below("s3://bucket/runs?region=eu", "digits")
        's3://bucket/runs/digits?region=eu'
    """
    path, mark, query = uri.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def upload(folder: Path, uri: str, name: str) -> None:
    """Write the files of a folder as objects below a name."""
    place, root = file_system(uri)
    for file in sorted(folder.iterdir()):
        with place.open_output_stream(f"{root}/{name}/{file.name}") as stream:
            stream.write(file.read_bytes())


def download(uri: str, name: str, folder: Path, but: Sequence[str] = ()) -> None:
    """Read the objects below a name into a folder.

    Raises:
        FileNotFoundError: there are none.
    """
    place, root = file_system(uri)
    found = objects_below(place, f"{root}/{name}")
    if not found:
        raise FileNotFoundError(errno.ENOENT, "no such checkpoint", name)
    folder.mkdir(parents=True)
    for path in found:
        file = path.rpartition("/")[2]
        if file not in but:
            with place.open_input_stream(path) as stream:
                (folder / file).write_bytes(stream.read())


def read_text(uri: str, name: str) -> str | None:
    """The text of an object; None where there is none."""
    place, root = file_system(uri)
    try:
        with place.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read()).decode()
    except FileNotFoundError:
        return None


def write_text(uri: str, name: str, text: str) -> None:
    """Write an object, whole or not at all."""
    place, root = file_system(uri)
    with place.open_output_stream(f"{root}/{name}") as stream:
        stream.write(text.encode())


def remove_object(uri: str, name: str) -> None:
    """Remove an object; one that is not there is no error."""
    place, root = file_system(uri)
    with suppress(FileNotFoundError):
        place.delete_file(f"{root}/{name}")


def remove_below(uri: str) -> None:
    """Remove all below a URI."""
    place, root = file_system(uri)
    with suppress(FileNotFoundError):
        place.delete_dir(root)


def remove_empty(uri: str) -> None:
    """Remove what stands for a folder, where no object is below it."""
    place, root = file_system(uri)
    if not objects_below(place, root):
        remove_below(uri)


def folders_with(uri: str, name: str) -> list[str]:
    """Names right below a URI that have an object of this name."""
    from pyarrow.fs import FileSelector, FileType

    place, root = file_system(uri)
    names = [
        info.base_name
        for info in place.get_file_info(FileSelector(root, allow_not_found=True))
        if info.type == FileType.Directory
    ]
    found = place.get_file_info([f"{root}/{folder}/{name}" for folder in names]) if names else []
    return sorted(
        folder for folder, info in zip(names, found, strict=True) if info.type == FileType.File
    )


def objects_below(place: FileSystem, path: str) -> list[str]:
    """Paths of all objects below a path."""
    from pyarrow.fs import FileSelector, FileType

    selector = FileSelector(path, allow_not_found=True, recursive=True)
    return [info.path for info in place.get_file_info(selector) if info.type == FileType.File]


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
