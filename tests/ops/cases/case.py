"""A row of the op tests, and the arrays that rows are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.graph import Graph
from pyflow.interpret import evaluate_graph
from pyflow.opdef import FUNCTIONS


@dataclass(frozen=True, eq=False)
class Case:
    """One call of an op. Every row runs on every backend, with known and with symbolic dims."""

    op: str | Callable[..., Any]
    """A name in ``pyflow.opdef.FUNCTIONS``, or a function of graph values (and ``attrs``)."""
    inputs: tuple[Any, ...]
    """What is fed, one array per input."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    expected: Callable[..., Any] | None = None
    """``(*inputs) -> array or tuple``: independent NumPy; floating inputs come as float64. The result's dtype is the
    op's own, so only values and shapes are compared. None: ``check`` says what is right."""
    check: Callable[..., None] | None = None
    """``(results, inputs)``: asserts on the list of results."""
    dtype: Any = None
    """The dtype that the (first) result must have; None: whatever ``ref`` gives."""
    rtol: float | None = None
    """Relative tolerance; None: 2e-6 for float32, 1e-13 for float64 results, 0 for the rest. NaNs must agree."""
    atol: float | None = None
    gradient: bool = True
    """Check by finite differences (rows whose floating inputs are all float64 and finite)."""
    symbolic: bool = True
    """Also run with every dim a named symbol (equal sizes: one name)."""
    constant: tuple[int, ...] = ()
    """Inputs that are constants of the graph instead of feeds: shapes, indices and the like."""
    label: str = ""

    @property
    def id(self) -> str:
        name = self.op if isinstance(self.op, str) else getattr(self.op, "__name__", "call").strip("<>")
        shapes = "-".join(f"{a.dtype.name}[{','.join(map(str, a.shape))}]" for a in map(np.asarray, self.inputs))
        attrs = ",".join(f"{key}={value}" for key, value in self.attrs.items())
        return "-".join(part for part in (name, shapes, attrs, self.label) if part)


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Standard normal times ``scale``."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(dtype)


def uniform(low: float, high: float, *shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Uniform in [low, high)."""
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(dtype)


def integers(low: int, high: int, *shape: int, dtype: Any = np.int64, seed: int = 0) -> np.ndarray:
    """Integers in [low, high)."""
    return np.random.default_rng([seed, *shape]).integers(low, high, shape).astype(dtype)


def bools(*shape: int, seed: int = 0) -> np.ndarray:
    """True or False."""
    return np.random.default_rng([seed, *shape]).integers(0, 2, shape).astype(np.bool_)


def distinct(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """A shuffled range, centred on 0: no ties, neighbours at least 0.25 apart."""
    size = int(np.prod(shape))
    order = np.random.default_rng([seed, *shape]).permutation(size)
    return ((order - size // 2) * 0.25 + 0.1).reshape(shape).astype(dtype)


def sample(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    """Unremarkable values of any dtype."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return bools(*shape, seed=seed)
    if kind.kind in "iu":
        return integers(-9 if kind.kind == "i" else 0, 10, *shape, dtype=kind, seed=seed)
    return normal(*shape, dtype=kind, seed=seed)


def _like_ref(function: Callable[..., Any], attrs: Mapping[str, Any], constant: tuple[int, ...]) -> Any:
    """A ``check``: the results are those of the same calls through their refs."""

    def check(results: Sequence[np.ndarray], inputs: Sequence[np.ndarray]) -> None:
        graph = Graph()
        with graph.as_default():
            values = [
                pf.constant(array) if i in constant else pf.placeholder(array.dtype, array.shape, f"x{i}")
                for i, array in enumerate(inputs)
            ]
            made = function(*values, **attrs)
            fetches = list(made) if isinstance(made, (tuple, list)) else [made]
        feeds = {value: array for i, (value, array) in enumerate(zip(values, inputs, strict=True)) if i not in constant}
        for result, wanted in zip(results, evaluate_graph(graph, fetches, feeds), strict=True):
            assert result.shape == wanted.shape
            near = 2e-5 if result.dtype == np.float32 else 1e-11
            if result.dtype.kind != "f":
                np.testing.assert_array_equal(result, wanted)
                continue
            scale = np.nanmax(np.abs(wanted), initial=1e-3, where=np.isfinite(wanted))
            np.testing.assert_allclose(result, wanted, rtol=near, atol=near * scale)

    return check


def referred(op: str | Callable[..., Any], *inputs: np.ndarray, constant: tuple[int, ...] = (), **rest: Any) -> Case:
    """A row whose op is composed: its kernels must agree with its ref, which says in NumPy what is right. ``rest``:
    attributes, and after an underscore (``_symbolic=False``) fields of the row."""
    fields = {name[1:]: value for name, value in rest.items() if name.startswith("_")}
    attrs = {name: value for name, value in rest.items() if not name.startswith("_")}
    function = FUNCTIONS[op] if isinstance(op, str) else op
    check = _like_ref(function, attrs, constant)
    return Case(op, inputs, attrs, check=check, constant=constant, **fields)


FLOATS: Sequence[Any] = (np.float32, np.float64)
INTEGERS: Sequence[Any] = (np.int32, np.int64)
NUMERIC: Sequence[Any] = (*FLOATS, *INTEGERS)
ANY: Sequence[Any] = (*NUMERIC, np.bool_)
