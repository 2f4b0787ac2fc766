"""Fuzzing that follows what is reached: atheris (`pip install 'latsearch[fuzz]'`), for hours.

    python -m tests.fuzz.guided TARGET FOLDER [libFuzzer's options, e.g. -max_total_time=3600]

FOLDER keeps the inputs that reached something new; what went wrong is left as ``crash-…``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from random import Random

import atheris

_FOLLOWED = ["latsearch", "yaml", "json", "numpy.lib", "zipfile", "tokenize"]


def main() -> None:
    """Fuzz until libFuzzer ends."""
    name, corpus, *options = sys.argv[1:]
    with atheris.instrument_imports(include=_FOLLOWED):
        from tests.fuzz.targets import accepted, find

        target = find(name)
    scratch = Path(tempfile.mkdtemp(prefix="latsearch-fuzz-"))
    for part in (scratch / "seeds", scratch / "work", Path(corpus)):
        part.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds(scratch / "seeds")):
        (Path(corpus) / f"seed-{number}").write_bytes(seed)
    check = target.open(scratch / "work")

    def mutated(content: bytes, most: int, seed: int) -> bytes:
        """Half of the time with the structure kept: chance seldom gets beyond a header."""
        random = Random(seed)
        if random.random() < 0.5:
            try:
                return target.mutate(content, random)[:most]
            except Exception:  # what was damaged already may have no structure to keep
                pass
        return bytes(atheris.Mutate(content, most))

    words = [sys.argv[0], "-timeout=5", "-rss_limit_mb=4096", "-max_len=1000000"]
    atheris.Setup(
        [*words, *options, corpus],
        lambda content: accepted(check, content),
        custom_mutator=mutated,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
