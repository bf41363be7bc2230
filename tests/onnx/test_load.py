"""``pf.onnx.load``: names, feeds and fetches, symbols, data beside the model, versions, functions, problems."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest

import pyflow as pf

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper, parser  # noqa: E402

import pyflow.onnx  # noqa: E402
from pyflow.stored import HUGE, StoredFile, block  # noqa: E402

HEAD = '<ir_version: 9, opset_import: ["" : 17, "local" : 1]>'
NET = """g (float[batch, 4] x) => (float[batch, 2] y, float[batch, 2] z)
    <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
    { h = MatMul(x, w)
      t = Tanh(h)
      y = Add(t, h)
      z = Sub(t, h) }"""


def parsed(text: str, head: str = HEAD) -> onnx.ModelProto:
    return parser.parse_model(f"{head} {text}")


def run(model, feeds, fetches=None):
    return pf.Session(pyflow.onnx.load(model), pf.SessionConfig(threads=1)).run(fetches, feeds)


W = np.arange(1, 9, dtype=np.float32).reshape(4, 2)


def test_path_bytes_and_proto_give_the_same(tmp_path):
    model = parsed(NET)
    onnx.save(model, tmp_path / "net.onnx")
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    h = x @ W
    for form in (tmp_path / "net.onnx", str(tmp_path / "net.onnx"), model.SerializeToString(), model):
        y, z = run(form, {"x": x})
        np.testing.assert_allclose(y, np.tanh(h) + h, rtol=1e-5)
        np.testing.assert_allclose(z, np.tanh(h) - h, rtol=1e-5)


def test_every_value_is_fetched_and_fed_by_its_name():
    graph = pyflow.onnx.load(parsed(NET))
    assert {"x", "w", "h", "t", "y", "z"} <= set(graph.aliases)
    session = pf.Session(graph, pf.SessionConfig(threads=1))
    ones = np.ones((1, 4), np.float32)
    h, w = session.run(["h", "w"], {"x": ones})
    np.testing.assert_array_equal(h, ones @ W)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(session.run("y", {"h": np.zeros((2, 2), np.float32)}), np.zeros((2, 2)))
    np.testing.assert_array_equal(session.run("h", {"x": ones, "w": np.zeros((4, 2), np.float32)}), np.zeros((1, 2)))
    assert [value.node.name for value in graph.inputs] == ["x"]


@pytest.mark.parametrize("name", ["/layer.0/Mul_output_0", "x:0", "onnx::Add_12", "a b", "1", "ä", "x", "Tanh_0"])
def test_odd_names_are_kept(name):
    node = helper.make_node("Tanh", ["in"], [name], name="Tanh_0")
    last = helper.make_node("Neg", [name], ["out"], name=name)
    graph = helper.make_graph(
        [node, last],
        "g",
        [helper.make_tensor_value_info("in", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    x = np.array([0.5, -1], np.float32)
    middle, out = run(model, {"in": x}, [name, "out"])
    np.testing.assert_allclose(middle, np.tanh(x), rtol=1e-6)
    np.testing.assert_array_equal(out, -middle)
    np.testing.assert_array_equal(run(model, {name: x}, "out"), -x)


def test_unknown_sizes_of_inputs_with_odd_names_are_told_apart():
    names = ["a b", "a_b", "a/b", "a.b", "\x01"]
    graph = helper.make_graph(
        [helper.make_node("Concat", names, ["out"], axis=0)],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in names],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    feeds = {name: np.full(i, i, np.float32) for i, name in enumerate(names)}
    assert run(model, feeds)[0].tolist() == [1, 2, 2, 3, 3, 3, 4, 4, 4, 4]


def test_dim_params_are_symbols_and_one_plan_serves_all_sizes():
    text = """g (float[batch, n] x, float[batch, m] y) => (float[batch, k] z)
        { z = Concat <axis: int = 1> (x, y) }"""
    graph = pyflow.onnx.load(parsed(text))
    assert [str(size) for size in graph.inputs[0].shape] == ["batch", "n"]
    assert str(graph.outputs[0].shape[0]) == "batch"
    with pf.Session(graph, pf.SessionConfig(threads=1)) as session:
        for batch, n, m in ((1, 2, 3), (0, 1, 1), (5, 7, 2)):
            z = session.run(None, {"x": np.ones((batch, n), np.float32), "y": np.zeros((batch, m), np.float32)})[0]
            assert z.shape == (batch, n + m)
        assert session.stats.compiles == 1
        with pytest.raises(pf.errors.InvalidArgumentError, match="batch"):
            session.run(None, {"x": np.ones((2, 1), np.float32), "y": np.ones((3, 1), np.float32)})


def test_shapes_replace_what_the_model_declares():
    graph = pyflow.onnx.load(parsed(NET), shapes={"x": (3, 4)})
    assert graph.inputs[0].shape == (3, 4) and graph.outputs[0].shape == (3, 2)
    with pytest.raises(pf.errors.NotFoundError, match="xx"):
        pyflow.onnx.load(parsed(NET), shapes={"xx": (3, 4)})


def test_data_beside_the_model_is_mapped(tmp_path):
    model = parsed(NET)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(W, "w"))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    graph = pyflow.onnx.load(tmp_path / "net.onnx")
    held = graph.get_tensor_by_name("w").node.attrs["value"].array
    base = held
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap) and base.filename == str(tmp_path / "net.data")
    assert not held.flags.writeable
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(pf.Session(graph).run("h", {"x": x}), W)
    data = (tmp_path / "net.onnx").read_bytes()
    np.testing.assert_array_equal(pf.Session(pyflow.onnx.load(data, folder=tmp_path)).run("h", {"x": x}), W)
    with pytest.raises(pf.errors.InvalidArgumentError, match="by its path"):
        pyflow.onnx.load(data)


def test_weights_are_read_only_where_they_say_sizes(tmp_path, monkeypatch):
    """A size that is computed from a product's is found without its weights."""
    text = """g (float[3, 128] x) => (float[a, b] y) <float[1, 1] w = {1}, int64[1] n = {1}> {
      h = MatMul(x, w)
      s = Shape(h)
      f = Cast<to = 1>(s)
      i = Cast<to = 7>(f)
      y = Reshape(h, i) }"""
    model = parsed(text)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((128, 192), np.float32), "w"))
    sizes = np.zeros(2**14, np.int64)
    sizes[2:4] = 192, 3
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(sizes, "n"))
    onnx.save(model, tmp_path / "net.onnx")
    read = []
    given = StoredFile.read
    monkeypatch.setattr(StoredFile, "read", lambda file, at, into: (read.append(len(into)), given(file, at, into)))
    assert pyflow.onnx.load(tmp_path / "net.onnx").outputs[0].dims == (3, 192)
    assert not read
    model.graph.node[-1].input[1] = "cut"
    for name, entry in (("begin", 2), ("end", 4)):
        model.graph.initializer.append(numpy_helper.from_array(np.array([entry]), name))
    model.graph.node.insert(0, helper.make_node("Slice", ["n", "begin", "end"], ["cut"]))
    onnx.save(model, tmp_path / "net.onnx")
    graph = pyflow.onnx.load(tmp_path / "net.onnx")
    assert graph.outputs[0].dims == (192, 3)
    assert read == [sizes.nbytes]
    x = np.ones((3, 128), np.float32)
    (y,) = pf.Session(graph, pf.SessionConfig(threads=1)).run(None, {"x": x})
    np.testing.assert_array_equal(y, np.full((192, 3), 128, np.float32))


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="nothing tells what memory is resident")
def test_blocks_of_memory_take_no_more_than_was_asked_for():
    def resident() -> int:
        with open("/proc/self/smaps_rollup") as lines:
            return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Rss:"))

    before, count = resident(), HUGE + 4096
    blocks = [block(count) for _ in range(8)]
    for each in blocks:
        assert each.ctypes.data % 64 == 0 and len(each) == count
        each.fill(1)
    assert resident() - before < 8 * count + HUGE


