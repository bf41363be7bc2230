"""Where values come from, and sizes as values."""

from __future__ import annotations

from typing import Any

import numpy as np

from cases.case import ANY, Case, normal, sample
from pyflow import constant, placeholder_with_default, rank, size
from pyflow.opdef import call


def _plus_constant(x: Any) -> Any:
    return x + constant([1, 2, 3], dtype=x.dtype)


def _with_default(x: Any) -> Any:
    return placeholder_with_default(x, name="given") * 2


def _sizes(x: Any) -> Any:
    return call("sizes", (*x.dims, 7)), call("sizes", (x.dims[0],), scalar=True)


CASES = [
    *[Case(constant, (), {"value": sample(2, 3, dtype=dtype)}, lambda value: value, dtype=dtype) for dtype in ANY],
    Case(_plus_constant, (normal(4, 3, dtype=np.float64),), {}, lambda x: x + np.array([1, 2, 3])),
    Case(_with_default, (normal(5, dtype=np.float64),), {}, lambda x: x * 2),
    Case(_sizes, (normal(4, 3),), {}, lambda x: (np.array([4, 3, 7]), np.array(4)), dtype=np.int64),
    Case(size, (normal(4, 3, dtype=np.float64),), {}, lambda x: 12, dtype=np.int64),
    Case(rank, (normal(4, 3, dtype=np.float64),), {}, lambda x: 2, dtype=np.int64),
    Case("advance_key", (np.array([5, 7]),), {}, lambda key: [5, 8], dtype=np.int64),
]
