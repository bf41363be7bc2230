"""Complex numbers, fed and fetched as their parts: gradients are checked by finite differences of those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, distinct, normal, uniform

ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "angle": np.angle,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "conj": np.conj,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "imag": np.imag,
    "log": np.log,
    "log10": np.log10,
    "log1p": np.log1p,
    "log2": np.log2,
    "negative": np.negative,
    "real": np.real,
    "reciprocal": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}
PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "pow": np.power,
    "matmul": np.matmul,
}
REDUCTIONS: dict[str, Callable[..., Any]] = {"sum": np.sum, "mean": np.mean, "prod": np.prod}


def paired(array: Any) -> np.ndarray:
    """Complex numbers as pairs; real ones as they are."""
    return np.stack([array.real, array.imag], -1) if np.iscomplexobj(array) else np.asarray(array)


def of_one(name: str, *args: Any) -> Callable[..., Any]:
    def call(a: Any, b: Any) -> Any:
        made = getattr(pf, name)(pf.complex(a, b), *args)
        return pf.view_as_real(made) if made.dtype.kind == "c" else made

    call.__name__ = f"complex_{name}"
    return call


def of_two(name: str) -> Callable[..., Any]:
    def call(a: Any, b: Any, c: Any, d: Any) -> Any:
        return pf.view_as_real(getattr(pf, name)(pf.complex(a, b), pf.complex(c, d)))

    call.__name__ = f"complex_{name}"
    return call


def expected_of(function: Callable[..., Any], **attrs: Any) -> Callable[..., Any]:
    def expected(*parts: Any) -> np.ndarray:
        values = [parts[i] + 1j * parts[i + 1] for i in range(0, len(parts), 2)]
        return paired(function(*values, **attrs))

    return expected


def near(dtype: Any) -> dict[str, Any]:
    return {"rtol": 3e-5, "atol": 3e-6} if dtype is np.float32 else {"rtol": 1e-11, "atol": 1e-12}


def parts(*shape: int, dtype: Any, count: int = 2) -> tuple[np.ndarray, ...]:
    return tuple(distinct(*shape, dtype=dtype, seed=i) * dtype(0.2) + dtype(0.04) for i in range(count))


CASES: list[Case] = [
    *(
        Case(of_one(name), parts(3, 5, dtype=dtype), {}, expected_of(function), **near(dtype))
        for dtype in (np.float32, np.float64)
        for name, function in ELEMENTWISE.items()
    ),
    *(
        Case(of_two(name), parts(3, 3, dtype=dtype, count=4), {}, expected_of(function), **near(dtype))
        for dtype in (np.float32, np.float64)
        for name, function in PAIRS.items()
    ),
    *(
        Case(
            of_one(name, axis),
            parts(3, 5, dtype=dtype),
            {},
            expected_of(function, axis=axis),
            symbolic=name != "prod",
            label=str(axis),
            **near(dtype),
        )
        for dtype in (np.float32, np.float64)
        for name, function in REDUCTIONS.items()
        for axis in (0, (0, 1))
    ),
    Case(
        lambda a, b: pf.view_as_real(pf.polar(a, b)),
        (uniform(0.5, 2, 7, dtype=np.float64), normal(7, dtype=np.float64)),
        {},
        lambda a, b: paired(a * np.exp(1j * b)),
        **near(np.float64),
        label="polar",
    ),
    Case(
        lambda x: pf.view_as_real(pf.view_as_complex(x) * (2 - 1j)),
        (normal(4, 3, 2, dtype=np.float64),),
        {},
        lambda x: paired((x[..., 0] + 1j * x[..., 1]) * (2 - 1j)),
        **near(np.float64),
        label="view_as_complex",
    ),
    Case(
        lambda a, b: pf.view_as_real(pf.transpose(pf.complex(a, b))[::-1, 1:]),
        (normal(4, 3, dtype=np.float64), normal(4, 3, dtype=np.float64, seed=1)),
        {},
        lambda a, b: paired((a + 1j * b).T[::-1, 1:]),
        **near(np.float64),
        label="windows",
    ),
    Case(
        lambda a, b: pf.cast(pf.cast(pf.complex(a, b), pf.complex128), pf.float64) * 2,
        (normal(9, dtype=np.float64), normal(9, dtype=np.float64, seed=1)),
        {},
        lambda a, b: a * 2,
        label="cast",
    ),
    Case(
        lambda a, b: pf.where(
            pf.complex(a, b) == pf.complex(a, a), 1, pf.cast(pf.isfinite(pf.complex(b, a)), pf.int32)
        ),
        (np.array([1.0, 2.0, np.nan, np.inf]), np.array([1.0, 3.0, 0.0, 1.0])),
        {},
        lambda a, b: np.array([1, 1, 0, 0]),
        label="predicates",
    ),
    Case(
        lambda x: pf.cast(pf.cast(x, pf.float8_e4m3fn, saturate=True), pf.float32),
        (np.array([0.1, 1e6, -1e6, np.inf, np.nan, 300], np.float32),),
        {},
        lambda x: np.array([0.1015625, 448, -448, 448, np.nan, 288]),
        gradient=False,
        label="saturated",
    ),
    Case("cast_saturated", (normal(5, dtype=np.float64),), {"dtype": pf.float64}, lambda x, dtype: x),
]
