"""``pyflow verify`` on ONNX models names the first node that differs and writes it out."""

from __future__ import annotations

import dataclasses
import json
import shlex

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

import pyflow as pf
from pyflow.cli import main
from pyflow.opdef import OPS
from pyflow.passes import pipeline
from pyflow.runtime.verify import difference

onnx = pytest.importorskip("onnx")

from pyflow.onnx import table  # noqa: E402
from pyflow.onnx.extract import captured  # noqa: E402
from pyflow.onnx.verify import verify_model  # noqa: E402

TEXT = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[batch, 4] x) => (float[batch, 3] y, float[batch, 3] z)
<float[4,3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2}, float[3] b = {0.5, 0.25, 0}>
{ [product] hidden = MatMul(x, w)
  [bias] shifted = Add(hidden, b)
  [wrong] t = Tanh(shifted)
  [last] y = Exp(t)
  [other] z = Sin(y) }
"""
AGAINST = ["numpy", "reference", "onnxruntime"]


@pytest.fixture
def path(tmp_path):
    model = onnx.parser.parse_model(TEXT)
    model.graph.node[2].name = "wrong/one"
    onnx.save(model, tmp_path / "net.onnx")
    return str(tmp_path / "net.onnx")


@pytest.fixture
def wrong_tanh(monkeypatch):
    """The importer makes something else of Tanh."""
    right = table.find("", "Tanh", 13)
    monkeypatch.setitem(table._rows, ("", "Tanh"), {1: lambda node, x: right(node, x) * np.float32(1.25)})


@pytest.mark.parametrize("against", AGAINST)
def test_all_agree(path, tmp_path, against):
    if against == "onnxruntime":
        pytest.importorskip("onnxruntime")
    report = verify_model(path, against, sizes={"batch": 5}, folder=tmp_path / "out")
    assert report.agrees and report.first is None
    assert [row.value for row in report.rows] == ["hidden", "shifted", "t", "y", "z"]
    assert [row.value for row in report.outputs] == ["y", "z"]
    assert report.rows[0].type == "float32[5,3]"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("against", ["reference", "onnxruntime"])
def test_the_first_wrong_node_is_named_and_written(path, tmp_path, wrong_tanh, against):
    if against == "onnxruntime":
        pytest.importorskip("onnxruntime")
    report = verify_model(path, against, folder=tmp_path / "out")
    assert not report.agrees
    assert (report.first.node, report.first.op_type, report.first.value) == ("wrong/one", "Tanh", "t")
    assert report.first.difference.relative == pytest.approx(0.25)
    assert report.alone.relative == pytest.approx(0.25)
    folder = tmp_path / "out" / "wrong_one"
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx",
        "input_0_shifted.npy",
        "expected_0_t.npy",
        "result_0_t.npy",
    }
    alone = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(alone, full_check=True)
    assert [node.op_type for node in alone.graph.node] == ["Tanh"]
    given, want = np.load(folder / "input_0_shifted.npy"), np.load(folder / "expected_0_t.npy")
    np.testing.assert_allclose(np.tanh(given), want, rtol=1e-6)
    done = CliRunner().invoke(main, [*shlex.split(report.command)[1:], "-o", str(tmp_path / "again")])
    assert done.exit_code == 1, done.output
    assert "node 'wrong/one' (Tanh)" in done.output


def test_a_wrong_reference_is_told_too(path, tmp_path, monkeypatch):
    right = OPS["tanh"].ref
    object.__setattr__(OPS["tanh"], "ref", lambda x: right(x) + x.dtype.type(1))
    try:
        report = verify_model(path, folder=tmp_path / "out")
    finally:
        object.__setattr__(OPS["tanh"], "ref", right)
    assert report.first.node == "wrong/one"


def test_nodes_that_the_reference_cannot_run_are_told(path, tmp_path, monkeypatch):
    import onnx.reference

    class Limited(onnx.reference.ReferenceEvaluator):
        def __init__(self, proto, **options):
            if any(node.op_type == "Tanh" for node in proto.graph.node):
                raise NotImplementedError("Tanh")
            super().__init__(proto, **options)

    monkeypatch.setattr(onnx.reference, "ReferenceEvaluator", Limited)
    report = verify_model(path, "reference", folder=tmp_path / "out")
    assert report.agrees and report.skipped == ["t"]
    assert [row.value for row in report.rows] == ["hidden", "shifted", "y", "z"]
    shown = CliRunner().invoke(main, ["verify", path, "--against", "reference", "-o", str(tmp_path / "out")])
    assert shown.exit_code == 0 and "not compared" in shown.output


def test_a_plan_that_differs_only_when_optimised(path, tmp_path, monkeypatch):
    def wrong(region, target):
        if len(region.outputs) != 2:
            return region
        first = region.outputs[0]
        region.table.current = region.table.origins[first.node]
        with pf.graph.building(region.table):
            return dataclasses.replace(region, outputs=(first + 0.5, *region.outputs[1:]))

    rows = [dataclasses.replace(row, function=wrong) if row.name == "recognise" else row for row in pipeline.PIPELINE]
    monkeypatch.setattr(pipeline, "PIPELINE", tuple(rows))
    report = verify_model(path, "reference", folder=tmp_path / "out")
    assert report.first is None and not report.agrees
    assert report.within == "pass recognise"


def test_a_node_with_bodies_is_written_with_what_they_read(tmp_path, monkeypatch):
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[n] x, bool c) => (float[n] y)
    { doubled = Add(x, x)
      raised = Exp(doubled)
      [branch] y = If (c) <
        then_branch = a () => (float[n] p) { q = Abs(raised) p = Add(q, doubled) },
        else_branch = b () => (float[n] r) { r = Neg(raised) }> }
    """
    model = onnx.parser.parse_model(text)
    assert list(dict.fromkeys(captured(model.graph.node[2]))) == ["raised", "doubled"]
    if table.find("", "If", 17) is None:
        pytest.skip("If has no row")
    right = table.find("", "Abs", 13)
    monkeypatch.setitem(table._rows, ("", "Abs"), {1: lambda node, x: right(node, x) + np.float32(1)})
    feeds = {"x": np.ones(3, np.float32), "c": np.array(True)}
    report = verify_model(model, "reference", feeds, folder=tmp_path / "out")
    assert report.first.node == "branch"
    assert {file.name for file in (tmp_path / "out" / "branch").glob("input*")} == {
        "input_0_c.npy",
        "input_1_raised.npy",
        "input_2_doubled.npy",
    }


