"""A network of the user's own, from the YAML to a front and a registered model."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
from click.testing import CliRunner, Result

import latsearch
from latsearch.cli import cli
from latsearch.errors import LatsearchError

YAML = """
version: 1
study: own
data: {name: digits, train_samples: 200}
network:
  family: {choices: [custom, mlp]}
  function: own_net_module:make
  hidden: 8
  timesteps: {low: 2, high: 3}
  options: {width: {low: 8, high: 16}}
train: {epochs: 2}
constraints: {macs: {max: 1e6}}
search:
  trials: 6
  enqueue: [{network.family: custom, network.options.width: 12, network.timesteps: 3}]
"""
CODE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        self.config, width = config, config.options["width"]
        self.first, self.second = nn.Linear(64, width), nn.Linear(width, classes)
    def forward(self, images):
        current, v, out, potentials = self.first(images.flatten(1)), 0.0, 0.0, []
        for _ in range(self.config.timesteps):
            v = v + current
            spikes = torch.sigmoid(4 * (v - 1))
            spikes = (v > 1).float() + spikes - spikes.detach()
            v = v * (1 - spikes.detach())
            out = out + self.second(spikes)
            potentials.append(out)
        return torch.stack(potentials)
def make(config, input_shape, classes):
    return Net(config, classes)
"""
REFUSED = (
    "network.function is Python code (own_net_module:make); if you trust it, allow it with "
    "--allow-code"
)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own.yaml").write_text(YAML)
    (tmp_path / "own_net_module.py").write_text(CODE)
    return tmp_path


def typed(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def refusal(*words: str) -> str:
    with pytest.raises(LatsearchError) as caught:
        typed(*words)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_from_the_yaml_to_a_registered_model(own: Path) -> None:
    for words in (["--smoke"], ["--plan"], []):
        assert refusal("run", "own.yaml", *words) == REFUSED
    assert not (own / "runs").exists()
    assert "it works" in typed("run", "own.yaml", "--smoke", "--allow-code").stdout
    done = typed("run", "own.yaml", "--allow-code", "--workers", "0")
    assert "6 of 6 trials (0 failed)" in done.stdout
    where = "network.family == 'custom'"
    chosen = json.loads(typed("select", "own", "--where", where, "--json").stdout)
    assert chosen["network.options.width"] in range(8, 17)
    trial = chosen["trial"]

    assert REFUSED in refusal("evaluate", f"own:{trial}")
    assert "clean" in typed("evaluate", f"own:{trial}", "--allow-code", "--samples", "100").stdout
    with pytest.raises(LatsearchError, match="allow it with --allow-code"):
        latsearch.load("own", trial)
    network = latsearch.load("own", trial, allow_code=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 1, 8, 8), np.uint8)
    decision, energy = network.predict(images, chosen["decision_threshold"])
    with pytest.raises(LatsearchError, match="the network is the user's own code"):
        _ = network.network

    typed("report", "own", "--allow-code")
    with_code = (own / "runs/own/report.html").read_text()
    assert "linear layers and convolutions are counted" in with_code
    typed("select", "own", "--where", where, "--register", "mine", "--to", "sqlite:///own.db")
    mlflow.set_tracking_uri("sqlite:///own.db")
    try:
        with pytest.raises(LatsearchError, match="allow it with --allow-code"):
            mlflow.pyfunc.load_model("models:/mine@knee")
        model = mlflow.pyfunc.load_model("models:/mine@knee", model_config={"allow_code": True})
        answer = model.predict(images)
    finally:
        mlflow.set_tracking_uri(None)
    assert answer["prediction"].tolist() == decision.prediction.tolist()
    assert np.allclose(answer["energy"], energy)


def uncounted(own: Path, *changes: tuple[str, str]) -> None:
    """Give the user's network a layer that cannot be counted, and change the study."""
    code = CODE.replace("nn.Linear(64, width)", "nn.Bilinear(64, 1, width)").replace(
        "self.first(images.flatten(1))",
        "self.first(images.flatten(1), torch.ones(len(images), 1))",
    )
    (own / "own_net_module.py").unlink()
    (own / "uncounted_net_module.py").write_text(code)
    study = YAML.replace("own_net_module", "uncounted_net_module")
    for change in (("{choices: [custom, mlp]}", "custom"), *changes):
        study = study.replace(*change)
    (own / "own.yaml").write_text(study)


def test_a_network_that_cannot_be_counted_is_refused_before_the_search(own: Path) -> None:
    uncounted(own)
    line = refusal("run", "own.yaml", "--allow-code", "--workers", "0")
    assert "cannot count the operations of first (Bilinear)" in line
    assert "leave energy and macs out of objectives and constraints" in line


def test_a_network_that_cannot_be_counted_is_searched_without_energy(own: Path) -> None:
    objectives = "objectives: {accuracy: maximize, latency: minimize}"
    uncounted(own, ("constraints: {macs: {max: 1e6}}", objectives))
    done = typed("run", "own.yaml", "--allow-code", "--workers", "0")
    assert "6 of 6 trials (0 failed)" in done.stdout


@pytest.mark.slow
def test_on_ray(own: Path) -> None:
    """Workers find the module where the search was started."""
    done = typed("run", "own.yaml", "--allow-code", "--workers", "2")
    assert "6 of 6 trials (0 failed)" in done.stdout
