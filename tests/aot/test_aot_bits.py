"""What the session runs, a generated library runs, bit for bit, at every size."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aot_graphs import CASES, Case
from aot_libpyflow import Plan

import pyflow as pf

pytestmark = pytest.mark.builds


def same(got: Any, expected: Any) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(
        got.view(np.uint8) if got.ndim else got, expected.view(np.uint8) if got.ndim else expected
    )


def session_of(case: Case) -> pf.Session:
    session = pf.Session(case.graph, pf.SessionConfig(threads=1, seed=3))
    if case.initial is not None:
        session.run(case.initial)
    return session


def compiled(case: Case, session: pf.Session, folder: Path, name: str = "model", **options: Any) -> pf.aot.Artefact:
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    options = {"max_sizes": case.max_sizes, **options}
    return pf.aot.compile(session, case.entries, folder, name, **options)


@pytest.mark.parametrize("name", CASES)
def test_bits_are_those_of_the_session_and_of_libpyflow(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    session = session_of(case)
    loaded = compiled(case, session, tmp_path, emit="shared").load()
    session.save_plan(tmp_path / "model.plan", case.entries)
    plan = Plan(tmp_path / "model.plan")
    for size in case.sizes:
        random = np.random.default_rng(size)
        for _ in range(2):
            for entry, arrays in case.feeds(random, size).items():
                inputs, outputs = case.entries[entry]
                expected = session.run(list(outputs), dict(zip(inputs, arrays, strict=True)))
                expected = [value for value in expected if value is not None]
                for got in (loaded[entry].run(arrays), plan.run(entry, arrays)):
                    assert len(got) == len(expected)
                    for mine, theirs in zip(got, expected, strict=True):
                        same(mine, theirs)
    for variable in loaded.variables:
        if session.state.has(variable):
            same(loaded.get(variable), session.state.get(variable))


@pytest.mark.parametrize(("name", "size"), [("mlp", 900), ("cnn", 40), ("statistics", 20000), ("block", 90)])
def test_bits_do_not_depend_on_threads(name: str, size: int, tmp_path: Path) -> None:
    case = CASES[name]()
    session = session_of(case)
    loaded = compiled(case, session, tmp_path, emit="shared").load()
    session.save_plan(tmp_path / "model.plan", case.entries)
    plan = Plan(tmp_path / "model.plan")
    ((entry, arrays),) = case.feeds(np.random.default_rng(0), size).items()
    inputs, outputs = case.entries[entry]
    expected = session.run(list(outputs), dict(zip(inputs, arrays, strict=True)))
    for threads in (1, 2, 3):
        for got in (loaded[entry].run(arrays, threads), plan.run(entry, arrays, threads)):
            for mine, theirs in zip(got, expected, strict=True):
                same(mine, theirs)
