"""What the commands on a Kubernetes cluster have in common: which cluster, and following a job."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latsearch.errors import JobFailed, LatsearchError, UserError

if TYPE_CHECKING:
    from latsearch.cluster import Cluster, JobState

JOB = click.argument("job", metavar="JOB")


@dataclass(frozen=True)
class Where:
    """The cluster that the options name."""

    namespace: str | None
    context: str | None
    kubeconfig: Path | None

    @property
    def given(self) -> bool:
        """Whether any of them was given."""
        return any((self.namespace, self.context, self.kubeconfig))

    @property
    def flags(self) -> str:
        """The options again, for commands that are printed."""
        named = vars(self).items()
        return "".join(f" --{name} {value}" for name, value in named if value is not None)

    def connect(self) -> Cluster:
        """The cluster itself."""
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


def on_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """The options that name a cluster, handed over as one."""

    def wrapped(
        namespace: str | None, context: str | None, kubeconfig: Path | None, **options: Any
    ) -> None:
        command(where=Where(namespace, context, kubeconfig), **options)

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


def ask(question: str) -> None:
    """Go on where the user agrees.

    Raises:
        UserError: there is nobody to be asked.
    """
    try:
        click.confirm(question, abort=True)
    except click.Abort:
        if not sys.stdin.isatty():
            raise UserError("nobody agreed: give --yes where nobody can be asked") from None
        raise


def follow_job(cluster: Cluster, name: str, where: Where, tail: int | None = None) -> None:
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
    judge(state, where)


def judge(state: JobState, where: Where) -> None:
    """Say what comes after a job that succeeded.

    Raises:
        JobFailed: it did not.
    """
    if not state.succeeded:
        raise JobFailed(
            f"{state.name}: {state.words}; see `latsearch logs {state.name}{where.flags}` and "
            f"`latsearch events {state.name}{where.flags}`; submit its file again to go on"
        )
    click.echo(f"next:  latsearch fetch {state.name}{where.flags}", err=True)


def age(then: Any) -> str:
    """How long ago a moment was, in one unit."""
    from datetime import UTC, datetime

    if then is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - then).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
