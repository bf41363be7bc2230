"""An artefact from Python: its shared library over cffi, with a session's names, dtypes and errors."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pyflow import dims, dtypes, errors
from pyflow.aot.header import ABI, c_type
from pyflow.aot.package import VERSION
from pyflow.errors import (
    DataLossError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnimplementedError,
    message,
)

ALIGNMENT = 64
_ERRORS = (
    None,
    errors.InvalidArgumentError,
    errors.OutOfRangeError,
    errors.FailedPreconditionError,
    errors.NotFoundError,
    errors.UnimplementedError,
    errors.ResourceExhaustedError,
    errors.DeadlineExceededError,
    errors.CancelledError,
    errors.DataLossError,
    errors.InternalError,
)
"""By pf_code."""


def load(path: str | os.PathLike[str]) -> Loaded:
    """The artefact at ``path``: its manifest, its folder or its shared library.

    Raises NotFoundError, DataLossError for a manifest that is none, FailedPreconditionError for a newer one,
    UnimplementedError without cffi.
    """
    try:
        import cffi
    except ImportError:
        raise UnimplementedError(message("aot", "there is no cffi", None, "pip install cffi")) from None
    manifest, library = _files(Path(path))
    try:
        described = json.loads(manifest.read_text())
        version, name = int(described["format"]), str(described["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataLossError(message("aot", f"{str(manifest)!r} is no manifest: {error}")) from None
    if version > VERSION or described["abi"] > ABI:
        what = f"{str(manifest)!r} has format {version} and abi {described['abi']}; known are {VERSION} and {ABI}"
        raise FailedPreconditionError(message("aot", what, None, "update pyflow"))
    ffi = cffi.FFI()
    ffi.cdef(declarations((manifest.parent / f"{name}.h").read_text()))
    return Loaded(ffi, ffi.dlopen(str(library.resolve())), described, manifest.parent)


def _files(path: Path) -> tuple[Path, Path]:
    """Manifest and shared library."""
    if path.is_dir():
        libraries = sorted(path.glob("lib*.so"))
        path = libraries[0] if len(libraries) == 1 else path / "a manifest"
    name = path.stem.removeprefix("lib") if path.suffix == ".so" else path.stem
    manifest, library = path.with_name(f"{name}.json"), path.with_name(f"lib{name}.so")
    for needed in (manifest, library):
        if not needed.is_file():
            hint = "compile with emit='shared' or 'cmake'"
            raise NotFoundError(message("aot", f"there is no {str(needed)!r}", None, hint))
    return manifest, library


def declarations(header: str) -> str:
    """A generated header without its preprocessor's lines."""
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def aligned(count: int) -> np.ndarray:
    """Bytes that begin at a multiple of 64."""
    memory = np.empty(count + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + count]


