"""Rows of a table by index, and their sums per bag."""

from __future__ import annotations

from typing import Any

from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.opdef import call
from pyflow.ops.arrays.indexing import gather, iota, scatter_add
from pyflow.ops.arrays.shape import expand_dims, reshape

__all__ = ["embedding", "embedding_bag"]


def _fail(op: str, what: str, hint: str = "") -> InvalidArgumentError:
    return InvalidArgumentError(message(op, what, user_origin(), hint))


def embedding(indices: Any, table: Any, padding_idx: int | None = None, *, name: str | None = None) -> Value:
    """The rows of ``table`` [rows, D] at ``indices`` (integers of any shape); no gradient flows to ``padding_idx``."""
    rows, at = convert(table), convert(indices)
    if rows.ndim != 2:
        raise _fail("embedding", f"expected a table [rows, D], got {rows.type}")
    found = gather(rows, at, 0, name=name if padding_idx is None else None)
    if padding_idx is None:
        return found  # type: ignore[no-any-return]
    fixed = expand_dims(call("equal", at, padding_idx), at.ndim)
    result: Value = call("where", fixed, call("stop_gradient", found), found, name=name)
    return result


def embedding_bag(
    indices: Any,
    table: Any,
    offsets: Any = None,
    mode: str = "mean",
    per_sample_weights: Any = None,
    padding_idx: int | None = None,
) -> Value:
    """Rows of ``table`` [rows, D] reduced per bag: [bags, D].

    indices: integers [bags, length], or [count] with ``offsets`` [bags], ascending: where each bag begins.
    mode: "sum", "mean" or "max" (of [bags, length]). per_sample_weights: of the shape of indices, for "sum".
    padding_idx: does not count. An empty bag gives 0.
    """
    op, rows, at = "embedding_bag", convert(table), convert(indices)
    if mode not in ("sum", "mean", "max") or at.ndim != (2 if offsets is None else 1) or rows.ndim != 2:
        raise _fail(
            op, f"expected a table of 2 axes and indices [bags, length], or [count] with offsets; got {at.type}"
        )
    if (mode == "max" and offsets is not None) or (per_sample_weights is not None and mode != "sum"):
        raise _fail(op, f"mode {mode!r} takes no offsets or weights", "use mode 'sum'")
    found = gather(rows, at, 0)
    counted = expand_dims(call("not_equal", at, -1 if padding_idx is None else padding_idx), at.ndim)
    if mode == "max":
        kept = call("max", call("where", counted, found, float("-inf")), 1)
        return call("where", kept == float("-inf"), 0, kept)  # type: ignore[no-any-return]
    if per_sample_weights is not None:
        found = found * expand_dims(convert(per_sample_weights), at.ndim)
    found = call("where", counted, found, 0)
    shares = call("cast", counted, rows.dtype)
    if offsets is None:
        total, count = call("sum", found, 1), call("sum", shares, 1)
    else:
        begins = convert(offsets)
        began = call("less_equal", begins, reshape(iota(at.dims[0], begins.dtype), (-1, 1)))
        bag = call("sum", call("cast", began, "int64"), 1) - 1
        total, count = (scatter_add(bag, part, begins.dims[0], 0) for part in (found, shares))
    result: Value = total if mode == "sum" else total / call("maximum", count, 1)
    return result
