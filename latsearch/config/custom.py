"""What does not go with networks that are the user's own code."""

from __future__ import annotations

from collections.abc import Iterator

from latsearch.config.space import Space
from latsearch.config.text import either
from latsearch.config.trial import CUSTOM

# field → what the user's own network has, since nothing is known of its layers
_KEPT = {"network.delay": "none", "train.relu_epochs": 0, "train.recompute": False}


def custom_faults(preset: str | None, space: Space) -> Iterator[tuple[str, str]]:
    """Contradictions around the family ``custom``, as (path, message)."""
    functions = space.domain("network.function") or ()
    options = [name for name in space.fixed if name.startswith("network.options.")]
    options += [p.name for p in space.parameters if p.name.startswith("network.options.")]
    if CUSTOM not in (space.domain("network.family") or ()):
        unused = "is given, but network.family can never be custom"
        if functions != (None,):
            yield "network.function", unused
        yield from ((name, unused) for name in options)
        return
    if None in functions:
        yield (
            "network.function",
            "is missing: the family custom needs one, e.g. my_module:make_network",
        )
    if preset is not None:
        yield "preset", f"{preset} says what latsearch's own networks are; leave it out"
    for name, kept in _KEPT.items():
        values = space.domain(name)
        others = [value for value in values if value != kept] if values else ["a range"]
        if others:
            yield (
                name,
                f"{either(others)} needs layers that latsearch knows, which the family custom has "
                f"not; write {either([kept])}",
            )
