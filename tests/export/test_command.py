"""`latsearch export` as a user types it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import latsearch
from latsearch import api
from latsearch.cli import cli
from latsearch.errors import LatsearchError, UserError
from latsearch.export import exporter, frameworks

SPACE = """
version: 1
study: tiny
data: {name: digits, validation: 0.5}
network: {family: lenet, target: nir, timesteps: 3, width: 4, hidden: 16, downsampling: sum,
          synapse: delta, neuron: lif}
train: {epochs: 3, batch_size: 32, lr: 0.01}
search: {trials: 1}
tracking: {enabled: false}
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "tiny.yaml").write_text(SPACE)
    options = api.RunOptions(workers=0, runs=folder / "runs")
    return api.run(folder / "tiny.yaml", options).folder


def export(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)], catch_exceptions=True)


def test_of_a_study_the_knee_is_exported(study: Path, tmp_path: Path) -> None:
    out, found = tmp_path / "net", tmp_path / "found.json"
    done = export(study, "--out", out, "--samples", 150, "--json", found)
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    rows = {line[1]: line[3:] for line in lines if line[0] in ("nir", "safetensors")}
    assert {"spikingjelly", "snntorch", "latsearch"} <= set(rows)
    assert all(row[:4] == ["150", "0", "0", "0"] for row in rows.values())
    said = json.loads(found.read_text())
    chosen = api.select(study, "knee")
    assert said["decision_threshold"] == chosen["decision_threshold"]
    assert said["equal"]
    assert {"network.nir", "encoder.json", "golden.json", "deployment.json"} <= set(said["files"])


def test_an_export_is_loaded_and_evaluated_by_its_folder(study: Path, tmp_path: Path) -> None:
    out = tmp_path / "net"
    options = api.ExportOptions(formats=("safetensors",), decision_threshold=0.75, samples=50)
    report = latsearch.export_model(f"{study}:0", out, options)
    assert report.decision_threshold == 0.75
    loaded, ours = latsearch.load(out), latsearch.load(study, 0)
    for mine, theirs in zip(loaded.network.parameters(), ours.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    done = CliRunner().invoke(cli, ["evaluate", str(out), "--samples", "60"])
    assert done.exit_code == 0, done.output
    assert "at decision threshold 0.75" in done.output


def test_what_users_do_wrong(study: Path, tmp_path: Path) -> None:
    for arguments, words in [
        ((study, "--format", "nir,tflite"), "'tflite' is no format; known are safetensors, nir"),
        (("no-such",), "no such study"),
        ((f"{study}:7",), "there is no trial 7"),
        ((study, "--out", tmp_path), "exists and is no export"),
        ((study, "--where", "latency < 0"), "loosen --where"),
    ]:
        (tmp_path / "mine.txt").touch()
        error = export(*arguments).exception
        assert isinstance(error, UserError), arguments
        assert words in str(error)
        assert "\n" not in str(error)


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return None if name in names else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_without_a_second_framework_a_line_says_so(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "snntorch", "norse")
    assert frameworks.present() == ["spikingjelly"]
    done = export(study, "--out", tmp_path / "net", "--format", "nir", "--samples", 30)
    assert done.exit_code == 0, done.output
    line = "nir was not checked with snntorch or norse: not installed: pip install"
    assert f"{line} 'latsearch[export]'" in done.output
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    assert [bool(check["not_checked"]) for check in manifest["checks"]] == [False, True]


@pytest.mark.parametrize(("wanted", "package"), [("nir", "nir"), ("onnx", "onnxscript")])
def test_without_what_writes_it_a_format_is_refused(
    wanted: str, package: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, package)
    error = export(study, "--out", tmp_path / "net", "--format", wanted).exception
    assert isinstance(error, UserError)
    assert f"format {wanted} needs the package {package}: pip install" in str(error)
    assert not (tmp_path / "net").exists()


def test_a_network_that_differs_ends_with_an_error(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = exporter.load_checkpoint

    def damaged(folder: Path) -> object:
        loaded = right(folder)
        if folder.name.startswith("."):  # what was written, not what is exported
            with torch.no_grad():
                loaded.network.output.synapse.weight.neg_()
        return loaded

    monkeypatch.setattr(exporter, "load_checkpoint", damaged)
    done = export(study, "--out", tmp_path / "net", "--format", "safetensors", "--samples", 50)
    assert isinstance(done.exception, LatsearchError)
    assert done.exception.exit_code == 1
    assert "does not do what the network does: safetensors in latsearch" in str(done.exception)
    assert (tmp_path / "net" / "manifest.json").is_file()
