"""``load``: a model as a graph, which is not read as long as the folder of plans has what is run of it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyflow.errors import FailedPreconditionError, PyflowError, message, user_origin
from pyflow.graph import Graph
from pyflow.opdef import OPS
from pyflow.runtime import plan_key
from pyflow.runtime.plan_folder import PlanFolder, folder_of
from pyflow.stored import Source, StoredFile

if TYPE_CHECKING:
    from pyflow.onnx.loader import Imported

_KIND = "onnx"


def load(
    model: Any,
    *,
    shapes: Mapping[str, Sequence[Any]] | None = None,
    folder: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Graph:
    """A graph that computes what an ONNX model computes.

    model: a path, the bytes of a file, or a ModelProto. shapes: by input, in place of what the model declares, as
    :func:`pyflow.placeholder` takes them. folder: where external data lies; default: the folder of the path.
    cache_dir: the folder of compiled plans, as in :class:`pyflow.SessionConfig`: a model that was loaded and run by a
    session with the same folder is not read again until something that is not there is asked for.

    ``graph.inputs`` and ``graph.outputs`` stand in the model's order: ``Session(graph).run(None, {"x": array})`` gives
    the outputs. Every input, initializer, intermediate and output can be fetched and fed by its name in the model. An
    initializer that is listed as an input too can be fed and is the input's default (before IR version 4, where all of
    them are listed, it is a constant). Sizes named by a dim_param are symbols of that name. Large initializers of a
    file are read when they are needed; a file that was written to since is an error then.

    Raises DataLossError for bytes that are no model, InvalidArgumentError for a model that contradicts itself or the
    standard, UnimplementedError listing every node that cannot be mapped (:func:`pyflow.onnx.check` gives the list).
    """
    plans = folder_of(cache_dir)
    if plans is None or not isinstance(model, (str, os.PathLike)) or not os.path.isfile(model) or _is_extended():
        return _read(model, shapes, folder).graph
    path = os.path.abspath(os.fspath(model))
    beside = os.path.abspath(os.fspath(folder)) if folder is not None else os.path.dirname(path)
    try:
        file = StoredFile(path)
        key = _key_of(file, shapes)
        known = plans.get(key) if key else None
        content = _content(key, known.about["external"], beside) if known is not None else ""
    except (OSError, PyflowError):
        return _read(model, shapes, folder).graph
    if known is not None and content:
        return Unread(file, Source(content, tuple(known.about["outputs"]), None), shapes, folder)
    read = _read(model, shapes, folder)
    if key:
        _keep(read.graph, plans, key, [os.path.relpath(each, os.path.realpath(beside)) for each in read.files], beside)
    return read.graph


def _read(model: Any, shapes: Any, folder: Any) -> Imported:
    from pyflow.onnx.loader import load_noting

    return load_noting(model, shapes, folder)


def _is_extended() -> bool:
    """Did somebody add rows or ops, so that a file may become another graph than in another process?"""
    table = sys.modules.get("pyflow.onnx.table")
    foreign = any(op.onnx and not op.module.startswith("pyflow.") for op in OPS.values())
    return foreign or (table is not None and table.is_extended())


def _key_of(file: StoredFile, shapes: Mapping[str, Sequence[Any]] | None) -> str:
    """The digest of a model file and what it is read with; "" if that cannot be written down."""
    given = {name: list(shape) for name, shape in (shapes or {}).items()}
    if not all(size is None or isinstance(size, (int, str)) for shape in given.values() for size in shape):
        return ""
    text = json.dumps([_KIND, plan_key.build(), file.digest(), sorted(given.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def _content(key: str, external: Sequence[str], beside: str) -> str:
    """The digest of the model with the files beside it that it names."""
    parts = [key, *(f"{name} {StoredFile(os.path.join(beside, name)).digest()}" for name in external)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _keep(graph: Graph, plans: PlanFolder, key: str, external: Sequence[str], beside: str) -> None:
    """Tells later processes, and sessions on the graph, which file it is of."""
    names = dict(graph.aliases)
    by_value = {id(value): name for name, value in names.items()}
    if graph.variables or not graph.outputs or not all(id(value) in by_value for value in graph.outputs):
        return
    try:
        content = _content(key, external, beside)
    except (OSError, PyflowError):
        return
    outputs = tuple(by_value[id(value)] for value in graph.outputs)
    graph.source = Source(content, outputs, names)
    plans.put(key, {"external": external, "outputs": outputs}, b"", ())


class Unread(Graph):
    """A graph whose nodes are read from its file when somebody looks at them."""

    def __init__(self, file: StoredFile, source: Source, shapes: Any, folder: Any) -> None:
        self.source = source
        self.saved = {}
        self.seed = None
        self.files = []
        self._file = file
        self._how = (shapes, folder)
        self._reading = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        with self._reading:
            if name not in self.__dict__:
                self._read_now()
        return object.__getattribute__(self, name)

    def _read_now(self) -> None:
        shapes, folder = self._how
        made = _read(self._file.path, shapes, folder).graph
        if StoredFile(self._file.path).digest() != self._file.digest():
            what = f"{self._file.path} was written to since it was loaded"
            raise FailedPreconditionError(message("onnx", what, user_origin(), "load the model again"))
        for node in made.nodes:
            node.graph = self
        source = Source(self.source.content, self.source.outputs, dict(made.aliases))
        self.__dict__.update({**made.__dict__, "source": source})

    def note_run(self) -> None:
        """Runs by name read nothing."""
        if "nodes" in self.__dict__:
            super().note_run()
