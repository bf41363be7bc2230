"""What a traced function takes from around it besides tensors: plain Python values of variables that it names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

from pyflow.dtypes import DType
from pyflow.eager.capture import Capture

_PLAIN = (bool, int, float, complex, str, bytes, type(None), DType)


def is_plain(value: Any) -> bool:
    """Is it a value that a trace takes as a constant?"""
    kind = type(value)
    return kind in _PLAIN or (kind is tuple and all(map(is_plain, value)))


def assume_surroundings(capture: Capture, python: Callable[..., Any]) -> None:
    """The trace of ``python`` serves calls at which the plain values that it names are those of now."""
    while isinstance(python, functools.partial):
        python = python.func
    function = getattr(python, "__func__", python)
    if not isinstance(function, FunctionType):
        return
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if is_plain(_content(cell)):
            capture.assume(functools.partial(_content, cell), f"{name!r}, of the function around,")
    around = function.__globals__
    for name in dict.fromkeys(_names(function.__code__)):
        if name in around and is_plain(around[name]):
            capture.assume(functools.partial(around.get, name), f"{name!r}, of the module,")


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing is there yet
        return _content


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for entry in code.co_consts:
        if isinstance(entry, CodeType):
            yield from _names(entry)
