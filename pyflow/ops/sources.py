"""Where values come from: constants, placeholders, and the inputs of a region."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.apply import convert, settled_call
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Value, get_default_graph
from pyflow.objects import is_text, strings
from pyflow.opdef import CONSTANT, DTYPE, EVERY, FUNCTIONS, OPS, SIZES, TEXT, Constant, TensorType, define

Shape = Sequence[int | str | Dim | None]

TRACKED_LIMIT = 64
"""Integer values of at most this many elements are tracked while the graph is built."""


def known_content(held: np.ndarray | Constant) -> Any:
    """What an integer array holds, as sizes, if it is 0-d or 1-d and small."""
    if held.dtype.kind not in "iu" or len(held.shape) > 1 or math.prod(held.shape) > TRACKED_LIMIT:
        return None
    array = np.asarray(held)
    return int(array) if array.ndim == 0 else tuple(int(entry) for entry in array)


define(
    "constant",
    "",
    attrs={"value": CONSTANT},
    infer=lambda value: TensorType(dtypes.as_dtype(value.dtype), value.shape),
    content=lambda value: known_content(value),
    ref=lambda value: value.array,
    onnx="Constant",
)


def constant(value: Any, dtype: Any = None, name: str | None = None) -> Value:
    """A value fixed in the graph.

    ``value``: a number, text, nested lists of them, or an array (copied). Python floats and lists of them become
    float32 and ints int64 unless ``dtype`` says otherwise; arrays keep their dtype. Raises DTypeError for data that is
    neither numeric nor text, or a dtype that does not hold the value.
    """
    return holding(array_of(value, dtype, "constant"), name)


def holding(held: np.ndarray | Constant, name: str | None = None) -> Value:
    """A constant that holds ``held`` itself: an array that is row-major is not copied, and not to be written from here
    on."""
    if isinstance(held, np.ndarray):
        held = held if held.flags.c_contiguous else np.ascontiguousarray(held)
        held.setflags(write=False)
        held = Constant(held)
    result: Value = settled_call(OPS["constant"], (), {"value": held}, name)
    return result


def array_of(value: Any, dtype: Any, op: str) -> np.ndarray:
    """``value`` as a new array of ``dtype``, or of what users mean by it; errors are those of ``op``."""
    try:
        array = np.array(value, order="C")
        if array.dtype == object and array.size and all(isinstance(entry, int) for entry in array.flat):
            raise DTypeError(f"{max(array.flat, key=abs)} does not fit 64 bits")
        if is_text(array):
            array = strings(value)
    except DTypeError as error:
        raise DTypeError(message(op, f"expected numbers or text: {error}", user_origin())) from None
    except ValueError as error:
        raise InvalidArgumentError(message(op, str(error), user_origin(), "give rows of equal length")) from None
    wanted = dtypes.as_dtype(dtype) if dtype is not None else None
    if not dtypes.is_known(array.dtype):
        raise DTypeError(message(op, f"expected numbers, got {type(value).__name__} of {array.dtype}", user_origin()))
    if wanted is None and not isinstance(value, (np.ndarray, np.generic)):
        wanted = {"f": dtypes.float32, "i": dtypes.int64, "u": dtypes.int64, "c": dtypes.complex64}.get(
            array.dtype.kind
        )
    if wanted is not None and array.dtype != wanted.numpy:
        array = _in_dtype(array, wanted, op)
    return array


def _in_dtype(array: np.ndarray, dtype: DType, op: str) -> np.ndarray:
    have = dtypes.as_dtype(array.dtype)
    if (have.is_floating and dtype.is_integer) or (have.kind == "c" and dtype.kind in "fiu"):
        raise DTypeError(
            message(op, f"{array.dtype} data does not fit {dtype} without loss", user_origin(), "use pf.cast")
        )
    cast = dtypes.converted(array, dtype)
    if dtype.is_integer and not np.array_equal(cast, array):
        raise DTypeError(message(op, f"the data does not fit {dtype}", user_origin(), "use a wider dtype"))
    return cast


FUNCTIONS["constant"] = constant

_placeholder = define(
    "placeholder",
    "",
    attrs={"dtype": DTYPE, "dims": SIZES},
    infer=lambda dtype, dims: TensorType(dtype, dims),
    ref=None,
)

_input = define(
    "input",
    "",
    attrs={"label": TEXT, "dtype": DTYPE, "dims": SIZES},
    infer=lambda label, dtype, dims: TensorType(dtype, dims),
    ref=None,
)


def placeholder(dtype: Any, shape: Shape | None = None, name: str | None = None) -> Value:
    """A value that each run feeds.

    ``shape``: one entry per axis: an int, ``None`` (any size), a name (``"batch"``: any size, equal wherever the name
    stands), an expression (``"4*batch+1"``) or a :class:`pyflow.Dim` with a range. 0 and 1 are ordinary sizes.
    Raises InvalidArgumentError for negative sizes or an unknown rank.
    """
    kind = dtypes.as_dtype(dtype)
    if shape is None and kind is dtypes.variant:
        shape = ()
    if shape is None:
        raise InvalidArgumentError(
            message(
                "placeholder", "the rank is not given", user_origin(), "pass shape=, with None for each unknown size"
            )
        )
    if isinstance(shape, (str, int, Dim)):
        shape = (shape,)
    graph = get_default_graph()
    if graph.outer is not None:
        what = "a body of control flow cannot be fed"
        raise InvalidArgumentError(message("placeholder", what, user_origin(), "make the placeholder before the call"))
    label = graph.unique_name(name or "placeholder")
    settled: list[Size] = [_dim_of(entry, label, axis) for axis, entry in enumerate(shape)]
    value: Value = _placeholder(kind, settled, name=name)
    graph.inputs.append(value)
    return value


def _dim_of(entry: Any, label: str, axis: int) -> Size:
    graph = get_default_graph()
    if entry is None:
        entry = Dim(_fresh_symbol(graph, f"{label}.{axis}"))
    elif isinstance(entry, str):
        try:
            entry = dims.parse(entry, graph._symbols)
        except ValueError as error:
            raise InvalidArgumentError(message("placeholder", str(error), user_origin())) from None
    if isinstance(entry, Dim):
        try:
            for symbol in dims.symbols_of(entry):
                graph.symbol(dims._from_symbol(symbol))
        except InvalidArgumentError as error:
            raise InvalidArgumentError(message("placeholder", str(error), user_origin())) from None
        return entry
    if isinstance(entry, bool) or not hasattr(entry, "__index__") or int(entry) < 0:
        raise InvalidArgumentError(
            message("placeholder", f"axis {axis}: expected a size >= 0, a name or None, got {entry!r}", user_origin())
        )
    return int(entry)


def _fresh_symbol(graph: Graph, name: str) -> str:
    """``name`` as a symbol's, which no other symbol of the graph has."""
    legal = re.sub(r"[^\w.:]", "_", name.replace("/", "."))
    legal = legal if re.match("[A-Za-z_]", legal) else f"_{legal}"
    free = (legal if number == 0 else f"{legal}_{number}" for number in itertools.count())
    return next(candidate for candidate in free if candidate not in graph._symbols)


_with_default = define(
    "placeholder_with_default",
    "x:T",
    kinds={"T": EVERY},
    infer=lambda x: x.type,
    content=lambda x: None,
    view=lambda node, inputs: inputs,
    ref=lambda x: x,
    vjp=lambda node, gradient: (gradient,),
)


def placeholder_with_default(default: Any, shape: Shape | None = None, name: str | None = None) -> Value:
    """A value that a run may feed, and that is ``default`` otherwise; ``shape``, if given, must be the default's."""
    value = convert(default)
    if shape is not None and tuple(shape) != value.dims:
        raise InvalidArgumentError(
            message(
                "placeholder_with_default", f"shape {tuple(shape)} is not the default's: {value.type}", user_origin()
            )
        )
    result: Value = _with_default(value, name=name)
    return result
