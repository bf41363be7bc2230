"""Sizes as C++: an expression of each size over the symbols of an entry."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pyflow import dims
from pyflow.dims import Call, Dim, Size, Symbol

_WORDS = frozenset(
    """
    alignas alignof and asm auto bool break case catch char class const continue default delete do double else
    enum explicit export extern false float for friend goto if inline int long mutable namespace new not
    operator or private protected public register return short signed sizeof static struct switch template this
    throw true try typedef typeid union unsigned using virtual void volatile while xor restrict inline
    constexpr decltype noexcept nullptr static_assert thread_local char8_t char16_t char32_t wchar_t
    and_eq bitand bitor compl not_eq or_eq xor_eq
    arena arena_bytes buffers bytes cuts isa late n options report run s state status threads views
    add broadcast floordiv max min mod mul unless_one begin best_isa report_of state_of Report Run State
    argc argv golden main read run size_of sizes std stop turn Golden Memory
    errno linux stderr stdin stdout unix EOF NULL
    """.split()  # noqa: SIM905
)
"""What the languages, their libraries' headers, generated programs and their examples name."""
_PATTERNS = re.compile(
    r"pf|pf_\w*|k[A-Z]\w*|\w+_(t|sizes|steps|results|dims)|run_\w*|[A-Z][A-Z0-9]*_[A-Z0-9_]*|_[_A-Z]\w*"
)


def identifier(name: str) -> str:
    """``name`` as C takes it."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    taken = not text or text in _WORDS or _PATTERNS.fullmatch(text)
    return f"_{text}" if text[:1].isdigit() else f"{text}_" if taken else text


class Names:
    """C identifiers, each once; ``prefixed``: they follow a prefix, so that words of C++ are no matter; ``owner``:
    none of them looks like a name of that model's header."""

    def __init__(self, prefixed: bool = False, owner: str = "") -> None:
        self._prefixed = prefixed
        self._owner = owner
        self._taken: set[str] = set()

    def give(self, name: str) -> str:
        wanted = re.sub(r"\W", "_", name, flags=re.ASCII) if self._prefixed else identifier(name)
        if self._owner and wanted.startswith((f"{self._owner}_", f"{self._owner.upper()}_")):
            wanted = f"_{wanted}"
        text = wanted
        count = 1
        while text in self._taken:
            count += 1
            text = f"{wanted}_{count}"
        self._taken.add(text)
        return text

    def reserve(self, text: str) -> None:
        """``text`` is given elsewhere."""
        self._taken.add(text)


class Sizes:
    """What one entry computes of sizes: symbols, then every other size that it mentions, each once."""

    def __init__(self, names: Names, bounds: Mapping[str, Size]) -> None:
        self.symbols: dict[str, tuple[str, Symbol]] = {}
        """By name: its C name."""
        self.rows: list[Dim] = []
        """Of what is fed alone."""
        self.late_rows: list[Dim] = []
        """With sizes that a step gives."""
        self._names = names
        self._bounds = bounds
        self._known: dict[Dim, str] = {}

    def symbol(self, symbol: Symbol) -> str:
        if symbol.name not in self.symbols:
            self.symbols[symbol.name] = (self._names.give(symbol.name), symbol)
        return self.symbols[symbol.name][0]

    def bound(self, symbol: Symbol) -> Size | None:
        """What a late symbol is at most."""
        return self._bounds.get(symbol.name, symbol.max)

    def text(self, size: Size) -> str:
        """An operand: a number, a symbol or a row."""
        if isinstance(size, int):
            return number(size)
        only = _only_symbol(size)
        if only is not None:
            return f"n.{self.symbol(only)}"
        if size not in self._known:
            for symbol in dims.symbols_of(size):
                self.symbol(symbol)
            late = dims.late_in(size)
            rows = self.late_rows if late else self.rows
            self._known[size] = f"n.{'late' if late else 's'}[{len(rows)}]"
            rows.append(size)
        return self._known[size]

    def expression(self, size: Size) -> str:
        """How a size comes to be, in the order in which a session computes it."""
        if isinstance(size, int):
            return number(size)
        total = ""
        for atoms, factor in size.terms:
            part = number(factor) if factor != 1 or not atoms else ""
            for atom in atoms:
                text = self._atom(atom)
                part = f"mul({part}, {text})" if part else text
            total = f"add({total}, {part})" if total else part
        return total

    def _atom(self, atom: Symbol | Call) -> str:
        if isinstance(atom, Symbol):
            return f"n.{self.symbol(atom)}"
        return f"{atom.function}({', '.join(map(self.expression, atom.args))})"


def number(value: int) -> str:
    return "INT64_MIN" if value == -(2**63) else str(value)


def _only_symbol(size: Dim) -> Symbol | None:
    if len(size.terms) == 1 and size.terms[0][1] == 1 and len(size.terms[0][0]) == 1:
        (atom,) = size.terms[0][0]
        return atom if isinstance(atom, Symbol) else None
    return None
