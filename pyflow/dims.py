"""Sizes: an int, a named symbol with a range, or an expression of these.

A size that is known is a plain ``int``. Everything else is a :class:`Dim`, kept as a polynomial over atoms (symbols
and calls such as ``floordiv``) in one canonical form, so that equal expressions compare equal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, Union

Size: TypeAlias = Union[int, "Dim"]

DEEPEST = 60
"""How deep calls may be nested in a size."""
LARGEST = 2000
"""How many symbols, numbers and calls a size may have; an expression that repeats its parts grows fast."""


class TooLarge(OverflowError):
    """An expression of sizes that is too large to calculate with."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A named unknown size. Two symbols of one name are the same unknown."""

    name: str
    min: int = field(default=0, compare=False)
    max: Size | None = field(default=None, compare=False)
    hint: int | None = field(default=None, compare=False)
    late: bool = field(default=False, compare=False)
    """True if a step of the run defines it (the count of ``nonzero``), not a feed."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Call:
    """An atom that is no symbol: ``floordiv(a, b)`` and the like."""

    function: str
    args: tuple[Size, ...]

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.args))})"


Atom: TypeAlias = Symbol | Call
Monomial: TypeAlias = tuple[Atom, ...]
_ONLY_INTS = frozenset({int})
_NAME = re.compile(r"[A-Za-z_][\w.:]*\Z")


class Dim:
    """A size that is not known yet: ``Dim("batch")``, ``Dim("batch", min=1, max=64, hint=32)``, ``4 * batch + 1``."""

    __slots__ = ("_depth", "_hash", "_late", "_text", "_weight", "terms")
    terms: tuple[tuple[Monomial, int], ...]
    _hash: int
    _late: tuple[str, ...] | None
    _text: str
    _weight: int
    _depth: int

    def __new__(cls, name: str, min: int = 0, max: int | None = None, hint: int | None = None) -> Dim:
        if not isinstance(name, str) or not _NAME.match(name):
            raise ValueError(f"a dim's name is letters, digits and _ . :, starting with a letter; got {name!r}")
        if min < 0 or (max is not None and max < min) or (hint is not None and hint < min):
            raise ValueError(f"dim {name!r}: expected 0 <= min <= hint <= max, got min={min}, hint={hint}, max={max}")
        return _from_symbol(Symbol(name, min, max, hint))

    def __reduce__(self) -> tuple[object, ...]:
        return (_make, (self.terms,))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Dim) and self._hash == other._hash and self.terms == other.terms)

    def __add__(self, other: Size) -> Size:
        return add(self, other)

    __radd__ = __add__

    def __mul__(self, other: Size) -> Size:
        return mul(self, other)

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return mul(self, -1)

    def __sub__(self, other: Size) -> Size:
        return add(self, mul(other, -1))

    def __rsub__(self, other: Size) -> Size:
        return add(other, mul(self, -1))

    def __floordiv__(self, other: Size) -> Size:
        return floordiv(self, other)

    def __rfloordiv__(self, other: Size) -> Size:
        return floordiv(other, self)

    def __mod__(self, other: Size) -> Size:
        return mod(self, other)

    def __rmod__(self, other: Size) -> Size:
        return mod(other, self)

    def __bool__(self) -> bool:
        raise TypeError(f"the size {self} is not known while the graph is built, so it has no truth value")

    def __index__(self) -> int:
        raise TypeError(
            f"the size {self} is not known while the graph is built; feed it, or use pf.shape(x) at run time"
        )

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        if not self._text:
            self._text = self._written()
        return self._text

    def _written(self) -> str:
        parts: list[str] = []
        for atoms, factor in self.terms:
            text = "*".join(map(str, atoms))
            if not atoms:
                text = str(abs(factor))
            elif abs(factor) != 1:
                text = f"{abs(factor)}*{text}"
            sign = "-" if factor < 0 else "+"
            parts.append(text if not parts and factor > 0 else sign + text)
        return "".join(parts)


def _make(terms: tuple[tuple[Monomial, int], ...]) -> Dim:
    weight = depth = 0
    for atoms, _ in terms:
        weight += 1 + len(atoms)
        for atom in atoms:
            if isinstance(atom, Call):
                inner = [arg for arg in atom.args if isinstance(arg, Dim)]
                weight += sum(arg._weight for arg in inner)
                depth = max(depth, 1 + max((arg._depth for arg in inner), default=0))
    if weight > LARGEST or depth > DEEPEST:
        raise TooLarge(
            f"a size is an expression of more than {LARGEST} parts, or of calls nested more than {DEEPEST} deep; "
            "give some of the sizes that it is made of as numbers"
        )
    dim = object.__new__(Dim)
    dim.terms = terms
    dim._hash = hash(terms)
    dim._late = None
    dim._text = ""
    dim._weight, dim._depth = weight, depth
    return dim


@lru_cache(maxsize=4096)
def _symbol_dim(symbol: Symbol, min: int, max: Size | None, hint: int | None, late: bool) -> Dim:
    return _make((((symbol,), 1),))


def _from_symbol(symbol: Symbol) -> Dim:
    return _symbol_dim(symbol, symbol.min, symbol.max, symbol.hint, symbol.late)


def late_symbol(name: str, max: Size | None = None, low: int = 0) -> Dim:
    """A size that a step of the run defines, from ``low`` up to ``max`` (None: any). Its memory is planned where it has
    an upper bound, and found while the plan runs where it has none."""
    _fresh.reserve(name)
    return _from_symbol(Symbol(name, low, max, None, True))


def fresh_late_symbol(prefix: str, max: Size | None = None, low: int = 0) -> Dim:
    """A late symbol of a name that none has in this process, nor in a graph that was loaded into it."""
    return late_symbol(_fresh.name(prefix), max, low)


class _Fresh:
    """The numbers in the names of late symbols: ``prefix.number``."""

    def __init__(self) -> None:
        self._next = 0
        self._lock = threading.Lock()

    def name(self, prefix: str) -> str:
        with self._lock:
            self._next += 1
            return f"{prefix}.{self._next - 1}"

    def reserve(self, name: str) -> None:
        """No later :meth:`name` is ``name``."""
        number = name.rpartition(".")[2]
        if number.isdecimal() and number.isascii() and len(number) < 18:
            with self._lock:
                self._next = max(self._next, int(number) + 1)


_fresh = _Fresh()


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    if isinstance(size, Dim):
        return size.terms
    return (((), int(size)),) if size else ()


def _place(text: object) -> list[tuple[int, str]]:
    """The order of names and what is made of them: as text, numbers in it by size, whatever the fresh ones begin at."""
    parts = re.split("([0-9]+)", str(text))
    return [(len(part) if index % 2 else 0, part) for index, part in enumerate(parts)]


def _atom_key(atom: Atom) -> tuple[int, list[tuple[int, str]]]:
    return (0 if isinstance(atom, Symbol) else 1, _place(atom))


def _collect(terms: Iterable[tuple[Monomial, int]]) -> Size:
    total: dict[Monomial, int] = {}
    for atoms, factor in terms:
        total[atoms] = total.get(atoms, 0) + factor
    kept = [(atoms, factor) for atoms, factor in total.items() if factor]
    if not kept:
        return 0
    if len(kept) == 1 and not kept[0][0]:
        return kept[0][1]
    kept.sort(key=lambda term: (-len(term[0]), [_atom_key(atom) for atom in term[0]]))
    return _make(tuple(kept))


def add(a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _collect((*_terms(a), *_terms(b)))


def mul(a: Size, b: Size) -> Size:
    if isinstance(a, int):
        if isinstance(b, int):
            return a * b
        if a == 1:
            return b
    elif isinstance(b, int) and b == 1:
        return a
    return _collect(
        (tuple(sorted(left + right, key=_atom_key)), m * n) for left, m in _terms(a) for right, n in _terms(b)
    )


def product(sizes: Iterable[Size]) -> Size:
    result: Size = 1
    for size in sizes:
        result = result * size if type(size) is int and type(result) is int else mul(result, size)
    return result


def _call(function: str, *args: Size) -> Size:
    return _make((((Call(function, args),), 1),))


def _divide_term(term: tuple[Monomial, int], divisor: tuple[Monomial, int]) -> tuple[Monomial, int] | None:
    atoms, factor = list(term[0]), term[1]
    if factor % divisor[1]:
        return None
    for atom in divisor[0]:
        if atom not in atoms:
            return None
        atoms.remove(atom)
    return tuple(atoms), factor // divisor[1]


def floordiv(a: Size, b: Size) -> Size:
    """Rounded down. Terms that divide exactly are taken out; ``x // 0`` stays and fails at binding."""
    if isinstance(a, int) and isinstance(b, int) and b != 0:
        return a // b
    if a == b or b == 1:
        return 1 if b != 1 else a
    if a == 0 or b == 0:
        return 0 if b != 0 else _call("floordiv", a, b)
    divisors = _terms(b)
    if len(divisors) == 1:
        exact: list[tuple[Monomial, int]] = []
        rest: list[tuple[Monomial, int]] = []
        for term in _terms(a):
            quotient = _divide_term(term, divisors[0])
            (rest if quotient is None else exact).append(term if quotient is None else quotient)
        if not rest:
            return _collect(exact)
        if exact and isinstance(b, int):
            return add(_collect(exact), floordiv(_collect(rest), b))
    return _call("floordiv", a, b)


