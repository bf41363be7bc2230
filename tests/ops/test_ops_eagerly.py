"""Every row of ``cases`` on tensors: values, and gradients by finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from cases import CASES
from cases.case import Case
from test_ops import GRADIENTS, compare, rows, weights

import pyflow as pf
from pyflow import eager
from pyflow.opdef import FUNCTIONS


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of ops that only passes make are no legal graphs."""
    monkeypatch.setenv("PYFLOW_CHECK", "0")


def results_of(case: Case, operands: Sequence[Any]) -> list[Any]:
    """What the row's op gives for tensors; shapes and the like stay arrays, which a call is compiled for."""
    function = FUNCTIONS[case.op] if isinstance(case.op, str) else case.op
    if isinstance(case.op, str) and hasattr(pf, case.op):
        function = getattr(pf, case.op)
    made = eager.run(function, *operands, **case.attrs)
    return list(made) if isinstance(made, (tuple, list)) else [made]


@pytest.mark.parametrize("case", rows(CASES))
def test_on_tensors(case: Case) -> None:
    results = results_of(case, [pf.tensor(np.asarray(given)) for given in case.inputs])
    compare(case, [np.asarray(result.numpy()) for result in results])


STRIDED = [case for case in CASES if any(np.ndim(given) for given in case.inputs)]


@pytest.mark.parametrize("case", rows(STRIDED[::3]))
def test_on_windows(case: Case) -> None:
    """Operands that are every second column of larger tensors."""
    operands = []
    for given in map(np.asarray, case.inputs):
        if given.ndim and given.dtype.kind not in "OUST":
            wide = np.repeat(given, 2, axis=-1)
            operands.append(pf.from_numpy(wide)[..., ::2])
        else:
            operands.append(pf.tensor(given))
    compare(case, [np.asarray(result.numpy()) for result in results_of(case, operands)])


@pytest.mark.parametrize("case", rows(GRADIENTS))
def test_gradient(case: Case) -> None:
    """Backward along random directions is the central difference."""
    arrays = [np.asarray(given) for given in case.inputs]
    wanted = [i for i, array in enumerate(arrays) if array.dtype.kind == "f" and i not in case.constant]
    operands = [pf.tensor(array, requires_grad=i in wanted) for i, array in enumerate(arrays)]
    results = [result for result in results_of(case, operands) if result.dtype.is_floating]
    if not results:
        pytest.skip("no floating result")
    seeds = [weights(result.shape, i) for i, result in enumerate(results)]
    pairs = [(result, seed) for result, seed in zip(results, seeds, strict=True) if result.requires_grad]
    found: list[Any] = [None] * len(wanted)
    if pairs:
        sources = [operands[i] for i in wanted]
        found = eager.grad_of([result for result, _ in pairs], sources, [seed for _, seed in pairs])

    def weighted(moved: Sequence[Any]) -> float:
        made = [result for result in results_of(case, moved) if result.dtype.is_floating]
        return sum(float((r.numpy().astype(np.float64) * seed).sum()) for r, seed in zip(made, seeds, strict=True))

    step = 1e-6
    for place, index in enumerate(wanted):
        slope = np.zeros(arrays[index].shape) if found[place] is None else found[place].numpy()
        assert slope.shape == arrays[index].shape
        direction = np.random.default_rng([place, 7]).standard_normal(arrays[index].shape)

        def moved(by: float, index: int = index, direction: Any = direction) -> list[Any]:
            return [pf.tensor(a + by * direction if i == index else a) for i, a in enumerate(arrays)]

        up, down = weighted(moved(step)), weighted(moved(-step))
        scale = 1 + abs(slope * direction).sum()
        assert abs((slope * direction).sum() - (up - down) / (2 * step)) <= 2e-7 * scale + 2e-14 * abs(up) / step
