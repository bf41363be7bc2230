"""``pyflow bench``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.markup import escape
from rich.table import Table

from pyflow.cli import models

if TYPE_CHECKING:
    from pyflow.cli.measuring import Timing


@click.command()
@models.model_argument
@models.input_options
@models.seed_option
@click.option("--against", type=click.Choice(["onnxruntime"]), help="Measure this one too, at as many threads.")
@click.option("--warmup", default=3, show_default=True, type=click.IntRange(0), help="Runs that are not counted.")
@click.option("--runs", default=20, show_default=True, type=click.IntRange(1), help="At least so many runs.")
@click.option("--seconds", default=1.0, show_default=True, type=click.FloatRange(0), help="At least so long.")
@click.option("--profile", is_flag=True, help="Show the time of each step.")
@models.threads_option
@models.device_option
@models.cache_option
@models.json_option
def bench(
    model: str,
    inputs: tuple[str, ...],
    sizes: tuple[str, ...],
    seed: int,
    against: str | None,
    warmup: int,
    runs: int,
    seconds: float,
    profile: bool,
    threads: int,
    device: str,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Measure how long an ONNX model or a saved graph takes.

    Each engine runs in a process of its own, on the same inputs; those that are not given are random.
    """
    from pyflow.cli.measuring import Request, measure_apart
    from pyflow.knobs import THREADS

    if against and not models.is_onnx(model):
        raise click.BadParameter(f"{against} runs ONNX models only", param_hint="--against")
    graph = models.open_graph(model)
    feeds = models.random_rest(graph, models.read_inputs(graph, inputs), models.parse_sizes(sizes), seed)
    count = threads or THREADS.get() or _available()
    timings = [
        measure_apart(
            Request(
                engine, model, feeds, count, device, warmup, runs, seconds, profile and engine == "pyflow", cache_dir
            )
        )
        for engine in filter(None, ("pyflow", against))
    ]
    shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in feeds.items()}
    if as_json:
        models.show_json(
            {"model": model, "threads": count, "inputs": shapes, "engines": [t.to_json() for t in timings]}
        )
        return
    _show(timings, count, shapes)
    if profile:
        _show_steps(timings[0])


def _available() -> int:
    from pyflow import _core

    return int(_core.Threads(0).size)


def _show(timings: list[Timing], threads: int, shapes: dict[str, str]) -> None:
    given = ", ".join(f"{name}: {shape}" for name, shape in shapes.items())
    table = Table(title=f"{threads} threads; {escape(given)}", title_justify="left")
    table.add_column("ms")
    for name in ("load", "first", "median", "p90", "least", "runs", "relative"):
        table.add_column(name, justify="right", no_wrap=True)
    base = timings[0].quantile(0.5)
    for timing in timings:
        numbers = (timing.load, timing.first, timing.quantile(0.5), timing.quantile(0.9), min(timing.runs))
        texts = [f"{1e3 * number:.3f}" for number in numbers]
        table.add_row(timing.engine, *texts, str(len(timing.runs)), f"{timing.quantile(0.5) / base:.2f}")
    models.show(table)


def _show_steps(timing: Timing) -> None:
    whole = sum(step["seconds"] for step in timing.steps) or 1.0
    table = Table(title=f"{len(timing.steps)} steps, {1e3 * whole:.3f} ms", title_justify="left")
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    for name in ("kernel", "result", "from"):
        table.add_column(name, overflow="fold")
    for step in sorted(timing.steps, key=lambda each: -each["seconds"]):
        seconds = step["seconds"]
        result = step["shapes"][-1] if step["shapes"] else ""
        texts = map(escape, (step["kernel"], result, step["origin"]))
        table.add_row(f"{1e3 * seconds:.3f}", f"{100 * seconds / whole:.1f}", *texts)
    models.show(table)