def ceildiv(a: Size, b: Size) -> Size:
    """Rounded up."""
    if isinstance(a, Dim) and (bounds(b)[0] or 0) >= 1:
        return floordiv(add(a, add(b, -1)), b)
    return mul(floordiv(mul(a, -1), b), -1)


def mod(a: Size, b: Size) -> Size:
    """With the sign of ``b``, as in Python."""
    if isinstance(a, int) and isinstance(b, int) and b != 0:
        return a % b
    if a == b or b == 1 or a == 0:
        return 0
    if isinstance(b, int) and b != 0 and all(factor % b == 0 for _, factor in _terms(a)):
        return 0
    return _call("mod", a, b)


def maximum(a: Size, b: Size) -> Size:
    return _extreme("max", a, b)


def minimum(a: Size, b: Size) -> Size:
    return _extreme("min", a, b)


def _extreme(function: str, a: Size, b: Size) -> Size:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b) if function == "max" else min(a, b)
    low, high = bounds(add(a, mul(b, -1)))
    if low is not None and low >= 0:
        return a if function == "max" else b
    if high is not None and high <= 0:
        return b if function == "max" else a
    return _call(function, *sorted((a, b), key=_place))


def broadcast(a: Size, b: Size) -> Size:
    """The common size of two axes, NumPy's rule; raises ValueError where it can never hold."""
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int) and isinstance(b, int):
        raise ValueError(f"{a} and {b} do not broadcast")
    if isinstance(a, int):
        return a
    if isinstance(b, int):
        return b
    return _call("broadcast", *sorted((a, b), key=_place))


