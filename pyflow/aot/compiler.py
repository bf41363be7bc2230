"""``pf.aot.compile``: a graph's entries as a native library."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyflow.aot import build, loops
from pyflow.aot.emit import source
from pyflow.aot.example import record
from pyflow.aot.package import write_package
from pyflow.aot.program import Program, Variable, checked_name, describe
from pyflow.aot.weights import Weights, pack
from pyflow.dims import Size
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    PyflowError,
    ResourceExhaustedError,
    message,
    user_origin,
)
from pyflow.graph import Graph, Value
from pyflow.ops.state import GENERATOR, global_variables_initializer
from pyflow.plan import Plan
from pyflow.runtime.saved_plan import names_of
from pyflow.runtime.session import Session

EMIT = ("source", "object", "static", "shared", "cmake")


@dataclass(frozen=True)
class Artefact:
    """What ``compile`` wrote."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def header(self) -> Path:
        return self.folder / f"{self.name}.h"

    @property
    def manifest(self) -> Path:
        return self.folder / f"{self.name}.json"

    def load(self) -> Any:
        """The artefact as callables, as :func:`load` gives them."""
        from pyflow.aot.loaded import load

        return load(self.manifest)


def compile(
    graph: Graph | Session | Any,
    entries: Mapping[str, tuple[Sequence[Value | str], Any]] | None = None,
    out_dir: str | os.PathLike[str] = ".",
    name: str = "model",
    weights: str = "embed",
    emit: str = "cmake",
    max_sizes: Mapping[str, int] | None = None,
) -> Artefact:
    """Compiles entries to C++ and a library that a C or C++ program links, with no Python beside it.

    graph: a graph, or a session whose variables' values are the first ones. Of a graph: what it was saved with;
        variables without a value have to be set, or written by an entry, before they are read.
        Or a ``pf.function`` that was called, or several by name: the entries, whose tensors from outside are variables.
    entries: by name, (inputs, outputs): values or names to feed, and what to fetch, ops for their effect too.
        Default: ``{"predict": (graph.inputs, graph.outputs)}``. They share the variables.
    out_dir: made if it is not there. name: what functions and files begin with.
    weights: ``embed`` in the library, or ``file``: ``<name>.weights``, which the program maps.
    emit: ``source`` (text alone), ``object``, ``static``, ``shared``, or ``cmake``: both libraries and packages.
    max_sizes: upper bounds of sizes that only a run tells, by symbol.
    Raises UnimplementedError listing every step that needs Python or is without a bound, NotFoundError without a
    compiler, and what ``Session.run`` raises for the graph.
    """
    if emit not in EMIT or weights not in ("embed", "file"):
        what = f"expected emit= one of {', '.join(EMIT)} and weights= embed or file, got {emit!r} and {weights!r}"
        raise InvalidArgumentError(message("aot", what, user_origin()))
    checked_name(name)
    if not isinstance(graph, (Graph, Session)):
        graph, entries = _of_functions(graph)
    session = graph if isinstance(graph, Session) else Session(graph)
    if entries is None:
        entries = {"predict": (session.graph.inputs, session.graph.outputs)}
    plan = session.joined_plan(entries)
    bounds: dict[str, Size] = dict(max_sizes or {})
    program = describe(plan, name, _variables(session, plan), _origins(session.graph, entries), bounds)
    packed = pack(_arrays(program, plan))
    folder = Path(out_dir)
    try:
        made = _write(program, packed, weights == "embed", folder, emit, session, entries)
    except PyflowError:
        raise
    except OSError as error:
        kind = ResourceExhaustedError if error.errno == errno.ENOSPC else FailedPreconditionError
        what = f"cannot write to {str(folder)!r}: {error.strerror or error}"
        raise kind(message("aot", what, user_origin(), "nothing was changed there; choose another out_dir=")) from None
    return Artefact(name, folder, tuple(folder / path for path in made))


