"""Names that become folders, addresses of pages or rows of a registry: what they may be."""

from __future__ import annotations

import re

from latsearch.config.text import shown
from latsearch.errors import UserError

STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_MODEL_NAME_LENGTH = 250  # MLflow's columns have 256
_NOT_IN_MODEL_NAMES = "/:\\"  # the first two by MLflow's rule


def study_name(name: str) -> str:
    """Check that a study's name is a plain folder name.

    Raises:
        ValueError: it is not.
    """
    if not re.fullmatch(STUDY_NAME, name):
        raise ValueError(
            f"{shown(name)} is no study name: use up to 64 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return name


def chosen_study(name: str) -> str:
    """Check a study's name that the command line gives.

    Raises:
        UserError: it is not a plain folder name.
    """
    try:
        return study_name(name)
    except ValueError as error:
        raise UserError(f"--study: {error}") from None


def model_name(name: str) -> str:
    """Check that a name can be one of a registered model in MLflow, and an address in its UI.

    Raises:
        ValueError: it cannot.
    """
    wrong = any(sign in name for sign in _NOT_IN_MODEL_NAMES) or not name.isprintable()
    dots = not name.strip(". ")
    if wrong or dots or len(name) > _MODEL_NAME_LENGTH:
        raise ValueError(
            f"{shown(name)} is no name of a registered model: up to {_MODEL_NAME_LENGTH} letters, "
            "no / : or \\"
        )
    return name