def broadcast_shapes(*shapes: tuple[Size, ...]) -> tuple[Size, ...]:
    ndim = max((len(shape) for shape in shapes), default=0)
    result: list[Size] = []
    for axis in range(-ndim, 0):
        size: Size = 1
        for shape in shapes:
            if -axis <= len(shape):
                size = broadcast(size, shape[axis])
        result.append(size)
    return tuple(result)


def unless_one(dim: Size, stride: Size) -> Size:
    """``stride``, or 0 where ``dim`` turns out to be 1: the stride of an axis that may be broadcast."""
    if isinstance(dim, int):
        return 0 if dim == 1 else stride
    return stride if stride == 0 else _call("unless_one", dim, stride)


def symbols_of(size: Size) -> Iterator[Symbol]:
    """Every symbol in ``size``, in order, with repeats."""
    for atoms, _ in _terms(size):
        for atom in atoms:
            if isinstance(atom, Symbol):
                yield atom
            else:
                for arg in atom.args:
                    yield from symbols_of(arg)


def are_numbers(sizes: Iterable[object]) -> bool:
    """Is each an int, and no bool?"""
    return _ONLY_INTS.issuperset(map(type, sizes))


def late_in(size: Size) -> bool:
    """Does ``size`` depend on a symbol that a step defines?"""
    return not isinstance(size, int) and bool(late_names(size))


