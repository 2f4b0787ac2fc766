"""Kubernetes' resource quantities, e.g. ``500m`` and ``8Gi``."""

from __future__ import annotations

import re

_FACTORS = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE]?))")


def quantity(text: str | int | float) -> float:
    """The number that a quantity means, e.g. bytes or cores.

    >>> quantity("500m"), quantity("8Gi"), quantity(2)
    (0.5, 8589934592.0, 2.0)

    Raises:
        ValueError: it is no quantity.
    """
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise ValueError(f'"{text}" is no quantity: write it like 4, 500m or 8Gi')
    number, exponent, unit = match.groups()
    return float(number + (exponent or "")) * _FACTORS[unit or ""]
