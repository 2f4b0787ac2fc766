"""Nothing in the package runs what strangers write: its syntax trees are looked through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit import faults, package

ROOT = Path(__file__).parents[1]
# the package's own names from a literal dict, and what the user allowed with --allow-code
IMPORTERS = {"__init__.py", "config/code.py"}


@pytest.mark.parametrize("file", package(), ids=lambda file: str(file.relative_to(ROOT)))
def test_the_package_is_clean(file: Path) -> None:
    may_import = str(file.relative_to(ROOT / "latsearch")) in IMPORTERS
    assert list(faults(file.read_text(), may_import)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.memory",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
        "importlib.import_module(name)",
        "os.system(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "yaml.full_load(text)",
        "yaml.compose(text)",
        "yaml.compose(text, Loader=Mine)\nclass Mine(yaml.Loader): ...",
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "torch.load(file, weights_only=safe)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "subprocess.run(words, shell=True)",
        "subprocess.run(f'rm {name}')",
        "subprocess.run(words, shell=wanted)",
        "tempfile.mktemp()",
        "hashlib.md5(content)",
        "assert len(text) < 3",
        "assert x is not None and y > 3",
        "subprocess.run('ls')",
        "bind(('0.0.0.0', port))",
        "def serve(host='::'): ...",
        "def serve(*, host='example.org'): ...",
        "@click.option('--host', default='example.org')\ndef f(): ...",
        "tar.extractall(folder)",
        "jinja2.Environment(loader=loader)",
        "requests.get(url, verify=False)",
    ],
)
def test_what_is_unsafe_is_found(code: str) -> None:
    assert list(faults(code))


@pytest.mark.parametrize(
    "code",
    [
        "yaml.safe_load(text)",
        "class Mine(yaml.SafeLoader): ...\nyaml.compose(text, Loader=Mine)",
        "torch.load(file, weights_only=True)",
        "np.load(file, mmap_mode='r', allow_pickle=False)",
        "subprocess.run(['git', name])",
        "hashlib.md5(usedforsecurity=False)",
        "assert x is not None",
        "def serve(host='127.0.0.1'): ...",
        "network.eval()",
        "torch.compile(network)",
        "tar.extractall(folder, filter='data')",
    ],
)
def test_what_is_safe_is_not(code: str) -> None:
    assert not list(faults(code))
