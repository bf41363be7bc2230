"""Objects of a run: the table behind their handles, and the call of a plan that has some."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import objects
from pyflow.dtypes import DType, string
from pyflow.errors import InternalError, InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.runtime.feeds import coerce


class Table:
    """The objects of one run by their handles, from 1. Text is in it once. Safe to use from many threads."""

    def __init__(self) -> None:
        self._contents: list[Any] = []
        self._handles: dict[str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._contents)

    def put(self, array: np.ndarray, dtype: DType) -> np.ndarray:
        """The handles of the objects in ``array``."""
        entries = (objects.strings(array) if dtype is string else array).reshape(-1).tolist()
        with self._lock:
            handles = [self._handle(entry) for entry in entries]
        return np.array(handles, np.int64).reshape(array.shape)

    def _handle(self, entry: Any) -> int:
        if entry is None:
            return 0
        is_text = isinstance(entry, str)
        known = self._handles.get(entry) or objects.handle_of(entry) if is_text else None
        if known is not None:
            return known
        self._contents.append(entry)
        if is_text:
            self._handles[entry] = len(self._contents)
        return len(self._contents)

    def get(self, handles: np.ndarray, dtype: DType) -> np.ndarray:
        """The objects that ``handles`` stand for."""
        result = np.empty(handles.shape, object)
        flat = result.reshape(-1)
        for index, handle in enumerate(handles.reshape(-1).tolist()):
            flat[index] = self._content(handle, dtype)
        return result

    def _content(self, handle: int, dtype: DType) -> Any:
        if handle > len(self._contents):
            raise InternalError(message("objects", f"{handle} is no handle of a {dtype} in this run"))
        if handle > 0:
            return self._contents[handle - 1]
        return objects.text_of(handle) if dtype is string else None


_runs = threading.local()


def table() -> Table:
    """That of the innermost run of this thread."""
    tables = getattr(_runs, "tables", None)
    if not tables:
        raise InternalError(message("objects", "a step has objects and its run has no table for them"))
    result: Table = tables[-1]
    return result


class ObjectRun:
    """A native callable whose feeds, fetches or steps have objects. Its table lives from call to return."""

    def __init__(self, native: Any, feeds: Sequence[Value], fetches: Sequence[Value]) -> None:
        self.native = native
        self.memory_plan = native.memory_plan
        self._feeds = [(index, value) for index, value in enumerate(feeds) if value.dtype.is_object]
        self._fetches = [(index, value.dtype) for index, value in enumerate(fetches) if value.dtype.is_object]

    @property
    def stats(self) -> dict[str, int]:
        result: dict[str, int] = self.native.stats
        return result

    def __call__(self, *arrays: Any) -> tuple[Any, ...]:
        return self._call(arrays, None)

    def run(self, arrays: Sequence[Any], **options: Any) -> tuple[Any, ...]:
        """As the native one's."""
        return self._call(arrays, options)

    def _call(self, arrays: Sequence[Any], options: dict[str, Any] | None) -> tuple[Any, ...]:
        own = Table()
        given = list(arrays)
        for index, value in self._feeds:
            if index < len(given):
                given[index] = own.put(coerce(value, given[index]), value.dtype)
        out = options.get("out") if options else None
        if out is not None and any(index < len(out) and out[index] is not None for index, _ in self._fetches):
            raise InvalidArgumentError(message("run", "out= takes no objects; give None for them", user_origin()))
        tables = _runs.__dict__.setdefault("tables", [])
        tables.append(own)
        try:
            results = self.native(*given) if options is None else self.native.run(tuple(given), **options)
        finally:
            tables.pop()
        if not self._fetches:
            return results  # type: ignore[no-any-return]
        shown = list(results)
        for index, dtype in self._fetches:
            found = own.get(shown[index], dtype)
            shown[index] = found if dtype is string else _shown(found)
        return tuple(shown)


def _shown(found: np.ndarray) -> Any:
    """What a user gets of variants: a list for a sequence, the array or None of an optional."""
    if found.ndim:
        return [_shown(found[index, ...]) for index in range(len(found))]
    content = found[()]
    return list(content) if isinstance(content, tuple) else content
