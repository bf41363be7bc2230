"""What the verbs on models share: reading a model, its inputs from files or by chance, and tables that fit."""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np
from rich.table import Table

from pyflow.errors import InvalidArgumentError, NotFoundError, UnimplementedError, message

if TYPE_CHECKING:
    from pyflow.graph import Graph, Value

F = TypeVar("F", bound=Callable[..., Any])
ONNX_ENDINGS = (".onnx", ".pb")

model_argument = click.argument("model", type=click.Path(exists=True, dir_okay=False))
threads_option = click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="0: all that this process may use."
)
device_option = click.option("--device", default="cpu", show_default=True, help="The backend to run on.")
seed_option = click.option("--seed", default=0, show_default=True, help="Of random inputs.")
cache_option = click.option(
    "--cache-dir",
    type=click.Path(file_okay=False),
    help="Keep compiled plans in this folder, and look there first.  [default: PYFLOW_CACHE_DIR]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def input_options(function: F) -> F:
    """``--input`` and ``--define-dim``."""
    given = click.option(
        "--input",
        "-i",
        "inputs",
        multiple=True,
        metavar="NAME=@FILE",
        help="An input, or any value of the model, from an .npy or TensorProto .pb file; @FILE.npz: all in it. "
        "Repeatable.",
    )
    sizes = click.option(
        "--define-dim",
        "--size",
        "sizes",
        multiple=True,
        metavar="NAME=N",
        help="The number that a symbol stands for in inputs made by chance; default 2. Repeatable.",
    )
    return given(sizes(function))


def is_onnx(path: str) -> bool:
    """ONNX files are told by their endings; anything else is a saved graph."""
    return path.lower().endswith(ONNX_ENDINGS)


def open_graph(path: str, cache_dir: str | None = None) -> Graph:
    """The graph in an ONNX model or a file of ``Graph.save``."""
    if is_onnx(path):
        return onnx_room().load(path, cache_dir=cache_dir)  # type: ignore[no-any-return]
    from pyflow.runtime.saved_graph import load_graph

    return load_graph(path)


def onnx_room() -> Any:
    """``pyflow.onnx``, or an error that says what to install."""
    try:
        import pyflow.onnx
    except ImportError as error:
        raise UnimplementedError(message("onnx", str(error))) from None
    return pyflow.onnx


def parse_sizes(texts: Iterable[str]) -> dict[str, int]:
    """``NAME=N``..."""
    sizes = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not name or not number.isdigit():
            raise click.BadParameter(f"expected NAME=N, got {text!r}", param_hint="--define-dim")
        sizes[name] = int(number)
    return sizes


def read_inputs(graph: Graph, texts: Iterable[str]) -> dict[str, np.ndarray]:
    """``NAME=@FILE`` or ``@FILE.npz``...; each name must be one of the graph's."""
    feeds: dict[str, np.ndarray] = {}
    for text in texts:
        name, mark, path = text.rpartition("@")
        name = name.removesuffix("=")
        if not mark or not Path(path).is_file() or (not name and not path.endswith(".npz")):
            raise click.BadParameter(
                f"expected NAME=@FILE or @FILE.npz of a file that is there, got {text!r}", param_hint="--input"
            )
        found = _arrays(path)
        for key, array in found.items() if not name else [(name, _only(path, found))]:
            feeds[key] = _as_declared(find(graph, key), array)
    return feeds


def _arrays(path: str) -> dict[str, np.ndarray]:
    if path.endswith(".pb"):
        from pyflow.onnx.extract import read_tensor

        return {"": read_tensor(path)}
    try:
        loaded = np.load(path, allow_pickle=False)
        return dict(loaded) if isinstance(loaded, np.lib.npyio.NpzFile) else {"": loaded}
    except (OSError, ValueError, EOFError) as error:
        raise click.BadParameter(f"{path} is no .npy or .npz file: {error}", param_hint="--input") from None


def _only(path: str, found: Mapping[str, np.ndarray]) -> np.ndarray:
    if len(found) != 1:
        raise click.BadParameter(f"{path} holds {', '.join(found)}; feed all with @{path}", param_hint="--input")
    return next(iter(found.values()))


def find(graph: Graph, name: str) -> Value:
    """The value of that name; NotFoundError names near ones."""
    try:
        return graph.get_tensor_by_name(name)
    except NotFoundError:
        raise NotFoundError(message("model", f"nothing is named {name!r}", None, near(name, graph))) from None


def near(name: str, graph: Graph) -> str:
    """A hint: names like ``name``, or those of the inputs."""
    inputs = [value.node.name for value in graph.inputs]
    close = difflib.get_close_matches(name, [*inputs, *graph.aliases], 3)
    if close:
        return f"did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?"
    return f"its inputs are {', '.join(map(repr, inputs)) or 'none'}"


def _as_declared(value: Value, array: np.ndarray) -> np.ndarray:
    """NumPy's files hold the bits of types that it does not know."""
    wanted = value.dtype.numpy
    bits = array.dtype.kind == "V" and array.dtype.itemsize == wanted.itemsize
    return array.view(wanted) if bits else array


def random_rest(graph: Graph, feeds: Mapping[str, np.ndarray], sizes: Mapping[str, int], seed: int) -> dict[str, Any]:
    """``feeds`` and arrays made by chance for inputs without one."""
    from pyflow.dims import symbols_of
    from pyflow.runtime.verify import random_feeds

    known = {symbol.name for value in graph.inputs for size in value.dims for symbol in symbols_of(size)}
    for name in sizes:
        if name not in known:
            what = f"no input has a size named {name!r}; there is {', '.join(sorted(known)) or 'none'}"
            raise InvalidArgumentError(message("define-dim", what))
    return {**feeds, **random_feeds(graph, sizes, seed, known=feeds)}


def require_inputs(graph: Graph, feeds: Mapping[str, np.ndarray]) -> None:
    """Raises unless every input is there; where a value in the middle is fed, the run tells what it needs."""
    missing = [value for value in graph.inputs if value.node.name not in feeds]
    if missing and len(feeds) + len(missing) == len(graph.inputs):
        shown = "\n".join(f"    {value.node.name}: {value.type}" for value in missing)
        example = missing[0].node.name
        hint = f"pass --input {example}=@FILE.npy for each, or --random"
        raise InvalidArgumentError(message("run", f"no value was given for\n{shown}", None, hint))


def output_names(graph: Graph) -> list[str]:
    """What results are called: by their names in the model where they have one."""
    named = {value: name for name, value in graph.aliases.items()}
    return [named.get(value, value.name) for value in graph.outputs]


def show(table: Table) -> None:
    """Prints the table as wide as the terminal is."""
    from pyflow.runtime.explain import render

    click.echo(render(table, max(60, shutil.get_terminal_size((100, 24)).columns)))


def show_json(value: Any) -> None:
    """Prints ``value``; numbers that are not finite as text."""
    click.echo(json.dumps(_plain(value), indent=2))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(float(value))
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def shown_bytes(count: int) -> str:
    """``1.5 MiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def median(values: Sequence[float]) -> float:
    return float(np.median(values))
