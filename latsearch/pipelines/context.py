"""What the stages of a running pipeline share: settings, the study, data, machines, the view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from latsearch.config import PROFILES, EnergyProfile, StudyConfig
from latsearch.config.pipeline import PipelineConfig
from latsearch.errors import StudyError
from latsearch.pipelines.workspace import Workspace
from latsearch.runs import DEFAULT_RUNS, Runs, home_of
from latsearch.search.checkpoints import Checkpoints, FolderCheckpoints, ObjectCheckpoints
from latsearch.search.driver import Observer, Search
from latsearch.search.objects import below
from latsearch.search.storage import Study

if TYPE_CHECKING:
    from latsearch.data import Progress, Samples, Splits
    from latsearch.search.nodes import RayNodes, Resources

T = TypeVar("T")

# the files that carry a study's result from stage to stage
FRONT, DATA, POINTS = "search/front.json", "search/data.json", "refit/points.json"
TEST, ROBUSTNESS = "test/table.json", "robustness/table.json"
SELECTED, EXPORTED = "select/selected.json", "export/exports.json"
REGISTERED = "register/registered.json"


@dataclass(frozen=True)
class PipelineOptions:
    """How a pipeline is run, and what the command line may change of it.

    Attributes:
        trials: trials of the study in total; None as in the file.
        seed: seed of the study; None as in the file.
        study: name of the study; None as in the space.
        runs: folder of all studies.
        workers: trainings at a time; None for as many as fit, 0 for this process without Ray.
        address: of a Ray cluster; None for Ray on this machine.
        until: name of the last stage to run; None for all.
        fresh: put an earlier study of this name aside, its pipeline with it, and start anew.
        download: fetch a missing data set where the library can.
        allow_code: the user allows that Python code named in the YAML is run.
        progress: told of the preparation of a data set; None for nobody.
    """

    trials: int | None = None
    seed: int | None = None
    study: str | None = None
    runs: Runs = DEFAULT_RUNS
    workers: int | None = None
    address: str | None = None
    until: str | None = None
    fresh: bool = False
    download: bool = False
    allow_code: bool = False
    progress: Progress | None = None


class Viewer(Protocol):
    """Who is shown a running pipeline."""

    def stage(self, name: str, state: str, reason: str | None = None) -> None:
        """A stage is ``current``, ``running`` (for a reason), ``done`` or ``skipped``."""
        ...

    def step(self, what: str, done: int, total: int) -> None:
        """Within the running stage, so much of something is done."""
        ...

    def note(self, line: str) -> None:
        """A line that stays."""
        ...

    def search(
        self, study: Study, search: Search, workers: int
    ) -> AbstractContextManager[Observer]:
        """A view of the search."""
        ...


@dataclass
class Context:
    """A running pipeline.

    Attributes:
        config: the pipeline.
        study_config: the study that its search carries out.
        options: how it is run.
        folder: of the pipeline, in the study's.
        view: who is shown it.
        machines: closed when the pipeline ends.
    """

    config: PipelineConfig
    study_config: StudyConfig
    options: PipelineOptions
    folder: Path
    view: Viewer
    machines: ExitStack = field(default_factory=ExitStack)
    _ray: RayNodes | None = None

    @property
    def profile(self) -> EnergyProfile:
        """The prices of operations."""
        return PROFILES[self.study_config.energy.profile]

    @property
    def study_folder(self) -> Path:
        """The study's folder."""
        return self.folder.parent

    def study(self) -> Study:
        """The study, as its storage has it now."""
        return Study.open(self.study_folder)

    def workspace(self, stage: str) -> Workspace:
        """The folder of a stage."""
        return Workspace(self.folder / stage)

    def read(self, path: str) -> Any:
        """The value in a file of an earlier stage, e.g. ``refit/points.json``."""
        stage, _, name = path.partition("/")
        return self.workspace(stage).read(name)

    @cached_property
    def whole_splits(self) -> Splits:
        """The data, with the test split; checked to be those that the search saw.

        Raises:
            StudyError: they are others.
        """
        from latsearch.data import load

        splits = load(
            self.study_config.data,
            download=self.options.download,
            allow_code=self.options.allow_code,
            progress=self.options.progress,
        )
        known = self.workspace("search").kept("data.json", "data")
        if known is not None:
            changed = [n for n, d in data_digests(splits).items() if known["digests"].get(n) != d]
            if changed:
                raise StudyError(
                    f"{self.study_folder}: the {changed[0]} split of {splits.name} is not what the "
                    "search saw; restore the data, or start anew with --fresh"
                )
        return splits

    @property
    def splits(self) -> Splits:
        """The data without the test split."""
        return self.whole_splits.without_test()

    def checkpoints(self) -> Checkpoints:
        """Where the checkpoints of trainings are, seen from every machine."""
        home = home_of(self.options.runs, self.study_config.study)
        work = self.workspace("refit").work
        work.mkdir(parents=True, exist_ok=True)  # nodes of a cluster look for a sign in it
        if home is not None:
            return ObjectCheckpoints(below(home, "pipeline/refit"), work)
        return FolderCheckpoints(work, shared=self.options.address is not None)

    def ray(self) -> RayNodes:
        """Ray, made at its first use; it stays until the pipeline ends."""
        if self._ray is None:
            from latsearch.search.nodes import RayNodes

            size = sum(part.pixels.nbytes for part in _parts(self.whole_splits).values())
            self._ray = self.machines.enter_context(
                RayNodes(size, self.options.address, self.view.note)
            )
        return self._ray

    def resources(self) -> Resources:
        """What a training or a measurement takes, and how many run at a time."""
        return self.ray().resources(self.study_config, self.options.workers)

    def map(
        self,
        task: Callable[[Splits, T], Any],
        items: Sequence[Callable[[], T]],
        splits: Splits,
        what: str,
    ) -> Iterator[tuple[int, Any]]:
        """Call a function for each item, on Ray or here; answers as they come, with the index.

        Args:
            task: takes the splits and an item; a function of a module.
            items: each makes an item when its turn comes.
            splits: the data.
            what: is done, in words.
        """
        if not items:
            return
        self.view.step(what, 0, len(items))
        for done, answer in enumerate(self._answers(task, items, splits), start=1):
            yield answer
            self.view.step(what, done, len(items))

    def _answers(
        self,
        task: Callable[[Splits, T], Any],
        items: Sequence[Callable[[], T]],
        splits: Splits,
    ) -> Iterator[tuple[int, Any]]:
        if self.options.workers == 0:
            from latsearch.search.worker import limit_threads

            limit_threads(self.study_config.resources.cpus_per_trial)
            yield from ((index, task(splits, make())) for index, make in enumerate(items))
            return
        from latsearch.search.tasks import run_tasks

        yield from run_tasks(task, items, splits, self.resources())


def _parts(splits: Splits) -> dict[str, Samples]:
    parts = {"train": splits.train, "validation": splits.validation}
    return parts | ({"test": splits.test} if splits.test is not None else {})


def data_digests(splits: Splits) -> dict[str, str]:
    """Digest of each split's labels and pixels; of recordings, whose frames vary, of the labels."""
    found = {}
    for name, part in _parts(splits).items():
        whole = hashlib.sha256(np.ascontiguousarray(part.labels).tobytes())
        if len(part.pixels):
            rows = np.arange(len(part.pixels)) if part.rows is None else part.rows
            for start in range(0, len(rows), 4096):
                block = part.pixels[rows[start : start + 4096]]
                whole.update(np.ascontiguousarray(block).tobytes())
        found[name] = whole.hexdigest()
    return found