def test_exit_codes_and_json(path, tmp_path, wrong_tanh):
    def run(*words):
        return CliRunner().invoke(main, ["verify", path, "-o", str(tmp_path / "out"), *words])

    differs = run("--against", "reference", "--define-dim", "batch=3", "--json")
    assert differs.exit_code == 1
    told = json.loads(differs.stdout)
    assert told["first"]["node"] == "wrong/one" and told["first"]["type"] == "float32[3,3]"
    assert run("--against", "reference", "--tolerance", "10").exit_code == 0
    assert run("--against", "reference", "--define-dim", "batches=3").exit_code == 2
    assert run("--against", "torch").exit_code == 2
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    bad = CliRunner().invoke(main, ["verify", str(tmp_path / "bad.onnx")])
    assert bad.exit_code == 2 and "no ONNX model" in bad.output


def test_the_table_fits(path, wrong_tanh, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "72")
    done = CliRunner().invoke(main, ["verify", path, "--against", "reference", "-o", str(tmp_path / "out"), "--all"])
    tables = [line for line in done.output.splitlines() if line[:1] in "┏┃┡│└"]
    assert len(tables) > 8 and all(len(line) <= 72 for line in tables)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.complex64])
def test_one_step_is_one_ulp(dtype):
    ones = np.ones(3, dtype)
    next_one = np.array([1, 1, 1 + float(ml_dtypes.finfo(np.dtype(dtype)).eps)], dtype)
    assert difference(next_one, ones).ulp == 1
    assert difference(ones, ones).absolute == 0


def test_large_integers_and_text_differ_by_anything():
    assert difference(np.array([2**62 + 1]), np.array([2**62])).relative == np.inf
    assert difference(np.array(["a", "b"], object), np.array(["a", "c"], object)).relative == np.inf
    assert difference(np.array(["a"], object), np.array(["a"], object)).relative == 0


@pytest.mark.parametrize("against", AGAINST)
def test_a_wrong_kernel_is_found(path, tmp_path, monkeypatch, against):
    """The op is another's loop, so that what runs is wrong and what says in NumPy what is right is not."""
    if against == "onnxruntime":
        pytest.importorskip("onnxruntime")
    right = OPS["tanh"].scalar
    object.__setattr__(OPS["tanh"], "scalar", "sin")
    try:
        report = verify_model(path, against, sizes={"batch": 3}, folder=tmp_path / "out")
    finally:
        object.__setattr__(OPS["tanh"], "scalar", right)
    assert (report.first.node, report.first.op_type, report.first.value) == ("wrong/one", "Tanh", "t")
    assert report.first.difference.ulp > 1000 and report.alone.relative > 1e-3
    done = CliRunner().invoke(main, [*shlex.split(report.command)[1:], "-o", str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
