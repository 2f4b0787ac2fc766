"""Jobs in a Kubernetes cluster: their list, logs, events, pause, end, and the front they found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from latsearch.cli.on_cluster import JOB, Where, age, ask, follow_job, on_cluster
from latsearch.cli.output import open_console, print_front
from latsearch.errors import LatsearchError, UserError


@click.command()
@click.option("--all-namespaces", "-A", is_flag=True, help="Those of all namespaces.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@on_cluster
def jobs(where: Where, all_namespaces: bool, as_json: bool) -> None:
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
        row = [state.name, state.study or "", state.words, workers, age(state.created)]
        table.add_row(*row, *([state.namespace] if all_namespaces else []))
    open_console().print(table)


@click.command()
@JOB
@click.option("--follow", "-f", is_flag=True, help="Go on to the job's end.")
@click.option("--head", "part", flag_value="head", help="The head's log instead of the driver's.")
@click.option("--worker", "part", flag_value="worker", help="The workers' logs.")
@click.option("--driver", "part", flag_value="driver", default="driver", hidden=True)
@click.option("--tail", type=click.IntRange(0), help="Only so many of the last lines.")
@on_cluster
def logs(job: str, where: Where, follow: bool, part: Any, tail: int | None) -> None:
    """Show what the search JOB prints; with -f the exit code tells whether it succeeded."""
    from latsearch.cluster import JobState
    from latsearch.cluster.following import merged
    from latsearch.cluster.logs import find_pods, printed

    cluster = where.connect()
    state = JobState.of(cluster.job(job))
    if follow and part == "driver":
        follow_job(cluster, job, where, tail)
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
@JOB
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@on_cluster
def events(job: str, where: Where, as_json: bool) -> None:
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
            f"{age(event.at):>5} {mark} {event.reason:<18} {event.what}: {event.message}{times}"
        )
        if event.advice:
            click.echo(f"           → {event.advice}")
    if not found:
        click.echo(f"no events of {job}; the cluster keeps them for an hour or so")
    if not state.ended and not state.suspended:
        for line in obstacles(cluster, state):
            click.echo(f"waits: {line}")


@click.command()
@JOB
@on_cluster
def pause(job: str, where: Where) -> None:
    """Give JOB's machines back; `resume` goes on from the last checkpoints."""
    from latsearch.cluster.lifecycle import pause as pause_job

    click.echo(pause_job(where.connect(), job))


@click.command()
@JOB
@on_cluster
def resume(job: str, where: Where) -> None:
    """Let the paused JOB go on."""
    from latsearch.cluster.lifecycle import resume as resume_job

    click.echo(resume_job(where.connect(), job))


@click.command()
@JOB
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@on_cluster
def cancel(job: str, where: Where, yes: bool) -> None:
    """End JOB and delete it from the cluster; its study stays, and can be gone on with."""
    from latsearch.cluster.lifecycle import cancel as cancel_job

    cluster = where.connect()
    cluster.job(job)
    if not yes:
        ask(f"end {job} in namespace {cluster.namespace}? Trials that run lose epochs")
    cancel_job(cluster, job, click.echo)
    click.echo(f"cancelled {job}: the study is kept, submit its file again to go on")


@click.command()
@JOB
@click.option("--to", type=click.Path(path_type=Path), help="Folder [default: JOB].")
@click.option("--runs", metavar="URI", help="Where studies live [default: as the job says].")
@click.option("--study", metavar="NAME", help="Name of the study [default: as the job says].")
@click.option("--where", "condition", metavar="EXPR", help="Only rows such as 'latency <= 1.5'.")
@click.option("--knee", "rule", flag_value="knee", help="Only the best trade-off.")
@click.option("--most-accurate", "rule", flag_value="most-accurate", help="Only the most accurate.")
@click.option("--fastest", "rule", flag_value="fastest", help="Only the fastest.")
@click.option("--least-energy", "rule", flag_value="least-energy", help="Only the least energy.")
@click.option("--front-only", is_flag=True, help="The front's tables, no networks.")
@on_cluster
def fetch(
    job: str,
    where: Where,
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
