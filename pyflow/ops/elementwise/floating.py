"""Parts and special values of floating numbers, remainders, interpolation and closeness."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.dtypes import bfloat16, complex128, float16, float32, float64, int16
from pyflow.graph import Node, Value
from pyflow.opdef import ANY, BOOLEAN, COMPLEX, FLOAT, FLOATS, FUNCTIONS, NUMERIC, call
from pyflow.ops.common import composed, elementwise, no_gradient, sum_to
from pyflow.ops.elementwise.arithmetic import (
    abs,
    divisor_may_be_zero,
    floor_divide,
    integer_division,
    maximum,
    minimum,
    mod,
    trunc,
)

__all__ = [
    "absolute",
    "addcmul",
    "allclose",
    "copysign",
    "divmod",
    "fix",
    "float_power",
    "fmax",
    "fmin",
    "fmod",
    "heaviside",
    "isclose",
    "isneginf",
    "isposinf",
    "lerp",
    "nan_to_num",
    "nextafter",
    "remainder",
    "signbit",
    "true_divide",
]

absolute = abs
remainder = mod
fix = trunc


def true_divide(x: Any, y: Any, *, name: str | None = None) -> Value:
    """``x / y``, the true quotient: :func:`divide` under its other name."""
    result: Value = call("divide", x, y, name=name)
    return result


def divmod(x: Any, y: Any) -> tuple[Value, Value]:
    """``(x // y, x % y)``, as :func:`floor_divide` and :func:`mod` give them."""
    return floor_divide(x, y), mod(x, y)


def float_power(x: Any, y: Any, *, name: str | None = None) -> Value:
    """``x ** y`` in float64, or complex128 for complex numbers: negative powers of integers are fine."""
    values = [convert(given) for given in (x, y)]
    wide = complex128 if any(value.dtype.kind == "c" for value in values) else float64
    result: Value = call("pow", *(convert(value, wide) for value in values), name=name)
    return result


def _fmod_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    return sum_to(gradient, x), sum_to(-gradient * trunc(x / y), y)


fmod = elementwise(
    "fmod",
    "x, y",
    scalar="fmod",
    ref=integer_division(np.fmod),
    vjp=_fmod_vjp,
    dtypes=NUMERIC,
    fallible=divisor_may_be_zero,
    doc="""The remainder of ``x / y`` with the sign of ``x``, as C's ``fmod``; :func:`mod` has that of ``y``.

    A run raises InvalidArgumentError where an integer is divided by zero.""",
)


def _copysign_vjp(node: Node, gradient: Value) -> tuple[Value, None]:
    x, y = node.inputs
    turned = call("logical_xor", signbit(x), signbit(y))
    return sum_to(call("where", turned, -gradient, gradient), x), None


copysign = elementwise(
    "copysign",
    "x, y",
    scalar="copysign",
    ref=np.copysign,
    vjp=_copysign_vjp,
    dtypes=FLOATS,
    doc="``|x|`` with the sign of ``y``, which -0.0 and NaN have too.",
)
_nextafter = elementwise(
    "nextafter",
    "x, y",
    scalar="nextafter",
    ref=np.nextafter,
    vjp=no_gradient,
    dtypes=frozenset({float32, float64}),
    doc="The number next to ``x`` in the direction of ``y``.",
)


def nextafter(x: Any, y: Any, *, name: str | None = None) -> Value:
    """The number next to ``x`` in the direction of ``y``, in their dtype.

    The inputs broadcast together. dtype: floating; integers are converted to float64 first. No gradient flows.
    """
    kinds = {dtypes.as_dtype(given.dtype) for given in (x, y) if hasattr(given, "dtype")}
    common = dtypes.promote(*kinds) if kinds else float32
    if common not in (float16, bfloat16):
        result: Value = _nextafter(x, y, name=name)
        return result
    here, there = call("stop_gradient", convert(x, common)), convert(y, common)
    bits = call("bitcast", here, int16)  # the sign, then the magnitude
    away = call("equal", there > here, here > 0)
    moved = call("bitcast", bits + call("where", away, np.int16(1), np.int16(-1)), common)
    least = call("copysign", call("bitcast", np.int16(1), common), there)
    moved = call("where", here == 0, least, moved)
    return call("where", call("logical_or", call("isnan", there), here == there), there, moved, name=name)  # type: ignore[no-any-return]


FUNCTIONS["nextafter"] = nextafter
signbit = elementwise(
    "signbit",
    "x",
    scalar="signbit",
    ref=np.signbit,
    vjp=no_gradient,
    dtypes=FLOATS,
    predicate=True,
    doc="True where ``x`` has a minus sign, -0.0 included.",
)


def _predicate(name: str, ref: Any, expand: Any, doc: str, inputs: str = "x", **rest: Any) -> Any:
    return composed(name, inputs, ref=ref, expand=expand, vjp=no_gradient, predicate=True, doc=doc, **rest)


isposinf = _predicate("isposinf", np.isposinf, lambda x: x == float("inf"), "True where ``x`` is plus infinity.")
isneginf = _predicate("isneginf", np.isneginf, lambda x: x == float("-inf"), "True where ``x`` is minus infinity.")


def _isclose_expand(x: Value, y: Value, rtol: float, atol: float, equal_nan: bool) -> Value:
    near = call("less_equal", call("abs", x - y), atol + rtol * call("abs", y))
    close = call("logical_or", call("logical_and", near, call("isfinite", y)), x == y)
    if equal_nan:
        close = call("logical_or", close, call("logical_and", call("isnan", x), call("isnan", y)))
    result: Value = close
    return result


isclose = _predicate(
    "isclose",
    np.isclose,
    _isclose_expand,
    "True where ``|x - y| <= atol + rtol * |y|``, and where both are the same infinity; with ``equal_nan`` where both "
    "are NaN too.",
    inputs="x:T, y:T",
    dtypes=FLOATS | COMPLEX,
    attrs={"rtol": FLOAT, "atol": FLOAT, "equal_nan": BOOLEAN},
    defaults={"rtol": 1e-5, "atol": 1e-8, "equal_nan": False},
)


def allclose(x: Any, y: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Value:
    """True if :func:`isclose` is True for every element: bool, 0-d."""
    result: Value = call("all", isclose(x, y, rtol, atol, equal_nan))
    return result


def _heaviside_expand(x: Value, y: Value) -> Value:
    step = call("where", x < 0, 0, call("where", x == 0, y, 1))
    result: Value = call("where", call("isnan", x), x, step)
    return result


heaviside = composed(
    "heaviside",
    "x, y",
    ref=np.heaviside,
    expand=_heaviside_expand,
    vjp=lambda node, gradient: (
        None,
        sum_to(call("where", node.inputs[0] == 0, gradient, 0), node.inputs[1]),
    ),
    doc="0 where ``x`` is negative, 1 where it is positive, ``y`` where it is 0; NaN for NaN.",
)


def _nan_to_num_canonical(x: Value, nan: float, posinf: float | None, neginf: float | None) -> dict[str, float]:
    if not x.dtype.is_floating:
        return {"posinf": 0.0, "neginf": 0.0}
    limits = ml_dtypes.finfo(x.dtype.numpy)
    return {
        "posinf": float(limits.max) if posinf is None else posinf,
        "neginf": float(limits.min) if neginf is None else neginf,
    }


def _nan_to_num_expand(x: Value, nan: float, posinf: float, neginf: float) -> Value:
    if not x.dtype.is_floating:
        return call("identity", x)  # type: ignore[no-any-return]
    result = call("where", call("isnan", x), nan, x)
    result = call("where", isposinf(x), posinf, result)
    finished: Value = call("where", isneginf(x), neginf, result)
    return finished


def _nan_to_num_vjp(node: Node, gradient: Value) -> tuple[Value]:
    return (call("where", call("isfinite", node.inputs[0]), gradient, 0),)


nan_to_num = composed(
    "nan_to_num",
    "x:T",
    attrs={"nan": FLOAT, "posinf": FLOAT.optional(), "neginf": FLOAT.optional()},
    defaults={"nan": 0.0, "posinf": None, "neginf": None},
    canonical=_nan_to_num_canonical,
    ref=np.nan_to_num,
    expand=_nan_to_num_expand,
    vjp=_nan_to_num_vjp,
    dtypes=NUMERIC,
    doc="``x`` with ``nan`` for NaN, ``posinf`` and ``neginf`` for the infinities (None: the largest finite numbers). "
    "The gradient there is 0.",
)

lerp = composed(
    "lerp",
    "x, y, weight",
    ref=lambda x, y, weight: x + weight * (y - x),
    expand=lambda x, y, weight: x + weight * (y - x),
    doc="``x + weight * (y - x)``: from ``x`` at 0 to ``y`` at 1.",
)


def addcmul(x: Any, y: Any, z: Any, value: float = 1.0) -> Value:
    """``x + value * y * z``; the three broadcast together."""
    product = convert(y) * z
    result: Value = call("add", x, product if value == 1 else product * value)
    return result


def _ignoring(name: str, extreme: Any, ref: Any, doc: str) -> Any:
    def expand(x: Value, y: Value) -> Value:
        if not x.dtype.is_floating:
            return extreme(x, y)  # type: ignore[no-any-return]
        chosen = call("where", call("isnan", y), x, extreme(x, y))
        result: Value = call("where", call("isnan", x), y, chosen)
        return result

    return composed(name, "x, y", ref=ref, expand=expand, dtypes=ANY, doc=doc)


fmax = _ignoring("fmax", maximum, np.fmax, "The larger of ``x`` and ``y``; the other one where one is NaN.")
fmin = _ignoring("fmin", minimum, np.fmin, "The smaller of ``x`` and ``y``; the other one where one is NaN.")
