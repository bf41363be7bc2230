"""Nested tuples, lists and dicts of values: what bodies take and give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyflow.graph import Node


@dataclass(frozen=True)
class Structure:
    """``kind`` None: a leaf. Else a tuple, list, named tuple or dict of ``parts``; NoneType has none."""

    kind: Any
    keys: tuple[Any, ...] = ()
    parts: tuple[Structure, ...] = ()

    @property
    def count(self) -> int:
        """How many leaves it has."""
        return 1 if self.kind is None else sum(part.count for part in self.parts)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The structure with ``leaves``, in order."""
        if self.kind is None:
            return leaves[0]
        built, start = [], 0
        for part in self.parts:
            built.append(part.build(leaves[start : start + part.count]))
            start += part.count
        if self.kind is type(None):
            return None
        if issubclass(self.kind, Mapping):
            return dict(zip(self.keys, built, strict=True))
        if hasattr(self.kind, "_fields"):
            return self.kind(*built)
        return self.kind(built)

    def __str__(self) -> str:
        if self.kind is None:
            return "value"
        if self.kind is type(None):
            return "None"
        inside = [str(part) for part in self.parts]
        if issubclass(self.kind, Mapping):
            return "{" + ", ".join(f"{key!r}: {part}" for key, part in zip(self.keys, inside, strict=True)) + "}"
        if issubclass(self.kind, list):
            return f"[{', '.join(inside)}]"
        return f"({', '.join(inside)}{',' if len(inside) == 1 else ''})"


def flatten(nested: Any) -> tuple[list[Any], Structure]:
    """The leaves of ``nested``, in order, and how they stand in it. An op without results counts as None."""
    if nested is None or isinstance(nested, Node):
        return [], Structure(type(None))
    if isinstance(nested, Mapping):
        keys = tuple(nested)
        entries: Sequence[Any] = [nested[key] for key in keys]
        kind: Any = dict
    elif isinstance(nested, (tuple, list)):
        keys, entries = (), list(nested)
        kind = type(nested)
    else:
        return [nested], Structure(None)
    leaves: list[Any] = []
    parts = []
    for entry in entries:
        more, part = flatten(entry)
        leaves += more
        parts.append(part)
    return leaves, Structure(kind, keys, tuple(parts))


def mapped(function: Callable[[Any], Any], nested: Any) -> Any:
    """``nested`` with ``function`` of each leaf."""
    leaves, structure = flatten(nested)
    return structure.build([function(leaf) for leaf in leaves])
