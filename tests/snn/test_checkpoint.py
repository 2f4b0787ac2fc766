from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from latsearch.config.trial import NetworkConfig, StageConfig, TrainConfig, TrialConfig
from latsearch.errors import LatsearchError
from latsearch.snn import checkpoint
from latsearch.snn.checkpoint import CheckpointInfo, read_info, read_state, read_weights
from latsearch.snn.networks import build_network

INFO = CheckpointInfo(
    trial=TrialConfig(
        network=NetworkConfig(family="stages", stages=(StageConfig(channels=2),)),
        train=TrainConfig(clip_grad_norm=1.5),
    ),
    input_shape=(1, 8, 8),
    classes=3,
    mean=(0.25,),
    std=(0.5,),
    dataset="made up",
    epoch=7,
    seed=3,
)


@pytest.fixture
def folder(tmp_path) -> Path:
    network = build_network(INFO.trial.network, INFO.input_shape, INFO.classes)
    folder = tmp_path / "trials" / "00007"
    checkpoint.write_checkpoint(folder, INFO, network.state_dict(), {"n": 1})
    return folder


def test_what_is_written_is_read(folder):
    assert read_info(folder) == INFO
    assert read_state(folder) == {"n": 1}
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "state.pt",
    ]
    assert json.loads((folder / "config.json").read_text())["version"] == 1
    network = build_network(INFO.trial.network, INFO.input_shape, INFO.classes)
    checkpoint.load_weights(network, folder)
    for name, value in read_weights(folder).items():
        assert torch.equal(network.state_dict()[name], value)


def test_a_folder_is_replaced_as_a_whole_and_nothing_is_left_beside_it(folder):
    checkpoint.write_checkpoint(folder, INFO, {"w": torch.ones(2)}, {"n": 2})
    assert list(read_weights(folder)) == ["w"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_write_that_fails_leaves_what_was_there(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write_checkpoint(folder, INFO, {"w": torch.ones(2)}, {})
    assert read_state(folder) == {"n": 1}
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def set_field(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def flip(file: Path) -> None:
    """Change one bit of the last number, which neither format notices by itself."""
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json: No such file"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not a latsearch"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json: not a latsearch"),
        (lambda f: (f / "config.json").write_text("{}"), "config.json: not a latsearch"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json: not a latsearch"),
        (lambda f: set_field(f / "config.json", version=2), "config.json: written in format 2"),
        (lambda f: set_field(f / "config.json", classes="many"), "config.json: classes: "),
        (lambda f: set_field(f / "config.json", trial={}), "config.json: trial.network: "),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: "),
        (lambda f: (f / "model.safetensors").write_bytes(b"junk"), "model.safetensors: "),
        (lambda f: (f / "state.pt").unlink(), "state.pt: "),
        (lambda f: (f / "state.pt").write_bytes(b"junk"), "state.pt: "),
        (lambda f: flip(f / "model.safetensors"), "model.safetensors: damaged"),
        (lambda f: flip(f / "state.pt"), "state.pt: damaged"),
        (lambda f: set_field(f / "config.json", epoch=8), "config.json: damaged"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(folder, spoil, message):
    spoil(folder)

    def load():
        info = read_info(folder)
        checkpoint.load_weights(build_network(info.trial.network, (1, 8, 8), 3), folder)
        read_state(folder)

    with pytest.raises(LatsearchError, match=message) as caught:
        load()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_do_not_load(folder):
    other = build_network(NetworkConfig(width=2), (1, 8, 8), 3)
    with pytest.raises(LatsearchError, match=r"model.safetensors: the weights do not fit"):
        checkpoint.load_weights(other, folder)


class Harm:
    def __reduce__(self):
        return (print, ("harm",))


def test_a_checkpoint_without_digests_is_an_earlier_versions_and_loads(folder):
    description = json.loads((folder / "config.json").read_text())
    del description["sha256"]
    (folder / "config.json").write_text(json.dumps(description))
    assert read_info(folder) == INFO
    assert list(read_weights(folder))
    assert read_state(folder) == {"n": 1}


def test_no_pickled_code_runs(folder, capsys):
    set_field(folder / "config.json", sha256={})  # whoever writes code writes digests as well
    with (folder / "state.pt").open("wb") as file:
        pickle.dump(Harm(), file, protocol=2)
    with pytest.raises(LatsearchError, match=r"state\.pt"):
        read_state(folder)
    torch.save({"n": Harm()}, folder / "state.pt")
    with pytest.raises(LatsearchError, match=r"state\.pt"):
        read_state(folder)
    assert "harm" not in capsys.readouterr().out
