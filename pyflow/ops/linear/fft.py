"""``pf.fft``: discrete Fourier transforms, named as in NumPy. They run on the host, through NumPy.

norm: ``"backward"``: the inverse divides by n; ``"ortho"``: both by its root; ``"forward"``: the forward one by n.
float64 and integers give complex128, everything else complex64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Node, Value
from pyflow.opdef import BOOLEAN, COMPLEX, INT, INTS, SIZE, TensorType, call, choice, define
from pyflow.ops.arrays.arranging import roll
from pyflow.ops.arrays.indexing import arange
from pyflow.ops.common import axes_of, normalise_axes, normalise_axis
from pyflow.ops.elementwise.complex_rules import conjugate
from pyflow.ops.sizes import as_size

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

NORM = choice("backward", "ortho", "forward")
ADJOINT = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
"""The adjoint of a transform is its inverse in this norm."""
PARTS = frozenset({dtypes.float32, dtypes.float64})

Sizes = Sequence[Any] | None
Axes = Sequence[int] | None


def _as(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """In the precision of ``like``, whatever NumPy computes in."""
    single = like.dtype in (np.float32, np.complex64)
    kinds = (np.complex64, np.float32) if single else (np.complex128, np.float64)
    return x.astype(kinds[0] if np.iscomplexobj(x) else kinds[1])


def _transform_ref(x: np.ndarray, axes: tuple[int, ...], inverse: bool, norm: Any) -> np.ndarray:
    if not axes or not x.size:
        return x
    return _as((np.fft.ifftn if inverse else np.fft.fftn)(x, axes=axes, norm=norm), x)


def _transform_vjp(node: Node, gradient: Value) -> tuple[Value]:
    attrs = node.attrs
    return (_transform(gradient, attrs["axes"], not attrs["inverse"], ADJOINT[attrs["norm"]]),)


_transform = define(
    "fft_complex",
    "x:T",
    attrs={"axes": INTS, "inverse": BOOLEAN, "norm": NORM},
    defaults={"inverse": False, "norm": "backward"},
    kinds={"T": COMPLEX},
    canonical=lambda x, axes, inverse, norm: {"axes": normalise_axes(axes, x.ndim, f"x: {x.type}")},
    infer=lambda x, axes, inverse, norm: x.type,
    ref=_transform_ref,
    vjp=_transform_vjp,
    host=True,
    onnx="DFT",
    doc="The discrete Fourier transform of complex numbers along axes, or its inverse.",
)


def _half(size: Size) -> Size:
    return dims.add(dims.floordiv(size, 2), 1)


def _one_axis(x: Value, **attrs: Any) -> Mapping[str, Any]:
    return {"axis": normalise_axis(attrs["axis"], x.ndim, f"x: {x.type}")}


def _real_infer(x: Value, *, axis: int, norm: str) -> TensorType:
    if x.dims[axis] == 0:
        raise InvalidArgumentError(f"axis {axis} of x: {x.type} has no elements to transform")
    return TensorType(dtypes.complex_dtype(x.dtype), (*x.dims[:axis], _half(x.dims[axis]), *x.dims[axis + 1 :]))


def _real_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """Of the transform of real numbers: those that it leaves out are zeros."""
    x, axis = node.inputs[0], node.attrs["axis"]
    whole = _resized(gradient, x.dims[axis], axis)
    return (call("real", _transform(whole, (axis,), True, ADJOINT[node.attrs["norm"]])),)


_real = define(
    "fft_of_real",
    "x:T",
    attrs={"axis": INT, "norm": NORM},
    defaults={"norm": "backward"},
    kinds={"T": PARTS},
    canonical=_one_axis,
    infer=_real_infer,
    ref=lambda x, axis, norm: _as(np.fft.rfft(x, axis=axis, norm=norm), x),
    vjp=_real_vjp,
    host=True,
    onnx="DFT",
    doc="The first half, n // 2 + 1 elements, of the discrete Fourier transform of real numbers along an axis.",
)


def _to_real_infer(x: Value, *, count: Size, axis: int, norm: str) -> TensorType:
    if isinstance(count, int) and count < 1:
        raise InvalidArgumentError(f"expected a number of elements of at least 1, got {count}")
    return TensorType(dtypes.real_dtype(x.dtype), (*x.dims[:axis], count, *x.dims[axis + 1 :]))


def _to_real_vjp(node: Node, gradient: Value) -> tuple[Value]:
    """All but the first element, and the last of an even number, stand for two."""
    x, axis, count = node.inputs[0], node.attrs["axis"], node.attrs["count"]
    half = _real(gradient, axis, ADJOINT[node.attrs["norm"]])
    size = half.dims[axis]
    place = call("reshape", arange(size), (*(1,) * axis, size, *(1,) * (half.ndim - axis - 1)))
    last = count if isinstance(count, int) else call("sizes", (count,), scalar=True)
    once = call("logical_or", place == 0, place * 2 == last)
    doubled = half * call("cast", call("where", once, 1.0, 2.0), half.dtype)
    return (_resized(doubled, x.dims[axis], axis),)


_to_real = define(
    "fft_to_real",
    "x:T",
    attrs={"count": SIZE, "axis": INT, "norm": NORM},
    defaults={"norm": "backward"},
    kinds={"T": COMPLEX},
    canonical=_one_axis,
    infer=_to_real_infer,
    ref=lambda x, count, axis, norm: _as(np.fft.irfft(x, count, axis=axis, norm=norm), x),
    vjp=_to_real_vjp,
    host=True,
    onnx="DFT",
    doc="``count`` real numbers whose discrete Fourier transform along an axis begins with ``x``.",
)


def _complex(x: Any) -> Value:
    value = convert(x)
    return value if value.dtype.kind == "c" else convert(value, dtypes.complex_dtype(value.dtype))


def _real_value(x: Any, op: str) -> Value:
    value = convert(x)
    if value.dtype.kind == "c":
        raise InvalidArgumentError(message(op, f"expected real numbers, got {value.type}", user_origin()))
    return convert(value, dtypes.real_dtype(dtypes.complex_dtype(value.dtype)))


def _resized(x: Value, size: Any, axis: int) -> Value:
    """``x`` cut, or padded with zeros behind, to ``size`` along ``axis``."""
    if size is None or as_size(size) == x.dims[axis]:
        return x
    before: list[Size] = [0] * x.ndim
    after: list[Size] = [0] * x.ndim
    after[axis] = dims.add(as_size(size), dims.mul(x.dims[axis], -1))
    zero = call("constant", np.zeros((), x.dtype.numpy))
    result: Value = call("pad", x, zero, before, after)
    return result


def _axes(x: Value, sizes: Sizes, axes: Axes) -> tuple[int, ...]:
    if axes is None:
        count = x.ndim if sizes is None else len(sizes)
        return tuple(range(x.ndim - count, x.ndim))
    settled = tuple(normalise_axis(axis, x.ndim, str(x.type)) for axis in axes)
    if sizes is not None and len(sizes) != len(settled):
        what = f"expected a size per axis, got {len(sizes)} for {len(settled)} axes"
        raise InvalidArgumentError(message("fft", what, user_origin()))
    return settled


def _over(x: Any, sizes: Sizes, axes: Axes, inverse: bool, norm: str | None) -> Value:
    value = _complex(x)
    places = _axes(value, sizes, axes)
    for size, axis in zip(sizes or (), places, strict=False):
        value = _resized(value, size, axis)
    result: Value = _transform(value, places, inverse, norm or "backward")
    return result


def fft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The discrete Fourier transform along ``axis``: complex.

    x: real or complex. n: the axis is cut, or padded with zeros, to this size first.
    """
    return _over(x, None if n is None else [n], [axis], False, norm)


