"""What a run is given: arrays by value or name, brought to the dtype and layout that the plan reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow.dtypes import as_dtype, can_cast_safely, converted, is_known
from pyflow.errors import DTypeError, InvalidArgumentError, PyflowError, message, user_origin
from pyflow.graph import Graph, Value
from pyflow.objects import as_objects


def resolve(graph: Graph, keys: Sequence[Any]) -> list[Value]:
    """The values that ``keys`` (values or names) stand for; each once."""
    values: list[Value] = []
    for key in keys:
        value = graph.get_tensor_by_name(key) if isinstance(key, str) else key
        if not isinstance(value, Value):
            hint = "feed values or names of values"
            if hasattr(key, "__pyflow_value__"):
                hint = "set it with variable.load(array, session), or feed the read that variable.value() declares"
            raise DTypeError(message("feed", f"cannot feed {key!r}", user_origin(), hint))
        if value.graph is not graph:
            raise InvalidArgumentError(
                message("feed", f"{value.name} ({value.node.origin}) belongs to another graph", user_origin())
            )
        if any(value is other for other in values):
            raise InvalidArgumentError(message("feed", f"{value.name} is fed twice", user_origin()))
        values.append(value)
    return values


def coerce(value: Value, given: Any) -> np.ndarray:
    """``given`` as a contiguous array of ``value``'s dtype and rank.

    Arrays are cast only where no value can change (NumPy's ``safe``); Python numbers and lists where their kind fits.
    """
    if isinstance(given, Value) or hasattr(given, "__pyflow_value__"):
        raise _misfit(value, f"got the graph value {given!r}", "feed an array; run the graph to get one")
    if value.dtype.is_object:
        return _coerce_objects(value, given)
    if given is None:
        raise _misfit(value, "got None", "feed an array or leave it out of feed_dict")
    wanted = value.dtype.numpy
    is_array = isinstance(given, (np.ndarray, np.generic)) or hasattr(given, "__array__")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise _misfit(value, str(error), "give rows of equal length") from None
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype != wanted:
        array = _cast(value, array, weak=not is_array)
    if array.ndim != value.ndim:
        raise _misfit(value, f"got shape {list(array.shape)} with {array.ndim} dims", f"expected {value.ndim}")
    return np.require(array, requirements=["C", "A"])


def _coerce_objects(value: Value, given: Any) -> np.ndarray:
    try:
        array = as_objects(given, value.dtype)
    except PyflowError as error:
        raise _misfit(value, f"got data of another dtype: {error}", "feed text") from None
    if array.ndim != value.ndim:
        raise _misfit(value, f"got shape {list(array.shape)} with {array.ndim} dims", f"expected {value.ndim}")
    return array


def _cast(value: Value, array: np.ndarray, weak: bool) -> np.ndarray:
    wanted = value.dtype
    kinds = "biufc"
    if not is_known(array.dtype):
        if array.size == 0:
            return array.astype(wanted.numpy)
        raise _misfit(value, f"got data of dtype {array.dtype}", f"expected {wanted}")
    source = as_dtype(array.dtype)
    rises = kinds.index(source.kind) <= kinds.index(wanted.kind)
    if (weak and rises) or (array.size == 0 and weak) or can_cast_safely(source, wanted):
        cast = converted(array, wanted)
        if wanted.is_integer and not np.array_equal(cast, array):
            raise _misfit(value, "got numbers that do not fit", f"expected {wanted}")
        return cast
    raise _misfit(
        value, f"got dtype {array.dtype}", f"expected {wanted}; a cast could change values: use .astype({wanted})"
    )


def _misfit(value: Value, came: str, hint: str) -> DTypeError | InvalidArgumentError:
    kind = DTypeError if "dtype" in came or "graph value" in came else InvalidArgumentError
    return kind(
        message("feed", f"{value.node.name}: {value.type} declared at {value.node.origin}: {came}", user_origin(), hint)
    )