class Loaded:
    """The entries as callables: ``loaded.predict(x)``, ``loaded["predict"](x)``. One caller at a time runs."""

    def __init__(self, ffi: Any, library: Any, manifest: dict[str, Any], folder: Path) -> None:
        self.ffi = ffi
        self.library = library
        self.manifest = manifest
        self.name = manifest["name"]
        self.variables = {row["name"]: row for row in manifest["variables"]}
        self.entries = {row["name"]: LoadedEntry(self, row) for row in manifest["entries"]}
        self.status = ffi.new(f"{self.name}_status*")
        self.lock = threading.Lock()
        self._memory = aligned(self.function("state_bytes")())
        self._weights = self._read_weights(folder)
        state = ffi.new(f"{self.name}_state**")
        given = (ffi.NULL, 0) if self._weights is None else (self.pointer(self._weights), self._weights.nbytes)
        memory = self.pointer(self._memory)
        self.check(self.function("state_init")(memory, self._memory.nbytes, *given, state, self.status))
        self.state = state[0]

    def _read_weights(self, folder: Path) -> np.ndarray | None:
        if self.manifest["weights"]["embedded"] or not self.manifest["weights"]["bytes"]:
            return None
        path = folder / f"{self.name}.weights"
        if not path.is_file():
            raise NotFoundError(message("aot", f"there are no weights {str(path)!r}"))
        data = path.read_bytes()
        memory = aligned(len(data))
        memory[:] = np.frombuffer(data, np.uint8)
        return memory

    def __getitem__(self, entry: str) -> LoadedEntry:
        if entry not in self.entries:
            what = f"{self.name} has no entry {entry!r}; there is {', '.join(self.entries)}"
            raise NotFoundError(message("aot", what))
        return self.entries[entry]

    def __getattr__(self, name: str) -> LoadedEntry:
        entries = self.__dict__.get("entries", {})
        if name in entries:
            return entries[name]  # type: ignore[no-any-return]
        raise AttributeError(name)

    def function(self, name: str) -> Any:
        return getattr(self.library, f"{self.name}_{name}")

    def pointer(self, array: np.ndarray, kind: str = "void*") -> Any:
        return self.ffi.cast(kind, array.ctypes.data)

    def check(self, code: int) -> None:
        kind = _ERRORS[code] if 0 <= code < len(_ERRORS) else errors.InternalError
        if kind is not None:
            raise kind(message(self.name, self.ffi.string(self.status.message).decode(errors="replace")))

    @contextmanager
    def pool(self, threads: int) -> Iterator[Any]:
        """The options of a run with that many threads."""
        if threads <= 1:
            yield self.ffi.NULL
            return
        with ThreadPoolExecutor(threads) as executor:

            def parallel_for(_: Any, ntasks: int, task: Any, argument: Any) -> None:
                for done in [executor.submit(task, argument, index, index) for index in range(ntasks)]:
                    done.result()

            kind = "void(void*, int64_t, void(*)(void*, int64_t, int32_t), void*)"
            callback = self.ffi.callback(kind, parallel_for)
            options = self.ffi.new(f"{self.name}_options*")
            options.struct_size = self.ffi.sizeof(f"{self.name}_options")
            options.threads = threads
            options.parallel_for = callback
            yield options

    def get(self, variable: str) -> np.ndarray:
        """What a variable holds."""
        row = self._variable(variable)
        array = np.empty(row["dims"], dtypes.as_dtype(row["dtype"]).numpy)
        with self.lock:
            call = self.function("state_get")
            self.check(call(self.state, variable.encode(), self.pointer(array), array.nbytes, self.status))
        return array

    def set(self, variable: str, value: Any) -> None:
        row = self._variable(variable)
        array = _coerced(variable, value, row["dtype"], len(row["dims"]))
        with self.lock:
            call = self.function("state_set")
            self.check(call(self.state, variable.encode(), self.pointer(array), array.nbytes, self.status))

    def reset(self) -> None:
        """Variables as they were first."""
        with self.lock:
            self.check(self.function("state_reset")(self.state, self.status))

    def _variable(self, name: str) -> dict[str, Any]:
        if name not in self.variables:
            raise NotFoundError(message("aot", f"{self.name} has no variable {name!r}"))
        return self.variables[name]  # type: ignore[no-any-return]


