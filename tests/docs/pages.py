"""The documentation's pages: their blocks of code, and the commands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "k8s" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PROGRAMS = (
    *("latsearch", "python", "pip", "make", "mkdocs", "ray", "kubectl", "docker", "helm", "kind"),
    *("export", "curl", "git", "cd", "wrk", "k8s/make-secrets.sh", "secret()"),
)
_TYPED = re.compile(rf"(?:{'|'.join(map(re.escape, PROGRAMS))})(?:\s|$)")

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(latsearch [a-z]+\b[^`]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line names, e.g. ``# my.yaml``."""
        found = re.match(r"# ([\w.-]+\.(?:ya?ml|py))$", self.text.splitlines()[0])
        return found[1] if found else None

    def commands(self) -> Iterator[str]:
        """What is typed, without prompts and remarks; nothing of an output."""
        if self.language not in ("", "sh", "bash", "shell"):
            return
        for line in re.sub(r"\\\n\s*", "", self.text).splitlines():
            typed = re.sub(r"\s+#(?:\s.*)?$", "", line).strip()
            if _TYPED.match(typed):
                yield typed


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    found = []
    for indent, language, text in _FENCED.findall(page.read_text(encoding="utf-8")):
        plain = re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        found.append(Block(name(page), language, plain))
    return found


def commands() -> list[tuple[str, str]]:
    """Page and command, of every block."""
    return [
        (block.page, typed)
        for page in PAGES
        for block in blocks(page)
        for typed in block.commands()
    ]


def inline_commands() -> list[tuple[str, str]]:
    """Page and command, of prose."""
    found = []
    for page in PAGES:
        prose = _FENCED.sub("", page.read_text(encoding="utf-8"))
        found += [(name(page), " ".join(text.split())) for text in _INLINE.findall(prose)]
    return found
