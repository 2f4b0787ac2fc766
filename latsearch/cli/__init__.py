"""The command line. Heavy imports stay inside the commands: ``--help`` answers at once.

One file a group of commands; a command of a group is a line in `_COMMANDS`.
"""

from __future__ import annotations

import os
import sys

import click

from latsearch import __version__
from latsearch.cli import (
    card,
    datasets,
    deploy,
    environment,
    evaluation,
    export,
    importance,
    jobs,
    pipeline,
    reproduction,
    results,
    search,
    status,
    submit,
)
from latsearch.errors import LatsearchError

_COMMANDS = (
    search.run,
    search.validate,
    search.schema,
    search.method,
    search.list_command,
    search.rm,
    status.status,
    results.front,
    results.select,
    results.curve,
    results.compare,
    importance.importance,
    results.report,
    results.publish,
    results.ui,
    evaluation.evaluate,
    reproduction.reproduce,
    card.card,
    export.export,
    deploy.predict,
    deploy.serve,
    deploy.quantise,
    deploy.recalibrate,
    datasets.datasets,
    pipeline.pipeline,
    environment.doctor,
    submit.submit,
    jobs.jobs,
    jobs.logs,
    jobs.events,
    jobs.pause,
    jobs.resume,
    jobs.cancel,
    jobs.fetch,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="latsearch")
def cli() -> None:
    """Find latency-coded spiking networks that are Pareto-optimal in accuracy, latency and energy.

    Start with `latsearch run digits`: real data, nothing to download, a front in minutes.
    """


for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the command line; expected errors are one line, a user's mistake exits with 2."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("aborted", err=True)
        sys.exit(130)
    except click.exceptions.Exit as request:
        sys.exit(request.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LatsearchError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `latsearch front RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
