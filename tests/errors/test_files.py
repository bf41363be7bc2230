"""Files that are missing, truncated, altered, of another kind or of a newer version."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

import pyflow as pf
from pyflow import container, errors

FUZZ = int(os.environ.get("PYFLOW_FUZZ", "1"))


@pytest.fixture
def trained(graph, tmp_path):
    x = pf.placeholder(pf.float32, ("batch", 3), name="x")
    w = pf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2), name="w")
    graph.outputs = [pf.relu(x @ w + 0.5)]
    session = pf.Session(graph)
    session.run(pf.global_variables_initializer())
    return session


def test_checkpoint_round_trip_and_max_to_keep(trained, tmp_path):
    saver = pf.train.Saver(max_to_keep=2)
    for step in range(4):
        saver.save(trained, tmp_path / "model", global_step=step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model-2.safetensors", "model-3.safetensors"]
    assert pf.train.latest_checkpoint(tmp_path / "model") == str(tmp_path / "model-3.safetensors")
    before = trained.state.get("w")
    trained.state.set("w", np.zeros((3, 2), np.float32))
    saver.restore(trained, tmp_path / "model-3")
    np.testing.assert_array_equal(trained.state.get("w"), before)


def test_restore_what_does_not_fit(graph, trained, tmp_path, fails):
    saver = pf.train.Saver()
    path = saver.save(trained, tmp_path / "model")
    with fails(errors.NotFoundError, KeyError, "nothing", "no file"):
        saver.restore(trained, tmp_path / "nothing")
    other = pf.Graph()
    with other.as_default():
        pf.Variable(np.zeros((3, 2), np.float32), name="ww")
    with fails(errors.NotFoundError, KeyError, "'ww'", "w"):
        pf.train.Saver().restore(pf.Session(other), path)
    other = pf.Graph()
    with other.as_default():
        pf.Variable(np.zeros((2, 3), np.float32), name="w")
    session = pf.Session(other)
    with fails(errors.InvalidArgumentError, ValueError, "float32[2,3]", "[3, 2]"):
        pf.train.Saver().restore(session, path)
    with fails(errors.DataLossError, ValueError, "not a graph"):
        pf.load_graph(path)


def test_saving_without_values_and_into_a_missing_right(graph, tmp_path, fails):
    pf.Variable(np.zeros(2, np.float32), name="v")
    with fails(errors.FailedPreconditionError, RuntimeError, "v", "initializer"):
        pf.train.Saver().save(pf.Session(graph), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(trained, tmp_path, monkeypatch):
    saver = pf.train.Saver()
    path = saver.save(trained, tmp_path / "model")
    old = open(path, "rb").read()

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        saver.save(trained, tmp_path / "model")
    assert open(path, "rb").read() == old
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_newer_version_is_named(tmp_path, monkeypatch, fails):
    monkeypatch.setattr(container, "VERSION", 7)
    container.write(tmp_path / "file", "checkpoint", {"a": np.zeros(2)}, {})
    monkeypatch.setattr(container, "VERSION", 1)
    with fails(errors.FailedPreconditionError, RuntimeError, "version 7", "up to 1", "update"):
        container.read(tmp_path / "file", "checkpoint")


def test_graph_round_trip_with_weights(trained, tmp_path):
    graph = trained.graph
    graph.save(str(tmp_path / "model.graph"), trained)
    loaded = pf.load_graph(tmp_path / "model.graph")
    feed = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    want = trained.run(None, {"x": feed})[0]
    have = pf.Session(loaded).run(None, {"x": feed})[0]
    np.testing.assert_array_equal(have, want)
    assert loaded.dump() == graph.dump()


@pytest.mark.parametrize("kind", ["graph", "checkpoint"])
def test_fuzz_truncated_or_altered_files(trained, tmp_path, kind):
    path = tmp_path / "file"
    if kind == "graph":
        trained.graph.save(str(path), trained)
    else:
        path = pf.train.Saver().save(trained, path)
    data = open(path, "rb").read()
    values = {name: trained.state.get(name) for name in trained.state.names()}
    chance = random.Random(5)
    refused = 0
    for case in range(150 * FUZZ):
        altered = bytearray(data)
        if case % 3 == 0:
            altered = altered[: chance.randrange(len(data))]
        else:
            for _ in range(chance.choice([1, 1, 2, 8])):
                altered[chance.randrange(len(altered))] ^= 1 << chance.randrange(8)
        if bytes(altered) == data:
            continue
        broken = tmp_path / "broken"
        broken.write_bytes(altered)
        with pytest.raises((errors.DataLossError, errors.FailedPreconditionError)):
            if kind == "graph":
                pf.load_graph(broken)
            else:
                pf.train.Saver().restore(trained, broken)
        refused += 1
    assert refused > 100
    for name, value in values.items():
        np.testing.assert_array_equal(trained.state.get(name), value)
