"""``pyflow doctor``."""

from __future__ import annotations

import sys

import click


@click.command()
def doctor() -> None:
    """Show what this machine and this installation offer."""
    import pyflow as pf
    from pyflow import _core, knobs

    click.echo(f"pyflow {pf.__version__}, Python {sys.version.split()[0]}")
    click.echo(f"kernels for: {', '.join(_core.cpu_isas())}; in use: {_core.selected_isa()}")
    click.echo(f"backends: {', '.join(pf.list_backends())}")
    click.echo(f"threads by default: {_core.Threads(0).size}")
    for knob in knobs.ALL:
        click.echo(f"{knob.name}={knob.get()!r}: {knob.doc}")
