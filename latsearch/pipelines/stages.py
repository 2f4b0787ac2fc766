"""The stages in their order, and the runner that carries out those that are not current."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from latsearch import __version__
from latsearch.pipelines import (
    exporting,
    refit,
    registering,
    reporting,
    robust,
    searching,
    selecting,
    testing,
)
from latsearch.pipelines.context import (
    DATA,
    EXPORTED,
    FRONT,
    POINTS,
    REGISTERED,
    ROBUSTNESS,
    SELECTED,
    TEST,
    Context,
)
from latsearch.pipelines.mirror import Mirror
from latsearch.pipelines.workspace import Manifest, Workspace
from latsearch.runs import home_of

LOG = "log.jsonl"  # when what ran, and for how long: no output, it is never the same


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: its name, and that of its folder.
        version: raised where it would make something else of the same inputs.
        needs: patterns of the earlier stages' files that it reads.
        settings: of JSON's types, all that its outputs depend on beside those files.
        run: carries it out; the names of its outputs.
        wanted: whether the pipeline has it.
        check: raises where it could not be carried out, before anything is.
    """

    name: str
    version: int
    needs: Callable[[Context], Sequence[str]]
    settings: Callable[[Context], Any]
    run: Callable[[Context, Workspace], Sequence[str]]
    wanted: Callable[[Context], bool] = lambda context: True
    check: Callable[[Context], None] = lambda context: None


def _fixed(*patterns: str) -> Callable[[Context], Sequence[str]]:
    return lambda context: patterns


STAGES = (
    Stage("search", 1, _fixed(), searching.settings, searching.run),
    Stage("refit", 1, _fixed(FRONT, DATA), refit.settings, refit.run),
    Stage("test", 1, _fixed(DATA, "refit/*"), testing.settings, testing.run),
    Stage(
        "robustness",
        1,
        _fixed(DATA, "refit/*"),
        robust.settings,
        robust.run,
        lambda context: context.config.robustness is not None,
        robust.check,
    ),
    Stage("select", 1, selecting.needs, selecting.settings, selecting.run),
    Stage(
        "export",
        1,
        _fixed(DATA, POINTS, SELECTED, "refit/networks/*", "test/*", "robustness/*"),
        exporting.settings,
        exporting.run,
        lambda context: context.config.export is not None,
        exporting.check,
    ),
    Stage(
        "register",
        1,
        _fixed(POINTS, TEST, SELECTED, "refit/networks/*"),
        registering.settings,
        registering.run,
        lambda context: context.config.register_ is not None,
    ),
    Stage(
        "report",
        1,
        _fixed(FRONT, DATA, POINTS, TEST, ROBUSTNESS, SELECTED, EXPORTED, REGISTERED),
        reporting.settings,
        reporting.run,
    ),
)


@dataclass(frozen=True)
class Standing:
    """Where a stage stands.

    Attributes:
        name: the stage.
        reason: why it has to run; None where it is current.
    """

    name: str
    reason: str | None


class Runner:
    """Carries out a pipeline's stages.

    Args:
        context: the pipeline.
    """

    def __init__(self, context: Context):
        self._context = context
        self._stages = [stage for stage in STAGES if stage.wanted(context)]
        home = home_of(context.options.runs, context.study_config.study)
        self._mirror = None if home is None else Mirror(home, context.folder)

    @property
    def names(self) -> list[str]:
        """The pipeline's stages."""
        return [stage.name for stage in self._stages]

    def check(self) -> None:
        """Check that every stage can be carried out, as far as that is known before.

        Raises:
            UserError: one cannot.
        """
        for stage in self._stages:
            stage.check(self._context)

    def standing(self) -> Iterator[Standing]:
        """Where each stage stands; what follows from one that has to run is not known yet."""
        done: dict[str, Manifest] = {}
        for stage in self._stages:
            manifest, reason = self._current(stage, done)
            if manifest is None:
                rest = self._stages[self._stages.index(stage) :]
                yield Standing(stage.name, reason)
                for later in rest[1:]:
                    before = self._context.workspace(later.name).manifest()
                    yield Standing(later.name, "after it" if before else "was not run yet")
                return
            done[stage.name] = manifest
            yield Standing(stage.name, None)

    def run(self) -> None:
        """Carry out what is not current, in order; an interrupted stage goes on."""
        context, done = self._context, dict[str, Manifest]()
        last = context.options.until
        if self._mirror is not None:
            self._mirror.fetch(self.names)
        for stage in self._stages:
            manifest, reason = self._current(stage, done)
            if manifest is None:
                manifest = self._carry_out(stage, done, reason)
            else:
                context.view.stage(stage.name, "current")
            done[stage.name] = manifest
            if stage.name == last:
                return

    def _carry_out(
        self, stage: Stage, done: Mapping[str, Manifest], reason: str | None
    ) -> Manifest:
        context, workspace = self._context, self._context.workspace(stage.name)
        context.view.stage(stage.name, "running", reason)
        self._log(stage, "start")
        start = time.monotonic()
        workspace.folder.mkdir(parents=True, exist_ok=True)
        outputs = stage.run(context, workspace)
        # what it read is what was there when it began: nobody else writes to a driven pipeline
        manifest = workspace.finish(self._wanted(stage, done), outputs)
        if self._mirror is not None:
            self._mirror.store(stage.name)
        self._log(stage, "end", seconds=round(time.monotonic() - start, 3))
        context.view.stage(stage.name, "done")
        return manifest

    def _current(
        self, stage: Stage, done: Mapping[str, Manifest]
    ) -> tuple[Manifest | None, str | None]:
        """The stage's manifest where it is current, and why it is not."""
        workspace = self._context.workspace(stage.name)
        there = workspace.manifest()
        if there is None:
            begun = workspace.folder.is_dir() and any(workspace.folder.iterdir())
            return None, "goes on where it was interrupted" if begun else "was not run yet"
        reason = there.changes(self._wanted(stage, done)) or workspace.damaged(there)
        return (there, None) if reason is None else (None, reason)

    def _wanted(self, stage: Stage, done: Mapping[str, Manifest]) -> Manifest:
        """The manifest that the stage has to have, but for its outputs."""
        patterns = stage.needs(self._context)
        inputs = {
            f"{name}/{file}": digest
            for name, manifest in done.items()
            for file, digest in manifest.outputs.items()
            if any(fnmatch(f"{name}/{file}", pattern) for pattern in patterns)
        }
        code = f"latsearch {__version__}, {stage.name} {stage.version}"
        # as JSON has it: lists for tuples, so that it can be compared with what was written
        settings = json.loads(json.dumps(stage.settings(self._context)))
        return Manifest(stage.name, code, settings, inputs, {})

    def _log(self, stage: Stage, event: str, **figures: Any) -> None:
        entry = {"time": round(time.time(), 3), "stage": stage.name, "event": event, **figures}
        self._context.folder.mkdir(parents=True, exist_ok=True)
        with (self._context.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