def _of_functions(given: Any) -> tuple[Session, dict[str, tuple[Sequence[Value | str], Any]]]:
    """A graph of functions, with the values that its variables start from, and its entries."""
    functions = given if isinstance(given, Mapping) else {getattr(given, "__name__", "predict"): given}
    if not functions or not all(hasattr(function, "declare") for function in functions.values()):
        what = f"expected a graph, a session, a pf.function or a mapping of names to these, got {type(given).__name__}"
        raise DTypeError(message("aot", what, user_origin()))
    graph = Graph()
    entries: dict[str, tuple[Sequence[Value | str], Any]] = {}
    with graph.as_default():
        for name, function in functions.items():
            inputs, result = function.declare()
            entries[name] = (inputs, _flat(result))
        start = global_variables_initializer()
    session = Session(graph)
    session.run(start)
    return session, entries


def _flat(result: Any) -> list[Any]:
    if isinstance(result, Mapping):
        result = list(result.values())
    return [leaf for entry in result for leaf in _flat(entry)] if isinstance(result, (list, tuple)) else [result]


def _write(
    program: Program,
    packed: Weights,
    embedded: bool,
    folder: Path,
    emit: str,
    session: Session,
    entries: Mapping[str, tuple[Sequence[Value | str], Any]],
) -> list[Path]:
    """Makes all files beside ``folder``'s own, then moves them there; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{program.name}.") as scratch:
        work = Path(scratch)
        _write_text(program, packed, embedded, work)
        if emit != "source":
            _build(program, packed, embedded, work, emit)
        golden = record(program, session, entries)
        write_package(program, packed, embedded, work, emit, golden)
        made = sorted(path.relative_to(work) for path in work.rglob("*") if path.is_file())
        for path in made:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(work / path, folder / path)
    return made


def _write_text(program: Program, packed: Weights, embedded: bool, work: Path) -> None:
    name = program.name
    (work / f"{name}.cpp").write_text(source(program, packed, embedded))
    if loops.has_loops(program):
        (work / f"{name}_loops.cpp").write_text(loops.source(program))
    build.write_header(program, packed, embedded, work, {})
    if packed.data:
        (work / f"{name}.weights").write_bytes(packed.data)
    if packed.data and embedded:
        (work / f"{name}_weights.S").write_text(_EMBED.format(name=name))


def _build(program: Program, packed: Weights, embedded: bool, work: Path, emit: str) -> None:
    whole = build.compile_object(program, work, embedded and bool(packed.data))
    build.write_header(program, packed, embedded, work, build.measure(program, whole))
    made = build.keep_exported(program, whole)
    whole.unlink()
    if emit in ("static", "cmake"):
        build.link_static(program, work)
    if emit in ("shared", "cmake"):
        build.link_shared(program, work)
    if emit != "object":
        made.unlink()
        if embedded:
            for suffix in (".weights", "_weights.S"):
                (work / f"{program.name}{suffix}").unlink(missing_ok=True)


_EMBED = """\
    .section .rodata.{name}_weights, "a", @progbits
    .balign 64
    .globl {name}_weights
    .hidden {name}_weights
    .type {name}_weights, @object
{name}_weights:
    .incbin "{name}.weights"
    .size {name}_weights, . - {name}_weights
    .section .note.GNU-stack, "", @progbits
"""


def _variables(session: Session, plan: Plan) -> dict[str, Variable]:
    result = {}
    for name in names_of(plan):
        kind = session.graph.variables[name].type
        value = np.asarray(session.state.get(name)) if session.state.has(name) else None
        if value is None and name == GENERATOR:
            value = np.array([session.graph.seed or 0, 0], np.int64)
        result[name] = Variable(name, kind.dtype, tuple(int(size) for size in kind.dims), value)
    return result


def _arrays(program: Program, plan: Plan) -> dict[str, np.ndarray]:
    arrays = {f"constant/{index}": np.asarray(array) for index, array in enumerate(plan.constants)}
    for variable in program.variables:
        if variable.value is not None:
            arrays[f"variable/{variable.name}"] = variable.value
    return arrays


def _origins(graph: Graph, entries: Mapping[str, tuple[Sequence[Value | str], Any]]) -> dict[str, dict[str, str]]:
    """Where each name of the graph comes from."""
    known: dict[str, str] = {}
    for node in graph.nodes:
        known.setdefault(node.name, str(node.origin or ""))
        for value in node.outputs:
            known.setdefault(value.name, str(node.origin or ""))
    for alias, value in graph.aliases.items():
        known[alias] = str(value.node.origin or "")
    return dict.fromkeys(entries, known)
