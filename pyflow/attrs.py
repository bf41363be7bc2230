"""What is asked of the values of attributes: a key to find equal ones by, and the late symbols that they mention."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from pyflow import dims

_ONLY_PLAIN = frozenset({int, bool, float, str, type(None)})


def attr_key(value: Any) -> Any:
    """A hashable stand-in for an attribute value; floats by their bits."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is tuple:
        return value if dims.are_numbers(value) else tuple([attr_key(entry) for entry in value])
    if isinstance(value, float):
        return ("f", struct.pack("<d", value))
    if isinstance(value, bool):
        return ("b", value)
    if isinstance(value, tuple):
        return tuple(attr_key(entry) for entry in value)
    return value


def late_in(value: Any) -> Iterable[str]:
    """The late symbols in an attribute value, or in sizes."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return ()
    if isinstance(value, dims.Dim):
        return dims.late_names(value)
    if isinstance(value, tuple):
        if _ONLY_PLAIN.issuperset(map(type, value)):
            return ()
        return [name for entry in value if type(entry) is not int for name in late_in(entry)]
    return value.late_names() if hasattr(value, "late_names") else ()