def late_names(size: Size) -> tuple[str, ...]:
    """The late symbols in ``size``, by name, without repeats."""
    if isinstance(size, int):
        return ()
    if size._late is None:
        size._late = tuple(dict.fromkeys(symbol.name for symbol in symbols_of(size) if symbol.late))
    return size._late


_APPLY = {
    "floordiv": lambda a, b: floordiv(a, b),
    "mod": lambda a, b: mod(a, b),
    "max": lambda a, b: maximum(a, b),
    "min": lambda a, b: minimum(a, b),
    "broadcast": lambda a, b: broadcast(a, b),
    "unless_one": lambda a, b: unless_one(a, b),
}
FUNCTIONS = tuple(_APPLY)


def substitute(size: Size, values: Mapping[str, Size]) -> Size:
    """``size`` with symbols replaced by name; an int once every symbol has a number."""
    if isinstance(size, int):
        return size
    total: Size = 0
    for atoms, factor in size.terms:
        part: Size = factor
        for atom in atoms:
            if isinstance(atom, Symbol):
                part = mul(part, values.get(atom.name, _from_symbol(atom)))
            else:
                part = mul(part, _APPLY[atom.function](*(substitute(arg, values) for arg in atom.args)))
        total = add(total, part)
    return total


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """The number; KeyError names a symbol without a value, ValueError a broadcast that fails."""
    result = substitute(size, values)
    if isinstance(result, int):
        return result
    missing = next((s.name for s in symbols_of(result) if s.name not in values), None)
    if missing is None:
        raise ValueError(f"{size} cannot be computed from {dict(values)}")
    raise KeyError(missing)


def hint_of(size: Size, unknown: int | None = None) -> int | None:
    """``size`` at the hints (or upper bounds) of its symbols; ``unknown`` for a symbol that has neither. None if that
    is None too, or if sizes at the hints do not broadcast."""
    if isinstance(size, int):
        return size
    values: dict[str, int] = {}
    for symbol in symbols_of(size):
        guess = symbol.hint if symbol.hint is not None else symbol.max
        number = hint_of(guess, unknown) if guess is not None else unknown
        if number is None:
            return None
        values[symbol.name] = number
    try:
        return evaluate(size, values)
    except ValueError:
        return None


def upper(size: Size) -> Size:
    """``size`` at the upper bounds of its late symbols, and of those in these bounds. ``size`` itself if it is not
    certain to grow with them. Late symbols without a bound stay."""
    if not late_in(size) or not _grows(size):
        return size
    values: dict[str, Size] = {s.name: upper(s.max) for s in symbols_of(size) if s.late and s.max is not None}
    return substitute(size, values) if values else size


def _grows(size: Size) -> bool:
    """Is ``size`` certain not to shrink when a late symbol in it grows?"""
    if isinstance(size, int):
        return True
    for atoms, factor in size.terms:
        late = [atom for atom in atoms if late_in(_make((((atom,), 1),)))]
        lows = [_atom_bounds(atom)[0] for atom in atoms] if len(atoms) > 1 else []
        if late and (factor < 0 or any(low is None or low < 0 for low in lows)):
            return False
        for atom in late:
            if isinstance(atom, Call) and not (atom.function in ("max", "min") and all(map(_grows, atom.args))):
                return False
    return True


def bounds(size: Size) -> tuple[int | None, int | None]:
    """What is provable: the lowest and highest value (None: unknown)."""
    if isinstance(size, int):
        return size, size
    low: int | None = 0
    high: int | None = 0
    for atoms, factor in size.terms:
        part: tuple[int | None, int | None] = (1, 1)
        for atom in atoms:
            part = _times(part, _atom_bounds(atom))
        if factor < 0:
            part = (part[1], part[0])
        low = None if low is None or part[0] is None else low + part[0] * factor
        high = None if high is None or part[1] is None else high + part[1] * factor
    return low, high


def _times(a: tuple[int | None, int | None], b: tuple[int | None, int | None]) -> tuple[int | None, int | None]:
    if a[0] is None or b[0] is None or a[0] < 0 or b[0] < 0:
        return (None, None)
    return a[0] * b[0], None if a[1] is None or b[1] is None else a[1] * b[1]