def test_mapped_data_is_not_copied_to_run(tmp_path):
    rows = np.arange(2**21, dtype=np.float32).reshape(-1, 64)
    text = "g (int64[k] at) => (float[k, 64] y) <float[2, 2] w = {1, 2, 3, 4}> { y = Gather(w, at) }"
    model = parsed(text)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(rows, "w"))
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    del model
    tracemalloc.start()
    try:
        session = pf.Session(pyflow.onnx.load(tmp_path / "net.onnx"), pf.SessionConfig(threads=1))
        at = np.array([0, 7, 2**15 - 1])
        np.testing.assert_array_equal(session.run(None, {"at": at})[0], rows[at])
        assert tracemalloc.get_traced_memory()[1] < rows.nbytes // 2
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("location", ["../net.data", "/etc/hostname", "sub/../../net.data", "link", "..\\net.data", ""])
def test_data_is_never_read_from_outside_the_folder(tmp_path, location):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "net.data").write_bytes(W.tobytes())
    (folder / "link").symlink_to(tmp_path / "net.data")
    model = parsed(NET)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer[0].CopyFrom(tensor)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(pf.errors.InvalidArgumentError, match="inside the model's folder"):
        pyflow.onnx.load(folder / "net.onnx")


def listed(ir_version: int) -> onnx.ModelProto:
    """The weight is listed as an input too."""
    model = parsed(NET)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2]))
    model.ir_version = ir_version
    return model