def ifft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The inverse of :func:`fft`."""
    return _over(x, None if n is None else [n], [axis], True, norm)


def fft2(x: Any, s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None) -> Value:
    """:func:`fft` along two axes."""
    return _over(x, s, axes, False, norm)


def ifft2(x: Any, s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None) -> Value:
    """The inverse of :func:`fft2`."""
    return _over(x, s, axes, True, norm)


def fftn(x: Any, s: Sizes = None, axes: Axes = None, norm: str | None = None) -> Value:
    """:func:`fft` along several axes, default all. s: the sizes that they are cut or padded to."""
    return _over(x, s, axes, False, norm)


def ifftn(x: Any, s: Sizes = None, axes: Axes = None, norm: str | None = None) -> Value:
    """The inverse of :func:`fftn`."""
    return _over(x, s, axes, True, norm)


def rfft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The first half, n // 2 + 1 elements, of :func:`fft` of real numbers; the rest are their conjugates."""
    return rfftn(x, None if n is None else [n], [axis], norm)


def irfft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The inverse of :func:`rfft`: ``n`` real numbers, default ``2 * (size - 1)``."""
    return irfftn(x, None if n is None else [n], [axis], norm)


def rfft2(x: Any, s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None) -> Value:
    """:func:`rfft` along the last of two axes, then :func:`fft` along the other."""
    return rfftn(x, s, axes, norm)


def irfft2(x: Any, s: Sizes = None, axes: Axes = (-2, -1), norm: str | None = None) -> Value:
    """The inverse of :func:`rfft2`."""
    return irfftn(x, s, axes, norm)


def rfftn(x: Any, s: Sizes = None, axes: Axes = None, norm: str | None = None) -> Value:
    """:func:`rfft` along the last of several axes, default all, then :func:`fft` along the others."""
    value = _real_value(x, "rfft")
    places = _axes(value, s, axes)
    for size, axis in zip(s or (), places, strict=False):
        value = _resized(value, size, axis)
    half = _real(value, places[-1], norm or "backward")
    result: Value = _transform(half, places[:-1], False, norm or "backward") if places[:-1] else half
    return result


def irfftn(x: Any, s: Sizes = None, axes: Axes = None, norm: str | None = None) -> Value:
    """The inverse of :func:`rfftn`; the last axis gets ``s[-1]`` elements, default ``2 * (size - 1)``."""
    value = _complex(x)
    places = _axes(value, s, axes)
    for size, axis in zip(list(s or ())[:-1], places, strict=False):
        value = _resized(value, size, axis)
    last = places[-1]
    count = as_size(s[-1]) if s is not None else dims.mul(dims.add(value.dims[last], -1), 2)
    if places[:-1]:
        value = _transform(value, places[:-1], True, norm or "backward")
    result: Value = _to_real(_resized(value, _half(count), last), count, last, norm or "backward")
    return result


def hfft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The transform, real, of ``n`` numbers whose second half are the conjugates of the first, which is ``x``."""
    return irfft(conjugate(_complex(x)), n, axis, ADJOINT[norm or "backward"])