def _atom_bounds(atom: Atom) -> tuple[int | None, int | None]:
    if isinstance(atom, Symbol):
        return atom.min, bounds(atom.max)[1] if atom.max is not None else None
    sides = [bounds(arg) for arg in atom.args]
    (low_a, high_a), (low_b, high_b) = sides
    if atom.function == "floordiv" and low_b is not None and low_b > 0 and low_a is not None and low_a >= 0:
        return (low_a // high_b if high_b else 0), (high_a // low_b if high_a is not None else None)
    if atom.function == "mod" and low_b is not None and low_b > 0:
        return 0, high_b - 1 if high_b is not None else None
    if atom.function == "max":
        lows = [low for low in (low_a, low_b) if low is not None]
        return max(lows) if lows else None, None if high_a is None or high_b is None else max(high_a, high_b)
    if atom.function == "min":
        highs = [high for high in (high_a, high_b) if high is not None]
        return None if low_a is None or low_b is None else min(low_a, low_b), min(highs) if highs else None
    if atom.function == "broadcast":
        return 0, None if high_a is None or high_b is None else max(high_a, high_b)
    return None, None


def solve(size: Size) -> tuple[str, int, int] | None:
    """(name, scale, shift) if ``size`` is ``scale * name + shift``: what lets a fed size tell the symbol."""
    if isinstance(size, int):
        return None
    scale, shift, name = 0, 0, ""
    for atoms, factor in size.terms:
        if not atoms:
            shift = factor
        elif len(atoms) == 1 and isinstance(atoms[0], Symbol) and not name:
            name, scale = atoms[0].name, factor
        else:
            return None
    return (name, scale, shift) if scale else None


_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_][\w.:]*)|(//|[-+*%(),]))")


def parse(text: str, symbols: Mapping[str, Dim] | None = None) -> Size:
    """Reads what ``str`` writes; ``symbols`` gives the ranges of known names. ``"4*batch+1"``, ``"ceildiv(h, 2)"``."""
    tokens: list[str] = []
    position = 0
    while position < len(text.rstrip()):
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError(f"cannot read the size {text!r} at {text[position:]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    if len(tokens) > 10_000:
        raise ValueError("a size of more than 10,000 tokens")
    tokens.append("")
    at = 0

    def take(*expected: str) -> str:
        nonlocal at
        token = tokens[at]
        if expected and token not in expected:
            raise ValueError(
                f"cannot read the size {text!r}: expected {' or '.join(expected)}, got {token or 'its end'!r}"
            )
        at += 1
        return token

    def atom(depth: int) -> Size:
        if depth > DEEPEST:
            raise ValueError(f"a size nested more than {DEEPEST} deep")
        token = take()
        if token == "-":
            return mul(atom(depth + 1), -1)
        if token == "(":
            inner = sums(depth + 1)
            take(")")
            return inner
        if token.isdigit():
            return int(token)
        if not token or not _NAME.match(token):
            raise ValueError(f"cannot read the size {text!r}: unexpected {token or 'end'!r}")
        if tokens[at] == "(":
            take("(")
            left = sums(depth + 1)
            take(",")
            right = sums(depth + 1)
            take(")")
            if token == "ceildiv":
                return ceildiv(left, right)
            if token not in _APPLY:
                raise ValueError(f"a size knows {', '.join(FUNCTIONS)} and ceildiv, not {token!r}")
            return _APPLY[token](left, right)
        return symbols[token] if symbols is not None and token in symbols else Dim(token)

    def products(depth: int) -> Size:
        left = atom(depth)
        while tokens[at] in ("*", "//", "%"):
            operator = take()
            right = atom(depth)
            left = mul(left, right) if operator == "*" else (floordiv if operator == "//" else mod)(left, right)
        return left

    def sums(depth: int) -> Size:
        left = products(depth)
        while tokens[at] in ("+", "-"):
            left = add(left, products(depth)) if take() == "+" else add(left, mul(products(depth), -1))
        return left

    try:
        result = sums(0)
    except TooLarge as error:
        raise ValueError(f"cannot read the size {text[:40]!r}: {error}") from None
    take("")
    return result
