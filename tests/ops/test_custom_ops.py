"""Users' ops: Python functions in graphs, and what is said of functions and plugins that do not fit."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PyflowError,
    UnimplementedError,
)

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/examples/kernel/squared_distances.c"
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-ffp-contract=off")
X = np.array([3, -1, 2], np.float32)


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


@pytest.fixture
def x(graph: pf.Graph) -> Any:
    return pf.placeholder(pf.float32, ("n",), name="x")


@pytest.fixture(params=["cpu", "ref"])
def session(graph: pf.Graph, request: pytest.FixtureRequest) -> pf.Session:
    return pf.Session(graph, pf.SessionConfig(device=request.param))


def test_one_result_and_several(session: pf.Session, x: Any) -> None:
    ordered = pf.py_function(np.sort, [x], x.type)
    whole, signs, words = pf.py_function(
        lambda a: (np.floor(a), a > 0, ["less" if e < 0 else "more" for e in a]),
        [ordered],
        [x.type, (pf.bool, x.dims), (pf.string, x.dims)],
    )
    found = session.run([ordered * 2.0, whole, pf.logical_not(signs), pf.equal(words, "more")], {x: X})
    assert [array.tolist() for array in found] == [
        [-2, 4, 6],
        [-1, 2, 3],
        [True, False, False],
        [False, True, True],
    ]


def test_sizes_that_the_run_finds_out(session: pf.Session, x: Any) -> None:
    y = pf.py_function(lambda a: a[a > 0][:, None], [x], (pf.float32, (None, 1)))
    shown = pf.concat([y, y + 1.0], 0)
    for given in (X, X[:0], -X):
        kept = given[given > 0][:, None]
        np.testing.assert_array_equal(session.run(shown, {x: given}), np.concatenate([kept, kept + 1]))


def test_gradient(session: pf.Session, x: Any) -> None:
    y = pf.py_function(np.sin, [x], x.type, vjp=lambda node, gradient: (gradient * pf.cos(node.inputs[0]),))
    (slope,) = pf.gradients(pf.sum(y * y), [x])
    np.testing.assert_allclose(session.run(slope, {x: X}), np.sin(2 * X), rtol=1e-5)


def test_without_a_gradient(x: Any) -> None:
    y = pf.py_function(np.sin, [x], x.type)
    with pytest.raises(UnimplementedError, match="a Python function has no gradient"):
        pf.gradients(pf.sum(y), [x])
    stopped = pf.py_function(np.sin, [pf.stop_gradient(x)], x.type, vjp=lambda node, gradient: (gradient,))
    assert pf.gradients(pf.sum(stopped), [x]) == [None]


def test_stateful_ones_run_every_time_and_in_order(session: pf.Session) -> None:
    calls: list[str] = []

    def note(name: str) -> Callable[[], np.ndarray]:
        return lambda: np.float32(calls.append(name) or len(calls))

    first, second = note("first"), note("second")
    values = [
        pf.py_function(function, [], (pf.float32, ()), stateful=True) for function in (first, second, first, second)
    ]
    assert session.run(values) == [1, 2, 3, 4]
    assert calls == ["first", "second"] * 2
    assert session.run(values[1:2]) == [5]


def test_pure_ones_are_merged_and_folded(session: pf.Session) -> None:
    calls: list[int] = []

    def count(a: np.ndarray) -> np.ndarray:
        calls.append(1)
        return a

    c = pf.constant(X)
    y = pf.py_function(count, [c], c.type) + pf.py_function(count, [c], c.type)
    for _ in range(3):
        np.testing.assert_array_equal(session.run(y), X * 2)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (lambda a: a[:1], InvalidArgumentError, r"expected float32\[n\] \(n is 3\), got float32\[1\]"),
        (lambda a: a[None], InvalidArgumentError, r"expected float32\[n\], got float32\[1,3\]"),
        (lambda a: a.astype(np.float64), InvalidArgumentError, r"expected float32\[n\], got float64\[3\]"),
        (lambda a: (a, a), InvalidArgumentError, "gave 2 results, expected 1"),
        (lambda a: None, InvalidArgumentError, r"expected float32\[n\], got None"),
        (lambda a: 1 / 0, FailedPreconditionError, "ZeroDivisionError: division by zero"),
        (lambda a: [][0], PyflowError, "IndexError"),
    ],
    ids=["size", "rank", "dtype", "count", "None", "raises", "IndexError"],
)
def test_results_that_do_not_fit(
    session: pf.Session, x: Any, function: Any, kind: type[Exception], expected: str
) -> None:
    y = pf.py_function(function, [x], x.type)
    with pytest.raises(kind, match=rf"\[py_function\] .*{expected}.*test_custom_ops.py"):
        session.run(y, {x: X})
    np.testing.assert_array_equal(session.run(x + 1.0, {x: X}), X + 1)


def test_types_that_a_function_cannot_give(x: Any) -> None:
    with pytest.raises(DTypeError, match="no variant"):
        pf.py_function(np.sin, [x], (pf.variant, ()))
    with pytest.raises(TypeError, match="float33"):
        pf.py_function(np.sin, [x], ("float33", ()))


def _built(source: str, folder: Path, name: str) -> Path:
    (folder / f"{name}.c").write_text(source)
    library = folder / f"{name}.so"
    command = ["cc", *FLAGS, f"-I{pf.get_include()}", str(folder / f"{name}.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


BACKEND = """
#include "pyflow/backend.h"
static const pf_backend backend = {
    .struct_size = sizeof(pf_backend), .abi = PF_BACKEND_ABI + 41, .name = "of_another_abi"};
const pf_backend* pyflow_plugin_backend(int32_t index) { return index == 0 ? &backend : 0; }
"""


@pytest.mark.builds
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc")
def test_plugins_that_do_not_fit(tmp_path: Path) -> None:
    library = _built(BACKEND, tmp_path, "abi")
    with pytest.raises(FailedPreconditionError, match=r"built for ABI \d+ .*this pyflow has ABI"):
        pf.load_backend(library)
    assert "of_another_abi" not in pf.list_backends()
    with pytest.raises(InvalidArgumentError, match="exports neither"):
        pf.load_backend(_built("int nothing_of_ours(void);\nint nothing_of_ours(void) { return 0; }", tmp_path, "none"))
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(PyflowError):
        pf.load_backend(tmp_path / "text.so")
    with pytest.raises(NotFoundError, match="there is no file"):
        pf.load_backend(tmp_path / "absent.so")


@pytest.mark.builds
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no cc")
def test_the_kernel_of_the_page_is_loaded_once(tmp_path: Path) -> None:
    source = EXAMPLE.read_text().replace("squared_distances", "distances_of_this_test")
    library = _built(source, tmp_path, "distances")
    assert pf.load_backend(library) == ["distances_of_this_test"]
    with pytest.raises(PyflowError):
        pf.load_backend(_built(source, tmp_path, "distances_again"))
