"""``pyflow verify``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.markup import escape
from rich.table import Table

from pyflow.cli import models
from pyflow.errors import PyflowError

if TYPE_CHECKING:
    from pyflow.onnx.verify import Compared, ModelReport


@click.command()
@models.model_argument
@click.option(
    "--against",
    default="numpy",
    show_default=True,
    type=click.Choice(["numpy", "reference", "onnxruntime"]),
    help="For ONNX models: pyflow's NumPy references, onnx.reference or ONNX Runtime.",
)
@models.input_options
@click.option("--feeds", type=click.Path(exists=True, dir_okay=False), help="An .npz file, as --input @FILE.npz.")
@models.seed_option
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    help="Largest difference of floats, relative to the largest value; default by dtype: 1e-4 for float32.",
)
@models.device_option
@click.option(
    "--out", "-o", default="pyflow-verify", show_default=True, help="Folder for a model of the node that differs."
)
@click.option("--all", "every", is_flag=True, help="Show every value, not only the worst.")
@models.json_option
def verify(
    model: str,
    against: str,
    inputs: tuple[str, ...],
    sizes: tuple[str, ...],
    feeds: str | None,
    seed: int,
    tolerance: float | None,
    device: str,
    out: str,
    every: bool,
    as_json: bool,
) -> None:
    """Name the first node, or pass, whose answer differs.

    Of an ONNX model every value is compared with what another implementation computes, and the first node that differs
    is written out as a model of its own, with its inputs. A saved graph is run unoptimised, after every pass and
    compiled. Inputs that are not given are random.

    Exit status: 0 all agree, 1 something differs, 2 it could not be compared.
    """
    given = (*inputs, *([f"@{feeds}"] if feeds else []))
    try:
        graph = models.open_graph(model)
        arrays = models.read_inputs(graph, given)
        arrays = models.random_rest(graph, arrays, models.parse_sizes(sizes), seed)
        if models.is_onnx(model):
            agrees = _model(model, against, arrays, tolerance, device, out, every, as_json)
        else:
            agrees = _graph(graph, arrays, tolerance, device, as_json)
    except PyflowError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    sys.exit(0 if agrees else 1)


def _graph(graph: Any, arrays: dict[str, np.ndarray], tolerance: float | None, device: str, as_json: bool) -> bool:
    from pyflow.runtime.verify import verify_graph

    report = verify_graph(graph, arrays, tolerance=1e-4 if tolerance is None else tolerance, device=device)
    if as_json:
        shown = {"agrees": report.agrees, "where": report.where, "detail": report.detail, "stages": dict(report.rows)}
        models.show_json(shown)
    else:
        click.echo(str(report))
    return report.agrees


def _model(
    path: str,
    against: str,
    arrays: dict[str, np.ndarray],
    tolerance: float | None,
    device: str,
    out: str,
    every: bool,
    as_json: bool,
) -> bool:
    from pyflow.onnx.verify import verify_model

    report = verify_model(path, against, arrays, tolerance=tolerance, device=device, folder=out)
    if as_json:
        models.show_json(report.to_json())
    else:
        _show(report, every)
    return report.agrees


def _show(report: ModelReport, every: bool) -> None:
    worst = sorted(report.rows, key=lambda row: -row.difference.relative)[:8]
    first = report.first
    shown = [row for row in report.rows if every or row is first or row in worst]
    hidden = len(report.rows) - len(shown)
    title = f"{len(report.rows)} values against {report.against}" + (f"; {hidden} closer ones not shown" * bool(hidden))
    models.show(_table(title, shown, first))
    models.show(_table("outputs of the optimised plan", report.outputs, None))
    if report.skipped:
        names = ", ".join(report.skipped[:8]) + ", ..." * (len(report.skipped) > 8)
        click.echo(f"not compared, because {report.against} cannot compute them: {names}")
    if report.agrees:
        click.echo("all agree")
    elif first is None:
        click.echo(f"first difference: {report.within}: every node by itself agrees, the optimised plan does not")
    else:
        click.echo(
            f"first difference: node {first.node!r} ({first.op_type}), value {first.value!r}: {first.difference}"
        )
        if report.alone is not None:
            click.echo(f"by itself, on inputs of {report.against}: {report.alone}")
        if report.folder:
            click.echo(f"written to {report.folder}; run it again with\n    {report.command}")


def _table(title: str, rows: list[Compared], first: Compared | None) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("node", "op", "value", "type"):
        table.add_column(name, overflow="fold")
    for name in ("max abs", "rel", "ulp"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        mark = "first" if row is first else "" if row.agrees else "differs"
        numbers = (row.difference.absolute, row.difference.relative, row.difference.ulp)
        texts = map(escape, (row.node, row.op_type, row.value, row.type))
        table.add_row(mark, *texts, *(f"{number:.2g}" for number in numbers))
    return table
