"""Parameter: a tensor that a module learns."""

from __future__ import annotations

from typing import Any

import pyflow as pf


class _Kind(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, pf.Tensor) and value._is_parameter


class Parameter(metaclass=_Kind):
    """``Parameter(data, requires_grad=True)``: a tensor of a copy of ``data``, which becomes a parameter of the module
    it is assigned to. It is a :class:`pyflow.Tensor`; ``isinstance(x, Parameter)`` tells them apart.

    data: what :func:`pyflow.tensor` takes; floating or complex unless ``requires_grad`` is False.
    """

    def __new__(cls, data: Any, requires_grad: bool = True, dtype: Any = None) -> Any:
        made = pf.tensor(data, dtype, requires_grad)
        made._is_parameter = True
        return made
