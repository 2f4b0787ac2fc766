"""Record latbench: train every configuration of a grid, and keep every epoch's decision curves.

    python benchmarks/latbench/record.py benchmarks/latbench/digits.yaml --parts DIR
    python benchmarks/latbench/record.py benchmarks/latbench/digits.yaml --parts DIR --pack FILE

    python benchmarks/latbench/record.py benchmarks/latbench/digits.yaml --parts DIR \
        --screening 0.25 4 [--pack FILE]

The first line may be killed and repeated at any time: each finished training is a file of its own
in DIR, written aside and moved there. The second packs them into one table, and refuses to leave
a training out. The third records the screenings alone, each as epoch 0. Trainings are the
package's own (`latsearch.training.Trainer`), on one thread each.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latsearch.config import Parameter, ScreeningConfig, StudyConfig, Value, load_study

FORMAT = 1
SPLITS = ("validation", "test")
NICENESS = 19
_ROUNDED = ("decision_threshold", "energy")

# counts of samples and sums of timesteps instead of fractions and means: exact, and small
SCHEMA = pa.schema(
    [
        ("configuration", pa.uint16()),
        ("seed", pa.uint8()),
        ("epoch", pa.uint8()),
        ("split", pa.uint8()),  # index in SPLITS
        ("seconds", pa.float32()),  # processor time of the epoch, its validation included
        ("decision_threshold", pa.float32()),  # inf: the readout at T
        ("correct", pa.uint16()),
        ("correct_not_silent", pa.uint16()),
        ("decision_times", pa.uint32()),  # their sum over the samples
        ("latency_p95", pa.uint8()),
        ("energy", pa.float32()),  # nJ, of an inference
        ("silent", pa.uint16()),
        ("ties", pa.uint16()),
    ]
)


@dataclass(frozen=True)
class Training:
    """One training of the grid."""

    grid: Path
    configuration: int
    seed: int
    part: Path
    screening: ScreeningConfig | None = None  # which alone is carried out


def axis(parameter: Parameter) -> tuple[Value, ...]:
    """The values of a searched field, in their order."""
    if parameter.kind == "categorical":
        return parameter.choices
    if parameter.continuous:
        raise SystemExit(f"{parameter.name} is continuous: a grid needs choices or a step")
    assert parameter.low is not None
    assert parameter.step is not None
    values = [parameter.low + index * parameter.step for index in range(int(parameter.size))]
    return tuple(int(v) if parameter.kind == "int" else float(v) for v in values)


def axes(config: StudyConfig) -> dict[str, tuple[Value, ...]]:
    """The values of every searched field; the last one varies fastest over the configurations."""
    for parameter in config.space.parameters:
        if parameter.conditions and not all(
            set(config.space.domain(c.name) or ()) <= set(c.values) for c in parameter.conditions
        ):
            raise SystemExit(f"{parameter.name} is not used everywhere: the grid is not a product")
    return {parameter.name: axis(parameter) for parameter in config.space.parameters}


def points(config: StudyConfig) -> Iterator[dict[str, Value]]:
    """Every configuration of the grid, in the order of their numbers."""
    known = axes(config)
    for values in itertools.product(*known.values()):
        yield dict(zip(known, values, strict=True))


def record(training: Training) -> tuple[Training, float]:
    """Carry out one training and write its part; its wall time in seconds."""
    import torch

    from latsearch.config import PROFILES
    from latsearch.data import load
    from latsearch.evaluation import validation_curve
    from latsearch.training import Trainer, TrainingError

    start = time.perf_counter()
    torch.set_num_threads(1)
    config = load_study(training.grid)
    splits = _CACHE.get("splits")
    if splits is None:
        splits = _CACHE["splits"] = load(config.data)
    values = next(itertools.islice(points(config), training.configuration, None))
    profile = PROFILES[config.energy.profile]
    trial = config.space.trial(values)
    trainer = Trainer(
        trial,
        splits.without_test(),
        seed=training.seed,
        profile=profile,
        screening=training.screening,
    )
    assert splits.test is not None
    tables: list[pa.Table] = []
    while trainer.epoch < trial.train.epochs and not (tables and training.screening):
        before = time.process_time()
        try:
            report = trainer.step()
        except TrainingError:
            break  # it diverged: fewer epochs than the others, which the table's readers see
        seconds = time.process_time() - before
        test, _ = validation_curve(trainer.reported, splits.test, splits.mean, splits.std, profile)
        for split, curve in enumerate((report.curve, test)):
            samples = len(getattr(splits, SPLITS[split]))
            tables.append(_rows(training, report.epoch, split, seconds, curve, samples))
    aside = training.part.with_suffix(".tmp")
    pq.write_table(pa.concat_tables(tables) if tables else SCHEMA.empty_table(), aside)
    os.replace(aside, training.part)
    return training, time.perf_counter() - start


_CACHE: dict[str, Any] = {}


def _rows(
    training: Training, epoch: int, split: int, seconds: float, curve: Any, samples: int
) -> pa.Table:
    def count(fractions: Any) -> Any:
        return np.rint(fractions * samples).astype(np.int64)

    rows = len(curve)
    columns = {
        "configuration": np.full(rows, training.configuration),
        "seed": np.full(rows, training.seed),
        "epoch": np.full(rows, epoch),
        "split": np.full(rows, split),
        "seconds": np.full(rows, round(seconds, 4)),
        "decision_threshold": curve.decision_threshold,
        "correct": count(curve.accuracy),
        "correct_not_silent": count(curve.accuracy_silent_wrong),
        "decision_times": count(curve.latency),
        "latency_p95": curve.latency_p95.astype(np.int64),
        "energy": curve.energy,
        "silent": count(curve.silent_fraction),
        "ties": count(curve.tie_fraction),
    }
    arrays = [pa.array(columns[field.name]).cast(field.type, safe=False) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def trainings(
    grid: Path, seeds: int, parts: Path, screening: ScreeningConfig | None
) -> list[Training]:
    """All trainings of a grid, one seed after the other."""
    count = sum(1 for _ in points(load_study(grid)))
    return [
        Training(
            grid,
            configuration,
            seed,
            parts / f"{grid.stem}-{seed}-{configuration:05d}.part",
            screening,
        )
        for seed in range(seeds)
        for configuration in range(count)
    ]


def commit(folder: Path) -> str:
    """The commit of the code that is run."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def pack(grid: Path, seeds: int, parts: Path, screening: ScreeningConfig | None, out: Path) -> None:
    """Join all parts into one table.

    Raises:
        SystemExit: a training is missing.
    """
    from latsearch.data import load
    from latsearch.search.reference import reference_point

    wanted = trainings(grid, seeds, parts, screening)
    missing = [training for training in wanted if not training.part.is_file()]
    if missing:
        raise SystemExit(f"{len(missing)} of {len(wanted)} trainings are missing in {parts}")
    config = load_study(grid)
    splits = load(config.data)
    about = {
        "version": FORMAT,
        "grid": grid.read_text(),
        "axes": {name: list(values) for name, values in axes(config).items()},
        "seeds": seeds,
        **({} if screening is None else {"screening": screening.model_dump(mode="json")}),
        "samples": {name: len(getattr(splits, name)) for name in ("train", *SPLITS)},
        "classes": splits.classes,
        "reference": reference_point(config, splits),
        "commit": (parts / "commit").read_text().strip(),
        "versions": {"python": platform.python_version(), **_versions()},
    }
    table = pa.concat_tables([pq.read_table(training.part) for training in wanted])
    for name in _ROUNDED:
        rounded = pa.array(_rounded(table[name].to_numpy()))
        table = table.set_column(table.schema.get_field_index(name), name, rounded)
    pq.write_table(
        table.cast(SCHEMA.with_metadata({"latbench": json.dumps(about)})),
        out,
        compression="zstd",
        compression_level=19,
        use_dictionary=["configuration", "seed", "epoch", "split", "seconds", "latency_p95"],
        use_byte_stream_split=list(_ROUNDED),
    )
    print(f"{out}: {len(wanted)} trainings, {len(table)} rows, {out.stat().st_size / 1e6:.1f} MB")


