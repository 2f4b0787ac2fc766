"""Finds in a syntax tree what the package must not do: run what strangers write, or invite them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
SAFE_YAML = {
    *("safe_load", "safe_load_all", "safe_dump", "safe_dump_all"),
    *("compose", "dump", "dump_all"),  # with a loader or dumper that is a safe one
}
EXTRACTING = ("extractall", "extract", "unpack_archive")
WORDS = (ast.List, ast.Name, ast.Call, ast.Attribute, ast.BinOp)
BUILTINS = {"eval", "exec", "compile", "__import__", "execfile"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
UNSAFE = {
    *SHELLS,
    *("tempfile.mktemp", "ssl._create_unverified_context", "torch.package", "torch.hub.load"),
    *("torch.jit.load", "pandas.read_pickle", "pd.read_pickle", "runpy.run_path", "code.interact"),
}
EVERYWHERE = {"0.0.0.0", "::", "[::]"}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# calls that are safe only with one option, which has to be written out
DEMANDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "npy.read_array": ("allow_pickle", False),
    "hashlib.md5": ("usedforsecurity", False),
    "hashlib.sha1": ("usedforsecurity", False),
    "Environment": ("autoescape", True),
    "jinja2.Environment": ("autoescape", True),
}


def faults(source: str, may_import: bool = False) -> Iterator[str]:
    """What is wrong in a file, as ``line: words``.

    Args:
        source: of the file.
        may_import: whether it may import modules whose name is not written in the code.
    """
    tree = ast.parse(source)
    loaders = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and _is_safe(n)}
    loaders |= {"yaml.SafeLoader", "yaml.SafeDumper"}
    for node in ast.walk(tree):
        for words in _of(node, loaders, may_import):
            yield f"{getattr(node, 'lineno', 0)}: {words}"


def _of(node: ast.AST, loaders: set[str], may_import: bool) -> Iterator[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        named = (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        )
        yield from (f"imports {n}" for n in named if n.partition(".")[0] in PICKLERS)
    elif isinstance(node, ast.Call):
        yield from _call(node, dotted(node.func), loaders, may_import)
    elif isinstance(node, ast.Assert):
        if not _narrows(node.test):
            yield "assert that does more than tell a type: `python -O` leaves it out"
    elif isinstance(node, ast.Constant) and node.value in EVERYWHERE:
        yield f"the address {node.value}, at which everybody can knock"
    elif isinstance(node, ast.arguments):
        yield from _hosts(node)


def _call(node: ast.Call, name: str, loaders: set[str], may_import: bool) -> Iterator[str]:
    options = {keyword.arg: keyword.value for keyword in node.keywords}
    words = [given.value for given in node.args if isinstance(given, ast.Constant)]
    package, _, last = name.rpartition(".")
    if name in BUILTINS or name in UNSAFE:
        yield f"calls {name}"
    if last == "import_module" and not may_import:
        yield "imports a module by a name that is not in the code"
    if package == "yaml" and last.islower():
        yield from _yaml(last, dotted(options.get("Loader", options.get("Dumper"))), loaders)
    if name in DEMANDED:
        option, value = DEMANDED[name]
        given = options.get(option)
        if not isinstance(given, ast.Constant) or given.value is not value:
            yield f"calls {name} without {option}={value}"
    if "shell" in options and not _is(options["shell"], False):
        yield f"calls {name} with a shell"
    if package == "subprocess" and node.args and not isinstance(node.args[0], WORDS):
        yield f"calls {name} with one text, not a list of words"
    if last in EXTRACTING and not _is(options.get("filter"), "data"):
        yield f"calls {name} without filter='data': members may lie outside of the folder"
    if _is(options.get("verify"), False) and package in ("requests", "httpx"):
        yield f"calls {name} without a check of the server's certificate"
    if last == "option" and "--host" in words and not _loopback(options.get("default")):
        yield "--host is not the loopback by default"


def _yaml(called: str, kind: str, loaders: set[str]) -> Iterator[str]:
    if called not in SAFE_YAML:
        yield f"calls yaml.{called}, not yaml.safe_load"
    elif not called.startswith("safe_") and kind not in loaders:
        yield f"calls yaml.{called} without a safe loader or dumper"


def _hosts(node: ast.arguments) -> Iterator[str]:
    """Defaults of parameters that are called host."""
    positional = [*node.posonlyargs, *node.args]
    pairs = [
        *zip(positional[len(positional) - len(node.defaults) :], node.defaults, strict=True),
        *zip(node.kwonlyargs, node.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        if argument.arg == "host" and default is not None and not _loopback(default):
            yield "host is not the loopback by default"


def _loopback(node: ast.expr | None) -> bool:
    """A loopback's address, or the constant that is one (its value is checked where it is made)."""
    named = dotted(node).rpartition(".")[2]
    return named in ("HOST", "LOOPBACK") or (
        isinstance(node, ast.Constant) and node.value in LOOPBACK
    )


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _narrows(test: ast.expr) -> bool:
    """``x is not None`` and ``isinstance(x, …)``, which mypy wants to hear."""
    if isinstance(test, ast.Compare):
        return isinstance(test.ops[0], ast.IsNot) and _is(test.comparators[0], None)
    return isinstance(test, ast.Call) and dotted(test.func) == "isinstance"


def _is_safe(node: ast.ClassDef) -> bool:
    safe = ("yaml.SafeLoader", "yaml.SafeDumper")
    return any(dotted(base) in safe for base in node.bases)


def dotted(node: ast.expr | None) -> str:
    """The name that an expression spells; empty where it is none."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        above = dotted(node.value)
        return f"{above}.{node.attr}" if above else f"?.{node.attr}"
    return ""


def package() -> list[Path]:
    """The package's files."""
    return sorted((Path(__file__).parents[1] / "latsearch").rglob("*.py"))
