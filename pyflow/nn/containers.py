"""Modules and parameters in lists and dicts."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pyflow.errors import DTypeError, OutOfRangeError, message, user_origin
from pyflow.nn.module import Module
from pyflow.nn.parameter import Parameter

__all__ = ["ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"]


class _Numbered(Module):
    """Entries named 0, 1 ...: a list."""

    def _put(self, name: str, entry: Any) -> None:
        self.add_module(name, entry)

    def _entries(self) -> list[Any]:
        return [self.__dict__[name] for name in self._kinds]

    def _become(self, entries: Iterable[Any]) -> None:
        entries = list(entries)
        for name in list(self._kinds):
            delattr(self, name)
        for number, entry in enumerate(entries):
            self._put(str(number), entry)

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries())

    def _name_at(self, index: Any) -> str:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            what = f"{type(self).__name__} of {len(self)} has no entry {place}"
            raise OutOfRangeError(message("nn", what, user_origin()))
        return list(self._kinds)[place]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return type(self)(*self._entries()[index]) if self._spread else type(self)(self._entries()[index])
        return self.__dict__[self._name_at(index)]

    def __setitem__(self, index: Any, entry: Any) -> None:
        self._put(self._name_at(index), entry)

    def __delitem__(self, index: Any) -> None:
        entries = self._entries()
        del entries[index if isinstance(index, slice) else operator.index(index)]
        self._become(entries)

    def append(self, entry: Any) -> Any:
        """Adds ``entry`` at the end; gives the list."""
        self._put(str(len(self)), entry)
        return self

    def extend(self, entries: Iterable[Any]) -> Any:
        """Adds ``entries`` at the end; gives the list."""
        for entry in list(entries):
            self.append(entry)
        return self

    def insert(self, index: int, entry: Any) -> Any:
        """Adds ``entry`` before the one at ``index``; gives the list."""
        entries = self._entries()
        entries.insert(index, entry)
        self._become(entries)
        return self

    _spread = False
    """The constructor takes entries as arguments, not as one list."""


class Sequential(_Numbered):
    """Modules in a row, each called with what the one before gave: ``Sequential(a, b)``, or of a dict with names."""

    _spread = True

    def __init__(self, *modules: Any) -> None:
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
        else:
            self.extend(modules)

    def forward(self, x: Any) -> Any:
        for name in self._kinds:
            x = self.__dict__[name](x)
        return x


class ModuleList(_Numbered):
    """A list of modules. It has no ``forward``: call its entries."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])


class ParameterList(_Numbered):
    """A list of parameters."""

    def __init__(self, parameters: Iterable[Any] = ()) -> None:
        self.extend(parameters)

    def _put(self, name: str, entry: Any) -> None:
        self.register_parameter(name, entry if isinstance(entry, Parameter) else Parameter(entry))

    def extra_repr(self) -> str:
        return ", ".join(str(parameter.type) for parameter in self)


class _Named(Module):
    """Entries by name: a dict."""

    def _put(self, name: str, entry: Any) -> None:
        self.add_module(name, entry)

    def _fill(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        for name, entry in entries.items() if isinstance(entries, Mapping) else entries:
            self[name] = entry

    def __getitem__(self, name: str) -> Any:
        if name not in self._kinds:
            raise KeyError(name)
        return self.__dict__[name]

    def __setitem__(self, name: str, entry: Any) -> None:
        if not isinstance(name, str) or (name not in self._kinds and (hasattr(self, name) or "." in name)):
            what = (
                f"{name!r} cannot be a name in {type(self).__name__}: expected text without dots, not that of a method"
            )
            raise DTypeError(message("nn", what, user_origin()))
        self._put(name, entry)

    def __delitem__(self, name: str) -> None:
        self[name]
        delattr(self, name)

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kinds))

    def __contains__(self, name: object) -> bool:
        return name in self._kinds

    def keys(self) -> Sequence[str]:
        return list(self._kinds)

    def values(self) -> list[Any]:
        return [self[name] for name in self]

    def items(self) -> list[tuple[str, Any]]:
        return [(name, self[name]) for name in self]

    def update(self, entries: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Adds ``entries``, in place of those of their names."""
        self._fill(entries)

    def pop(self, name: str) -> Any:
        """Takes an entry away and gives it."""
        entry = self[name]
        delattr(self, name)
        return entry


class ModuleDict(_Named):
    """Modules by name. It has no ``forward``: call its entries."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self._fill(modules)


class ParameterDict(_Named):
    """Parameters by name."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] = ()) -> None:
        self._fill(parameters)

    def _put(self, name: str, entry: Any) -> None:
        self.register_parameter(name, entry if isinstance(entry, Parameter) else Parameter(entry))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}: {parameter.type}" for name, parameter in self.items())
