"""Files from a stranger run no code, and lead nowhere outside of their folder, without the flag."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from latsearch.api import RunOptions, curve, load, plan, run, smoke
from latsearch.config import DataConfig, StudyConfig, load_study, parse_study
from latsearch.config.pipeline import parse_pipeline
from latsearch.data import load as load_data
from latsearch.data.cifar import read_batch
from latsearch.data.events.formats import read_events
from latsearch.data.events.hdf5 import Hdf5Error, read_columns
from latsearch.data.npz import read_npz
from latsearch.errors import DataError, LatsearchError, UserError
from latsearch.evaluation import load_checkpoint
from latsearch.search.checkpoints import FolderCheckpoints, ObjectCheckpoints, StorageError
from latsearch.snn.checkpoint import CONFIG_FILE, MODEL_FILE, STATE_FILE, read_state
from latsearch.tracking.registry import register
from tests.data.formats import write_tiny_imagenet
from tests.fuzz.models import write_small
from tests.search.studies import new_study

CANARY = "canary_of_the_tests"


class Bomb:
    """Unpickled, it leaves a sign."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({str(self.sign)!r}, 'w')",)


@pytest.fixture
def sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once a stranger's code has run; `CANARY` makes it when imported."""
    file, folder = tmp_path / "sign", tmp_path / "modules"
    folder.mkdir()
    code = f"open({str(file)!r}, 'w')\ndef make(*_): raise ValueError('called')\n"
    (folder / f"{CANARY}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, CANARY, raising=False)
    return file


def study(tmp_path: Path, **sections: object) -> StudyConfig:
    words = {
        "version": 1,
        "study": "strange",
        "data": {"name": "digits"},
        "network": {"family": "mlp"},
        "search": {"trials": 1},
        **sections,
    }
    return parse_study(json.dumps(words), "strange.yaml")


def test_the_bomb_goes_off_where_it_is_unpickled(sign: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(sign)))
    assert sign.exists()


@pytest.mark.parametrize(
    "sections",
    [
        {"data": {"name": "custom", "function": f"{CANARY}:make"}},
        {"network": {"family": "custom", "function": f"{CANARY}:make"}},
    ],
    ids=["data", "network"],
)
def test_a_study_imports_nothing_without_the_flag(
    tmp_path: Path, sign: Path, sections: dict[str, object]
) -> None:
    found = study(tmp_path, **sections)
    options = RunOptions(runs=tmp_path / "runs", workers=0)
    for call in (run, plan, smoke):
        with pytest.raises(LatsearchError, match="--allow-code"):
            call(found, options)
    assert CANARY not in sys.modules
    assert not sign.exists()


def test_the_flag_allows_it(tmp_path: Path, sign: Path) -> None:
    data = DataConfig(name="custom", function=f"{CANARY}:make")
    with pytest.raises(DataError, match="called"):
        load_data(data, allow_code=True)
    assert sign.exists()


def test_yaml_tags_make_nothing(tmp_path: Path, sign: Path) -> None:
    file = tmp_path / "a.yaml"
    for tag in (f"!!python/name:{CANARY}.make", f"!!python/module:{CANARY}"):
        file.write_text(f"version: 1\nstudy: {tag} ''\n")
        with pytest.raises(LatsearchError, match="the YAML tag"):
            load_study(file)
    assert not sign.exists()


def as_npy(bomb: Bomb) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([bomb], dtype=object), allow_pickle=True)
    return out.getvalue()


def as_npz(bomb: Bomb) -> bytes:
    out = io.BytesIO()
    np.savez(out, x=np.array([bomb], dtype=object), potentials=np.array([bomb], dtype=object))
    return out.getvalue()


