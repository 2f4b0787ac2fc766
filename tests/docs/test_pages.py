"""What the documentation says is checked: commands, options, files, YAML, links, the reference."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import mlflow
import pytest
import yaml
from click.testing import CliRunner

from latsearch.cli import cli
from latsearch.config import parse_study
from latsearch.config.pipeline import parse_pipeline
from latsearch.config.reference import reference_page
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, inline_commands, name
from tests.docs.unrunnable import PYTHON_ELSEWHERE, REASONS, reason
from tests.tracking.browser import page as browser_page

TYPED = ["docs/index.md", "docs/browsing.md", "docs/extending.md"]  # in this order, in one folder
PLACEHOLDERS = {"RUN": "my-first"}

COMMANDS = commands()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]


def test_every_command_is_typed_or_has_a_reason() -> None:
    left = [
        (page, typed) for page, typed in COMMANDS if page not in TYPED and not reason(page, typed)
    ]
    assert left == []


def test_every_reason_is_needed() -> None:
    for pages, pattern, _ in REASONS:
        if not any(re.fullmatch(pages, name(page)) for page in PAGES):
            continue
        assert any(
            re.fullmatch(pages, page) and re.match(pattern, typed) for page, typed in COMMANDS
        ), (pages, pattern)


@pytest.mark.parametrize(
    ("page", "typed"), sorted({(p, c) for p, c in COMMANDS if c.startswith("latsearch ")})
)
def test_options_are_those_of_the_program(page: str, typed: str) -> None:
    parse(typed)


def parse(typed: str) -> None:
    """Parse a command as the program would, without carrying it out."""
    typed = re.sub(r"<\([^)]*\)", "FILE", typed)
    _, *words = shlex.split(typed)
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, f"latsearch has no command {words[0]}"
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize(("page", "typed"), sorted(set(inline_commands())))
def test_commands_in_prose(page: str, typed: str) -> None:
    """Commands exist, and so do their options; what has to be filled in is left out."""
    words = typed.split(" / ")[0].replace("[", "").replace("]", "").split()
    command = cli.get_command(click.Context(cli), words[1])
    assert command is not None, typed
    known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known | {"-h"}


@pytest.mark.parametrize("typed", sorted({c for _, c in COMMANDS if c.startswith("python ")}))
def test_scripts_have_their_options(typed: str) -> None:
    _, script, *words = shlex.split(typed)
    assert (ROOT / script).is_file()
    folder = (ROOT / script).parent
    code = "".join(file.read_text() for file in folder.rglob("*.py"))
    for word in words:
        assert not word.startswith("--") or f'"{word}"' in code, word


@pytest.mark.parametrize("typed", sorted({c for _, c in COMMANDS if c.startswith("pip ")}))
def test_extras_exist(typed: str) -> None:
    for extras in re.findall(r"latsearch\[([\w,]+)\]", typed):
        assert set(extras.split(",")) <= EXTRAS.keys()


def test_make_has_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for _, typed in COMMANDS:
        if typed.startswith("make "):
            assert f"\n{typed.split()[1]}:" in makefile


@pytest.mark.parametrize(
    "block",
    [block for block in ALL_BLOCKS if block.language == "yaml" and block.page != "k8s/README.md"],
    ids=lambda block: f"{block.page}: {block.text.splitlines()[0][:40]}",
)
def test_yaml_is_valid(block: Block) -> None:
    given: Any = yaml.safe_load(block.text)
    if "pipeline" in given or "refit" in given:
        minimal = "version: 1\npipeline: p\nsearch: {space: digits}\n"
        text = block.text if "version" in given else minimal + block.text
        parse_pipeline(text)
        return
    head = {
        "version": "version: 1\n",
        "study": "study: s\n",
        "data": "data: {name: digits}\n",
        "search": "search: {trials: 1}\n",
    }
    text = "".join(line for key, line in head.items() if key not in given) + block.text
    if "search" in given and "version" not in given:  # about how to search, not what
        text += "network: {timesteps: {low: 2, high: 4}}\ntrain: {epochs: 100}\n"
        text = text.replace("network.timesteps: 2, train.lr: 3e-3", "network.timesteps: 2")
    parse_study(text)


def test_the_reference_is_current() -> None:
    page = (ROOT / "docs" / "search_space.md").read_text()
    assert page == reference_page(), "write it anew: latsearch schema --reference"
    for field in ("network.options", "firing_threshold", "horowitz-45nm-fp32", "silent_fraction"):
        assert field.split(".")[-1] in page


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\((?!https?:|mailto:)([^)#]+)", text):
        if link != "kubernetes.md":  # k8s/README.md, on the site
            assert (page.parent / link).exists(), link
    for named in re.findall(r"`((?:docs|tests|benchmarks|search_spaces|k8s)/[\w./-]+\w)`", text):
        assert (ROOT / named).exists(), named


@pytest.mark.slow
def test_the_site_builds_without_network(tmp_path: Path) -> None:
    """Strictly: no dead link, no page without a place; and nothing is loaded from elsewhere."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"},
    )
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) > 15
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]*src=\"(https?:)?//|<link[^>]*stylesheet[^>]*//"
    )
    for page in pages:
        assert not loaded.search(page.read_text()), page.name
    assert "<math" in (tmp_path / "early_stopping.html").read_text()
    assert 'href="energy.html"' in (tmp_path / "search_space.html").read_text()


@pytest.mark.slow
def test_the_site_in_a_browser(tmp_path: Path) -> None:
    """Every page fits its window, shows its pictures, and asks for nothing from elsewhere."""
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    asked: list[str] = []
    with browser_page() as tab:
        tab.set_viewport_size({"width": 1100, "height": 800})
        tab.on("request", lambda request: asked.append(request.url))
        for file in sorted(tmp_path.glob("*.html")):
            tab.goto(file.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") <= 1100, file.name
            broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"
            assert tab.evaluate(broken) == 0, file.name
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_commands_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader's hour: the pages of `TYPED`, block by block, in one folder.

    All in this process, which has imported torch already; tests/test_readme.py types into a shell.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # a page sets it: teardown puts it back
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    for block in [block for page in TYPED for block in blocks(ROOT / page)]:
        if block.file is not None:
            (tmp_path / block.file).write_text(block.text)
        elif block.language == "python" and block.page not in PYTHON_ELSEWHERE:
            exec(compile(block.text, block.page, "exec"), {"__name__": "docs"})
        for typed in block.commands():
            if reason(block.page, typed) is None:
                program, *words = [PLACEHOLDERS.get(word, word) for word in shlex.split(typed)]
                assert program == "latsearch"
                done = CliRunner().invoke(cli, words)
                assert done.exit_code == 0, f"{typed}\n{done.output}\n{done.exception!r}"
    mlflow.set_tracking_uri(None)
    assert (tmp_path / "runs" / "own" / "report.html").is_file()
