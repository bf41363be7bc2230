"""The same bits, read as another dtype."""

from __future__ import annotations

import numpy as np

from pyflow.dtypes import DType
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Node, Value
from pyflow.opdef import DTYPE, WHOLE, TensorType, define
from pyflow.ops.common import no_gradient
from pyflow.plan import View

__all__ = ["bitcast"]


def _infer(x: Value, dtype: DType) -> TensorType:
    if dtype not in WHOLE or dtype.bits != x.dtype.bits:
        raise InvalidArgumentError(f"expected a dtype of {x.dtype.bits} bits, as x: {x.type} has, got {dtype}")
    return TensorType(dtype, x.dims)


def _view(node: Node, inputs: tuple[View, ...]) -> tuple[View, ...]:
    (x,) = inputs
    return (View(x.buffer, node.attrs["dtype"], x.dims, x.strides, x.offset),)


bitcast = define(
    "bitcast",
    "x:T",
    attrs={"dtype": DTYPE},
    kinds={"T": WHOLE},
    infer=_infer,
    ref=lambda x, dtype: np.ascontiguousarray(x).view(dtype.numpy).reshape(x.shape),
    view=_view,
    vjp=no_gradient,
    onnx="BitCast",
    doc="""The bits of ``x`` read as ``dtype``, which has as many: float32 as int32 and the like.

    x: any shape, dtypes of 8 bits or more. No gradient flows through it.
    """,
)
