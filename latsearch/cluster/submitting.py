"""A study's file made ready for a cluster: what it becomes there, and whether it can run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from latsearch.cluster.manifests import GPU, Manifests, group_sizes
from latsearch.cluster.practice import warnings
from latsearch.cluster.quantities import quantity
from latsearch.cluster.rules import SAFE_WORD
from latsearch.cluster.state import QUEUE, RUNS
from latsearch.config import StudyConfig, without_password
from latsearch.config.pipeline import load_pipeline
from latsearch.errors import UserError
from latsearch.spaces import pipeline_studies


def read_study(file: Path) -> str:
    """The text of a study's file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {error}") from None


def read_pipeline(file: Path, study: str | None) -> tuple[str, StudyConfig]:
    """The text of a pipeline's file with its search spaces in it, and the study that it runs.

    Args:
        file: the pipeline.
        study: name of the study; None: the space's own.

    Raises:
        UserError: it has several spaces, whose studies have several names.
    """
    config = load_pipeline(file)
    studies = pipeline_studies(config, file.parent)
    if study is None and len({one.study for one in studies}) > 1:
        names = ", ".join(one.study for one in studies)
        raise UserError(
            f"{file}: search.space: has the studies {names}, and only the cluster knows whose data "
            "are there: name the study with --study"
        )
    whole = config.model_dump(mode="json", by_alias=True)
    whole["search"]["space"] = [one.model_dump(mode="json") for one in studies]
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100), studies[0]


def check_for_cluster(config: StudyConfig, file: str) -> None:
    """Check that a study can live in a cluster.

    Raises:
        UserError: its storage is a file of one machine, or it holds a password.
    """
    storage = config.storage
    if storage is not None and storage.startswith("sqlite"):
        raise UserError(
            f"{file}: storage: {storage} is a file of one machine; leave it null: in the cluster "
            "LATSEARCH_STORAGE of the Secret latsearch-driver names the database"
        )
    for path, url in (("storage", storage), ("tracking.uri", config.tracking.uri)):
        if url is not None and without_password(url) != url:
            raise UserError(
                f"{file}: {path}: holds a password, and the file travels in a ConfigMap that many "
                "can read; put it into the Secret latsearch-driver"
            )


def check_runs(runs: str) -> None:
    """Check that a place for studies can be on the entrypoint's command line.

    Raises:
        UserError: it cannot.
    """
    if not SAFE_WORD.fullmatch(runs):
        raise UserError(
            f'--runs "{runs}": two shells would read its special characters; an endpoint goes into '
            "AWS_ENDPOINT_URL of the ConfigMap latsearch-env"
        )


def trials_at_once(job: Mapping[str, Any], config: StudyConfig) -> int:
    """How many trials the largest number of workers can train at a time.

    Raises:
        UserError: no worker has room for one.
    """
    wants = {"cpu": config.resources.cpus_per_trial, GPU: config.resources.gpus_per_trial}
    at_once, largest = 0, {"cpu": 0.0, GPU: 0.0}
    for _, _, most, limits in group_sizes(job):
        has = {name: quantity(limits.get(name, 0)) for name in wants}
        room = min(math.floor(has[name] / want + 1e-9) for name, want in wants.items() if want)
        at_once += most * room
        largest = {name: max(largest[name], has[name]) for name in wants}
    if at_once == 0:
        raise UserError(
            f"no worker has room for a trial, which takes {wants['cpu']:g} CPU and "
            f"{wants[GPU]:g} GPU: the largest has {largest['cpu']:g} and {largest[GPU]:g}, and "
            "--workers has to allow one; see --cpus, --gpus and --workers"
        )
    return at_once


def plan(manifests: Manifests, config: StudyConfig, place: str, step: str) -> Iterator[str]:
    """What is going to be submitted, for a person to look at.

    Args:
        manifests: what is sent.
        config: the study.
        place: namespace and context in words.
        step: what submitting means here, in words.
    """
    job = manifests.job
    spec, metadata = job["spec"], job["metadata"]
    ray = spec["rayClusterSpec"]
    head = ray["headGroupSpec"]["template"]["spec"]["containers"][0]
    limits = head.get("resources", {}).get("limits", {})
    at_once = trials_at_once(job, config)
    trial = config.resources
    queue = metadata["labels"].get(QUEUE)
    yield f"job      {metadata['name']} in {place}: {step}"
    yield (
        f"study    {config.study}: {config.search.trials} trials in all, "
        f"{trial.cpus_per_trial:g} CPU and {trial.gpus_per_trial:g} GPU each, up to {at_once} at "
        "a time"
    )
    yield f"image    {head['image']}"
    yield f"head     {limits.get('cpu', '?')} CPU, {limits.get('memory', '?')}"
    for name, least, most, size in group_sizes(job):
        number = f"{most}" if least == most else f"{least} to {most}"
        gpus = f", {size[GPU]} GPU" if GPU in size else ""
        yield f"workers  {name}: {number} of {size.get('cpu')} CPU, {size.get('memory')}{gpus}"
    yield f"runs     {metadata['annotations'][RUNS]}/{config.study}"
    if queue is not None:
        yield f"queue    {queue} of Kueue: starts when all of it fits, without autoscaling"
    for warning in (*_study_warnings(config, job), *warnings(job)):
        yield f"warning  {warning}"


def _study_warnings(config: StudyConfig, job: Mapping[str, Any]) -> Iterator[str]:
    if job["metadata"].get("namespace") == "default":
        yield "namespace default: k8s/ makes the accounts and claims in its own; -n latsearch"
    if config.data.root is not None:
        yield f"data.root {config.data.root} has to be there on every node; null means /data"
    with_gpu = any(quantity(limits.get(GPU, 0)) for *_, limits in group_sizes(job))
    if with_gpu and not config.resources.gpus_per_trial:
        yield "workers have GPUs that no trial uses: set resources.gpus_per_trial"
