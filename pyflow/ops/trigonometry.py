"""Angles: trigonometric and hyperbolic functions, and their inverses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyflow.graph import Node, Value
from pyflow.opdef import FLOATS, call
from pyflow.ops.common import composed, elementwise, sum_to

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


def _function(name: str, numpy: Any, derivative: Any, doc: str) -> Any:
    """One row; ``derivative(x, y)`` is that of its result y by its input x."""
    return elementwise(
        name,
        "x",
        scalar=name,
        ref=numpy,
        vjp=lambda node, gradient: (gradient * derivative(node.inputs[0], node.outputs[0]),),
        dtypes=FLOATS,
        onnx=name.capitalize(),
        doc=doc,
    )


tan = _function("tan", np.tan, lambda x, y: 1 + y * y, "The tangent of ``x`` radians; NaN at infinity.")
asin = _function(
    "asin", np.arcsin, lambda x, y: call("rsqrt", 1 - x * x), "The angle whose sine is ``x``; NaN beyond -1 and 1."
)
acos = _function(
    "acos", np.arccos, lambda x, y: -call("rsqrt", 1 - x * x), "The angle whose cosine is ``x``; NaN beyond -1 and 1."
)
atan = _function("atan", np.arctan, lambda x, y: 1 / (1 + x * x), "The angle whose tangent is ``x``.")
sinh = _function("sinh", np.sinh, lambda x, y: call("cosh", x), "The hyperbolic sine.")
cosh = _function("cosh", np.cosh, lambda x, y: call("sinh", x), "The hyperbolic cosine.")
asinh = _function("asinh", np.arcsinh, lambda x, y: call("rsqrt", x * x + 1), "The inverse of the hyperbolic sine.")
acosh = _function(
    "acosh",
    np.arccosh,
    lambda x, y: call("rsqrt", x * x - 1),
    "The inverse of the hyperbolic cosine, not negative; NaN below 1.",
)
atanh = _function(
    "atanh", np.arctanh, lambda x, y: 1 / (1 - x * x), "The inverse of the hyperbolic tangent; NaN beyond -1 and 1."
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
