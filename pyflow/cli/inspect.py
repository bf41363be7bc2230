"""``pyflow inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from pyflow.cli import models
from pyflow.errors import PyflowError

if TYPE_CHECKING:
    from pyflow.onnx.summary import Summary


@click.command()
@models.model_argument
@click.option("--plan", is_flag=True, help="Show the compiled plan, a row per step.")
@click.option("--nodes", is_flag=True, help="Show every node, bodies below theirs.")
@click.option("--memory", is_flag=True, help="Show every buffer of a run.")
@click.option(
    "--define-dim", "sizes", multiple=True, metavar="NAME=N", help="A symbol's size, to tell memory; default 2."
)
@models.device_option
@models.json_option
def inspect(
    model: str, plan: bool, nodes: bool, memory: bool, sizes: tuple[str, ...], device: str, as_json: bool
) -> None:
    """Show what an ONNX model or a saved graph holds and needs.

    Inputs, outputs, symbols, ops by count, parameters, the memory of a run, and the nodes that cannot be imported.
    """
    numbers = models.parse_sizes(sizes)
    if models.is_onnx(model):
        _model(model, plan, nodes, memory, numbers, device, as_json)
        return
    graph = models.open_graph(model)
    if as_json:
        models.show_json({"nodes": [repr(node) for node in graph.nodes], **_compiled(graph, numbers, device)})
    elif plan or memory:
        click.echo(_shown(graph, plan, memory, numbers, device))
    else:
        click.echo(graph.dump())


def _model(path: str, plan: bool, nodes: bool, memory: bool, sizes: dict[str, int], device: str, as_json: bool) -> None:
    models.onnx_room()
    from pyflow.onnx.summary import summarise, tree

    summary = summarise(path)
    compiled: dict[str, Any] = {}
    if not summary.problems:
        try:
            compiled = _compiled(models.open_graph(path), sizes, device)
        except PyflowError as error:
            compiled = {"error": str(error)}
    if as_json:
        models.show_json({**summary.to_json(), **compiled, **({"tree": tree(path)} if nodes else {})})
        return
    _summary(summary, compiled)
    if nodes:
        click.echo("\n".join(tree(path)))
    if (plan or memory) and not summary.problems:
        click.echo(_shown(models.open_graph(path), plan, memory, sizes, device))


def _numbers(graph: Any, sizes: dict[str, int]) -> dict[str, int]:
    from pyflow.dims import symbols_of

    symbols = [symbol for value in graph.inputs for size in value.dims for symbol in symbols_of(size)]
    defaults = {symbol.name: symbol.hint or max(2, symbol.min) for symbol in symbols}
    return {**defaults, **sizes}


def _compiled(graph: Any, sizes: dict[str, int], device: str) -> dict[str, Any]:
    from pyflow.runtime.config import SessionConfig
    from pyflow.runtime.session import Session

    if not graph.outputs:
        return {}
    with Session(graph, SessionConfig(device=device, threads=1)) as session:
        steps = session.explain().rows
        numbers = _numbers(graph, sizes)
        plan = session.memory_plan(numbers)
    return {"steps": len(steps), "sizes": numbers, "peak_bytes": plan.peak, "scratch_bytes": plan.scratch}


def _shown(graph: Any, plan: bool, memory: bool, sizes: dict[str, int], device: str) -> str:
    from pyflow.runtime.config import SessionConfig
    from pyflow.runtime.session import Session

    with Session(graph, SessionConfig(device=device, threads=1)) as session:
        parts = [str(session.explain())] if plan else []
        parts += [str(session.memory_plan(_numbers(graph, sizes)))] if memory else []
    return "\n".join(parts)


def _summary(summary: Summary, compiled: dict[str, Any]) -> None:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in summary.opsets.items())
    click.echo(f"{summary.label}: IR {summary.ir_version}, operator sets {opsets}; by {summary.producer or 'unknown'}")
    table = Table("", "name", "type")
    for mark, entries in (("input", summary.inputs), ("output", summary.outputs)):
        for entry in entries:
            table.add_row(mark + " (has a default)" * entry.optional, escape(entry.name), escape(entry.type))
    models.show(table)
    click.echo(f"symbols: {', '.join(summary.dims) or 'none'}")
    kinds = ", ".join(f"{elements:,} {name}" for name, (_, elements) in summary.parameters.items())
    click.echo(f"parameters: {kinds or 'none'} ({models.shown_bytes(summary.parameter_bytes)})")
    count = sum(summary.ops.values())
    click.echo(f"{count} nodes: " + ", ".join(f"{number} {name}" for name, number in summary.ops.items()))
    if summary.functions:
        click.echo("functions: " + ", ".join(f"{name} ({number} nodes)" for name, number in summary.functions.items()))
    if summary.problems:
        click.echo(f"{len(summary.problems)} nodes cannot be imported:")
        for problem in summary.problems:
            click.echo(f"    {problem}")
    elif "error" in compiled:
        click.echo(f"cannot be compiled: {compiled['error']}")
    elif compiled:
        at = ", ".join(f"{name}={number}" for name, number in compiled["sizes"].items())
        peak = models.shown_bytes(compiled["peak_bytes"])
        click.echo(
            f"compiles to {compiled['steps']} steps; a run{' at ' * bool(at)}{at} takes {peak} beside its values"
        )
