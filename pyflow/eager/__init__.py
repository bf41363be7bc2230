"""Define by run: ops on tensors run when they are called, on the kernels that sessions use.

``pf.tensor`` makes the difference: an op function that is given a tensor runs at once and gives tensors; given graph
values, arrays and numbers only, it adds to the default graph. See docs/eager.md.
"""

from collections.abc import MutableMapping, Sequence
from types import ModuleType
from typing import Any

from pyflow.eager import flow, methods, quick
from pyflow.eager.backward import GradientTape, grad, grad_of
from pyflow.eager.dispatch import run, seed
from pyflow.eager.function import function
from pyflow.eager.tape import detect_anomaly, enable_grad, is_grad_enabled, no_grad
from pyflow.eager.tensor import Tensor, from_dlpack, from_numpy, tensor

__all__ = [
    "GradientTape",
    "Tensor",
    "detect_anomaly",
    "enable_grad",
    "from_dlpack",
    "from_numpy",
    "function",
    "grad",
    "grad_of",
    "install",
    "is_grad_enabled",
    "no_grad",
    "run",
    "seed",
    "tensor",
]


COMPOSED = ("ctc_loss", "gru", "lstm", "rnn", "sequence_map")
"""Functions of loops that take tensors as op functions do."""


def install(names: MutableMapping[str, Any], functions: Sequence[str], namespaces: Sequence[ModuleType]) -> None:
    """Makes the op functions in ``names`` and ``namespaces`` take tensors, and gives tensors their methods."""
    quick.install(names, (*functions, *COMPOSED), namespaces)
    names.update({name: flow.chosen(name, names[name]) for name in flow.EAGER})
    methods.install({name: names[name] for name in functions})
