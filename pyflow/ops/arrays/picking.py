"""NumPy's advanced indexing: arrays of integers along several axes, and masks."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from pyflow.apply import convert
from pyflow.dtypes import int64
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import broadcast_dims, call
from pyflow.ops.arrays.shape import broadcast_to, expand_dims, reshape, transpose
from pyflow.ops.sizes import differ, text_of

_FULL = builtins.slice(None)


def masks_as_places(entries: Sequence[Any], x: Any, is_mask: Any) -> list[Any]:
    """The entries of a key with the places of its True elements for each mask: one array per axis that it covers."""
    result: list[Any] = []
    axis = 0
    for entry in entries:
        if not is_mask(entry):
            result.append(entry)
            axis += entry is not None
            continue
        mask = convert(entry)
        covered = tuple(x.shape)[axis : axis + mask.ndim]
        if not mask.ndim or any(differ(a, b) for a, b in zip(mask.dims, covered, strict=True)):
            what = f"expected a mask of shape {text_of(covered)}, the axes that it picks from, got {mask.type}"
            raise InvalidArgumentError(message("getitem", what, user_origin()))
        places = call("nonzero", reshape(mask, covered))
        result += [places[k] for k in range(mask.ndim)]
        axis += mask.ndim
    return result


def pick(x: Any, entries: Sequence[Any], advanced: Sequence[int], name: str | None) -> Value:
    """``x[entries]`` where those at ``advanced`` are integers or arrays of them, which broadcast together.

    Their axes stand where the first of them stood, or first where slices or new axes part them.
    """
    sliced = convert(x)[tuple(_FULL if i in advanced else entry for i, entry in enumerate(entries))]
    arrays = [convert(entries[i]) for i in advanced]
    if any(not array.dtype.is_integer for array in arrays):
        shown = ", ".join(str(array.type) for array in arrays)
        raise InvalidArgumentError(message("getitem", f"expected integers as indices, got {shown}", user_origin()))
    try:
        common = broadcast_dims(*arrays)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(message("getitem", f"indices: {error}", user_origin())) from None
    places = [expand_dims(broadcast_to(convert(array, int64), common), -1) for array in arrays]
    indices = call("concat", *places, axis=-1)
    rest = [axis for axis in range(sliced.ndim) if axis not in advanced]
    front = transpose(sliced, (*advanced, *rest))
    together = advanced[-1] - advanced[0] < len(advanced)
    before = advanced[0] if together else 0
    many = len(common)
    order = (*range(many, many + before), *range(many), *range(many + before, many + len(rest)))
    picked = call("gather_nd", front, indices, name=None if before else name)
    result: Value = transpose(picked, order, name=name) if before else picked
    return result