def test_before_ir_4_listed_weights_are_constants_and_later_defaults():
    x, zero = np.ones((1, 4), np.float32), np.zeros((4, 2), np.float32)
    for version in (3, 4):
        graph = pyflow.onnx.load(listed(version))
        session = pf.Session(graph, pf.SessionConfig(threads=1))
        np.testing.assert_array_equal(session.run("h", {"x": x}), x @ W)
        np.testing.assert_array_equal(session.run("h", {"x": x, "w": zero}), x @ zero)
    assert graph.get_tensor_by_name("w").node.op.name == "placeholder_with_default"


def test_functions_of_the_model_take_attributes_and_call_each_other():
    text = """g (float[n] x) => (float[n] y) { a = local.twice(x) y = local.scaled <by: float = 0.5> (a) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    twice (x) => (y) { y = Add(x, x) }
    <domain: "local", opset_import: ["" : 17, "local" : 1]>
    scaled <by> (x) => (y) { s = Constant <value_float: float = @by> () t = local.twice(x) y = Mul(t, s) }"""
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(run(parsed(text), {"x": x})[0], 2 * x)


@pytest.mark.parametrize("opset", range(7, onnx.defs.onnx_opset_version() + 1))
def test_operator_sets_are_read_as_they_mean(opset):
    """The inputs of Squeeze, and the default axis of Softmax, changed with 13; Clip's inputs with 11."""
    axes = {"axes": [0]} if opset < 13 else {}
    nodes = [
        helper.make_node("Squeeze", ["x"] if opset < 13 else ["x", "axes"], ["s"], **axes),
        helper.make_node("Softmax", ["s"], ["p"]),
        helper.make_node("Clip", ["p"], ["y"], min=0.0, max=0.25)
        if opset < 11
        else helper.make_node("Clip", ["p", "low", "high"], ["y"]),
    ]
    tensors = {"axes": np.array([0]), "low": np.float32(0), "high": np.float32(0.25)}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2, 3])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    x = np.random.default_rng(0).standard_normal((1, 2, 2, 3)).astype(np.float32)
    rows = x[0].reshape(2, 6) if opset < 13 else x[0]
    raised = np.exp(rows)
    want = np.minimum((raised / raised.sum(-1, keepdims=True)).reshape(2, 2, 3), 0.25)
    np.testing.assert_allclose(run(model, {"x": x})[0], want, rtol=1e-5)


