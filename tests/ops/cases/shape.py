"""Rows of ops that rearrange, join, cut and slice."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import ANY, Case, distinct, normal, sample
from pyflow.dims import fresh_late_symbol
from pyflow.opdef import call
from pyflow.ops.arrays.shape import pad

F64 = np.float64
WHOLE = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


def _sliced(key: Any, x: np.ndarray, label: str, **rest: Any) -> Case:
    return Case(
        lambda value: value[key], (x,), expected=lambda array, **_: array[key], label=f"getitem {label}", **rest
    )


def _reshape_like_shape(x: Any) -> Any:
    return call("reshape", x, [call("shape", x)[0], -1])


def _at_late_sizes(x: Any, rows: Any) -> Any:
    """Every size in it is told by the run."""
    return call("reshape", x, [rows, -1])[:rows, rows - 1 :]


def _as_sizes(x: Any) -> Any:
    return call("late_sizes", x, [fresh_late_symbol("size") for _ in range(3)])


def _equated(x: Any) -> Any:
    return call("equated", x, (3, x.dims[1]))


def _checked(x: Any) -> Any:
    return call("checked", x, x.dims[0], 3, "rows: got {} and {}", "reshape")


def _wide(x: np.ndarray, **_: Any) -> np.ndarray:
    return np.broadcast_to(x, (2, 3, 4))


_X = normal(4, 5, 6, dtype=F64)

CASES = [
    Case(_checked, (distinct(3, 2, dtype=F64),), expected=lambda x: x),
    Case(_equated, (distinct(3, 2, dtype=F64),), expected=lambda x: x),
    *(
        Case("reshape", (sample(2, 6, dtype=d),), {"shape": (3, 4)}, lambda x, **_: x.reshape(3, 4), symbolic=False)
        for d in ANY
    ),
    Case("reshape", (normal(2, 3, 4, dtype=F64),), {"shape": (-1, 4)}, lambda x, **_: x.reshape(-1, 4), symbolic=False),
    Case("reshape", (normal(0, 3),), {"shape": (3, 0)}, lambda x, **_: x.reshape(3, 0), symbolic=False),
    Case("reshape", (normal(1, 1),), {"shape": ()}, lambda x, **_: x.reshape(()), symbolic=False),
    Case(_reshape_like_shape, (normal(3, 2, 4, dtype=F64),), expected=lambda x, **_: x.reshape(3, 8)),
    Case(
        _at_late_sizes,
        (normal(3, 4, dtype=F64), np.array(2)),
        expected=lambda x, rows: x.reshape(rows, -1)[:rows, rows - 1 :],
    ),
    *(Case(_as_sizes, (np.array([3, 0, 5], d),), expected=lambda x: x, dtype=np.int64, symbolic=False) for d in WHOLE),
    *(Case("transpose", (sample(2, 3, 4, dtype=d),), {}, lambda x, **_: x.T) for d in ANY),
    Case("transpose", (normal(2, 3, 4, dtype=F64),), {"axes": (1, -1, 0)}, lambda x, **_: x.transpose(1, 2, 0)),
    Case("expand_dims", (normal(2, 3, dtype=F64),), {"axis": 1}, lambda x, **_: x[:, None]),
    Case("expand_dims", (normal(2, 3, dtype=F64),), {"axis": (0, -1)}, lambda x, **_: x[None, :, :, None]),
    Case("squeeze", (normal(2, 1, 3, 1, dtype=F64),), {}, lambda x, **_: x[:, 0, :, 0], symbolic=False),
    Case("squeeze", (normal(2, 1, 3, 1, dtype=F64),), {"axis": -1}, lambda x, **_: x[..., 0]),
    *(Case("broadcast_to", (sample(3, 1, dtype=d),), {"shape": (2, 3, 4)}, _wide) for d in ANY),
    Case("broadcast_to", (normal(3, 1, dtype=F64),), {"shape": (2, 3, 4)}, _wide),
    Case("broadcast_to", (normal(1),), {"shape": (0,)}, lambda x, **_: np.broadcast_to(x, (0,))),
    Case("flip", (normal(3, 4, dtype=F64),), {}, lambda x, **_: x[::-1, ::-1]),
    Case("flip", (normal(3, 4, dtype=F64),), {"axis": -1}, lambda x, **_: x[:, ::-1]),
    *(
        Case(
            pad,
            (sample(2, 3, dtype=d),),
            {"value": 1, "paddings": ((1, 2), (0, 3))},
            label="value 1",
            expected=lambda x, **_: np.pad(x, ((1, 2), (0, 3)), constant_values=1),
        )
        for d in ANY
    ),
    Case(
        lambda x, v: call("pad", x, v, (1, 0), (2, 1)),
        (normal(2, 3, dtype=F64), normal(dtype=F64)),
        label="pad",
        expected=lambda x, v, **_: np.pad(x, ((1, 2), (0, 1)), constant_values=v),
    ),
    Case(
        lambda x, v: call("pad", x, v, (-1, 2), (2, -1)),
        (normal(4, 3, dtype=F64), normal(dtype=F64)),
        label="crop",
        expected=lambda x, v, **_: np.pad(x[1:, :-1], ((0, 2), (2, 0)), constant_values=v),
    ),
    *(
        Case(
            lambda x, y: call("concat", x, y, axis=1),
            (sample(2, 3, dtype=d), sample(2, 1, dtype=d)),
            label="concat",
            expected=lambda x, y, **_: np.concatenate([x, y], 1),
        )
        for d in ANY
    ),
    Case(
        lambda x, y, z: call("concat", x, y, z, axis=-2),
        (normal(2, 3, dtype=F64), normal(0, 3, dtype=F64), normal(4, 3, dtype=F64)),
        label="concat",
        expected=lambda x, y, z, **_: np.concatenate([x, y, z]),
    ),
    Case(
        lambda x, y: call("stack", x, y, axis=-1),
        (normal(2, 3, dtype=F64), normal(2, 3, dtype=F64, seed=1)),
        label="stack",
        expected=lambda x, y, **_: np.stack([x, y], -1),
    ),
    Case("split", (normal(6, 2, dtype=F64),), {"sections": 3}, lambda x, **_: tuple(np.split(x, 3))),
    Case(
        "split",
        (normal(2, 6, dtype=F64),),
        {"sections": (1, -1, 2), "axis": 1},
        lambda x, **_: tuple(np.split(x, [1, 4], 1)),
    ),
    _sliced((2, slice(None), -1), _X, "ints"),
    _sliced((slice(1, 3), slice(None, -1), slice(2, None)), _X, "ranges"),
    _sliced((slice(None, None, 2), slice(4, None, -2), slice(None, None, -1)), _X, "steps"),
    _sliced((slice(3, None, -3), slice(1, None, 3)), _X, "uneven steps"),
    _sliced((slice(10, 20), slice(-100, 100), slice(2, 1)), _X, "clamped"),
    _sliced((Ellipsis, None, 0), _X, "ellipsis and new axis"),
    _sliced((None, 1, slice(None), None), _X, "new axes"),
    _sliced((slice(None), np.array([[0, 3], [4, 0]])), _X, "array"),
    _sliced((1, np.array([2, -1])), _X, "int beside array"),
    _sliced((), _X, "nothing"),
    Case("shape", (normal(2, 0, 3),), {}, lambda x, **_: np.array(x.shape), dtype=np.int64),
    Case("size", (normal(2, 3),), {}, lambda x, **_: np.array(x.size), dtype=np.int64),
    Case("rank", (normal(2, 3),), {}, lambda x, **_: np.array(x.ndim), dtype=np.int64),
    Case(
        lambda x: call("slice", x, (1, 5), (2, 3), (1, -2)),
        (distinct(4, 6, dtype=F64),),
        label="slice",
        expected=lambda x, **_: x[1:3, 5::-2],
    ),
]