def _rounded(values: Any) -> Any:
    """float32 with 13 of its 23 binary digits, within 0.006 %: half as large when compressed."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    return (((bits + (1 << 9)) >> 10) << 10).astype(np.uint32).view(np.float32)


def _versions() -> dict[str, str]:
    import numpy
    import torch

    return {"torch": torch.__version__, "numpy": numpy.__version__}


def main() -> None:
    """Record, or pack what was recorded."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("grid", type=Path, help="the grid's YAML file")
    parser.add_argument("--parts", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each configuration")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument(
        "--screening", nargs=2, metavar=("DATA", "EPOCHS"), help="only the screenings, of this kind"
    )
    parser.add_argument("--pack", type=Path, metavar="FILE", help="only join the parts into FILE")
    arguments = parser.parse_args()
    screening = None
    if arguments.screening:
        part, epochs = arguments.screening
        screening = ScreeningConfig(data=float(part), epochs=int(epochs))
    if arguments.pack:
        pack(arguments.grid, arguments.seeds, arguments.parts, screening, arguments.pack)
        return
    arguments.parts.mkdir(parents=True, exist_ok=True)
    (arguments.parts / "commit").write_text(commit(Path(__file__).parent) + "\n")
    wanted = trainings(arguments.grid, arguments.seeds, arguments.parts, screening)
    left = [training for training in wanted if not training.part.is_file()]
    print(f"{len(left)} of {len(wanted)} trainings are left", flush=True)
    start = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.workers, initializer=os.nice, initargs=(NICENESS,)) as pool:
        for done, (training, taken) in enumerate(pool.imap_unordered(record, left), start=1):
            rate = (time.perf_counter() - start) / done
            print(
                f"{training.part.stem}: {taken:.2f} s; {len(left) - done} left, "
                f"{rate * (len(left) - done) / 60:.0f} min",
                flush=True,
            )


if __name__ == "__main__":
    main()