READERS: dict[str, tuple[Callable[[Bomb], bytes], Callable[[Path], object]]] = {
    "a.npy": (as_npy, read_events),
    "b.npy": (pickle.dumps, read_events),
    "a.npz": (as_npz, read_npz),
    "b.npz": (as_npz, curve),
    "c.npz": (pickle.dumps, curve),
    "data_batch_1": (pickle.dumps, lambda file: read_batch(file, "labels")),
    "data_batch_2": (
        lambda bomb: pickle.dumps({"data": bomb, "labels": bomb}, protocol=2),
        lambda file: read_batch(file, "labels"),
    ),
    STATE_FILE: (lambda bomb: pickle.dumps(bomb, protocol=2), lambda file: read_state(file.parent)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_is_never_unpickled(tmp_path: Path, sign: Path, name: str) -> None:
    write, read = READERS[name]
    (tmp_path / name).write_bytes(write(Bomb(sign)))
    with pytest.raises(LatsearchError):
        read(tmp_path / name)
    assert not sign.exists()


def test_a_checkpoint_with_a_pickle(tmp_path: Path, sign: Path) -> None:
    place = write_small(tmp_path)
    torch.save({"epoch": Bomb(sign)}, place / STATE_FILE)
    with pytest.raises(LatsearchError, match=r"weights_only|Weights only|Unsupported"):
        read_state(place)
    torch.save(Bomb(sign), place / MODEL_FILE)
    with pytest.raises(LatsearchError):
        load_checkpoint(place)
    assert not sign.exists()


def test_a_checkpoint_of_a_network_that_is_code(tmp_path: Path, sign: Path) -> None:
    place = write_small(tmp_path)
    described = json.loads((place / CONFIG_FILE).read_text())
    described["trial"]["network"].update(family="custom", function=f"{CANARY}:make")
    (place / CONFIG_FILE).write_text(json.dumps(described))
    with pytest.raises(LatsearchError, match="--allow-code"):
        load_checkpoint(place)
    assert CANARY not in sys.modules
    assert not sign.exists()


OUTSIDE = ["../x", "/etc", "trials/../../x/00001", "trials/00001/../../..", "trials/00001", "", "."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_checkpoints_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "x"
    kept.mkdir()
    places = (
        FolderCheckpoints(tmp_path / "study"),
        ObjectCheckpoints(f"file://{tmp_path}/objects", tmp_path / "cache"),
    )
    for place in places:
        for use in (place.remove, place.drop_state, place.fetched):
            with pytest.raises(StorageError, match="is no checkpoint's name"):
                use(name)
    assert kept.exists()


@pytest.mark.parametrize("name", ["../up", "/root", "a/b", "..", "", "a\0b", "x" * 65, ".hidden"])
def test_a_studys_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(LatsearchError):
        study(tmp_path, study=name)
    with pytest.raises(LatsearchError):
        RunOptions(study=name, runs=tmp_path).applied(study(tmp_path))


MODELS = ["../up", "/root", "a/b", "a:b", "a\\b", "..", ".", " ", "", "a\0b", "a\nb", "x" * 251]


@pytest.mark.parametrize("name", MODELS)
def test_a_registered_models_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    made_up = new_study(tmp_path / "study")
    with pytest.raises(UserError, match="is no name of a registered model") as refused:
        register(made_up, {}, name, f"sqlite:///{tmp_path}/mlflow.db")
    assert "\n" not in str(refused.value)
    settings = {"version": 1, "pipeline": "p", "search": {"space": "digits"}}
    with pytest.raises(LatsearchError, match="is no name of a registered model"):
        parse_pipeline(yaml.safe_dump(settings | {"register": {"name": name}}))
    assert [found.name for found in tmp_path.iterdir()] == ["study"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("wnids.txt", "../../../etc"),
        ("wnids.txt", "/etc"),
        ("val/val_annotations.txt", "../../secret.JPEG\tn00000000\t0\t0\t1\t1"),
        ("val/val_annotations.txt", "/secret.JPEG\tn00000000\t0\t0\t1\t1"),
    ],
)
def test_tiny_imagenets_lists_lead_nowhere_else(tmp_path: Path, file: str, line: str) -> None:
    folder = write_tiny_imagenet(tmp_path, classes=200, each=1)
    (folder / file).write_text((folder / file).read_text() + line + "\n")
    with pytest.raises(DataError, match=r"which names no (folder|image)"):
        load_data(DataConfig(name="tiny-imagenet", root=str(tmp_path)))


def test_an_hdf5_file_cannot_show_another_one(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "private.h5", "w") as private:
        private["t"] = np.arange(3)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["t"] = h5py.ExternalLink(str(tmp_path / "private.h5"), "/t")
    (tmp_path / "raw").write_bytes(bytes(24))
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("t", (3,), "i8", external=[(str(tmp_path / "raw"), 0, 24)])
    for name, words in (("link.h5", "link to somewhere else"), ("raw.h5", "in another file")):
        with pytest.raises(Hdf5Error, match=words):
            read_columns(tmp_path / name, [(("t",), None)])


def test_members_of_an_archive_stay_in_it(tmp_path: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(2))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("../outside.npy", out.getvalue())
    assert list(read_npz(tmp_path / "a.npz")) == ["../outside"]  # a key, never a path
    assert not (tmp_path.parent / "outside.npy").exists()


def test_a_trial_of_a_stranger_is_named_in_words(tmp_path: Path) -> None:
    with pytest.raises(LatsearchError, match="no such study"):
        load("../../etc", 0, tmp_path)
