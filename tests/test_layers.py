"""A lower layer never imports an upper one, and heavy packages are imported where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "latsearch"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    {"errors", "objectives", "pareto"},
    {"config", "spaces", "snn", "data"},
    {"training", "evaluation", "robustness", "export", "quantised"},
    {"search", "selection", "tracking", "reporting", "plots", "heatmap", "cluster"},
]
TOP = len(LAYERS)  # of all others: pipeline, api, cli, …
ALLOWED = {("snn", "config"), ("data", "config"), ("spaces", "config")}  # within layer 1

HOMES = {"ray": {"search"}, "mlflow": {"tracking"}, "kubernetes": {"cluster"}}
KEPT_OUT = {"config": {"torch", "torchvision", "ray", "mlflow", "optuna"}}
TERMINAL = {"cli", "terminal", "doctor", "__main__"}


def part(file: Path) -> str:
    """The module or folder right below the package that a file belongs to."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name: str) -> int:
    return next((level for level, names in enumerate(LAYERS) if name in names), TOP)


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that a file imports, wherever it does so."""
    tree = ast.parse(file.read_text(), str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = ("latsearch", *file.relative_to(PACKAGE).parts)[: -node.level]
                module = ".".join([*package, *filter(None, [module])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"


def faults(file: Path) -> Iterator[str]:
    own = part(file)
    for line, name in imports(file):
        root, *rest = name.split(".")
        where = f"{file.relative_to(PACKAGE.parent)}:{line}"
        if root in HOMES and own not in HOMES[root]:
            yield f"{where} imports {root}, which belongs to {' or '.join(HOMES[root])}"
        if root in KEPT_OUT.get(own, ()):
            yield f"{where} imports {root}, which {own} goes without"
        if root != "latsearch" or not rest or rest[0] == own or own == "__init__":
            continue
        other = rest[0]
        upward = layer(other) > layer(own)
        beside = layer(own) == layer(other) == 1 and (own, other) not in ALLOWED
        if not rest[0].startswith("__") and (upward or beside):
            yield f"{where}: {own} (layer {layer(own)}) imports {other} (layer {layer(other)})"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_layers(file: Path) -> None:
    assert list(faults(file)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_library_does_not_print(file: Path) -> None:
    if part(file) in TERMINAL:
        return
    printed = [
        node.lineno
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printed == []


def test_this_test_sees_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "latsearch"
    (package / "config").mkdir(parents=True)
    file = package / "config" / "bad.py"
    file.write_text(
        "import ray.tune\nfrom latsearch.snn import networks\nfrom latsearch import api\n"
        "from ..search import driver\nimport latsearch.errors\nfrom latsearch.config import x\n"
        "def f():\n    import torch\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", package)
    found = sorted(message.split("bad.py:")[1] for message in faults(file))
    assert found == [
        "1 imports ray, which belongs to search",
        "1 imports ray, which config goes without",
        "2: config (layer 1) imports snn (layer 1)",
        "3: config (layer 1) imports api (layer 4)",
        "4: config (layer 1) imports search (layer 3)",
        "8 imports torch, which config goes without",
    ]


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("latsearch.config", {"torch", "ray", "mlflow", "optuna", "sklearn", "pandas"}),
        ("latsearch.pareto", {"torch", "ray", "mlflow", "optuna"}),
        ("latsearch.data", {"torch", "torchvision", "ray", "mlflow", "optuna", "sklearn"}),
    ],
)
def test_what_an_import_costs(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(*sorted(set({sorted(unwanted)!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
