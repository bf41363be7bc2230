"""The ``pyflow`` command: one file per verb, and ``models.py`` for what they share."""

from __future__ import annotations

import sys

import click

from pyflow.cli.bench import bench
from pyflow.cli.compile import compile_model
from pyflow.cli.config import config
from pyflow.cli.demo import demo
from pyflow.cli.doctor import doctor
from pyflow.cli.inspect import inspect
from pyflow.cli.run import run
from pyflow.cli.verify import verify
from pyflow.errors import PyflowError


class _Commands(click.Group):
    """Shows pyflow's own errors as one message, without a traceback; exit status 1."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except PyflowError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pyflow")
def main() -> None:
    """pyflow: a deep-learning compiler and runtime.

    Exit status: 0 if it did what was asked, 1 if it could not, 2 for a wrong command line. ``verify`` has its own.
    """


for command in (bench, compile_model, config, demo, doctor, inspect, run, verify):
    main.add_command(command)