def ihfft(x: Any, n: Any = None, axis: int = -1, norm: str | None = None) -> Value:
    """The inverse of :func:`hfft`."""
    return conjugate(rfft(x, n, axis, ADJOINT[norm or "backward"]))


def _shifted(x: Any, axes: Any, back: bool) -> Value:
    value = convert(x)
    places = axes_of("shifted", axes, value)
    for axis in places:
        half = dims.floordiv(value.dims[axis], 2)
        value = roll(value, dims.mul(half, -1) if back else half, axis)
    return value


def fftshift(x: Any, axes: Any = None) -> Value:
    """``x`` with the frequency 0 moved from the front to the middle, along axes (default all)."""
    return _shifted(x, axes, False)


def ifftshift(x: Any, axes: Any = None) -> Value:
    """The inverse of :func:`fftshift`."""
    return _shifted(x, axes, True)


def fftfreq(n: int, d: float = 1.0, dtype: Any = dtypes.float32) -> Value:
    """The frequencies of the ``n`` elements of :func:`fft`, in cycles per unit of the distance ``d`` of samples."""
    return convert(np.fft.fftfreq(n, d), dtype)


def rfftfreq(n: int, d: float = 1.0, dtype: Any = dtypes.float32) -> Value:
    """The frequencies of the elements of :func:`rfft` of ``n`` numbers."""
    return convert(np.fft.rfftfreq(n, d), dtype)
