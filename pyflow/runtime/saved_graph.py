"""A graph in one file: its text, its constants and, if asked, the values of its variables."""

from __future__ import annotations

import os
from typing import Any

from pyflow import container
from pyflow.errors import DataLossError, message
from pyflow.graph import Graph
from pyflow.printer import dump_parts, parse_graph

KIND = "graph"


def save_graph(graph: Graph, path: str | os.PathLike[str], state: Any = None) -> None:
    """Writes ``graph`` to ``path``, atomically. ``state``: a State or Session whose variables' values go with it."""
    text, constants = dump_parts(graph)
    arrays = {f"constant/{name}": array for name, array in constants.items()}
    values = getattr(state, "state", state)
    if values is not None:
        arrays.update({f"variable/{name}": values.get(name) for name in graph.variables if values.has(name)})
    container.write(path, KIND, arrays, {"graph": text})


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """The graph in the file; a Session on it starts with the saved variables' values.

    Raises NotFoundError, DataLossError (truncated, altered, no graph) or FailedPreconditionError (newer format).
    """
    arrays, texts = container.read(path, KIND)
    constants = {name.removeprefix("constant/"): a for name, a in arrays.items() if name.startswith("constant/")}
    graph = parse_graph(texts.get("graph", ""), constants)
    for name, array in arrays.items():
        if not name.startswith("variable/"):
            continue
        variable = graph.variables.get(name.removeprefix("variable/"))
        if variable is None or array.shape != variable.dims or array.dtype != variable.dtype.numpy:
            raise DataLossError(message(KIND, f"{os.fspath(path)!r}: {name!r} fits no variable of the graph"))
        graph.saved[variable.name] = array
    return graph
