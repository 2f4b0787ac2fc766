"""Commands on a Kubernetes cluster, and `status`, which is for studies here and jobs there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latsearch.cli.output import FILE, RUNS, open_console, print_front
from latsearch.cli.search import print_status
from latsearch.errors import JobFailed, LatsearchError, StudyError, UserError

if TYPE_CHECKING:
    from latsearch.cluster import Cluster, JobState, Manifests
    from latsearch.cluster.lifecycle import Step
    from latsearch.config import StudyConfig

_JOB = click.argument("job", metavar="JOB")
_STEPS = {
    "create": "new; a study of this name that exists is gone on with",
    "attach": "is running with these settings, and is followed",
    "resume": "is paused, and is resumed",
    "replace": "has ended or is paused, and is started again: the study goes on",
}


@dataclass(frozen=True)
class _Where:
    """The cluster that the options name."""

    namespace: str | None
    context: str | None
    kubeconfig: Path | None

    @property
    def given(self) -> bool:
        return any((self.namespace, self.context, self.kubeconfig))

    @property
    def flags(self) -> str:
        """The options again, for commands that are printed."""
        named = vars(self).items()
        return "".join(f" --{name} {value}" for name, value in named if value is not None)

    def connect(self) -> Cluster:
        from latsearch.cluster import connect

        return connect(self.namespace, self.context, self.kubeconfig)

    def likely_namespace(self) -> str:
        """The namespace for a look without a cluster, which need not be configured."""
        if self.namespace is None:
            try:
                return self.connect().namespace
            except LatsearchError:
                return "default"
        return self.namespace


def _on_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a cluster, handed over as one."""

    def wrapped(
        namespace: str | None, context: str | None, kubeconfig: Path | None, **options: Any
    ) -> None:
        command(where=_Where(namespace, context, kubeconfig), **options)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    wrapped.__dict__.update(command.__dict__)
    for option in (
        click.option("--kubeconfig", type=click.Path(path_type=Path), help="As kubectl's."),
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option(
            "--namespace",
            "-n",
            metavar="NAME",
            envvar="LATSEARCH_NAMESPACE",
            help="Namespace [default: the context's].",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


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
@_on_cluster
def submit(
    file: str,
    where: _Where,
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
        _ask("submit?")
    carry_out(cluster, manifests, step, there)
    click.echo("\n".join(_next_commands(name, where)))
    if not detach:
        _follow(cluster, name, where)


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
    from latsearch.config.names import study_name
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
    changed = {"study": options["study"] or config.study}
    search = {"trials": options["trials"] or config.search.trials}
    try:
        study_name(changed["study"])
    except ValueError as error:
        raise UserError(f"--study: {error}") from None
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


def _ask(question: str) -> None:
    try:
        click.confirm(question, abort=True)
    except click.Abort:
        if not sys.stdin.isatty():
            raise UserError("nobody agreed: give --yes where nobody can be asked") from None
        raise


def _next_commands(name: str, where: _Where) -> list[str]:
    flags = where.flags
    return [
        f"submitted {name}; next:",
        f"  latsearch logs {name} -f{flags}",
        f"  latsearch status {name}{flags}",
        f"  latsearch events {name}{flags}",
        f"  latsearch pause {name}{flags}    # or cancel; the study stays in its storage",
    ]


def _follow(cluster: Cluster, name: str, where: _Where, tail: int | None = None) -> None:
    """Follow a job to its end; the exit code tells how it was."""
    from latsearch.cluster.following import attach

    try:
        state = attach(
            cluster, name, say=lambda line: click.echo(line, err=True), show=click.echo, tail=tail
        )
    except KeyboardInterrupt:
        click.echo(
            f"\ndetached: {name} goes on in the cluster. Come back with\n"
            f"  latsearch logs {name} -f{where.flags}\n"
            f"or end it with\n  latsearch cancel {name}{where.flags}",
            err=True,
        )
        sys.exit(130)
    _judge(state, where)


def _judge(state: JobState, where: _Where) -> None:
    if not state.succeeded:
        raise JobFailed(
            f"{state.name}: {state.words}; see `latsearch logs {state.name}{where.flags}` and "
            f"`latsearch events {state.name}{where.flags}`; submit its file again to go on"
        )
    click.echo(f"next:  latsearch fetch {state.name}{where.flags}", err=True)


@click.command()
@click.option("--all-namespaces", "-A", is_flag=True, help="Those of all namespaces.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@_on_cluster
def jobs(where: _Where, all_namespaces: bool, as_json: bool) -> None:
    """List the searches in the cluster."""
    from rich.table import Table

    from latsearch.cluster import JobState
    from latsearch.cluster.state import OURS

    cluster = where.connect()
    found = [JobState.of(job) for job in cluster.jobs(selector=OURS, everywhere=all_namespaces)]
    if as_json:
        click.echo(json.dumps([state.to_json() for state in found], indent=1))
        return
    if not found:
        place = "any namespace" if all_namespaces else f"namespace {cluster.namespace}"
        click.echo(f"no jobs in {place}; start one with `latsearch submit digits`")
        return
    table = Table("job", "study", "state", "workers", "age", box=None, pad_edge=False)
    if all_namespaces:
        table.add_column("namespace")
    for state in sorted(found, key=lambda state: (state.namespace, state.name)):
        workers = f"{state.ready}/{state.desired}"
        row = [state.name, state.study or "", state.words, workers, _age(state.created)]
        table.add_row(*row, *([state.namespace] if all_namespaces else []))
    open_console().print(table)


@click.command()
@click.argument("name", metavar="RUN|JOB")
@RUNS
@click.option("--cluster", "in_cluster", is_flag=True, help="It is a job in the cluster.")
@click.option(
    "--wait", is_flag=True, help="Of a job: wait for its end; exit code 0 if it succeeded."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@_on_cluster
@click.pass_context
def status(
    context: click.Context,
    name: str,
    where: _Where,
    runs: Path,
    in_cluster: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Show where a study here, or a job in the cluster, stands.

    The study RUN of this machine where there is one of this name, else the job JOB of the cluster.
    --cluster, --namespace, --context and --kubeconfig say that a job is meant, --runs that a study
    is.
    """
    from latsearch.runs import find_study

    here = context.get_parameter_source("runs") is not ParameterSource.DEFAULT
    if not (in_cluster or wait or where.given):
        try:
            folder = find_study(name, runs)
        except StudyError as error:
            if here:
                raise
            _job_status_or(error, name, where, as_json)
            return
        print_status(folder, runs, as_json)
        return
    cluster = where.connect()
    if wait:
        from latsearch.cluster.following import attach

        _judge(attach(cluster, name, lambda line: click.echo(line, err=True), None), where)
    _job_status(cluster, name, where, as_json)


def _job_status_or(error: StudyError, name: str, where: _Where, as_json: bool) -> None:
    """A job's status, or the reason why there is neither a study nor a job."""
    try:
        cluster = where.connect()
    except LatsearchError:  # no cluster is configured: a study was meant
        raise error from None
    try:
        _job_status(cluster, name, where, as_json)
    except LatsearchError as reason:
        raise StudyError(f"{error}; {reason}") from None


def _job_status(cluster: Cluster, name: str, where: _Where, as_json: bool) -> None:
    from latsearch.cluster import JobState
    from latsearch.cluster.events import job_pods, obstacles

    state = JobState.of(cluster.job(name))
    pods = job_pods(cluster, state)
    waits = [] if state.ended or state.suspended else list(obstacles(cluster, state))
    phases = {p["metadata"]["name"]: (p.get("status") or {}).get("phase", "") for p in pods}
    if as_json:
        click.echo(json.dumps({**state.to_json(), "pods": phases, "waits": waits}, indent=1))
        return
    facts = {
        "job": f"{state.name} in namespace {state.namespace}",
        "study": state.study,
        "state": state.words,
        "workers": f"{state.ready} of {state.desired}",
        "failed attempts": state.failed or None,
        "runs": state.runs,
        "queue": state.queue,
        "age": _age(state.created),
        "pods": ", ".join(f"{pod} {phase.lower()}" for pod, phase in sorted(phases.items()))
        or None,
    }
    for key, value in facts.items():
        if value is not None:
            click.echo(f"{key:<16} {value}")
    for line in waits:
        click.echo(f"{'waits':<16} {line}")
    if state.dashboard and not state.ended:
        service, _, port = state.dashboard.rpartition(":")
        click.echo(
            f"{'dashboard':<16} kubectl port-forward -n {state.namespace} "
            f"svc/{service.split('.')[0]} {port}:{port}"
        )


@click.command()
@_JOB
@click.option("--follow", "-f", is_flag=True, help="Go on to the job's end.")
@click.option("--head", "part", flag_value="head", help="The head's log instead of the driver's.")
@click.option("--worker", "part", flag_value="worker", help="The workers' logs.")
@click.option("--driver", "part", flag_value="driver", default="driver", hidden=True)
@click.option("--tail", type=click.IntRange(0), help="Only so many of the last lines.")
@_on_cluster
def logs(job: str, where: _Where, follow: bool, part: Any, tail: int | None) -> None:
    """Show what the search JOB prints; with -f the exit code tells whether it succeeded."""
    from latsearch.cluster import JobState
    from latsearch.cluster.following import merged
    from latsearch.cluster.logs import find_pods, printed

    cluster = where.connect()
    state = JobState.of(cluster.job(job))
    if follow and part == "driver":
        _follow(cluster, job, where, tail)
        return
    pods = find_pods(cluster, job, state.ray_cluster, part)
    if not pods:
        raise UserError(
            f"{job}: has no pod of the {part} (it is {state.words}); "
            f"`latsearch events {job}{where.flags}` may say why"
        )
    if follow:
        for line in merged(cluster, pods, tail):
            click.echo(line)
        return
    for pod in pods if part == "worker" else pods[:1]:
        prefix = f"{pod['metadata']['name']}  " if part == "worker" else ""
        for line in printed(cluster, pod, tail):
            click.echo(prefix + line)


@click.command()
@_JOB
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@_on_cluster
def events(job: str, where: _Where, as_json: bool) -> None:
    """Show what happened to JOB and its pods, and what keeps them waiting."""
    from dataclasses import asdict

    from latsearch.cluster import JobState
    from latsearch.cluster.events import job_events, obstacles

    cluster = where.connect()
    state = JobState.of(cluster.job(job))
    found = job_events(cluster, state)
    if as_json:
        click.echo(json.dumps([asdict(event) for event in found], indent=1, default=str))
        return
    for event in found:
        times = f" (x{event.count})" if event.count > 1 else ""
        mark = "WARN" if event.warning else "    "
        click.echo(
            f"{_age(event.at):>5} {mark} {event.reason:<18} {event.what}: {event.message}{times}"
        )
        if event.advice:
            click.echo(f"           → {event.advice}")
    if not found:
        click.echo(f"no events of {job}; the cluster keeps them for an hour or so")
    if not state.ended and not state.suspended:
        for line in obstacles(cluster, state):
            click.echo(f"waits: {line}")


@click.command()
@_JOB
@_on_cluster
def pause(job: str, where: _Where) -> None:
    """Give JOB's machines back; `resume` goes on from the last checkpoints."""
    from latsearch.cluster.lifecycle import pause as pause_job

    click.echo(pause_job(where.connect(), job))


@click.command()
@_JOB
@_on_cluster
def resume(job: str, where: _Where) -> None:
    """Let the paused JOB go on."""
    from latsearch.cluster.lifecycle import resume as resume_job

    click.echo(resume_job(where.connect(), job))


@click.command()
@_JOB
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_on_cluster
def cancel(job: str, where: _Where, yes: bool) -> None:
    """End JOB and delete it from the cluster; its study stays, and can be gone on with."""
    from latsearch.cluster.lifecycle import cancel as cancel_job

    cluster = where.connect()
    cluster.job(job)
    if not yes:
        _ask(f"end {job} in namespace {cluster.namespace}? Trials that run lose epochs")
    cancel_job(cluster, job, click.echo)
    click.echo(f"cancelled {job}: the study is kept, submit its file again to go on")


@click.command()
@_JOB
@click.option("--to", type=click.Path(path_type=Path), help="Folder [default: JOB].")
@click.option("--runs", metavar="URI", help="Where studies live [default: as the job says].")
@click.option("--study", metavar="NAME", help="Name of the study [default: as the job says].")
@click.option("--where", "condition", metavar="EXPR", help="Only rows such as 'latency <= 1.5'.")
@click.option("--knee", "rule", flag_value="knee", help="Only the best trade-off.")
@click.option("--most-accurate", "rule", flag_value="most-accurate", help="Only the most accurate.")
@click.option("--fastest", "rule", flag_value="fastest", help="Only the fastest.")
@click.option("--least-energy", "rule", flag_value="least-energy", help="Only the least energy.")
@click.option("--front-only", is_flag=True, help="The front's tables, no networks.")
@_on_cluster
def fetch(
    job: str,
    where: _Where,
    to: Path | None,
    runs: str | None,
    study: str | None,
    rule: Any,
    condition: str | None,
    front_only: bool,
) -> None:
    """Bring the front of the search JOB, and the networks on it, from its storage.

    The head is not asked: JOB may run, have ended, or be deleted (then give --runs). The database
    is LATSEARCH_STORAGE's; its address and object storage's may be those within the cluster.
    """
    from contextlib import nullcontext

    from latsearch.cluster.forwarding import reaching
    from latsearch.cluster.lifecycle import find
    from latsearch.fetching import fetch as bring

    cluster, state = None, None
    try:
        cluster = where.connect()
        state = find(cluster, job)
    except LatsearchError:
        if runs is None:
            raise
    runs = runs or (state.runs if state else None)
    if runs is None:
        raise UserError(
            f"{job}: no such job that says where its study is; name the place with --runs"
        )
    name = study or (state.study if state else None) or job
    with reaching(cluster, runs) if cluster else nullcontext():
        brought = bring(name, to or Path(job), runs, condition, rule, not front_only)
        print_front(brought.study, open_console(), condition)
    for line in brought.missing:
        click.echo(f"not brought: {line}", err=True)
    networks = f" and networks of {len(brought.networks)} trials" if brought.networks else ""
    click.echo(
        f"{brought.folder}: front.csv and front.json with {len(brought.points)} rows{networks}"
    )


def _age(then: Any) -> str:
    from datetime import UTC, datetime

    if then is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
