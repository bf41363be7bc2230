"""Complex numbers: made from real ones, taken apart, seen as pairs.

A complex number lies in memory as its real part, then its imaginary part: ``real``, ``imag`` and the views of pairs
cost no step. Gradients follow PyTorch: that of a complex value is ``dL/dreal + i dL/dimag``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import COMPLEX, FUNCTIONS, Lowering, TensorType, broadcast_dims, call, define
from pyflow.ops.elementwise import complex_rules
from pyflow.ops.sizes import Check, differ, equal_check
from pyflow.plan import View

__all__ = ["angle", "complex", "conj", "imag", "polar", "real", "view_as_complex", "view_as_real"]

PARTS = frozenset({dtypes.float32, dtypes.float64})
"""What a complex number is made of."""


def _pairs(view: View) -> View:
    """A view of complex numbers as one of their parts, which are its new last axis."""
    return View(
        view.buffer,
        dtypes.real_dtype(view.dtype),
        (*view.dims, 2),
        (*(dims.mul(stride, 2) for stride in view.strides), 1),
        dims.mul(view.offset, 2),
    )


def _from_pairs(pairs: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.ascontiguousarray(pairs).view(dtypes.complex_dtype(dtypes.as_dtype(pairs.dtype)).numpy)
    return result[..., 0]


def _part(view: View, index: int) -> View:
    pairs = _pairs(view)
    return View(view.buffer, pairs.dtype, view.dims, pairs.strides[:-1], dims.add(pairs.offset, index))


def _part_op(name: str, index: int, doc: str) -> Any:
    def vjp(node: Node, gradient: Value) -> tuple[Value]:
        nothing = complex_rules.zeros(gradient)
        return (call("complex", gradient, nothing) if index == 0 else call("complex", nothing, gradient),)

    made = define(
        name,
        "x:T",
        kinds={"T": COMPLEX},
        infer=lambda x: TensorType(dtypes.real_dtype(x.dtype), x.dims),
        ref=lambda x: np.ascontiguousarray(getattr(x, name)).reshape(x.shape),
        view=lambda node, inputs: (_part(inputs[0], index),),
        vjp=vjp,
        doc=doc + " x: any shape, complex64 or complex128; the result is float32 or float64. No step: a view of ``x``.",
    )

    def function(x: Any, *, name: str | None = None) -> Value:
        if isinstance(x, Value) and x.dtype.kind != "c":
            nothing = np.zeros((), x.dtype.numpy)
            result: Value = call("identity", x if index == 0 else call("broadcast_to", nothing, x.dims), name=name)
            return result
        part: Value = made(x, name=name)
        return part

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc + " x: any shape and dtype; the parts of complex64 are float32, those of complex128 float64."
    FUNCTIONS[name] = function
    return function


real = _part_op("real", 0, "The real parts of ``x``; ``x`` itself if it is real.")
imag = _part_op("imag", 1, "The imaginary parts of ``x``; zeros if it is real.")


def _complex_type(real: Value, imag: Value) -> TensorType:
    if any(differ(a, b) for a, b in zip(real.dims, imag.dims, strict=False)) or real.ndim != imag.ndim:
        raise InvalidArgumentError(f"expected parts of one shape, got {real.type} and {imag.type}")
    return TensorType(dtypes.complex_dtype(real.dtype), real.dims)


def _complex_checks(node: Node) -> list[Check]:
    a, b = node.inputs
    pairs = zip(a.dims, b.dims, strict=True)
    return [check for x, y in pairs for check in equal_check(x, y, f"complex of {a.type} and {b.type}")]


_complex = define(
    "complex",
    "real:T, imag:T",
    kinds={"T": PARTS},
    infer=_complex_type,
    checks=_complex_checks,
    ref=lambda real, imag: _from_pairs(np.stack([real, imag], -1)),
    parts=lambda node, output: (_part(output, 0), _part(output, 1)),
    vjp=lambda node, gradient: (call("real", gradient), call("imag", gradient)),
    doc="The complex numbers of these parts, which are of one shape.",
)


def complex(real: Any, imag: Any, *, name: str | None = None) -> Value:
    """The complex numbers ``real + 1j * imag``.

    real, imag: floating, broadcast together; float64 makes complex128, all others complex64.
    """
    a, b = convert(real), convert(imag)
    dtype = dtypes.real_dtype(dtypes.complex_dtype(dtypes.promote(a.dtype, b.dtype)))
    shape = broadcast_dims(a, b)
    result: Value = _complex(*(call("broadcast_to", convert(part, dtype), shape) for part in (a, b)), name=name)
    return result


FUNCTIONS["complex"] = complex


def _or_of_real(made: Any, of_real: Any, doc: str) -> Any:
    """The op for complex numbers; a real value goes through ``of_real``."""

    def function(x: Any, *, name: str | None = None) -> Value:
        real = hasattr(x, "dtype") and dtypes.as_dtype(x.dtype).kind != "c"
        result: Value = of_real(x, name) if real else made(x, name=name)
        return result

    op = made.op.name
    function.__name__ = function.__qualname__ = op
    function.__doc__ = doc
    FUNCTIONS[op] = function
    return function


_conj = define(
    "conj",
    "x:T",
    kinds={"T": COMPLEX},
    infer=lambda x: x.type,
    ref=np.conj,
    expand=lambda x: call("complex", call("real", x), -call("imag", x)),
    vjp=lambda node, gradient: (call("conj", gradient),),
    doc="The complex conjugates: the imaginary parts negated. x: any shape, complex64 or complex128.",
)


conj = _or_of_real(
    _conj,
    lambda x, name: call("identity", x, name=name),
    "The complex conjugates: the imaginary parts negated; ``x`` itself if it is real. x: any shape and dtype.",
)


def _angle_vjp(node: Node, gradient: Value) -> tuple[Value]:
    a, b = complex_rules.parts(node.inputs[0])
    scaled = gradient / (call("square", a) + call("square", b))
    return (call("complex", -b * scaled, a * scaled),)


_angle = define(
    "angle",
    "x:T",
    kinds={"T": COMPLEX},
    infer=lambda x: TensorType(dtypes.real_dtype(x.dtype), x.dims),
    ref=np.angle,
    expand=complex_rules.angle,
    vjp=_angle_vjp,
    doc="The angles of complex numbers in radians, from -pi to pi. x: any shape, complex64 or complex128.",
)


angle = _or_of_real(
    _angle,
    lambda x, name: call("atan2", np.zeros((), np.int8), x, name=name),
    "The angles of complex numbers in radians, from -pi to pi; of real numbers pi below 0, else 0. x: any shape and "
    "dtype; the result is floating.",
)


def polar(abs: Any, angle: Any, *, name: str | None = None) -> Value:
    """The complex numbers of magnitude ``abs`` and ``angle`` in radians.

    abs, angle: floating, broadcast together; float64 makes complex128, all others complex64.
    """
    return complex(call("multiply", abs, call("cos", angle)), call("multiply", abs, call("sin", angle)), name=name)


FUNCTIONS["polar"] = polar

view_as_real = define(
    "view_as_real",
    "x:T",
    kinds={"T": COMPLEX},
    infer=lambda x: TensorType(dtypes.real_dtype(x.dtype), (*x.dims, 2)),
    ref=lambda x: np.stack([x.real, x.imag], -1),
    view=lambda node, inputs: (_pairs(inputs[0]),),
    vjp=lambda node, gradient: (call("view_as_complex", gradient),),
    doc="""Complex numbers as pairs: the real and the imaginary parts along a new last axis of size 2.

    x: any shape, complex64 or complex128; the result is float32 or float64. No step: a view of ``x``.""",
)


def _pairs_type(x: Value) -> TensorType:
    if not x.ndim or differ(x.dims[-1], 2):
        raise InvalidArgumentError(f"expected pairs (a last axis of size 2), got x: {x.type}")
    return TensorType(dtypes.complex_dtype(x.dtype), x.dims[:-1])


def _lower_pairs(node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
    return Lowering("copy", inputs, (_pairs(outputs[0]),))


view_as_complex = define(
    "view_as_complex",
    "x:T",
    kinds={"T": PARTS},
    infer=_pairs_type,
    checks=lambda node: equal_check(node.inputs[0].dims[-1], 2, f"pairs of {node.inputs[0].type}"),
    ref=_from_pairs,
    lower=_lower_pairs,
    vjp=lambda node, gradient: (call("view_as_real", gradient),),
    doc="""Pairs along the last axis, which has size 2, as complex numbers: the reverse of :func:`view_as_real`.

    x: float32 or float64; the result is complex64 or complex128 without that axis.""",
)
