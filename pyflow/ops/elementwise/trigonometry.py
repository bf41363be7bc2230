"""Angles: trigonometric and hyperbolic functions, and their inverses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, call
from pyflow.ops.common import composed, elementwise, sum_to
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.elementwise.complex_rules import conjugate, is_complex, turned

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cosh",
    "deg2rad",
    "degrees",
    "hypot",
    "rad2deg",
    "radians",
    "sinc",
    "sinh",
    "tan",
]


def _function(name: str, numpy: Any, derivative: Any, doc: str, in_complex: Any) -> Any:
    """One row; ``derivative(x, y)`` is that of its result y by its input x."""
    return elementwise(
        name,
        "x",
        scalar=name,
        ref=numpy,
        vjp=lambda node, gradient: (gradient * conjugate(derivative(node.inputs[0], node.outputs[0])),),
        dtypes=FLOATS,
        in_complex=in_complex,
        onnx=name.capitalize(),
        doc=doc,
    )


def _acosh_derivative(x: Value, y: Value) -> Value:
    """In complex numbers the two roots have to be taken apart."""
    one = call("rsqrt", x - 1) * call("rsqrt", x + 1) if is_complex(x) else call("rsqrt", x * x - 1)
    result: Value = one
    return result


tan = _function(
    "tan",
    np.tan,
    lambda x, y: 1 + y * y,
    "The tangent of ``x`` radians; NaN at infinity.",
    turned(complex_rules.tanh),
)
asin = _function(
    "asin",
    np.arcsin,
    lambda x, y: call("rsqrt", 1 - x * x),
    "The angle whose sine is ``x``; of a real number NaN beyond -1 and 1.",
    complex_rules.asin,
)
acos = _function(
    "acos",
    np.arccos,
    lambda x, y: -call("rsqrt", 1 - x * x),
    "The angle whose cosine is ``x``; of a real number NaN beyond -1 and 1.",
    complex_rules.acos,
)
atan = _function(
    "atan", np.arctan, lambda x, y: 1 / (1 + x * x), "The angle whose tangent is ``x``.", turned(complex_rules.atanh)
)
sinh = _function("sinh", np.sinh, lambda x, y: call("cosh", x), "The hyperbolic sine.", complex_rules.sinh)
cosh = _function("cosh", np.cosh, lambda x, y: call("sinh", x), "The hyperbolic cosine.", complex_rules.cosh)
asinh = _function(
    "asinh",
    np.arcsinh,
    lambda x, y: call("rsqrt", x * x + 1),
    "The inverse of the hyperbolic sine.",
    turned(complex_rules.asin),
)
acosh = _function(
    "acosh",
    np.arccosh,
    _acosh_derivative,
    "The inverse of the hyperbolic cosine, not negative; of a real number NaN below 1.",
    complex_rules.acosh,
)
atanh = _function(
    "atanh",
    np.arctanh,
    lambda x, y: 1 / (1 - x * x),
    "The inverse of the hyperbolic tangent; of a real number NaN beyond -1 and 1.",
    complex_rules.atanh,
)
arcsin, arccos, arctan = asin, acos, atan
arcsinh, arccosh, arctanh = asinh, acosh, atanh


def _atan2_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    y, x = node.inputs
    scaled = gradient / (x * x + y * y)
    return sum_to(scaled * x, y), sum_to(-(scaled * y), x)


atan2 = elementwise(
    "atan2",
    "y, x",
    scalar="atan2",
    ref=np.arctan2,
    vjp=_atan2_vjp,
    dtypes=FLOATS,
    doc="The angle of the point ``(x, y)``, from -pi to pi: the arc tangent of ``y / x`` in the right quadrant.",
)
arctan2 = atan2


def _hypot_vjp(node: Node, gradient: Value) -> tuple[Value, Value]:
    x, y = node.inputs
    scaled = gradient / node.outputs[0]
    return sum_to(scaled * x, x), sum_to(scaled * y, y)


hypot = elementwise(
    "hypot",
    "x, y",
    scalar="hypot",
    ref=np.hypot,
    vjp=_hypot_vjp,
    dtypes=FLOATS,
    doc="``sqrt(x * x + y * y)`` without overflow; the gradient at the origin is NaN.",
)

deg2rad = composed(
    "deg2rad", "x", ref=np.deg2rad, expand=lambda x: x * (math.pi / 180), doc="Degrees as radians: ``x * pi / 180``."
)
rad2deg = composed(
    "rad2deg", "x", ref=np.rad2deg, expand=lambda x: x * (180 / math.pi), doc="Radians as degrees: ``x * 180 / pi``."
)
radians, degrees = deg2rad, rad2deg


def _sinc_expand(x: Value) -> Value:
    angle = call("where", x == 0, 1, x) * math.pi
    result: Value = call("where", x == 0, 1, call("sin", angle) / angle)
    return result


sinc = composed(
    "sinc",
    "x",
    ref=np.sinc,
    expand=_sinc_expand,
    doc="``sin(pi * x) / (pi * x)``, and 1 at 0.",
)
