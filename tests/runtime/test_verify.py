"""`pyflow verify` names the pass, or the node, whose answer differs; the commands on saved graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

import pyflow as pf
from pyflow.cli import main
from pyflow.opdef import OPS
from pyflow.passes import pipeline
from pyflow.runtime.verify import difference, random_feeds, verify_graph


@pytest.fixture
def graph():
    made = pf.Graph()
    with made.as_default():
        x = pf.placeholder(pf.float32, ("batch", 4), name="x")
        w = pf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3) / 12, name="w")
        hidden = pf.tanh(x @ w + 0.5, name="hidden")
        made.outputs = [pf.softmax(hidden * 3.0), pf.dropout(hidden, 0.5)]
    return made


@pytest.fixture
def saved(graph, tmp_path):
    path = tmp_path / "model.graph"
    session = pf.Session(graph)
    with graph.as_default():
        session.run(pf.global_variables_initializer())
    graph.save(str(path), session)
    return str(path)


def test_all_agree(graph):
    report = verify_graph(graph, random_feeds(graph, {"batch": 5}))
    assert report.agrees, str(report)
    assert [row[0] for row in report.rows][-1] == "cpu"
    assert "all agree" in str(report)


def test_a_wrong_pass_is_named(graph, monkeypatch):
    def wrong(region, target):
        if not region.outputs:
            return region
        first = region.outputs[0]
        region.table.current = region.table.origins[first.node]
        with pf.graph.building(region.table):
            return dataclasses.replace(region, outputs=(first + 0.01, *region.outputs[1:]))

    rows = tuple(
        dataclasses.replace(row, function=wrong) if row.name == "recognise" else row for row in pipeline.PIPELINE
    )
    monkeypatch.setattr(pipeline, "PIPELINE", rows)
    report = verify_graph(graph, random_feeds(graph, {"batch": 3}))
    assert not report.agrees
    assert report.where == "pass recognise"


def test_a_wrong_kernel_is_named_with_its_line(graph, monkeypatch):
    right = OPS["tanh"].ref
    object.__setattr__(OPS["tanh"], "ref", lambda x: (right(x) + 0.25).astype(x.dtype))
    try:
        report = verify_graph(graph, random_feeds(graph, {"batch": 3}))
    finally:
        object.__setattr__(OPS["tanh"], "ref", right)
    assert not report.agrees
    assert "hidden" in report.where
    assert "test_verify.py:" in report.where
    assert "tanh" in report.where


def test_differences():
    same = np.array([1, np.nan, np.inf], np.float32)
    assert difference(same, same).relative == 0
    assert difference(same, np.array([1, 2, np.inf], np.float32)).relative == np.inf
    apart = difference(np.array([1 + 2**-23], np.float32), np.array([1], np.float32))
    assert apart.ulp == 1
    assert difference(np.array([1, 2]), np.array([1, 3])).absolute == 1


def test_commands_on_a_saved_graph(saved, tmp_path):
    run = CliRunner().invoke
    done = run(main, ["verify", saved, "--size", "batch=2"])
    assert done.exit_code == 0, done.output
    assert "all agree" in done.output
    assert "hidden" in run(main, ["inspect", saved]).output
    assert "matmul" in run(main, ["inspect", saved, "--plan"]).output
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    out = tmp_path / "out.npz"
    done = run(main, ["run", saved, "-i", f"x=@{tmp_path / 'x.npy'}", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert [array.shape for array in np.load(out).values()] == [(2, 3), (2, 3)]
    assert run(main, ["doctor"]).exit_code == 0


def test_commands_show_errors_without_a_traceback(saved, tmp_path):
    run = CliRunner().invoke
    broken = tmp_path / "broken"
    broken.write_bytes(b"no graph at all")
    done = run(main, ["inspect", str(broken)])
    assert done.exit_code == 1
    assert "truncated or altered" in done.output
    assert "Traceback" not in done.output
    np.save(tmp_path / "x.npy", np.ones((2, 5), np.float32))
    done = run(main, ["run", saved, "-i", f"x=@{tmp_path / 'x.npy'}"])
    assert done.exit_code == 1
    assert "x" in done.output
    assert run(main, ["run", saved, "-i", "x=1"]).exit_code == 2


def test_a_graph_that_writes_and_draws_agrees_again_and_again(tmp_path):
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("batch", 4), name="x")
        total = pf.Variable(np.zeros(4, np.float32), name="total")
        with graph.control_dependencies([total.assign(total + pf.sum(x, 0))]):
            after = total.value() * 2.0
        graph.outputs = [after, pf.random_normal((3,))]
    session = pf.Session(graph, pf.SessionConfig(auto_init=True))
    session.run(None, {x: np.ones((2, 4), np.float32)})
    path = str(tmp_path / "total.graph")
    graph.save(path, session)
    again = pf.load_graph(path)
    report = verify_graph(again, random_feeds(again, {}))
    assert report.agrees, str(report)


def test_the_node_is_found_after_one_whose_attributes_are_sizes():
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, ("batch", 4), name="x")
        noise = pf.random_uniform((x.shape[0], 4), seed=1, name="noise")
        graph.outputs = [pf.cos(x + noise, name="wrong")]
    right = OPS["cos"].ref
    object.__setattr__(OPS["cos"], "ref", lambda x: right(x) + x.dtype.type(1))
    try:
        report = verify_graph(graph, random_feeds(graph, {}))
    finally:
        object.__setattr__(OPS["cos"], "ref", right)
    assert not report.agrees
    assert "wrong" in report.where, str(report)
