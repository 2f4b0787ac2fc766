"""The commands of docs/deployment.md, typed as they stand, in their order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from latsearch import api
from latsearch.cli import cli
from latsearch.config import DataConfig
from latsearch.data import load

PAGE = Path(__file__).parents[1] / "docs" / "deployment.md"
SPACE = """
version: 1
study: digits
data: {name: digits}
network: {family: mlp, timesteps: 3, width: 4, hidden: 16}
train: {epochs: 4, batch_size: 32, lr: {low: 1e-3, high: 1e-2, log: true}}
search: {trials: 3}
run: {keep: 5}
tracking: {enabled: false}
"""


def commands() -> list[list[str]]:
    """The commands in the page's blocks, those with a prompt not among them."""
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("latsearch ")]


@pytest.mark.slow
def test_the_commands_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("digits.yaml").write_text(SPACE)
    api.run("digits.yaml", api.RunOptions(workers=0))
    test = load(DataConfig(name="digits")).test
    assert test is not None
    for folder in ("folder", "camera"):
        Path(folder).mkdir()
        for index, image in enumerate(test.images[:30]):
            Image.fromarray(image[0]).save(f"{folder}/{index}.png")
    Image.fromarray(test.images[0, 0]).save("photo.png")
    np.savez("more.npz", images=test.images[:5])
    model = api.load("runs/digits:2")
    _, energy = model.predict(test.images[:30], 0.0)
    _, most = model.predict(test.images[:30], np.inf)
    middle = f"{(energy.mean() + most.mean()) / 2:.4g}"
    typed = commands()
    assert {words[1] for words in typed} == {
        "predict", "serve", "quantise", "evaluate", "recalibrate", "card",
    }  # fmt: skip
    for words in typed:
        if words[1] == "serve":  # for ever; tests/serving has it
            continue
        # another network than the page's: the energy it takes is another
        words = [middle if word == "23" else word for word in words]
        done = CliRunner().invoke(cli, words[1:])
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert Path("card/model_card.md").is_file()
    assert Path("small/model.safetensors").is_file()
    assert "unlabelled" in Path("small/deployment.json").read_text()
