"""The onnx package's own backend tests, through the normal path: load, session, run, on the cpu."""

from __future__ import annotations

import warnings

import pytest
from excluded import EXCLUDED
from suite import Case, cases

import pyflow as pf


def run(case: Case) -> None:
    """Raises unless every data set of the case gives what is expected."""
    graph = pf.onnx.load(case.model)
    with pf.Session(graph) as session:
        for inputs, expected in case.data_sets():
            feeds = dict(zip(graph.inputs, inputs, strict=False))
            case.compare(session.run(None, feeds), expected)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_backend(case: Case) -> None:
    reason = EXCLUDED.get(case.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if reason is None:
            run(case)
            return
        try:
            run(case)
        except Exception:
            pytest.xfail(reason)
    raise AssertionError(f"{case.name} passes; take it out of excluded.py: {reason}")


def test_excluded_tests_exist() -> None:
    assert {*EXCLUDED} <= {case.name for case in cases()}
