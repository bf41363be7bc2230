"""The C++ part of ``pyflow demo``: it gives the session's bits, and says what it lacks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hosts import need, not_sanitized

import pyflow as pf
from pyflow.demo.ahead import run_ahead, why_not
from pyflow.demo.model import build_digits


@pytest.mark.builds
@not_sanitized
def test_the_program_gives_the_sessions_bits(tmp_path: Path) -> None:
    need("c++")
    if (why := why_not()) is not None:
        pytest.skip(why)
    model = build_digits()
    images = np.random.default_rng(0).standard_normal((7, 1, 8, 8)).astype(np.float32)
    with pf.Session(model.graph) as session:
        session.run(model.initialise)
        ahead = run_ahead(model, session, images, tmp_path)
    assert ahead.same_bits and ahead.values == 70
    assert 0 < ahead.code_bytes <= 200_000
    assert min(ahead.weight_bytes, ahead.start_seconds, ahead.latency_seconds) > 0


def test_what_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    for tool, words in (("c++", "C++ compiler"), ("cmake", "pip install cmake"), ("ninja", "pip install ninja")):
        assert words in (why_not() or "")
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    assert why_not() is None


@pytest.mark.builds
@not_sanitized
def test_a_narrow_mlp_is_small(tmp_path: Path) -> None:
    need("c++")
    graph = pf.Graph()
    with graph.as_default():
        x = value = pf.placeholder(pf.float32, ("batch", 16), name="x")
        for inputs, outputs in ((16, 32), (32, 32), (32, 4)):
            value = value @ pf.constant(np.ones((inputs, outputs), np.float32))
            value = pf.relu(value + pf.constant(np.zeros(outputs, np.float32)))
    with pf.Session(graph) as session:
        made = pf.aot.compile(session, {"predict": ([x], [value])}, tmp_path, "mlp")
    weights = json.loads(made.manifest.read_text())["weights"]["bytes"]
    assert (tmp_path / "libmlp.so").stat().st_size - weights <= 80_000
