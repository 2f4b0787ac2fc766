"""A document of sections with tables, written as Markdown and as one HTML page."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; }
td { white-space: nowrap; }
.wide { overflow-x: auto; }
@media (prefers-color-scheme: dark) {
  body { color: #ddd; background: #181818; } th, td { border-color: #444; }
  img { background: #fff; }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of a document.

    Attributes:
        title: its heading.
        text: paragraphs.
        heads: of the table's columns; empty for no table.
        rows: of the table.
        picture: a PNG file's name and content; None for none.
    """

    title: str
    text: Sequence[str] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    picture: tuple[str, bytes] | None = field(default=None, repr=False)


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """The document as Markdown; pictures are files beside it."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if section.picture is not None:
            parts.append(f"![{section.title}]({section.picture[0]})")
        if section.heads:
            lines = [section.heads, ["---", *["---:"] * (len(section.heads) - 1)], *section.rows]
            parts.append("\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_html(title: str, sections: Sequence[Section]) -> str:
    """The document as a page that loads nothing."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(text)}</p>" for text in section.text]
        if section.picture is not None:
            data = base64.b64encode(section.picture[1]).decode()
            alt = html.escape(section.title)
            parts.append(f'<img alt="{alt}" src="data:image/png;base64,{data}">')
        if section.heads:
            head = "".join(f"<th>{html.escape(name)}</th>" for name in section.heads)
            body = "".join(
                f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
                for row in section.rows
            )
            parts.append(
                f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
                f"<tbody>{body}</tbody></table></div>"
            )
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n"
        "</body></html>\n"
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
