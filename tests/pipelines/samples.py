"""A pipeline that takes a second or two, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

from latsearch.config.pipeline import PipelineConfig, parse_pipeline
from latsearch.pipelines.context import PipelineOptions
from latsearch.pipelines.running import PipelineResult, run_pipeline
from latsearch.pipelines.stages import LOG
from latsearch.pipelines.workspace import file_digest

TINY = """
version: 1
pipeline: tiny
search:
  space:
    version: 1
    study: tiny
    data: {name: digits, validation: 0.25, train_samples: 300}
    network:
      family: mlp
      timesteps: {low: 1, high: 3}
      width: 4
      hidden: {low: 8, high: 16}
    train: {epochs: 3, batch_size: 64, lr: {low: 1e-3, high: 1e-2, log: true}}
    search: {trials: 4, sampler: random}
    run: {checkpoint_every: 1}
    tracking: {enabled: false}
refit: {members: 2, seeds: 2, points: 2, epochs: 4, variants: {rate: {preset: rate}}}
robustness: {samples: 60, corruptions: [contrast], severities: [1, 3], split: validation}
select: {constraints: {silent_fraction: {max: 0.5}}}
register: {}
"""


def tiny(*changes: tuple[str, str]) -> PipelineConfig:
    """The pipeline with parts of its text replaced."""
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_pipeline(text)


def run(runs: Path, *changes: tuple[str, str], until: str | None = None) -> PipelineResult:
    """Run it in this process."""
    return run_pipeline(tiny(*changes), PipelineOptions(runs=runs, workers=0, until=until))


def outputs(runs: Path, study: str = "tiny") -> dict[str, str]:
    """Digest of every output and manifest by its path below the pipeline's folder."""
    folder = runs / study / "pipeline"
    return {
        str(file.relative_to(folder)): file_digest(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in (LOG, "driver.lock")
    }


def log(runs: Path, study: str = "tiny") -> list[str]:
    """What the runs did: each event with its stage."""
    lines = (runs / study / "pipeline" / LOG).read_text().splitlines()
    return [f"{entry['stage']} {entry['event']}" for entry in map(json.loads, lines)]
