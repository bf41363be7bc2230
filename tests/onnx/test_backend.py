"""The onnx package's own backend tests, through the normal path: load, session, run, on the cpu."""

from __future__ import annotations

import warnings

import pytest
from excluded import DRAWN, EXCLUDED, reason
from suite import Case, cases

import pyflow as pf


def run(case: Case) -> None:
    """Raises unless every data set of the case gives what is expected."""
    graph = pf.onnx.load(case.model)
    drawn = reason(case.name, DRAWN) is not None
    with pf.Session(graph) as session:
        for inputs, expected in case.data_sets():
            outputs = session.run(None, dict(zip(graph.inputs, inputs, strict=False)))
            if drawn:
                assert [(a.shape, a.dtype) for a in outputs] == [(a.shape, a.dtype) for a in expected]
            else:
                case.compare(outputs, expected)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_backend(case: Case) -> None:
    why = reason(case.name, EXCLUDED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if why is None:
            run(case)
            return
        try:
            run(case)
        except Exception:
            pytest.xfail(why)
    raise AssertionError(f"{case.name} passes; take it out of excluded.py: {why}")


def test_every_reason_is_that_of_a_test() -> None:
    names = [case.name for case in cases()]
    for table in (DRAWN, EXCLUDED):
        for pattern, why in table.items():
            assert any(reason(name, {pattern: why}) for name in names), pattern
