"""`latsearch status`, which is for studies here and jobs in a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from latsearch.cli.on_cluster import Where, age, judge, on_cluster
from latsearch.cli.output import RUNS
from latsearch.cli.search import print_status
from latsearch.errors import LatsearchError, StudyError

if TYPE_CHECKING:
    from latsearch.cluster import Cluster


@click.command()
@click.argument("name", metavar="RUN|JOB")
@RUNS
@click.option("--cluster", "in_cluster", is_flag=True, help="It is a job in the cluster.")
@click.option(
    "--wait", is_flag=True, help="Of a job: wait for its end; exit code 0 if it succeeded."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@on_cluster
@click.pass_context
def status(
    context: click.Context,
    name: str,
    where: Where,
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

        judge(attach(cluster, name, lambda line: click.echo(line, err=True), None), where)
    _job_status(cluster, name, where, as_json)


def _job_status_or(error: StudyError, name: str, where: Where, as_json: bool) -> None:
    """A job's status, or the reason why there is neither a study nor a job."""
    try:
        cluster = where.connect()
    except LatsearchError:  # no cluster is configured: a study was meant
        raise error from None
    try:
        _job_status(cluster, name, where, as_json)
    except LatsearchError as reason:
        raise StudyError(f"{error}; {reason}") from None


def _job_status(cluster: Cluster, name: str, where: Where, as_json: bool) -> None:
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
        "age": age(state.created),
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
