from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyflow import dims
from pyflow.dims import Dim

n, m = Dim("n"), Dim("m", min=1, max=8, hint=4)


def test_equal_expressions_are_equal() -> None:
    assert n * 2 + m - n == n + m
    assert n - n == 0
    assert (n + 1) * (n - 1) == n * n - 1
    assert (4 * n) // 2 == 2 * n
    assert (4 * n + 6) // 4 == n + Dim("n") * 0 + 1
    assert (4 * n) % 2 == 0
    assert hash(n + m) == hash(m + n)
    assert pickle.loads(pickle.dumps(n * m + 1)) == n * m + 1


def test_broadcast_of_sizes() -> None:
    assert dims.broadcast(1, n) == n
    assert dims.broadcast(n, n) == n
    assert dims.broadcast(n, 5) == 5
    assert dims.evaluate(dims.broadcast(n, m), {"n": 1, "m": 3}) == 3
    with pytest.raises(ValueError, match="do not broadcast"):
        dims.broadcast(2, 3)


def test_expressions_name_numbered_sizes_by_their_numbers() -> None:
    low, high = Dim("size.99"), Dim("size.100")
    assert str(dims.broadcast(high, low)) == "broadcast(size.99, size.100)"
    assert str(dims.maximum(high, low)) == "max(size.99, size.100)"
    assert str(high + low) == "size.99+size.100"


def test_bounds_hints_and_solving() -> None:
    assert dims.bounds(2 * m + 1) == (3, 17)
    assert dims.hint_of(m * 2) == 8
    assert dims.hint_of(n) is None
    assert dims.solve(4 * n + 3) == ("n", 4, 3)
    assert dims.solve(n * m) is None
    assert dims.maximum(m, 1) == m


def test_a_size_that_is_not_known_is_no_number() -> None:
    with pytest.raises(TypeError, match="truth value"):
        bool(n)
    with pytest.raises(TypeError, match="not known"):
        range(n)
    with pytest.raises(ValueError, match="name is letters"):
        Dim("4 x")
    with pytest.raises(ValueError, match="min <= hint <= max"):
        Dim("k", min=3, max=2)


EXPRESSIONS = st.recursive(
    st.sampled_from(["n", "m", "1", "2", "7"]),
    lambda inner: st.builds(
        lambda op, a, b: f"({a}{op}{b})" if len(op) < 3 else f"{op}({a}, {b})",
        st.sampled_from(["+", "*", "-", "//", "%", "ceildiv", "max", "min"]),
        inner,
        inner,
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, st.integers(1, 9), st.integers(1, 9))
def test_expressions_compute_as_python_does(text: str, a: int, b: int) -> None:
    names = {"ceildiv": lambda x, y: -(-x // y), "max": max, "min": min, "n": a, "m": b}
    try:
        want = eval(text, {"__builtins__": {}}, names)
    except ZeroDivisionError:
        return
    parsed = dims.parse(text)
    have = dims.evaluate(parsed, {"n": a, "m": b})
    assert have == want
    assert dims.parse(str(parsed)) == parsed


def test_upper_bounds_of_late_sizes() -> None:
    n, free = Dim("n"), dims.late_symbol("free")
    count = dims.late_symbol("count", n)
    nested = dims.late_symbol("nested", 2 * count)
    assert dims.upper(3 * count + 1) == 3 * n + 1
    assert dims.upper(nested * count) == 2 * n * n
    assert dims.upper(dims.maximum(nested, 4)) == dims.maximum(2 * n, 4)
    for shrinking in (n - count, dims.broadcast(count, n), dims.floordiv(n, count)):
        assert dims.upper(shrinking) == shrinking
    assert dims.upper(count + free) == n + free
    assert set(dims.late_names(free * count + n)) == {"free", "count"}


def test_names_of_late_symbols_are_taken_once() -> None:
    (first,) = dims.late_names(dims.fresh_late_symbol("size"))
    number = int(first.rpartition(".")[2])
    dims.late_symbol(f"size.{number + 5}")
    assert dims.late_names(dims.fresh_late_symbol("size")) == (f"size.{number + 6}",)
