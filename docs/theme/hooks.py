"""What the site needs beside the files in docs/: a page of another folder, links, formulas."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
KUBERNETES = "kubernetes.md"

_NAMED = re.compile(r"`?\b(docs/\w+\.md|k8s/README\.md)`?")
_LOCAL = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
_NUMBERED = re.compile(r"\d+\. ")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
_INLINE = re.compile(r"(?<![\\$\w])\$([^$\n]+?)\$(?!\w)")


def on_config(config: Any) -> Any:
    """Put pages that the navigation does not name yet at its end."""
    named = set(re.findall(r"[\w.-]+\.md", str(config.nav)))
    others = sorted(page.name for page in (ROOT / "docs").glob("*.md") if page.name not in named)
    if others:
        config.nav.append({"More": others})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add k8s/README.md, which lies beside the manifests."""
    text = (ROOT / "k8s" / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, KUBERNETES, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn names of pages into links, and formulas into MathML, outside of code blocks."""
    known = {file.src_uri for file in files}
    parts = _FENCE.split(_indented(markdown))
    return "".join(
        part if index % 2 else _formulas(_linked(part, page.file.src_uri, known))
        for index, part in enumerate(parts)
    )


def _indented(markdown: str) -> str:
    """What belongs to a numbered item, set in by three spaces as usual: by the four needed here."""
    lines, numbered = [], False
    for line in markdown.splitlines():
        if line and not line.startswith(" "):
            numbered = bool(_NUMBERED.match(line))
            if numbered and lines and lines[-1].startswith(" "):
                lines.append("")  # else it goes on with the paragraph before it
        lines.append(f" {line}" if numbered and line.startswith("   ") else line)
    return "\n".join(lines)


def _linked(text: str, own: str, known: set[str]) -> str:
    def link(match: re.Match[str]) -> str:
        name = match[1]
        target = KUBERNETES if name.startswith("k8s") else name.removeprefix("docs/")
        if target not in known or target == own:
            return match[0]
        title = target.removesuffix(".md").replace("_", " ")
        return f"[{title}]({target})"

    return _NAMED.sub(link, text)


def _formulas(text: str) -> str:
    text = _DISPLAYED.sub(lambda match: _mathml(match[1].strip(), "block"), text)
    return _INLINE.sub(lambda match: _mathml(match[1], "inline"), text)


def _mathml(formula: str, display: str) -> str:
    made: str = convert(formula, display=display)
    return made.replace("\\_", "_")  # an underscore in a word keeps its backslash
