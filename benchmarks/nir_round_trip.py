"""NIR round trips: trained networks, exported, read back and run by other frameworks.

Small networks are trained a little on scikit-learn's digits, and (not with --quick) two larger ones
on Fashion-MNIST. Each is exported to NIR at a decision threshold at which its samples decide at
different times, and the file is run on 1,000 validation samples

    as `latsearch export` does: SpikingJelly by its own importer, snnTorch and norse by their
    neurons in nirtorch's graph,
    by norse's and snnTorch's own importers, which are not relied on.

A sample differs where its prediction, its decision time or any spike of any layer does; one whose
first difference is a potential within 1e-5 of its threshold is counted as near. Of the importers
that are not relied on the decisions alone are compared, or their error is shown.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from latsearch.config import DataConfig
from latsearch.config.trial import NetworkConfig, StageConfig
from latsearch.data import Splits, load
from latsearch.evaluation import LoadedNetwork
from latsearch.export import ExportReport, export_model
from latsearch.export.encoder import HostEncoder
from latsearch.export.nir_graph import DT
from tests.export.networks import NETWORKS, digits, threshold_of, trained

SAMPLES = 1000
FASHION: Mapping[str, NetworkConfig] = {
    "Fashion-MNIST: lenet 16, IF": NetworkConfig(
        family="lenet", width=16, hidden=128, synapse="delta"
    ),
    "Fashion-MNIST: residual, LIF": NetworkConfig(
        family="stages",
        synapse="delta",
        neuron="lif",
        tau_mem=3.0,
        stages=(
            StageConfig(channels=16, block="residual", downsampling="sum"),
            StageConfig(channels=32, block="residual", downsampling="stride"),
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under a minute on two cores")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    print(__doc__)
    print("| network | neurons | accuracy | mean decision time | run by | differ | near |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, splits, network) in enumerate(networks(Path(folder), options.quick)):
            report = exported(network, splits, Path(folder) / f"export{index}")
            show(name, network, splits, report, figures)
            show_others(name, splits, report, figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def networks(folder: Path, quick: bool) -> Iterator[tuple[str, Splits, LoadedNetwork]]:
    """Each network, trained, with its data."""
    for index, (name, config) in enumerate(NETWORKS.items()):
        yield name, digits(), trained(config, folder / f"digits{index}")
    if not quick:
        splits = load(DataConfig(name="fashion-mnist"))
        splits = replace(splits, train=splits.train.take(np.arange(10_000)))
        for index, (name, config) in enumerate(FASHION.items()):
            yield name, splits, trained(config, folder / f"fashion{index}", splits=splits, epochs=2)


def exported(network: LoadedNetwork, splits: Splits, folder: Path) -> ExportReport:
    samples = splits.validation.take(np.arange(SAMPLES))
    threshold = threshold_of(network, splits)
    return export_model(
        network, folder, formats=("nir",), decision_threshold=threshold, samples=samples
    )


def show(
    name: str,
    network: LoadedNetwork,
    splits: Splits,
    report: ExportReport,
    figures: dict[str, Any],
) -> None:
    samples = splits.validation.take(np.arange(SAMPLES))
    decision = network.decide(samples.images, report.decision_threshold)
    accuracy = float((decision.prediction == samples.labels).mean())
    time, neurons = float(decision.decision_time.mean()), network.network.hidden_neurons()
    figures[f"{name}, accuracy"] = accuracy
    for check in report.checks:
        said = check.not_checked or f"{check.differing} of {check.samples:,}"
        print(
            f"| {name} | {neurons:,} | {accuracy:.1%} | {time:.2f} | {check.framework} | {said} | "
            f"{check.near_threshold} |"
        )
        key = f"{name}, {check.framework.split()[0]}"
        figures |= {f"{key}, differ": check.differing, f"{key}, near": check.near_threshold}


def show_others(name: str, splits: Splits, report: ExportReport, figures: dict[str, Any]) -> None:
    """The decisions of importers that are not relied on."""
    pixels = torch.from_numpy(splits.validation.take(np.arange(SAMPLES)).images)
    inputs = HostEncoder(report.folder)(pixels)
    ours = first_times(np.stack(list(spikes_of(_spikingjelly, report.folder, inputs))))
    for importer in (_norse, _snntorch):
        called = f"{importer.__name__[1:]}'s own importer"
        try:
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                sent = np.stack(list(spikes_of(importer, report.folder, inputs)))
            differ = int((first_times(sent) != ours).sum())
            said = f"{differ} of {SAMPLES:,} decision times"
        except Exception as error:
            differ, said = (
                math.nan,
                f"{type(error).__name__}: {(str(error) or '-').splitlines()[0]}",
            )
        print(f"| {name} | | | | {called} | {said} | |")
        figures[f"{name}, {called}, differ"] = None if math.isnan(differ) else differ


def spikes_of(
    importer: Callable[[Any], Any], folder: Path, inputs: torch.Tensor
) -> Iterator[np.ndarray]:
    """The output's spikes ``[B, K]`` at each timestep."""
    import nir

    module = importer(nir.read(folder / "network.nir"))
    state = None
    with torch.no_grad():
        for step in inputs:
            spikes, state = module(step, state)
            yield spikes.numpy()


def first_times(spikes: np.ndarray) -> np.ndarray:
    """``[B]``: the timestep of the first spike, T where there is none."""
    some = spikes.any(-1)
    return np.where(some.any(0), some.argmax(0), len(some) - 1)


def _spikingjelly(graph: Any) -> Any:
    from spikingjelly.activation_based.nir_exchange.from_nir import import_from_nir

    return import_from_nir(graph, dt=DT)


def _norse(graph: Any) -> Any:
    import norse.torch

    return norse.torch.from_nir(graph, dt=DT, ignore_warnings=True)


def _snntorch(graph: Any) -> Any:
    import snntorch.import_nir

    return snntorch.import_nir.import_from_nir(graph)


if __name__ == "__main__":
    main()
