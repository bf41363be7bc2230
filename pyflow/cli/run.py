"""``pyflow run``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from pyflow.cli import models


@click.command()
@models.model_argument
@models.input_options
@click.option("--random", is_flag=True, help="Make inputs that are not given by chance.")
@models.seed_option
@click.option(
    "--output",
    "--out",
    "-o",
    "outputs",
    multiple=True,
    metavar="NAME=@FILE.npy",
    help="Write a value of the model (a sequence as an .npz file), or FILE.npz: all outputs. Repeatable.",
)
@models.threads_option
@models.device_option
@models.cache_option
@models.json_option
def run(
    model: str,
    inputs: tuple[str, ...],
    sizes: tuple[str, ...],
    random: bool,
    seed: int,
    outputs: tuple[str, ...],
    threads: int,
    device: str,
    cache_dir: str | None,
    as_json: bool,
) -> None:
    """Run an ONNX model or a saved graph.

    pyflow run model.onnx --input x=@x.npy --output y=@y.npy
    """
    from pyflow.runtime.config import SessionConfig
    from pyflow.runtime.session import Session

    wanted = dict(_target(text) for text in outputs)
    graph = models.open_graph(model, cache_dir)
    feeds: dict[str, Any] = models.read_inputs(graph, inputs)
    numbers = models.parse_sizes(sizes)
    if random or not graph.inputs:
        feeds = models.random_rest(graph, feeds, numbers, seed)
    models.require_inputs(graph, feeds)
    names = models.output_names(graph)
    extra = [name for name in wanted if name and name not in names]
    for name in extra:
        models.find(graph, name)
    with Session(graph, SessionConfig(threads=threads, device=device, cache_dir=cache_dir)) as session:
        begin = time.perf_counter()
        results = dict(zip([*names, *extra], session.run([*graph.outputs, *extra], feeds), strict=True))
        seconds = time.perf_counter() - begin
    _write(wanted, results, names)
    if as_json:
        models.show_json({"model": model, "seconds": seconds, "outputs": {k: _summary(v) for k, v in results.items()}})
        return
    for name, value in results.items():
        for key, array in _arrays(name, value):
            click.echo(f"{key}: {array.dtype}{list(array.shape)}\n{np.array2string(array, threshold=64)}")


def _target(text: str) -> tuple[str, str]:
    """(name, path) of ``NAME=@FILE.npy``; the name is empty for ``FILE.npz``, which takes all."""
    name, mark, path = text.rpartition("=@")
    if (mark and not name) or (not mark and not path.removeprefix("@").endswith(".npz")):
        raise click.BadParameter(f"expected NAME=@FILE.npy or FILE.npz, got {text!r}", param_hint="--output")
    path = path.removeprefix("@")
    if not Path(path).resolve().parent.is_dir():
        raise click.BadParameter(f"there is no folder for {path!r}", param_hint="--output")
    return name, path


def _write(wanted: dict[str, str], results: dict[str, Any], outputs: list[str]) -> None:
    for name, path in wanted.items():
        values = {name: results[name]} if name else {key: results[key] for key in outputs}
        arrays = dict(entry for key, value in values.items() for entry in _arrays(key, value))
        with open(path, "wb") as file:
            if name and not isinstance(results[name], (list, tuple)):
                np.save(file, arrays[name], allow_pickle=False)
            else:
                np.savez(file, **arrays)  # type: ignore[arg-type]


def _arrays(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    """What NumPy's files hold of a result: each entry of a sequence, text as NumPy's own, nothing for None."""
    if isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _arrays(f"{name}_{index}", entry)
    elif value is not None:
        array = np.asarray(value)
        yield name, array.astype(str) if array.dtype.kind == "O" else array


def _summary(value: Any) -> Any:
    if value is None or isinstance(value, (list, tuple)):
        return None if value is None else [_summary(entry) for entry in value]
    array = np.asarray(value)
    shown: dict[str, Any] = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size and array.dtype.kind in "biuf":
        shown.update(min=float(array.min()), max=float(array.max()), mean=float(array.mean(dtype=np.float64)))
    return shown
