"""Element-wise arithmetic, powers, exponentials, rounding and extremes."""

from __future__ import annotations

import math as scalar_math
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.dtypes import real_dtype
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import (
    ANY,
    COMPLEX,
    EVERY,
    FLOATS,
    FUNCTIONS,
    HELD,
    INTEGERS,
    NUMERIC,
    Facts,
    TensorType,
    call,
    define,
)
from pyflow.ops.common import constant_array, elementwise, in_float64, no_gradient, quiet, sum_to, zeros_where
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import conjugate, in_parts, is_complex

__all__ = [
    "abs",
    "add",
    "ceil",
    "clip",
    "cos",
    "divide",
    "erf",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "identity",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "pow",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "square",
    "stop_gradient",
    "subtract",
    "tanh",
    "trunc",
]

_error_function = np.vectorize(scalar_math.erf, otypes=[np.float64])


def divisor_may_be_zero(node: Node) -> bool:
    if not node.types[0].dtype.is_integer:
        return False
    divisor = constant_array(node.inputs[1])
    return divisor is None or not divisor.all()


def _exponent_may_be_negative(node: Node) -> bool:
    if not node.types[0].dtype.is_integer:
        return False
    exponent = constant_array(node.inputs[1])
    return exponent is None or bool((exponent < 0).any())


