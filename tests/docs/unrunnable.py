"""Commands of the documentation that this machine's tests do not type, each with the reason.

Their options are checked all the same. A command that is neither typed nor listed here fails a
test.
"""

from __future__ import annotations

import re

# page (regular expression), command (regular expression), reason
REASONS = [
    (r"README\.md", r"latsearch \w+ (my|my\.yaml|my-first)\b", "tests/test_readme.py types them"),
    (r".*", r"make (run|test)$", "CI runs make's targets in a fresh clone"),
    (r".*", r"pip install ", "installs packages; the extras that it names are checked"),
    (r".*", r"latsearch ui\b", "serves for ever; tests/tracking looks at it"),
    (r".*", r"(helm|docker|kind|kubectl|k8s/|secret\(\)|export \w+=\$\(secret) ?", "a cluster"),
    (r"k8s/README\.md", r"latsearch (status|submit|fetch)\b", "needs a Kubernetes cluster"),
    (r"docs/cluster\.md", r"(ray|export) ", "needs several machines; tests/test_nodes.py"),
    (r"docs/cluster\.md", r"latsearch (doctor|run) .*--address", "needs several machines"),
    (r"docs/(events|images)\.md", r".*(nmnist|cifar10)\b", "needs a data set that is downloaded"),
    (r".*", r"python (benchmarks|docs)/", "minutes to hours; the scripts are in the repository"),
    (r"docs/events\.md", r"latsearch run benchmarks/fashion_events", "17 minutes"),
    (r"docs/images\.md", r"latsearch evaluate runs/my-study:22", "tests/test_robustness.py"),
    (r"docs/pipelines\.md", r"latsearch pipeline ", "minutes; tests/pipelines runs it"),
    (r"docs/results\.md", r"latsearch pipeline fashion_mnist", "an hour and a half"),
    (r"docs/export\.md", r"latsearch export ", "tests/export runs it and compares"),
    (r"docs/deployment\.md", r".*", "tests/test_deployment_docs.py types them"),
]

# pages whose Python is run elsewhere
PYTHON_ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/browsing.md": "tests/tracking/test_registry.py; the images are the reader's",
}


def reason(page: str, command: str) -> str | None:
    """Why a command is not typed; None where it is."""
    for pages, commands, why in REASONS:
        if re.fullmatch(pages, page) and re.match(commands, command):
            return why
    return None
