"""``pyflow run``, ``inspect`` and ``bench`` on ONNX models."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from pyflow.cli import main

onnx = pytest.importorskip("onnx")

TEXT = """
<ir_version: 9, opset_import: ["" : 17], producer_name: "by hand">
net (float[batch, 4] x, float[batch, 3] shift) => (float[batch, 3] y)
<float[4,3] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2}>
{ hidden = MatMul(x, w)
  shifted = Add(hidden, shift)
  y = Tanh(shifted) }
"""


@pytest.fixture
def path(tmp_path):
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    np.save(tmp_path / "shift.npy", np.full((2, 3), -1, np.float32))
    return tmp_path / "net.onnx"


def call(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_run_reads_and_writes_arrays(path, tmp_path):
    done = call(
        *("run", path, "--input", f"x=@{tmp_path}/x.npy", "--input", f"shift=@{tmp_path}/shift.npy"),
        *("--output", f"y=@{tmp_path}/y.npy", "--output", f"hidden=@{tmp_path}/hidden.npy"),
        *("-o", f"{tmp_path}/all.npz", "--threads", 1),
    )
    assert done.exit_code == 0, done.output
    w = np.array([0.1 * i for i in range(1, 13)], np.float32).reshape(4, 3)
    np.testing.assert_allclose(np.load(tmp_path / "hidden.npy"), np.ones((2, 4)) @ w, rtol=1e-6)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), np.tanh(np.ones((2, 4)) @ w - 1), rtol=1e-6)
    np.testing.assert_array_equal(np.load(tmp_path / "all.npz")["y"], np.load(tmp_path / "y.npy"))


def test_run_takes_archives_tensors_and_values_in_the_middle(path, tmp_path):
    np.savez(tmp_path / "in.npz", x=np.ones((2, 4), np.float32), shift=np.zeros((2, 3), np.float32))
    assert call("run", path, "-i", f"@{tmp_path}/in.npz").exit_code == 0
    tensor = onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32), "shifted")
    (tmp_path / "shifted.pb").write_bytes(tensor.SerializeToString())
    done = call("run", path, "-i", f"shifted=@{tmp_path}/shifted.pb", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)["outputs"]["y"]
    assert told["shape"] == [2, 3] and told["max"] == 0


def test_run_shows_and_writes_sequences_and_text(tmp_path):
    text = """<ir_version: 9, opset_import: ["" : 17]> net (float[2] x, string[n] t) => (seq(float[n]) s, string[n] u)
        { s = SequenceConstruct(x, x) u = Identity(t) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    np.save(tmp_path / "t.npy", np.array(["one", "two", "six"]))
    done = call(
        *("run", tmp_path / "net.onnx", "--random", "-i", f"t=@{tmp_path}/t.npy"),
        *("-o", f"s=@{tmp_path}/s.npz", "-o", f"u=@{tmp_path}/u.npy", "-o", f"{tmp_path}/all.npz"),
    )
    assert done.exit_code == 0, done.output
    assert "'one' 'two' 'six'" in done.output and "s_1: float32[2]" in done.output
    assert np.load(tmp_path / "u.npy").tolist() == ["one", "two", "six"]
    assert set(np.load(tmp_path / "s.npz")) == {"s_0", "s_1"}
    assert set(np.load(tmp_path / "all.npz")) == {"s_0", "s_1", "u"}


def test_run_makes_inputs_by_chance(path):
    def shape(*words):
        done = call("run", path, "--random", "--json", *words)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)["outputs"]["y"]["shape"]

    assert shape("--define-dim", "batch=7") == [7, 3]
    assert shape("-i", f"x=@{path.parent}/x.npy") == [2, 3]


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("-i", "x=@{0}/x.npy"), 1, ("no value was given", "shift: float32[batch,3]", "--random")),
        (("-i", "xx=@{0}/x.npy"), 1, ("nothing is named 'xx'", "'x'")),
        (("-i", "x=@{0}/none.npy"), 2, ("that is there",)),
        (("-i", "x=1"), 2, ("NAME=@FILE",)),
        (("-i", "x=@{0}/net.onnx"), 2, ("no .npy",)),
        (("--random", "--define-dim", "bach=3"), 1, ("'bach'", "batch")),
        (("--random", "--define-dim", "batch"), 2, ("NAME=N",)),
        (("--random", "-o", "yy=@{0}/y.npy"), 1, ("nothing is named 'yy'", "'y'")),
        (("--random", "-o", "y.npy"), 2, ("NAME=@FILE.npy",)),
        (("--random", "--device", "abacus"), 1, ("abacus",)),
        (("-i", "x=@{0}/shift.npy", "-i", "shift=@{0}/shift.npy"), 1, ("x", "3", "4")),
    ],
)
def test_wrong_words_are_told(path, words, status, told):
    done = call("run", path, *(word.format(path.parent) for word in words))
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    for part in told:
        assert part in done.output


def test_files_that_are_no_models(path, tmp_path):
    (tmp_path / "half.onnx").write_bytes(path.read_bytes()[:40])
    for verb in ("run", "inspect", "bench"):
        done = call(verb, tmp_path / "half.onnx")
        assert done.exit_code == 1 and "half.onnx" in done.output, done.output
        assert call(verb, tmp_path / "none.onnx").exit_code == 2


def test_inspect_shows_the_model(path):
    done = call("inspect", path, "--nodes", "--define-dim", "batch=3")
    assert done.exit_code == 0, done.output
    for part in ("by hand", "float32[batch,4]", "12 float32", "48 B", "1 MatMul", "batch=3", "y = Tanh(shifted)"):
        assert part in done.output
    assert "matmul" in call("inspect", path, "--plan").output
    assert "arena" in call("inspect", path, "--memory").output
    told = json.loads(call("inspect", path, "--json").stdout)
    assert told["ops"] == {"Add": 1, "MatMul": 1, "Tanh": 1}
    assert told["dims"] == ["batch"] and told["peak_bytes"] >= 0 and not told["problems"]


def test_inspect_lists_nodes_that_cannot_be_imported(tmp_path):
    text = TEXT.replace("Tanh(shifted)", "local.Other(shifted)").replace('["" : 17]', '["" : 17, "local" : 1]')
    onnx.save(onnx.parser.parse_model(text), tmp_path / "net.onnx")
    done = call("inspect", tmp_path / "net.onnx")
    assert done.exit_code == 0 and "1 nodes cannot be imported" in done.output and "Other" in done.output
    assert call("run", tmp_path / "net.onnx", "--random").exit_code == 1


def test_bench_measures_apart(path):
    against = ["--against", "onnxruntime"] if pytest.importorskip("onnxruntime") else []
    done = call(
        *("bench", path, "--threads", 1, "--runs", 3, "--seconds", 0, "--warmup", 1, "--profile", "--json"), *against
    )
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)["engines"]
    assert (first["engine"], second["engine"]) == ("pyflow", "onnxruntime")
    assert first["runs"] == 3 and 0 < first["min_seconds"] <= first["median_seconds"] <= first["p90_seconds"]
    assert any("matmul" in step["kernel"] for step in first["steps"])
    shown = call("bench", path, "--threads", 1, "--runs", 3, "--seconds", 0, "--profile")
    assert "median" in shown.output and "matmul" in shown.output
