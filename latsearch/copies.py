"""Folders of networks that leave their study."""

from __future__ import annotations

import shutil
from pathlib import Path

from latsearch.errors import UserError
from latsearch.located import Deployment, Model
from latsearch.snn.checkpoint import CONFIG_FILE, MODEL_FILE


def check_new(folder: Path) -> None:
    """Check that a folder can be made, or is empty.

    Raises:
        UserError: something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--to {folder}: is there already and not empty; name another folder")


def copy_network(model: Model, deployment: Deployment, to: Path) -> Path:
    """Copy a network's weights to a folder of its own, with how it is run; the folder.

    Raises:
        UserError: the folder is not empty, or cannot be written.
    """
    check_new(to)
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name in (MODEL_FILE, CONFIG_FILE):
            shutil.copyfile(model.checkpoint / name, to / name)
        deployment.write(to)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from None
    return to
