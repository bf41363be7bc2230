"""The example backend, whose memory the host cannot read: ops run on it, or beside it with transfers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CASES
from cases.case import Case
from test_ops import rows, run_case

import pyflow as pf

pytestmark = pytest.mark.builds
SOURCE = Path(__file__).resolve().parents[2] / "docs/examples/backend/example.cpp"
FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-ffp-contract=off")


@pytest.fixture(scope="module", autouse=True)
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, loaded."""
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    library = tmp_path_factory.mktemp("plugin") / "example.so"
    subprocess.run(["c++", *FLAGS, f"-I{pf.get_include()}", str(SOURCE), "-o", str(library)], check=True)
    assert pf.load_backend(library) == ["example"]
    return library


def beside(graph: pf.Graph, fetches: Sequence[Any], feeds: Mapping[Any, Any]) -> list[np.ndarray]:
    with pf.Session(graph, pf.SessionConfig(device="example", allow_fallback=True)) as session:
        return [np.asarray(array) for array in session.run(list(fetches), dict(feeds))]


def _one_per_op() -> list[Case]:
    """Of each op and dtype of its first input, the row with most elements."""
    best: dict[Any, Case] = {}
    for case in CASES:
        first = np.asarray(case.inputs[0]) if case.inputs else np.zeros(0)
        key = (str(case.op), case.label, first.dtype, first.ndim)
        if key not in best or first.size > np.asarray(best[key].inputs[0] if case.inputs else 0).size:
            best[key] = case
    return [case for case in best.values() if case.symbolic]


@pytest.mark.parametrize("case", rows(_one_per_op()))
def test_ops_beside_it(case: Case) -> None:
    run_case(case, beside, symbolic=True)


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


def both(graph: pf.Graph, fetches: Any, feeds: Mapping[Any, Any], **config: Any) -> pf.Session:
    """Runs on it and on the cpu, asserts equal bits, gives the session."""
    on_cpu = pf.Session(graph, pf.SessionConfig(auto_init=True))
    there = pf.Session(graph, pf.SessionConfig(device="example", auto_init=True, **config))
    for _ in range(2):
        for have, want in zip(there.run(fetches, feeds), on_cpu.run(fetches, feeds), strict=True):
            np.testing.assert_array_equal(have, want)
    return there


def test_windows_joins_and_results_used_twice(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n", 4), name="x")
    y = pf.relu(x) * 2.0
    joined = pf.concat([y, pf.transpose(pf.reshape(x, (4, -1))), y[::-1]], axis=0) + 1.0
    fetches = [joined, pf.transpose(y), y[:, 1:3], pf.broadcast_to(y[:1], (3, 4)), x[::2], pf.identity(x)]
    values = np.arange(-8, 8, dtype=np.float32).reshape(4, 4)
    session = both(graph, fetches, {x: values})
    computed = [row for row in session.explain(fetches).rows if row.kernel == "elementwise"]
    assert computed
    assert {row.backend for row in computed} == {"example"}


def test_a_join_of_both_sides(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n", 4), name="x")
    parts = [pf.exp(x), pf.relu(x), x, pf.tanh(x)[:, :2]]
    both(
        graph,
        [pf.concat(parts, axis=1), pf.concat(parts[1:], axis=1)],
        {x: np.ones((3, 4), np.float32)},
        allow_fallback=True,
    )


def test_training(graph: pf.Graph) -> None:
    """Variables live on the host; what changes is sent anew, in every run."""
    x = pf.placeholder(pf.float32, ("n", 3), name="x")
    w = pf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2) / 4, name="w")
    y = x @ w
    (slope,) = pf.gradients(y, [w])
    step = w.assign(w - slope * 0.25)
    both(graph, [y, w, step], {x: np.arange(9, dtype=np.float32).reshape(3, 3)})


def test_a_variable_that_is_only_read_crosses_when_it_changed(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, (), name="x")
    w = pf.Variable(np.ones(3, np.float32), name="w")
    y = w * x
    session = both(graph, [y], {x: 2.0})
    assert [row.phase for row in session.explain(y).rows if row.kernel == "transfer"] == ["prepare", "run", "run"]
    session.run(w.assign([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(session.run(y, {x: 2.0}), [2, 4, 6])


def test_constants_spread_over_a_fed_size(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n", 2), name="x")
    ones = pf.broadcast_to(pf.constant(np.ones(2, np.float32)), pf.shape(x))
    fetches = [ones, pf.concat([ones, ones], axis=0), pf.transpose(ones) + 1.0]
    both(graph, fetches, {x: np.zeros((3, 2), np.float32)})


def test_a_trace_and_a_deadline(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n",), name="x")
    session = pf.Session(graph, pf.SessionConfig(device="example"))
    fetch = pf.relu(x)
    session.run(fetch, {x: np.ones(3, np.float32)}, pf.RunOptions(trace=True))
    assert session.last_trace is not None
    with pytest.raises(pf.errors.DeadlineExceededError):
        session.run(fetch, {x: np.ones(3, np.float32)}, pf.RunOptions(timeout=1e-9))


def test_other_dtypes_are_refused_by_name(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float64, ("n",), name="x")
    with pytest.raises(pf.errors.UnimplementedError, match="float32 only"):
        pf.Session(graph, pf.SessionConfig(device="example")).run(pf.relu(x), {x: np.ones(3)})


def test_it_is_loaded_once(example: Path) -> None:
    with pytest.raises(pf.errors.InvalidArgumentError, match="already is a backend 'example'"):
        pf.load_backend(example)
