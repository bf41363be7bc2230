"""The ``pyflow`` command."""

from __future__ import annotations

import sys
from pathlib import Path

import click

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
    """pyflow: a deep-learning compiler and runtime."""


@main.command()
@click.option("--out", "-o", default="pyflow-demo", show_default=True, help="Folder for pictures and files.")
@click.option("--epochs", default=45, show_default=True, type=click.IntRange(1), help="Passes over the training set.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order and dropout.")
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="0: all that this process may use."
)
def demo(out: str, epochs: int, seed: int, threads: int) -> None:
    """Train a small CNN on handwritten digits and show how it did."""
    try:
        from pyflow.demo import run_demo

        run_demo(out, epochs, seed, threads)
    except ModuleNotFoundError as error:
        raise click.ClickException(f"{error}; install what the demo needs: pip install 'pyflow[demo]'") from None


@main.command()
@click.argument("graph", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--feeds", type=click.Path(exists=True, dir_okay=False), help="An .npz file with an array per placeholder."
)
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="A symbol's size for random feeds; repeatable.")
@click.option("--seed", default=0, show_default=True, help="Of random feeds.")
@click.option("--tolerance", default=1e-4, show_default=True, help="Largest difference, relative to the largest value.")
def verify(graph: str, feeds: str | None, sizes: tuple[str, ...], seed: int, tolerance: float) -> None:
    """Run a saved graph unoptimised, after every pass and compiled; name the first pass or node that differs."""
    import numpy as np

    from pyflow.runtime.saved_graph import load_graph
    from pyflow.runtime.verify import random_feeds, verify_graph

    loaded = load_graph(graph)
    numbers = dict(_size(text) for text in sizes)
    given = dict(np.load(feeds)) if feeds else random_feeds(loaded, numbers, seed)
    report = verify_graph(loaded, given, tolerance=tolerance)
    click.echo(str(report))
    sys.exit(0 if report.agrees else 1)


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdigit():
        raise click.BadParameter(f"expected NAME=N, got {text!r}")
    return name, int(number)


@main.command()
@click.argument("graph", type=click.Path(exists=True, dir_okay=False))
@click.option("--plan", is_flag=True, help="Show the compiled plan instead of the graph's text.")
def inspect(graph: str, plan: bool) -> None:
    """Show a saved graph."""
    from pyflow.runtime.saved_graph import load_graph
    from pyflow.runtime.session import Session

    loaded = load_graph(graph)
    click.echo(str(Session(loaded).explain()) if plan else loaded.dump())


@main.command()
@click.argument("graph", type=click.Path(exists=True, dir_okay=False))
@click.option("--input", "-i", "inputs", multiple=True, metavar="NAME=@FILE.npy", help="A fed value; repeatable.")
@click.option("--out", "-o", type=click.Path(), help="Write the results to an .npz file.")
def run(graph: str, inputs: tuple[str, ...], out: str | None) -> None:
    """Run a saved graph's outputs."""
    import numpy as np

    from pyflow.runtime.saved_graph import load_graph
    from pyflow.runtime.session import Session

    loaded = load_graph(graph)
    feed = {}
    for text in inputs:
        name, _, source = text.partition("=")
        if not source.startswith("@") or not Path(source[1:]).is_file():
            raise click.BadParameter(f"expected NAME=@FILE.npy, got {text!r}")
        feed[name] = np.load(source[1:], allow_pickle=False)
    results = dict(zip([v.name for v in loaded.outputs], Session(loaded).run(None, feed), strict=True))
    for name, array in results.items():
        click.echo(f"{name}: {array.dtype}{list(array.shape)}\n{np.array2string(array, threshold=64)}")
    if out:
        np.savez(out, **results)


@main.command()
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
