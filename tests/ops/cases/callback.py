"""Rows of Python functions in graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, normal


def squares(x: Any) -> Any:
    return pf.py_function(np.square, [x], x.type, vjp=lambda node, gradient: (2.0 * gradient * node.inputs[0],))


def kept(x: Any) -> Any:
    return pf.py_function(lambda a: a[a > 0], [x], (x.dtype, (None,)))


CASES = [
    Case(squares, (normal(3, 5, dtype=np.float64),), expected=np.square),
    Case(squares, (normal(0, 5),), expected=np.square),
    Case(kept, (normal(7),), expected=lambda x: x[x > 0], gradient=False),
]
