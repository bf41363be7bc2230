"""``pyflow compile``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyflow.cli.models import find, model_argument, open_graph, parse_sizes, shown_bytes

if TYPE_CHECKING:
    from pyflow.graph import Graph


@click.command("compile")
@model_argument
@click.option("--output", "-o", "folder", required=True, type=click.Path(file_okay=False), help="The folder to fill.")
@click.option("--name", help="What functions and files begin with; default: the model's file name.")
@click.option(
    "--emit",
    default="cmake",
    show_default=True,
    type=click.Choice(["source", "object", "static", "shared", "cmake"]),
    help="cmake: both libraries, with packages for CMake and pkg-config.",
)
@click.option(
    "--weights",
    default="embed",
    show_default=True,
    type=click.Choice(["embed", "file"]),
    help="In the library, or in a file that the program maps.",
)
@click.option(
    "--entry",
    "entries",
    multiple=True,
    metavar="NAME=IN,...:OUT,...",
    help="A function: what is fed and what it computes, ops for their effect too. Default: predict, from the model's "
    "inputs to its outputs. Repeatable.",
)
@click.option(
    "--max-size", "max_sizes", multiple=True, metavar="NAME=N", help="The most that a size told by the run may be."
)
def compile_model(
    model: str,
    folder: str,
    name: str | None,
    emit: str,
    weights: str,
    entries: tuple[str, ...],
    max_sizes: tuple[str, ...],
) -> None:
    """Compile a MODEL to a small library that C and C++ programs link, without Python.

    \b
    pyflow compile model.onnx -o out/
    c++ host.cpp -Iout out/libmodel.a -lm
    """
    from pyflow.aot import compile as compile_graph
    from pyflow.aot.sizes import identifier

    graph = open_graph(model)
    artefact = compile_graph(
        graph,
        _entries(graph, entries) or None,
        folder,
        name or identifier(Path(model).name.partition(".")[0]),
        weights,
        emit,
        parse_sizes(max_sizes),
    )
    for path in artefact.files:
        click.echo(f"{path}   {shown_bytes(path.stat().st_size)}")


def _entries(graph: Graph, texts: Iterable[str]) -> dict[str, tuple[list[Any], list[Any]]]:
    """``NAME=IN,...:OUT,...``, each a name of the graph's."""
    result = {}
    for text in texts:
        name, equals, ports = text.partition("=")
        inputs, colon, outputs = ports.partition(":")
        if not (name and equals and colon and outputs):
            raise click.BadParameter(f"expected NAME=IN,...:OUT,..., got {text!r}", param_hint="--entry")
        fed = [find(graph, each) for each in inputs.split(",") if each]
        result[name] = (fed, [_fetched(graph, each) for each in outputs.split(",") if each])
    return result


def _fetched(graph: Graph, name: str) -> Any:
    """A value, or an op that is run for its effect."""
    for node in graph.nodes:
        if node.name == name and not node.outputs:
            return node
    return find(graph, name)