def integer_division(function: Any) -> Any:
    def ref(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if y.dtype.kind in "iu" and x.size and not y.all():
            raise InvalidArgumentError("integer division by zero")
        result: np.ndarray = function(x, y)
        return result

    return ref


def _pow_ref(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind in "iu" and x.size and (y < 0).any():
        raise InvalidArgumentError("an integer raised to a negative integer power; cast to a floating dtype")
    result: np.ndarray = np.power(x, y)
    return result


def _by_nonzero(function: Any) -> Any:
    """Division of sizes, known where the divisor is certainly not zero."""

    def divided(x: Size, y: Size) -> Size | None:
        low, high = dims.bounds(y)
        nonzero = (low is not None and low > 0) or (high is not None and high < 0)
        return function(x, y) if nonzero else None

    return divided


def _multiply_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    return sum_to(gradient * conjugate(y), x), sum_to(gradient * conjugate(x), y)


def _divide_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    scaled = gradient / conjugate(y)
    return sum_to(scaled, x), sum_to(-scaled * conjugate(node.outputs[0]), y)


def _mod_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    return sum_to(gradient, x), sum_to(-gradient * (x // y), y)


def _complex_pow_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    by_base = y * call("pow", x, y - 1)
    nothing = x == 0
    logarithm = call("where", nothing, 0, call("log", call("where", nothing, 1, x)))
    by_exponent = node.outputs[0] * logarithm
    return sum_to(gradient * conjugate(by_base), x), sum_to(gradient * conjugate(by_exponent), y)


def _pow_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    if is_complex(x):
        return _complex_pow_vjp(node, gradient)
    one_less = call("where", y == 0, 1, y) - 1
    by_base = gradient * y * call("pow", x, one_less)
    positive = x > 0
    logarithm = call("where", positive, call("log", call("where", positive, x, 1)), 0)
    return sum_to(by_base, x), sum_to(gradient * node.outputs[0] * logarithm, y)


def _extreme_vjp(first_wins: str) -> Any:
    def vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
        x, y = node.inputs
        first = call(first_wins, x, y)
        return sum_to(call("where", first, gradient, 0), x), sum_to(zeros_where(first, gradient), y)

    return vjp


add = elementwise(
    "add",
    "x, y",
    scalar="add",
    ref=np.add,
    vjp=lambda node, gradient: (sum_to(gradient, node.inputs[0]), sum_to(gradient, node.inputs[1])),
    facts=Facts(commutative=NUMERIC, identity=((0, INTEGERS), (-0.0, FLOATS))),
    content=dims.add,
    onnx="Add",
    in_complex=complex_rules.each_part("add"),
    in_bool="logical_or",
    doc="``x + y``; integers wrap; of bools ``x or y``.",
)

subtract = elementwise(
    "subtract",
    "x, y",
    scalar="sub",
    ref=np.subtract,
    vjp=lambda node, gradient: (sum_to(gradient, node.inputs[0]), sum_to(-gradient, node.inputs[1])),
    facts=Facts(identity=((0, NUMERIC),)),
    content=lambda x, y: dims.add(x, dims.mul(y, -1)),
    onnx="Sub",
    in_complex=complex_rules.each_part("subtract"),
    doc="``x - y``; integers wrap.",
)

multiply = elementwise(
    "multiply",
    "x, y",
    scalar="mul",
    ref=np.multiply,
    vjp=_multiply_vjp,
    facts=Facts(commutative=NUMERIC, identity=((1, NUMERIC),), absorbing=((0, INTEGERS),)),
    content=dims.mul,
    onnx="Mul",
    in_complex=complex_rules.multiply,
    in_bool="logical_and",
    doc="``x * y``; integers wrap; of bools ``x and y``.",
)

divide = elementwise(
    "divide",
    "x, y",
    scalar="div",
    ref=np.divide,
    vjp=_divide_vjp,
    dtypes=FLOATS,
    facts=Facts(identity=((1, FLOATS),)),
    onnx="Div",
    in_complex=complex_rules.divide,
    doc="``x / y``, the true quotient.",
)

floor_divide = elementwise(
    "floor_divide",
    "x, y",
    scalar="floordiv",
    ref=integer_division(np.floor_divide),
    vjp=no_gradient,
    facts=Facts(identity=((1, INTEGERS),)),
    content=_by_nonzero(dims.floordiv),
    fallible=divisor_may_be_zero,
    doc="""``x // y``, rounded towards minus infinity, as in Python and NumPy.

    A run raises InvalidArgumentError where an integer is divided by zero.""",
)

mod = elementwise(
    "mod",
    "x, y",
    scalar="mod",
    ref=integer_division(np.mod),
    vjp=_mod_vjp,
    content=_by_nonzero(dims.mod),
    fallible=divisor_may_be_zero,
    onnx="Mod",
    doc="""``x - y * (x // y)``: the remainder with the sign of ``y``, as in Python and NumPy.

    A run raises InvalidArgumentError where an integer is divided by zero.""",
)

pow = elementwise(
    "pow",
    "x, y",
    scalar="pow",
    ref=_pow_ref,
    vjp=_pow_vjp,
    facts=Facts(identity=((1, NUMERIC),)),
    fallible=_exponent_may_be_negative,
    onnx="Pow",
    in_complex=complex_rules.pow,
    doc="""``x ** y``; integers wrap.

    The gradient by ``y`` is taken as 0 where ``x <= 0``. A run raises InvalidArgumentError for an integer raised to a
    negative integer.""",
)

minimum = elementwise(
    "minimum",
    "x, y",
    scalar="minimum",
    ref=np.minimum,
    vjp=_extreme_vjp("less_equal"),
    dtypes=ANY,
    facts=Facts(commutative=INTEGERS, identity=((float("inf"), FLOATS),), idempotent=ANY),
    content=dims.minimum,
    onnx="Min",
    doc="The smaller of ``x`` and ``y``; NaN if either is. The gradient of a tie goes to ``x``.",
)

maximum = elementwise(
    "maximum",
    "x, y",
    scalar="maximum",
    ref=np.maximum,
    vjp=_extreme_vjp("greater_equal"),
    dtypes=ANY,
    facts=Facts(commutative=INTEGERS, identity=((float("-inf"), FLOATS),), idempotent=ANY),
    content=dims.maximum,
    onnx="Max",
    doc="The larger of ``x`` and ``y``; NaN if either is. The gradient of a tie goes to ``x``.",
)


def _clip_vjp(node: Node, gradient: Value) -> tuple[Value, Value, Value]:
    x, low, high = node.inputs
    above = call("maximum", x, low) > high
    below = call("logical_and", x < low, low <= high)
    inside = zeros_where(call("logical_or", above, below), gradient)
    return (
        sum_to(inside, x),
        sum_to(call("where", below, gradient, 0), low),
        sum_to(call("where", above, gradient, 0), high),
    )


_clip = elementwise(
    "clip",
    "x, min, max",
    scalar="clip",
    ref=lambda x, low, high: np.minimum(np.maximum(x, low), high),
    vjp=_clip_vjp,
    facts=Facts(),
    onnx="Clip",
    doc="``minimum(maximum(x, min), max)``.",
)


def clip(x: Any, min: Any = None, max: Any = None, *, name: str | None = None) -> Value:
    """``minimum(maximum(x, min), max)``: ``x`` kept between ``min`` and ``max``; NaN stays NaN.

    x, min, max: broadcast together, one dtype; None: no limit on that side. ``max`` wins where ``min > max``. The
    gradient reaches ``x`` where ``min <= x <= max``, else the limit that was taken.
    """
    if min is None and max is None:
        return call("identity", x, name=name)
    if min is None:
        return call("minimum", x, max, name=name)
    if max is None:
        return call("maximum", x, min, name=name)
    result: Value = _clip(x, min, max, name=name)
    return result


FUNCTIONS["clip"] = clip


def _unary(name: str, derivative: Any, doc: str, **row: Any) -> Any:
    """A unary op; ``derivative(x, y)`` is that of its result y by its input x, None where it is zero."""

    def vjp(node: Node, gradient: Value) -> tuple[Value]:
        return (gradient * conjugate(derivative(node.inputs[0], node.outputs[0])),)

    settings = {"scalar": name, "ref": getattr(np, name, None), "dtypes": FLOATS, **row}
    return elementwise(name, "x", vjp=no_gradient if derivative is None else vjp, doc=doc, **settings)


negative = elementwise(
    "negative",
    "x",
    scalar="neg",
    ref=np.negative,
    vjp=lambda node, gradient: (-gradient,),
    facts=Facts(involution=NUMERIC),
    content=lambda x: dims.mul(x, -1),
    onnx="Neg",
    in_complex=complex_rules.each_part("negative"),
    doc="``-x``.",
)


def _abs_vjp(node: Node, gradient: Value) -> tuple[Value]:
    x, y = node.inputs[0], node.outputs[0]
    if not is_complex(x):
        return (gradient * call("sign", x),)
    a, b = complex_rules.parts(x)
    scale = call("where", y == 0, 0, gradient / call("where", y == 0, 1, y))
    return (complex_rules.join(a * scale, b * scale),)


abs = define(
    "abs",
    "x:T",
    kinds={"T": NUMERIC | COMPLEX},
    infer=lambda x: TensorType(real_dtype(x.dtype), x.dims),
    ref=quiet(np.abs),
    vjp=_abs_vjp,
    scalar="abs",
    expand=in_parts(complex_rules.magnitude),
    facts=Facts(idempotent=NUMERIC),
    onnx="Abs",
    doc="""``|x|``; its gradient at 0 is 0.

    ``x``: any shape, numeric or complex; the result is of the same shape and dtype, for complex numbers real.""",
)
sign = _unary(
    "sign",
    None,
    "-1, 0 or 1 by the sign of ``x``; NaN for NaN.",
    dtypes=NUMERIC,
    facts=Facts(idempotent=NUMERIC),
    onnx="Sign",
)
square = _unary(
    "square", lambda x, y: x * 2, "``x * x``; integers wrap.", dtypes=NUMERIC, in_complex=complex_rules.square
)
sqrt = _unary("sqrt", lambda x, y: 0.5 / y, "The square root; NaN below 0.", onnx="Sqrt", in_complex=complex_rules.sqrt)
rsqrt = _unary(
    "rsqrt",
    lambda x, y: -0.5 * (y / x),
    "``1 / sqrt(x)``.",
    ref=lambda x: 1 / np.sqrt(x),
    in_complex=complex_rules.rsqrt,
)
reciprocal = _unary(
    "reciprocal", lambda x, y: -(y * y), "``1 / x``.", onnx="Reciprocal", in_complex=complex_rules.reciprocal
)
exp = _unary("exp", lambda x, y: y, "``e ** x``.", onnx="Exp", in_complex=complex_rules.exp)
expm1 = _unary("expm1", lambda x, y: call("exp", x), "``e ** x - 1``, precise near 0.", in_complex=complex_rules.expm1)
log = _unary(
    "log", lambda x, y: 1 / x, "The natural logarithm; -inf at 0, NaN below.", onnx="Log", in_complex=complex_rules.log
)
log1p = _unary("log1p", lambda x, y: 1 / (1 + x), "``log(1 + x)``, precise near 0.", in_complex=complex_rules.log1p)
sin = _unary(
    "sin",
    lambda x, y: call("cos", x),
    "The sine of ``x`` radians; NaN at infinity.",
    onnx="Sin",
    in_complex=complex_rules.sin,
)
cos = _unary(
    "cos",
    lambda x, y: -call("sin", x),
    "The cosine of ``x`` radians; NaN at infinity.",
    onnx="Cos",
    in_complex=complex_rules.cos,
)
tanh = _unary("tanh", lambda x, y: 1 - y * y, "The hyperbolic tangent.", onnx="Tanh", in_complex=complex_rules.tanh)
erf = _unary(
    "erf",
    lambda x, y: (2 / scalar_math.sqrt(scalar_math.pi)) * call("exp", -(x * x)),
    "The error function, ``2/sqrt(pi)`` times the integral of ``exp(-t*t)`` from 0 to ``x`` (DLMF 7.2.1).",
    ref=in_float64(_error_function),
    onnx="Erf",
)


def _rounding(name: str, doc: str, onnx: str = "") -> Any:
    """A row of what gives whole numbers: integers stay as they are."""
    facts = Facts(idempotent=NUMERIC)
    return _unary(name, None, doc, facts=facts, in_integers=lambda x: call("identity", x), onnx=onnx)


floor = _rounding("floor", "The largest whole number ``<= x``.", "Floor")
ceil = _rounding("ceil", "The smallest whole number ``>= x``.", "Ceil")
_round = _rounding("round", "The nearest whole number, halves to even (IEEE 754); see :func:`pyflow.round`.", "Round")
trunc = _rounding("trunc", "``x`` without its fraction: rounded towards 0.")


def round(x: Any, decimals: int = 0, *, name: str | None = None) -> Value:
    """The nearest number with ``decimals`` digits after the point, halves to even; negative: tens, hundreds ...

    x: real, any shape. As NumPy and PyTorch, ``round(x * 10**decimals) / 10**decimals``, each step rounded.
    """
    value = convert(x)
    whole = value.dtype.is_integer
    if decimals == 0 or (whole and decimals > 0):
        result: Value = _round(value, name=name)
        return result
    scale = 10.0 ** abs(decimals)
    there, back = ("multiply", "divide") if decimals > 0 else ("divide", "multiply")
    near = call(back, _round(call(there, value, scale)), scale, name=None if whole else name)
    return call("cast", near, value.dtype, name=name) if whole else near


identity = define(
    "identity",
    "x:T",
    kinds={"T": HELD},
    infer=lambda x: x.type,
    ref=lambda x: x,
    vjp=lambda node, gradient: (gradient,),
    content=lambda x: x.content,
    view=lambda node, inputs: inputs,
    facts=Facts(idempotent=HELD),
    onnx="Identity",
    doc="``x`` itself, under a name of its own: any shape and dtype.",
)

stop_gradient = define(
    "stop_gradient",
    "x:T",
    kinds={"T": EVERY},
    infer=lambda x: x.type,
    ref=lambda x: x,
    vjp=no_gradient,
    content=lambda x: x.content,
    view=lambda node, inputs: inputs,
    facts=Facts(idempotent=EVERY),
    doc="``x`` itself, any shape and dtype, as a constant to :func:`pyflow.gradients`: no gradient flows through it.",
)
