"""What the session runs, libpyflow and a generated library run, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aot_graphs import CASES, Case
from aot_libpyflow import Plan
from hosts import need

import pyflow as pf

pytestmark = pytest.mark.builds


def same(got: Any, expected: Any) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(
        got.view(np.uint8) if got.ndim else got, expected.view(np.uint8) if got.ndim else expected
    )


THREADS = (1, 2, 3)


def session_of(case: Case, threads: int) -> pf.Session:
    session = pf.Session(case.graph, pf.SessionConfig(threads=threads, seed=3))
    if case.initial is not None:
        session.run(case.initial)
    return session


@pytest.mark.parametrize("name", CASES)
def test_bits_are_the_same_everywhere(name: str, tmp_path: Path) -> None:
    """In a session, through libpyflow and ahead of time, at every size and number of threads."""
    need("c++")
    case = CASES[name]()
    sessions = {threads: session_of(case, threads) for threads in THREADS}
    made = pf.aot.compile(sessions[1], case.entries, tmp_path, "model", emit="shared", max_sizes=case.max_sizes)
    sessions[1].save_plan(tmp_path / "model.plan", case.entries)
    artefacts = {threads: made.load() for threads in THREADS}
    plans = {threads: Plan(tmp_path / "model.plan") for threads in THREADS}
    for size in case.sizes:
        random = np.random.default_rng(size)
        for _ in range(2):
            for entry, arrays in case.feeds(random, size).items():
                inputs, outputs = case.entries[entry]

                def run(threads: int, feeds: Any = arrays, inputs: Any = inputs, outputs: Any = outputs) -> list[Any]:
                    results = sessions[threads].run(list(outputs), dict(zip(inputs, feeds, strict=True)))
                    return [value for value in results if value is not None]

                expected = run(1)
                for threads in THREADS:
                    ways = (run(threads),) if threads > 1 else ()
                    ways += (artefacts[threads][entry].run(arrays, threads), plans[threads].run(entry, arrays, threads))
                    for got in ways:
                        assert len(got) == len(expected)
                        for mine, theirs in zip(got, expected, strict=True):
                            same(mine, theirs)
    for variable in artefacts[1].variables:
        if sessions[1].state.has(variable):
            for threads in THREADS:
                same(artefacts[threads].get(variable), sessions[1].state.get(variable))
