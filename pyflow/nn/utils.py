"""PyTorch's helpers around modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyflow as pf
from pyflow.optim.gradients import clip_grad_norm_, clip_grad_value_

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Any]) -> Any:
    """All elements of ``parameters`` on one axis."""
    return pf.concatenate([pf.reshape(parameter, (-1,)) for parameter in parameters])


def vector_to_parameters(vector: Any, parameters: Iterable[Any]) -> None:
    """Sets ``parameters`` to the elements of ``vector``, as :func:`parameters_to_vector` gave them."""
    at = 0
    with pf.no_grad():
        for parameter in parameters:
            parameter.copy_(pf.reshape(vector[at : at + parameter.size], parameter.shape))
            at += parameter.size