class LoadedEntry:
    """One entry: arrays in, in the order of its inputs or by name; an array out, or a tuple of them."""

    def __init__(self, artefact: Loaded, row: dict[str, Any]) -> None:
        self.artefact = artefact
        self.row = row
        self.inputs = [port["name"] for port in row["inputs"]]
        self.outputs = [port["name"] for port in row["outputs"]]
        symbols = {size["name"]: dims.Dim(size["name"]) for size in row["sizes"]}
        self._dims = [[_size(text, symbols) for text in port["dims"]] for port in row["inputs"]]
        self._results = [[_size(text, symbols) for text in port.get("room", port["dims"])] for port in row["outputs"]]

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        results = self.run(self._in_order(arrays, named))
        return results[0] if len(results) == 1 else tuple(results)

    def _in_order(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        given = dict(zip(self.inputs, arrays, strict=False))
        unknown = [name for name in named if name not in self.inputs or name in given]
        if len(arrays) > len(self.inputs) or unknown or len(given) + len(named) != len(self.inputs):
            what = f"expected {', '.join(self.inputs) or 'nothing'}, got {len(arrays)} arrays and {sorted(named)}"
            raise InvalidArgumentError(message(self.row["name"], what))
        return [{**given, **named}[name] for name in self.inputs]

    def run(self, given: Sequence[Any], threads: int = 1) -> list[np.ndarray]:
        """The outputs, in order. threads: how many of Python's run the tasks of a step."""
        artefact, ffi = self.artefact, self.artefact.ffi
        ports = self.row["inputs"]
        feeds = [
            _coerced(port["name"], array, port["dtype"], len(port["dims"]))
            for port, array in zip(ports, given, strict=True)
        ]
        sizes = self._solved(feeds)
        values = [sizes[row["name"]] for row in self.row["sizes"]]
        outputs, arguments = [], []
        for port, shape in zip(self.row["outputs"], self._results, strict=True):
            dtype = dtypes.as_dtype(port["dtype"])
            room = [dims.evaluate(size, sizes) for size in shape]
            outputs.append(np.empty(room, dtype.numpy))
            arguments.append(artefact.pointer(outputs[-1], f"{c_type(dtype)}*"))
            if port.get("late"):
                arguments.append(ffi.new("int64_t[]", max(1, len(shape))))
        with artefact.lock:
            arena = aligned(artefact.function(f"{self.row['function']}_arena_bytes")(*values, threads))
            pointers = [
                artefact.pointer(array, f"{c_type(dtypes.as_dtype(port['dtype']))} const*")
                for port, array in zip(ports, feeds, strict=True)
            ]
            call = artefact.function(self.row["function"])
            head = (artefact.state, artefact.pointer(arena), arena.nbytes)
            with artefact.pool(threads) as options:
                artefact.check(call(*head, *values, *pointers, *arguments, options, artefact.status))
        return self._cut(outputs, arguments)

    def _cut(self, outputs: list[np.ndarray], arguments: list[Any]) -> list[np.ndarray]:
        """Outputs whose dims the run told are as long as it said."""
        results, at = [], 0
        for port, array in zip(self.row["outputs"], outputs, strict=True):
            at += 1
            if port.get("late"):
                shape = [arguments[at][axis] for axis in range(array.ndim)]
                array = array.reshape(-1)[: int(np.prod(shape))].reshape(shape)
                at += 1
            results.append(array)
        return results

    def _solved(self, feeds: list[np.ndarray]) -> dict[str, int]:
        """The sizes that the feeds tell; every dim must be what they say."""
        sizes: dict[str, int] = {}
        for row in self.row["solves"]:
            got = feeds[row["input"]].shape[row["axis"]] - row["shift"]
            if got % row["scale"] == 0:
                sizes.setdefault(row["size"], got // row["scale"])
        for name, array, shape in zip(self.inputs, feeds, self._dims, strict=True):
            try:
                expected = [dims.evaluate(size, sizes) for size in shape]
            except KeyError:
                expected = None
            if expected is None or list(array.shape) != expected:
                what = f"input {name!r} has shape {list(array.shape)}; expected [{', '.join(map(str, shape))}]"
                told = ", ".join(f"{size} = {value}" for size, value in sizes.items())
                raise InvalidArgumentError(message(self.row["name"], f"{what}{f' with {told}' if told else ''}"))
        return sizes


def _size(text: Any, symbols: Mapping[str, dims.Dim]) -> dims.Size:
    return text if isinstance(text, int) else dims.parse(text, symbols)


def _coerced(name: str, given: Any, dtype: str, ndim: int) -> np.ndarray:
    wanted = dtypes.as_dtype(dtype).numpy
    array = np.asarray(given)
    if array.dtype != wanted:
        if isinstance(given, np.ndarray) or not np.can_cast(array.dtype, wanted, "same_kind"):
            what = f"{name!r} is {array.dtype}, expected {dtype}"
            raise errors.DTypeError(message("aot", what, None, "cast it"))
        array = array.astype(wanted)
    if array.ndim != ndim:
        raise InvalidArgumentError(message("aot", f"{name!r} has {array.ndim} dims, expected {ndim}"))
    return np.ascontiguousarray(array).reshape(array.shape)
