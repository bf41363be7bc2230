"""Small sound models, which tests then damage: between them they use what an ONNX file can hold."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

HEAD = '<ir_version: 9, opset_import: ["" : 17, "local" : 1]>'

TEXTS = {
    "dense": """g (float[batch, 4] x) => (float[batch, 2] y)
        <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] b = {1, -1}>
        { h = Gemm <alpha: float = 0.5> (x, w, b)
          r = Relu(h)
          y = Softmax <axis: int = 1> (r) }""",
    "convolution": """g (float[batch, 1, 6, 6] x) => (float[batch, 2, 1, 1] y)
        <float[2, 1, 3, 3] w = {1, 0, -1, 2, 0, -2, 1, 0, -1, 1, 2, 1, 0, 0, 0, -1, -2, -1}, float[2] b = {0, 1},
         float[2] s = {1, 1}, float[2] m = {0, 0}, float[2] v = {1, 2}>
        { c = Conv <pads: ints = [1, 1, 1, 1], strides: ints = [1, 1]> (x, w, b)
          n = BatchNormalization <epsilon: float = 0.001> (c, s, b, m, v)
          p = MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2]> (n)
          y = GlobalAveragePool(p) }""",
    "transposed": """g (float[1, 2, 3, 3] x) => (float[a, b, c, d] y)
        <float[2, 1, 2, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        { t = ConvTranspose <strides: ints = [2, 2], output_padding: ints = [1, 1]> (x, w)
          y = AveragePool <kernel_shape: ints = [3, 3], ceil_mode: int = 1> (t) }""",
    "shapes": """g (float[rows, columns] x) => (float[a, b] y, int64[n] z)
        <int64[1] minus = {-1}, int64[1] zero = {0}, int64[1] one = {1}>
        { s = Shape(x)
          first = Gather(s, zero)
          last = Slice(s, one, minus, zero)
          both = Concat <axis: int = 0> (first, minus)
          y = Reshape(x, both)
          z = Concat <axis: int = 0> (first, last) }""",
    "filled": """g (int64[2] sizes) => (float[a, b] y)
        <int64[2] twos = {2, 2}>
        { f = ConstantOfShape <value: tensor = float[1] {1.5}> (sizes)
          e = Expand(f, sizes)
          y = Tile(e, twos) }""",
    "constants": """g (float[2] x) => (float[k] y)
        { a = Constant <value: tensor = float[2] {1, 2}> ()
          n = Constant <value: tensor = float {4}> ()
          o = Constant <value_float: float = 0.0> ()
          d = Constant <value_float: float = 1.0> ()
          r = Range(o, n, d)
          s = Add(x, a)
          y = Concat <axis: int = 0> (r, s) }""",
    "resized": """g (float[1, 1, 3, 3] x) => (float[a, b, c, d] y)
        <float[4] scales = {1, 1, 2, 1.5}, int64[8] pads = {0, 0, 1, 0, 0, 0, 0, 1}>
        { r = Resize <mode: string = "linear"> (x, , scales)
          y = Pad <mode: string = "reflect"> (r, pads) }""",
    "branches": """g (float[n] x, bool c) => (float[n] y)
        { d = Add(x, x)
          y = If (c) <
            then_branch = a () => (float[n] p) { p = Exp(d) },
            else_branch = b () => (float[n] q) { r = Neg(d) q = Mul(r, x) }> }""",
    "loop": """g (float[n] x) => (float[n] y, float[t, n] z)
        <int64 count = {3}, bool yes = {1}>
        { y, z = Loop (count, yes, x) <
            body = b (int64 i, bool c, float[n] v) => (bool k, float[n] w, float[n] o) {
              k = Identity(c) w = Add(v, v) o = Mul(w, x) }> }""",
    "scan": """g (float[2] s, float[t, 2] x) => (float[2] y, float[t, 2] z)
        { y, z = Scan <num_scan_inputs: int = 1,
            body = b (float[2] v, float[2] e) => (float[2] w, float[2] o) { w = Add(v, e) o = Identity(w) }>
            (s, x) }""",
    "chosen": """g (float[n, 5] x) => (float[n, 2] v, int64[n, 2] i, int64[2, m] w, float[k] u)
        <int64[1] k = {2}>
        { v, i = TopK <axis: int = 1> (x, k)
          w = NonZero(x)
          f = Flatten <axis: int = 0> (x)
          u = Unique(f) }""",
    "indexed": """g (float[4, 3] x, int64[2, 1] i, int64[2, 3] j) => (float[a, b] y, float[c, d] z, float[e, f] s)
        <int64[2] starts = {0, -2}, int64[2] ends = {100, 100}, int64[2] axes = {0, 1}, int64[2] steps = {2, 1}>
        { y = GatherND(x, i)
          z = Slice(x, starts, ends, axes, steps)
          s = GatherElements(x, j) }""",
    "split": """g (float[4, 6] x) => (float[a, b] y, float[e] q)
        <int64[2] parts = {2, 4}, int64[1] axis = {0}, int64 first = {0}>
        { l, r = Split <axis: int = 1> (x, parts)
          t = Transpose <perm: ints = [1, 0]> (r)
          y = MatMul(t, l)
          u = Unsqueeze(y, axis)
          v = Squeeze(u, axis)
          m = ReduceSum <keepdims: int = 0> (v, axis)
          q = CumSum(m, first) }""",
    "quantised": """g (float[n, 4] x) => (float[n, 4] y)
        <float scale = {0.1}, uint8 zero = {128}>
        { q = QuantizeLinear(x, scale, zero)
          d = DequantizeLinear(q, scale, zero)
          c = Clip(d, , scale)
          h = Cast <to: int = 10> (c)
          y = Cast <to: int = 1> (h) }""",
    "recurrent": """g (float[t, 1, 2] x) => (float[t, 1, 1, 1] y)
        <float[1, 4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[1, 4, 1] r = {1, 2, 3, 4}>
        { y, h, c = LSTM <hidden_size: int = 1, direction: string = "forward"> (x, w, r) }""",
    "sequences": """g (float[2] x, float[3] z) => (float[n] y)
        <int64 at = {1}>
        { s = SequenceConstruct(x, z)
          t = SequenceInsert(s, x, at)
          l = SequenceLength(t)
          e = SequenceAt(t, at)
          y = ConcatFromSequence <axis: int = 0> (t) }""",
    "einsum": """g (float[b, 3, 4] x, float[b, 4, 2] z) => (float[b, 3, 2] y)
        { y = Einsum <equation: string = "bij,bjk->bik"> (x, z) }""",
    "boxes": """g (float[1, 3, 4] boxes, float[1, 1, 3] scores) => (int64[n, 3] y)
        <int64[1] most = {2}, float[1] overlap = {0.5}>
        { y = NonMaxSuppression(boxes, scores, most, overlap) }""",
}

FUNCTIONS = """
<domain: "local", opset_import: ["" : 17, "local" : 1]>
twice (x) => (y) { y = Add(x, x) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
scaled <by> (x) => (y) { s = Constant <value_float: float = @by> () t = local.twice(x) y = Mul(t, s) }
"""


def with_functions() -> ModelProto:
    body = "g (float[n] x) => (float[n] y) { a = local.twice(x) y = local.scaled <by: float = 0.5> (a) }"
    return parser.parse_model(f"{HEAD} {body} {FUNCTIONS}")


def old() -> ModelProto:
    """IR version 3, where weights are inputs too."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["m"]), helper.make_node("Upsample", ["m", "s"], ["y"], mode="nearest")],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, [4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 4, 4])],
        [
            numpy_helper.from_array(np.array([1, 2], np.float32), "w"),
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    model.ir_version = 3
    return model


def kept_in_kinds() -> ModelProto:
    """Tensors as raw bytes, as numbers, as text, sparse, in half a byte, and beside the model."""
    values = numpy_helper.from_array(np.array([2.0], np.float32), "sparse")
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("at", TensorProto.INT64, [1], [1]), [3])
    beside = TensorProto(name="beside", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "12")):
        beside.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["x", "numbers"], ["a"]),
            helper.make_node("Add", ["a", "sparse"], ["b"]),
            helper.make_node("Add", ["b", "beside"], ["c"]),
            helper.make_node("Cast", ["nibbles"], ["d"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["c", "d"], ["y"]),
            helper.make_node("Identity", ["words"], ["z"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [3]),
            helper.make_tensor_value_info("z", TensorProto.STRING, [2]),
        ],
        [
            helper.make_tensor("numbers", TensorProto.FLOAT, [3], [1, 2, 3]),
            helper.make_tensor("nibbles", TensorProto.INT4, [3], [1, -2, 3]),
            helper.make_tensor("words", TensorProto.STRING, [2], [b"one", b"two"]),
            beside,
        ],
        sparse_initializer=[sparse],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


BUILT = {"functions": with_functions, "old": old, "kinds": kept_in_kinds}


def names() -> list[str]:
    """Of the models of this page."""
    return [*TEXTS, *BUILT]


def all_seeds() -> dict[str, ModelProto]:
    """The models of this page by name."""
    seeds = {name: parser.parse_model(f"{HEAD} {text}") for name, text in TEXTS.items()}
    return {**seeds, **{name: build() for name, build in BUILT.items()}}


LARGEST = 20_000
"""Bytes of the standard's models that are damaged too; larger ones hold data only."""


def write_standard(folder: Path) -> None:
    """The models of the standard's tests of nodes, which are made when they are asked for: a file each."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        if case.model is not None and case.model.ByteSize() <= LARGEST:
            (folder / case.name).write_bytes(case.model.SerializeToString())


def read_all(folder: Path) -> dict[str, bytes]:
    """The models in the files of ``folder``, and those of this page."""
    standard = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    return {**standard, **{name: model.SerializeToString() for name, model in all_seeds().items()}}


def write_beside(folder: str) -> None:
    """The file that one of the models names."""
    with open(f"{folder}/weights.bin", "wb") as file:
        file.write(np.array([1, 2, 3], np.float32).tobytes())
