"""Making a card from a network, its data and its measured figures."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latsearch import __version__
from latsearch.cards.card import DataNote, ModelCard, Reproduction
from latsearch.cards.figures import SeedFigures
from latsearch.config import PROFILES
from latsearch.data.catalogue import DATASETS

if TYPE_CHECKING:
    from latsearch.config import DataConfig
    from latsearch.data.splits import Splits
    from latsearch.evaluation import LoadedNetwork

_SOURCE = Path(__file__).parents[2]


def make_card(
    name: str,
    network: LoadedNetwork,
    seeds: Sequence[SeedFigures],
    note: DataNote,
    *,
    command: Sequence[str],
    energy_profile: str,
    class_names: Sequence[str] = (),
    robustness: Mapping[str, Any] | None = None,
    protocol: Sequence[str] = (),
    created: str | None = None,
) -> ModelCard:
    """The card of a network.

    Args:
        name: of the network.
        network: it, or the first of several trainings that differ in their seed alone.
        seeds: the figures of each training, see `measure_seed`.
        note: what it was trained and measured on, see `data_note`.
        command: the commands that make the network and its figures.
        energy_profile: the profile that it was chosen by.
        class_names: names of the classes.
        robustness: what ``latsearch evaluate --corruptions --json`` wrote.
        protocol: further sentences on how it was chosen and measured.
        created: a date to print; None for none.
    """
    from latsearch.snn.custom import CustomNetwork
    from latsearch.snn.energy import counted, priced

    info, net = network.info, network.module
    own_code = isinstance(net, CustomNetwork)
    return ModelCard(
        name=name,
        input_shape=info.input_shape,
        classes=info.classes,
        class_names=tuple(class_names),
        timesteps=net.timesteps,
        weights=info.weights,
        parameters=net.parameter_count(),
        network=asdict(info.trial.network),
        training={**asdict(info.trial.train), "epochs_trained": info.epoch},
        data=note,
        protocol=(*_protocol(note, seeds), *protocol),
        rule=net.config.decision,
        seeds=tuple(seeds),
        energy_profile=energy_profile,
        prices={name: priced(profile) for name, profile in PROFILES.items()},
        counting={n: counted(profile, own_code=own_code) for n, profile in PROFILES.items()},
        robustness=robustness,
        limits=tuple(_limits(network, note, seeds, robustness)),
        reproduction=Reproduction(
            command=tuple(command),
            seeds=tuple(seed.seed for seed in seeds),
            versions=_versions(),
            commit=_commit(),
        ),
        created=created,
    )


def data_note(config: DataConfig, splits: Splits, split: str = "test") -> DataNote:
    """What a card says of a data set, of which one split was measured."""
    return DataNote(
        name=config.name,
        title=DATASETS[config.name].info.title,
        split=split,
        train=len(splits.train),
        validation=len(splits.validation),
        test=0 if splits.test is None else len(splits.test),
        latency_unit="ms" if splits.events else "timesteps",
    )


def _protocol(note: DataNote, seeds: Sequence[SeedFigures]) -> list[str]:
    measured = seeds[0].samples
    whole = {"test": note.test, "validation": note.validation}.get(note.split, measured)
    part = "all" if measured == whole else f"{measured:,} stratified of the"
    sentences = [
        "The search saw the training and validation splits alone; the test split was never used "
        "to train, to choose or to set a threshold.",
        f"Figures are measured on {part} {whole:,} {note.split} samples at the "
        "decision threshold of the table below.",
        "A silent sample is decided by the largest potential at the last timestep and counts in "
        "the accuracy.",
    ]
    if len(seeds) > 1:
        sentences.append(
            f"{len(seeds)} trainings that differ in their seed alone: initial weights, order of "
            "the samples, augmentation."
        )
    return sentences


def _limits(
    network: LoadedNetwork,
    note: DataNote,
    seeds: Sequence[SeedFigures],
    robustness: Mapping[str, Any] | None,
) -> list[str]:
    info = network.info
    shape = ", ".join(map(str, info.input_shape))
    silent = max(seed.silent / seed.samples for seed in seeds)
    limits = [
        f"Trained on {note.name} alone and meant for such data. It knows {info.classes} classes "
        "and answers with one of them whatever it is shown; it has no notion of 'none of these'.",
        f"Takes [{shape}] and nothing else; other sizes have to be scaled, which was not measured.",
        "Energies are counted operations times published prices, not measured on hardware; no "
        "price of the sensor, of moving data between chips, or of idling is in them.",
        "A decision threshold holds for data like those it was chosen on; elsewhere decision time "
        "and energy shift. `latsearch recalibrate` sets it anew from unlabelled data.",
        "Potentials are evidence, not calibrated probabilities.",
    ]
    if silent > 0:
        limits.append(
            f"{silent:.2%} of the samples are silent: their answer is the readout at T, at the "
            "highest latency and energy."
        )
    if network.module.config.delay == "none":
        limits.append("Decision times assume layers without delay within a timestep.")
    if robustness is None:
        limits.append("Nothing is known of its behaviour under noise, blur or weather.")
    if note.split != "test":
        limits.append(f"The {note.split} split had a part in choosing it: figures flatter it.")
    return limits


def _versions() -> dict[str, str]:
    others = {name: version(name) for name in ("torch", "numpy", "ray", "optuna")}
    return {"latsearch": __version__, "Python": platform.python_version(), **others}


def _commit() -> str | None:
    """Commit of the repository that latsearch runs from; None where it runs from a package."""
    if not (_SOURCE / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(_SOURCE), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
