"""`latsearch submit`: a study or pipeline into a Kubernetes cluster."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.cli.on_cluster import Where, ask, follow_job, on_cluster
from latsearch.cli.output import FILE
from latsearch.errors import UserError

if TYPE_CHECKING:
    from latsearch.cluster import Manifests
    from latsearch.cluster.lifecycle import Step
    from latsearch.config import StudyConfig

_STEPS = {
    "create": "new; a study of this name that exists is gone on with",
    "attach": "is running with these settings, and is followed",
    "resume": "is paused, and is resumed",
    "replace": "has ended or is paused, and is started again: the study goes on",
}


class _Workers(click.ParamType["tuple[str, int, int]"]):
    """``4``, ``0:8`` or ``GROUP=0:8``."""

    name = "workers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int, int]:
        match = re.fullmatch(r"(?:([^=]+)=)?(\d{1,6})(?::(\d{1,6}))?", str(value))
        if match is None:
            self.fail(f"{value!r} is no number of workers: write 4, 0:8 or GROUP=0:8", param, ctx)
        least, most = int(match[2]), int(match[3] or match[2])
        if most < least:
            self.fail(f"{value!r}: the most is below the least", param, ctx)
        return match[1] or "", least, most


class _Quantity(click.ParamType[str]):
    """``4``, ``500m``, ``16Gi``."""

    name = "quantity"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        from latsearch.cluster.quantities import quantity

        try:
            quantity(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.command()
@FILE
@click.option("--name", metavar="JOB", help="Name of the job [default: from the study's].")
@click.option("--study", metavar="NAME", help="Name of the study [default: as in FILE].")
@click.option("--trials", type=click.IntRange(1), help="Trials of the study in total.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Pause after this long.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Seed of sampler and trainings.")
@click.option("--runs", metavar="URI", help="Where studies live [default: as the template].")
@click.option("--image", envvar="LATSEARCH_IMAGE", help="Image of head, workers, submitter.")
@click.option(
    "--workers",
    type=_Workers(),
    multiple=True,
    metavar="[GROUP=]MIN:MAX",
    help="Least and most workers; one number for a fixed one.",
)
@click.option("--gpus", type=click.IntRange(0, 64), help="GPUs of a worker.")
@click.option("--cpus", type=_Quantity(), metavar="N", help="CPU cores of a worker, e.g. 4.")
@click.option("--memory", type=_Quantity(), metavar="N", help="Memory of a worker, e.g. 16Gi.")
@click.option("--queue", metavar="NAME", help="Queue of Kueue.")
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    envvar="LATSEARCH_TEMPLATE",
    help="YAML with the RayJob to start from [default: k8s/base/rayjob.yaml].",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--detach", "-d", is_flag=True, help="Submit, and do not follow.")
@click.option(
    "--dry-run",
    type=click.Choice(["client", "server"]),
    help="Check here, or let the server check, and change nothing.",
)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["yaml"]),
    help="Print what would be sent; implies a dry run.",
)
@on_cluster
def submit(
    file: str,
    where: Where,
    yes: bool,
    detach: bool,
    dry_run: str | None,
    output: str | None,
    **options: Any,
) -> None:
    """Run FILE's study or pipeline in a Kubernetes cluster, or go on with it there.

    Shows the plan, asks, submits and follows the search. Ctrl-C detaches, the search goes on.
    Exit code 0 says that the search succeeded (with --detach: that it was submitted).
    """
    from latsearch.cluster.lifecycle import carry_out, find, next_step, rehearse
    from latsearch.cluster.submitting import plan

    here = dry_run == "client" or (output is not None and dry_run is None)
    cluster = None if here else where.connect()
    namespace = cluster.namespace if cluster else where.likely_namespace()
    config, manifests = _manifests(file, namespace, options)
    name = manifests.job["metadata"]["name"]
    if cluster is None:
        step: Step = "create"
        place = f"namespace {namespace}"
        told = "checked here alone, nothing was sent"
    else:
        there = find(cluster, name)
        step = next_step(manifests, there)
        place = f"namespace {namespace}, context {cluster.context or 'of this pod'}"
        told = _STEPS[step]
        if dry_run == "server":
            manifests = rehearse(cluster, manifests)
            told += "; the server would take it, nothing was changed"
    lines = list(plan(manifests, config, place, told))
    if output is not None:
        click.echo(manifests.to_yaml(), nl=False)
        return
    for line in lines:
        click.echo(line)
    if cluster is None or dry_run:
        return
    if not yes and step != "attach":
        ask("submit?")
    carry_out(cluster, manifests, step, there)
    click.echo("\n".join(_next_commands(name, where)))
    if not detach:
        follow_job(cluster, name, where)


def _manifests(file: str, namespace: str, options: dict[str, Any]) -> tuple[StudyConfig, Manifests]:
    from latsearch.cluster import Submission, render
    from latsearch.cluster.manifests import job_name, load_template
    from latsearch.cluster.rules import name_fault
    from latsearch.cluster.submitting import (
        check_for_cluster,
        check_runs,
        read_pipeline,
        read_study,
        trials_at_once,
    )
    from latsearch.config import load_study
    from latsearch.config.names import chosen_study
    from latsearch.config.pipeline import is_pipeline
    from latsearch.spaces import find_space

    path = find_space(file)
    pipeline = is_pipeline(path)
    if pipeline:
        text, config = read_pipeline(path, options["study"])
    else:
        text, config = read_study(path), load_study(path)
    check_for_cluster(config, file)
    if pipeline and options["hours"] is not None:
        raise UserError("--hours: a pipeline has no end but its own; leave it out")
    changed = {"study": chosen_study(options["study"] or config.study)}
    search = {"trials": options["trials"] or config.search.trials}
    config = config.model_copy(
        update={**changed, "search": config.search.model_copy(update=search)}
    )
    name = options["name"] or job_name(config.study)
    fault = name_fault(name)
    if fault:
        raise UserError(f"--name: {fault}")
    if options["runs"] is not None:
        check_runs(options["runs"])
    words = [
        word
        for key in ("study", "trials", "hours", "seed")
        if options[key] is not None
        for word in (f"--{key}", str(options[key]))
    ]
    submission = Submission(
        name=name,
        namespace=namespace,
        study=config.study,
        text=text,
        command="pipeline" if pipeline else "run",
        options=words,
        workers={group: (least, most) for group, least, most in options["workers"]},
        **{k: options[k] for k in ("runs", "image", "queue", "gpus", "cpus", "memory")},
    )
    template = load_template(options["template"])
    # as many as the workers will have room for, so that the autoscaler sees who waits
    at_once = trials_at_once(render(template, submission).job, config)
    whole = replace(submission, options=[*words, "--workers", str(at_once)])
    return config, render(template, whole)


def _next_commands(name: str, where: Where) -> list[str]:
    flags = where.flags
    return [
        f"submitted {name}; next:",
        f"  latsearch logs {name} -f{flags}",
        f"  latsearch status {name}{flags}",
        f"  latsearch events {name}{flags}",
        f"  latsearch pause {name}{flags}    # or cancel; the study stays in its storage",
    ]
