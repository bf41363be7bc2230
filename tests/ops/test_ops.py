"""Every row of ``cases`` on every backend, with known and with symbolic dims; gradients by finite differences."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from cases import CASES
from cases.case import Case

import pyflow as pf
from pyflow import _core, constant, placeholder
from pyflow.gradients import gradients
from pyflow.graph import Graph
from pyflow.interpret import evaluate_graph
from pyflow.opdef import FUNCTIONS

Run = Callable[[Graph, Sequence[Any], Mapping[Any, Any]], "list[np.ndarray]"]


def build(case: Case, graph: Graph, symbolic: bool, inputs: Sequence[Any]) -> tuple[list[Any], dict[Any, Any]]:
    """(results, feeds): the row's op on placeholders."""
    values, feeds = [], {}
    for index, given in enumerate(inputs):
        array = np.asarray(given)
        if index in case.constant:
            values.append(constant(array))
            continue
        shape = [f"d{size}" if symbolic else size for size in array.shape]
        values.append(placeholder(array.dtype, shape, name=f"x{index}"))
        feeds[values[-1]] = array
    function = FUNCTIONS[case.op] if isinstance(case.op, str) else case.op
    made = function(*values, **case.attrs)
    return list(made) if isinstance(made, (tuple, list)) else [made], feeds


def by_ref(graph: Graph, fetches: Sequence[Any], feeds: Mapping[Any, Any]) -> list[np.ndarray]:
    return evaluate_graph(graph, fetches, feeds)


def by_session(graph: Graph, fetches: Sequence[Any], feeds: Mapping[Any, Any]) -> list[np.ndarray]:
    with pf.Session(graph) as session:
        return [np.asarray(array) for array in session.run(list(fetches), dict(feeds))]


def compare(case: Case, results: Sequence[np.ndarray]) -> None:
    """``results`` are what the row expects: dtype, shape and values."""
    if case.dtype is not None:
        assert results[0].dtype == np.dtype(case.dtype)
    if case.check is not None:
        case.check(results, case.inputs)
    if case.expected is None:
        return
    widened = [a.astype(np.float64) if (a := np.asarray(given)).dtype.kind == "f" else a for given in case.inputs]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        made = case.expected(*widened, **case.attrs)
    expected = list(made) if isinstance(made, tuple) else [made]
    assert len(results) == len(expected)
    for result, wanted in zip(results, expected, strict=True):
        assert result.shape == np.shape(wanted)
        near = {"float32": (2e-6, 0.0), "float64": (1e-13, 0.0)}.get(result.dtype.name, (0.0, 0.0))
        rtol = near[0] if case.rtol is None else case.rtol
        atol = near[1] if case.atol is None else case.atol
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(result, np.asarray(wanted).astype(result.dtype), rtol=rtol, atol=atol)


def run_case(case: Case, run: Run, symbolic: bool) -> None:
    graph = Graph()
    with graph.as_default():
        fetches, feeds = build(case, graph, symbolic, case.inputs)
        results = run(graph, fetches, feeds)
    for fetch, result in zip(fetches, results, strict=True):
        assert result.dtype == fetch.dtype.numpy, "the inferred dtype is not the result's"
        assert result.ndim == fetch.ndim
        for size, number in zip(fetch.dims, result.shape, strict=True):
            assert not isinstance(size, int) or size == number, "the inferred dims are not the result's"
    compare(case, results)


def rows(cases: Sequence[Case]) -> list[Any]:
    return [pytest.param(case, id=case.id) for case in cases]


SYMBOLIC = [case for case in CASES if case.symbolic]


@pytest.mark.parametrize("case", rows(CASES))
def test_ref(case: Case) -> None:
    run_case(case, by_ref, symbolic=False)


@pytest.mark.parametrize("case", rows(SYMBOLIC))
def test_ref_with_symbolic_dims(case: Case) -> None:
    run_case(case, by_ref, symbolic=True)


@pytest.fixture(params=_core.cpu_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each ISA level that this machine runs."""
    before = _core.selected_isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


@pytest.mark.parametrize("case", rows(CASES))
def test_cpu(case: Case, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFLOW_CHECK", "0")  # rows of ops that only passes make are no legal graphs
    run_case(case, by_session, symbolic=False)


@pytest.mark.parametrize("case", rows(SYMBOLIC))
def test_cpu_with_symbolic_dims(case: Case) -> None:
    run_case(case, by_session, symbolic=True)


def _differentiable(case: Case) -> bool:
    arrays = [np.asarray(given) for given in case.inputs]
    floating = [a for i, a in enumerate(arrays) if a.dtype.kind == "f" and i not in case.constant]
    return (
        case.gradient
        and any(a.size for a in floating)
        and all(a.dtype == np.float64 and np.isfinite(a).all() for a in floating)
    )


GRADIENTS = [case for case in CASES if _differentiable(case)]


def weights(shape: Sequence[Any], seed: int) -> np.ndarray | None:
    """What flows into a result of this shape; None (ones) where its size is known to the run only."""
    if not all(isinstance(size, int) for size in shape):
        return None
    return np.random.default_rng(seed).standard_normal(tuple(shape))


@pytest.mark.parametrize("case", rows(GRADIENTS))
def test_gradient_by_finite_differences(case: Case) -> None:
    """The gradient along directions equals the central difference; None stands for 0."""
    graph = Graph()
    with graph.as_default():
        results, feeds = build(case, graph, False, case.inputs)
        results = [result for result in results if result.dtype.is_floating]
        if not results:
            pytest.skip("no floating result")
        seeds = [weights(result.dims, i) for i, result in enumerate(results)]
        sources = [value for value in feeds if value.dtype.is_floating]
        given = [
            None if seed is None else constant(seed, result.dtype) for seed, result in zip(seeds, results, strict=True)
        ]
        slopes = gradients(results, sources, given)
    for source, slope in zip(sources, slopes, strict=True):
        assert slope is None or (slope.dtype is source.dtype and slope.dims == source.dims)
    found = iter(evaluate_graph(graph, [slope for slope in slopes if slope is not None], feeds))
    found_slopes = [
        np.zeros(feeds[x].shape) if slope is None else next(found) for x, slope in zip(sources, slopes, strict=True)
    ]

    def weighted(moved: Mapping[Any, Any]) -> float:
        made = evaluate_graph(graph, results, moved)
        pairs = zip((array.astype(np.float64) for array in made), seeds, strict=True)
        return sum(float((array * (1 if seed is None else seed)).sum()) for array, seed in pairs)

    step = 1e-6
    for source, gradient in zip(sources, found_slopes, strict=True):
        for turn in range(3):
            direction = np.random.default_rng([turn, 7]).standard_normal(feeds[source].shape)
            up = weighted({**feeds, source: feeds[source] + step * direction})
            down = weighted({**feeds, source: feeds[source] - step * direction})
            scale = 1 + abs(gradient * direction).sum()
            assert abs((gradient * direction).sum() - (up - down) / (2 * step)) <= 2e-7 * scale + 2e-14 * abs(up) / step
