"""A folder with a small trained study, for tests of what is done with a network afterwards."""

from __future__ import annotations

from pathlib import Path

from latsearch import api

SPACE = """
version: 1
study: tiny
data: {name: digits, validation: 0.25}
network: {family: lenet, timesteps: 3, width: 4, hidden: 16, downsampling: sum}
train: {epochs: 8, batch_size: 32, lr: 0.01}
search: {trials: 1}
run: {keep: 5}
tracking: {enabled: false}
"""


def trained_study(folder: Path) -> Path:
    """Run a search of one trial in a folder; where the study is."""
    (folder / "tiny.yaml").write_text(SPACE)
    options = api.RunOptions(workers=0, runs=folder / "runs")
    return api.run(folder / "tiny.yaml", options).folder