def test_older_operator_sets_are_converted():
    nodes = [helper.make_node("Add", ["x", "b"], ["y"], broadcast=1, axis=1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(np.array([1, 2, 3], np.float32), "b")],
    )
    graph.input.append(helper.make_tensor_value_info("b", TensorProto.FLOAT, [3]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    np.testing.assert_array_equal(run(model, {"x": np.zeros((2, 3), np.float32)})[0], [[1, 2, 3]] * 2)


def test_one_value_may_be_several_outputs_and_an_input_an_output():
    text = "g (float[2] x) => (float[2] x, float[2] y, float[2] z) { y = Identity(x) z = Identity(y) }"
    x = np.array([1, 2], np.float32)
    assert [array.tolist() for array in run(parsed(text), {"x": x})] == [[1, 2]] * 3


def test_all_problems_are_listed_at_once():
    text = """g (float[2] x) => (float[2] y)
        { a = local.One(x) b = Tanh(a) c = local.Two(b) d = Softmax <axis: int = 5> (x) y = Add(c, d) }"""
    problems = pyflow.onnx.check(parsed(text))
    assert [problem.op_type for problem in problems] == ["One", "Two", "Softmax"]
    with pytest.raises(pf.errors.UnimplementedError) as caught:
        pyflow.onnx.load(parsed(text))
    assert "3 nodes" in str(caught.value)
    assert all(problem.node in str(caught.value) for problem in problems)
    assert pyflow.onnx.check(parsed(NET)) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("g (float[2] x) => (float[2] y) { y = Add(x, z) z = Neg(y) }", ["'z'", "cycle"]),
        ("g (float[2] x) => (float[2] y) { y = Add(x, missing) }", ["'missing'", "no node"]),
        ("g (float[2] x) => (float[2] y) { y = Neg(x) y = Abs(x) }", ["'y'", "two values"]),
        ("g (float[2] x) => (float[2] y) { z = Neg(x) }", ["output 'y'"]),
        ("g (float[2] x, float[3] z) => (float[2] y) { y = Add(x, z) }", ["broadcast", "float32[3]"]),
        ("g (float[2] x) => (float[2] y) { y = Cast <to: int = 99> (x) }", ["99"]),
        ("g (float[2] x) => (float[2] y) { y = And(x, x) }", ["bool"]),
        ("g (float[2] x) => (float[2] y) { y = Neg(x, x) }", ["expected 1", "got 2"]),
        ("g (float[2] x) => (int64[2] y) { y = Neg(x) }", ["'y'", "int64"]),
        ("g (float[2] x) => (float[2] y) <float[3] x2 = {1, 2}> { y = Neg(x) }", ["x2"]),
    ],
)
def test_models_that_contradict_themselves(text, words):
    with pytest.raises(pf.errors.PyflowError) as caught:
        pyflow.onnx.load(parsed(text))
    for word in words:
        assert word in str(caught.value)


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x07garbage")
    with pytest.raises(pf.errors.DataLossError, match=r"bad\.onnx"):
        pyflow.onnx.load(tmp_path / "bad.onnx")
    with pytest.raises(pf.errors.NotFoundError, match=r"none\.onnx"):
        pyflow.onnx.load(tmp_path / "none.onnx")
    with pytest.raises(pf.errors.DataLossError):
        pyflow.onnx.load(b"")
    with pytest.raises(pf.errors.DTypeError, match="path"):
        pyflow.onnx.load(3)
    model = parsed(NET)
    model.opset_import[0].version = 999
    with pytest.raises(pf.errors.UnimplementedError, match="999"):
        pyflow.onnx.load(model)


def test_text_that_is_not_utf_8():
    data = parsed(NET).SerializeToString().replace(b"batch", b"b\xfftch")
    with pytest.raises(pf.errors.DataLossError, match="no text"):
        pf.onnx.load(data)
    with pytest.raises(pf.errors.DataLossError, match="no text"):
        pf.onnx.check(onnx.ModelProto.FromString(data))


def test_errors_of_a_run_name_the_node():
    text = "g (float[2, 2] x, int64[1] at) => (float[k, 2] y) { [the_node] y = Gather(x, at) }"
    with pytest.raises(pf.errors.OutOfRangeError, match="the_node"):
        run(parsed(text), {"x": np.ones((2, 2), np.float32), "at": np.array([7])})
