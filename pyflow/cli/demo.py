"""``pyflow demo``."""

from __future__ import annotations

import click

from pyflow.cli.models import threads_option


@click.command()
@click.option("--out", "-o", default="pyflow-demo", show_default=True, help="Folder for pictures and files.")
@click.option("--epochs", default=45, show_default=True, type=click.IntRange(1), help="Passes over the training set.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order and dropout.")
@threads_option
def demo(out: str, epochs: int, seed: int, threads: int) -> None:
    """Train a small CNN on handwritten digits and show how it did."""
    try:
        from pyflow.demo import run_demo

        run_demo(out, epochs, seed, threads)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install what the demo needs: pip install 'pyflow[demo]'") from None
