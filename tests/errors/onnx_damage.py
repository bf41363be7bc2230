"""Ways to damage an ONNX model, each drawn from a seeded generator: its bytes, its fields, or what it asks for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx_seeds
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

INTS = (-1, 0, 1, 2, 3, 7, 31, 1000, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -2, -(2**31), -(2**63))
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 0.5, 3e38, 1e-45, 1e9)
WORDS = ("", "x", "y", "\0", "../weights.bin", "/etc/passwd", "a" * 5000, "ä", "linear", "reflect", "NOTSET", "bad")
LARGE = (2**20, 2**31 - 1, 2**33, 2**40, 2**50, 2**62, 2**63 - 1)

# Bytes.


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flipped(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def spliced(data: bytes, chance: random.Random) -> bytes:
    """A part is left out, repeated, moved, or replaced by chance."""
    a, b = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + 64)
    noise = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
    middle = chance.choice((b"", data[a:b] * 2, noise, data[a:b][::-1], b"\xff" * 10))
    return data[:a] + middle + data[b:]


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a message."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def deep(data: bytes, chance: random.Random) -> bytes:
    """Bodies in bodies, deeper than protobuf reads."""
    graph = b""
    for _ in range(chance.choice((35, 100, 1000))):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(2, b"y") + _field(4, b"If") + _field(5, attribute))
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x11")


# Fields.


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for entry in value if field.is_repeated else (value,):
                yield from _messages(entry)


def _drawn(field: FieldDescriptor, old: Any, names: list[str], chance: random.Random) -> Any:
    kind = field.cpp_type
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return chance.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_BYTES:
        text = old if isinstance(old, bytes) else b""
        return chance.choice((b"", text[:-1], text + b"\0", text * 2, b"\xff\xfe", b"reflect", b"cubic"))
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return chance.choice([*names, *WORDS]) if chance.random() < 0.7 else chance.choice(WORDS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([value.number for value in field.enum_type.values])
    low, high = {
        FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    }.get(kind, (-(2**63), 2**63 - 1))
    near = [old + 1, old - 1, -old] if isinstance(old, int) else []
    return min(max(chance.choice([*INTS, *near]), low), high)


def changed(model: ModelProto, chance: random.Random) -> ModelProto:
    """A few fields get other values, or lose, repeat or exchange entries."""
    names = [name for node in model.graph.node for name in (*node.input, *node.output, node.op_type)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        owner = chance.choice(list(_messages(model)))
        there = [field for field, _ in owner.ListFields()]
        field = chance.choice(there if there and chance.random() < 0.8 else list(owner.DESCRIPTOR.fields))
        if field.is_repeated:
            _change_entries(getattr(owner, field.name), field, names, chance)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if chance.random() < 0.5:
                owner.ClearField(field.name)
            else:
                getattr(owner, field.name).SetInParent()
        elif chance.random() < 0.15:
            owner.ClearField(field.name)
        else:
            setattr(owner, field.name, _drawn(field, getattr(owner, field.name), names, chance))
    return model


def _change_entries(entries: Any, field: FieldDescriptor, names: list[str], chance: random.Random) -> None:
    if not len(entries):
        if field.type != FieldDescriptor.TYPE_MESSAGE:
            entries.append(_drawn(field, None, names, chance))
        return
    at = chance.randrange(len(entries))
    what = chance.randrange(4)
    if what == 0:
        del entries[at]
    elif what == 1:
        entries.append(entries[at])
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        kept = [type(entry).FromString(entry.SerializePartialToString()) for entry in entries]
        chance.shuffle(kept)
        del entries[:]
        entries.extend(kept)
    else:
        entries[at] = _drawn(field, entries[at], names, chance)


# What a model asks for.


def cycle(model: ModelProto, chance: random.Random) -> ModelProto:
    nodes = list(model.graph.node)
    first, last = chance.choice(nodes), chance.choice(nodes)
    if first.input:
        first.input[chance.randrange(len(first.input))] = chance.choice(list(last.output))
    return model


def same_names(model: ModelProto, chance: random.Random) -> ModelProto:
    names = [entry.name for entry in (*model.graph.input, *model.graph.initializer)]
    names += [name for node in model.graph.node for name in node.output]
    node = chance.choice(list(model.graph.node))
    node.output[chance.randrange(len(node.output))] = chance.choice(names)
    return model


def missing(model: ModelProto, chance: random.Random) -> ModelProto:
    parts = [part for part in (model.graph.initializer, model.graph.input, model.graph.node, model.functions) if part]
    part = chance.choice(parts)
    del part[chance.randrange(len(part))]
    return model


def sized(model: ModelProto, chance: random.Random) -> ModelProto:
    """Sizes of tensors or inputs that are negative, huge, or not what the data is."""
    tensors = [each for each in _messages(model) if isinstance(each, TensorProto)]
    inputs = [dim for entry in model.graph.input for dim in entry.type.tensor_type.shape.dim]
    if tensors and chance.random() < 0.6:
        tensor = chance.choice(tensors)
        tensor.dims[:] = [chance.choice(INTS) for _ in range(chance.randrange(1, 5))]
    elif inputs:
        chance.choice(inputs).dim_value = chance.choice(INTS)
    return model


def beside(model: ModelProto, chance: random.Random) -> ModelProto:
    """Data in files that are elsewhere, too short or not there."""
    tensor = model.graph.initializer.add(name="extra", data_type=TensorProto.FLOAT, dims=[chance.choice((3, 2**40))])
    tensor.data_location = TensorProto.EXTERNAL
    paths = (
        "../weights.bin",
        "/etc/passwd",
        "./../../etc/passwd",
        "weights.bin",
        "a\\..\\..\\b",
        "",
        ".",
        "\0",
        "link",
    )
    for key, value in (
        ("location", chance.choice(paths)),
        ("offset", str(chance.choice((*INTS, "", "1e3", "0x4")))),
        ("length", str(chance.choice((*INTS, 12, "twelve")))),
    ):
        if chance.random() < 0.8:
            tensor.external_data.add(key=key, value=value)
    return model


def versions(model: ModelProto, chance: random.Random) -> ModelProto:
    if chance.random() < 0.4:
        model.ir_version = chance.choice((0, -1, 1, 2, 3, 99, 2**40))
    for _ in range(chance.randrange(2)):
        model.opset_import.add(
            domain=chance.choice(("", "ai.onnx", "ai.onnx.ml", "other")), version=chance.choice(INTS)
        )
    if model.opset_import:
        model.opset_import[0].version = chance.choice(
            (1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 21, 22, 25, 99)
        )
    return model


OPS = (
    *("Add", "MatMul", "Conv", "Reshape", "Gather", "Slice", "Concat", "Resize", "Split", "TopK", "Pad", "If", "Loop"),
    *("Scan", "LSTM", "Einsum", "Cast", "Range", "Where", "ReduceSum", "Transpose", "Softmax", "LayerNormalization"),
)


def renamed(model: ModelProto, chance: random.Random) -> ModelProto:
    """Another op, or an attribute that has no place there."""
    node = chance.choice(list(model.graph.node))
    if chance.random() < 0.5:
        node.op_type = chance.choice(OPS)
    attribute = chance.choice(list(node.attribute)) if node.attribute else node.attribute.add(name="axis")
    if chance.random() < 0.3:
        attribute.name = chance.choice(("axis", "axes", "perm", "mode", "body", "to", "group", "pads", "value"))
    made = chance.choice((-7, 2**40, 1.5, "text", [1, 2, 3], [2**62] * 4, [-1] * 8, [0, 0], ["a"], [0.5]))
    attribute.CopyFrom(helper.make_attribute(attribute.name, made))
    return model


TOO_MUCH = {
    "filled": ("int64[2] n", "float[a, b] y", "y = ConstantOfShape(n)"),
    "expanded": ("float[1, 1] x, int64[2] n", "float[a, b] y", "y = Expand(x, n)"),
    "tiled": ("float[2, 2] x, int64[2] n", "float[a, b] y", "y = Tile(x, n)"),
    "padded": ("float[1] x, int64[2] n", "float[a] y", "y = Pad(x, n)"),
    "counted": ("int64 n, int64 step", "int64[a] y", "z = Sub(n, n) y = Range(z, n, step)"),
    "reshaped": ("float[4] x, int64[2] n", "float[a, b] y", "y = Reshape(x, n)"),
    "sliced": ("float[4] x, int64[1] n, int64[1] m", "float[a] y", "y = Slice(x, n, m)"),
    "encoded": ("int64[3] i, int64 n, float[2] v", "float[a, b] y", "y = OneHot(i, n, v)"),
    "chosen": ("float[4] x, int64[1] n", "float[a] y, int64[b] i", "y, i = TopK(x, n)"),
    "parted": ("float[4] x, int64[2] n", "float[a] y, float[b] z", "y, z = Split(x, n)"),
    "gathered": ("float[4] x, int64[2] n", "float[a] y", "y = Gather(x, n)"),
    "resized": ("float[1, 1, 2, 2] x, int64[4] n", "float[a, b, c, d] y", "y = Resize(x, , , n)"),
    "looped": (
        "float[2] x, int64 n, bool c",
        "float[2] y",
        "y = Loop(n, c, x) <body = b (int64 i, bool k, float[2] v) => (bool o, float[2] w) "
        "{ o = Identity(k) w = Add(v, v) }>",
    ),
    "looped_growing": (
        "float[2] x, int64 n, bool c",
        "float[m] y",
        "y = Loop(n, c, x) <body = b (int64 i, bool k, float[q] v) => (bool o, float[r] w) "
        "{ o = Identity(k) w = Concat <axis: int = 0> (v, v) }>",
    ),
    "windowed": ("int64 n", "float[a] y", "y = HannWindow(n)"),
    "transformed": ("float[1, 8, 1] x, int64 n", "float[a, b, 2] y", "y = DFT(x, n)"),
    "like": ("float[2, 2] x, int64[2] n", "float[a, b] y", "f = Expand(x, n) y = EyeLike <k: int = 1> (f)"),
    "triangular": ("float[2, 2] x, int64 n", "float[a, b] y", "y = Trilu(x, n)"),
    "gridded": ("float[1, 2, 3] x, int64[4] n", "float[a, b, c, d] y", "y = AffineGrid(x, n)"),
    "columns": ("float[1, 4, 4] x, int64[2] n, int64[2] m", "float[a, b, c, d] y", "y = Col2Im(x, n, m)"),
}
"""Ops by amounts that a model, or a run, gives: inputs, outputs, nodes."""


def too_much(model: ModelProto, chance: random.Random) -> ModelProto:
    """Sizes, amounts and counts that no memory or time is enough for, as constants or when it runs."""
    inputs, outputs, nodes = TOO_MUCH[chance.choice(list(TOO_MUCH))]
    made = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]> g ({inputs}) => ({outputs}) {{ {nodes} }}')
    kept = []
    for entry in made.graph.input:
        tensor = entry.type.tensor_type
        if tensor.elem_type == TensorProto.FLOAT or chance.random() < 0.2:
            kept.append(entry)
            continue
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if tensor.elem_type == TensorProto.BOOL:
            array: Any = np.ones(shape, bool)
        else:
            draw = LARGE if chance.random() < 0.6 else INTS
            drawn = [chance.choice((1, 2, chance.choice(draw))) for _ in range(int(np.prod(shape)))]
            array = np.array(drawn, np.int64).reshape(shape)
        made.graph.initializer.append(numpy_helper.from_array(array, entry.name))
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


POOL = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "ceil_mode")
CONV = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "group")
WINDOWS = {
    "Conv": CONV,
    "ConvTranspose": (*CONV, "output_padding", "output_shape"),
    "MaxPool": (*POOL, "storage_order"),
    "AveragePool": (*POOL, "count_include_pad"),
    "LpPool": (*POOL, "p"),
}
SOUND = {
    "kernel_shape": [3, 3],
    "strides": [2, 1],
    "dilations": [1, 1],
    "pads": [1, 0, 1, 0],
    "auto_pad": "NOTSET",
    "group": 1,
    "output_padding": [0, 0],
    "output_shape": [5, 5],
}


def windows(model: ModelProto, chance: random.Random) -> ModelProto:
    """Kernels, strides, pads and dilations that fit nothing."""
    op = chance.choice(list(WINDOWS))
    inputs = ["x", "w"] if op.startswith("Conv") else ["x"]
    names = {"kernel_shape", *chance.sample(WINDOWS[op], chance.randrange(1, 4))}
    drawn = {name: SOUND.get(name, 1) for name in sorted(names)}
    for name in chance.sample(sorted(names), chance.randrange(1, 3)) if len(names) > 1 else ["kernel_shape"]:
        value = drawn[name]
        if isinstance(value, list):
            drawn[name] = [chance.choice((entry, 0, 4, *INTS)) for entry in value][: chance.choice((4, 4, 4, 1))]
        else:
            drawn[name] = chance.choice(("SAME_UPPER", "VALID", "other") if isinstance(value, str) else INTS)
    node = helper.make_node(op, inputs, ["y"], **drawn)
    weights = numpy_helper.from_array(np.ones((2, 2, 3, 3), np.float32), "w")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c", "d"])],
        [weights] if len(inputs) == 2 else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=9)


def nested(model: ModelProto, chance: random.Random) -> ModelProto:
    """Bodies in bodies, as deep as protobuf writes them."""
    body = parser.parse_graph("b () => (float[n] y) { y = Add(x, x) }")
    other = parser.parse_graph("b () => (float[n] y) { y = Neg(x) }")
    for _ in range(chance.choice((3, 10, 20, 26))):
        outer = parser.parse_graph("b () => (float[n] y) { y = Identity(x) }")
        outer.node[0].CopyFrom(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=other))
        body = outer
    made = onnx_seeds.all_seeds()["branches"]
    next(each for each in made.graph.node[1].attribute if each.name == "then_branch").g.CopyFrom(body)
    return made


def calling(model: ModelProto, chance: random.Random) -> ModelProto:
    """Functions that call themselves, each other, or each the next one twice."""
    made = onnx_seeds.with_functions()
    kind = chance.randrange(3)
    if kind == 0:
        made.functions[0].node.append(helper.make_node("twice", ["x"], ["z"], domain="local"))
    elif kind == 1:
        made.functions[0].node[0].CopyFrom(helper.make_node("scaled", ["x"], ["y"], domain="local", by=1.0))
    else:
        count = chance.choice((8, 30, 60))
        for index in range(count):
            following = "twice" if index + 1 == count else f"f{index + 1}"
            nodes = [
                helper.make_node(following, ["x"], ["a"], domain="local"),
                helper.make_node(following, ["a"], ["y"], domain="local"),
            ]
            opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
            made.functions.append(helper.make_function("local", f"f{index}", ["x"], ["y"], nodes, opsets))
        made.graph.node[0].op_type = "f0"
    return made


GROWING = {
    "Concat": (["{0}", "{0}"], {"axis": 0}),
    "Tile": (["{0}", "tens"], {}),
    "Expand": (["{0}", "tens"], {}),
    "StringConcat": (["{0}", "{0}"], {}),
    "Einsum": (["{0}", "{0}"], {"equation": "i,j->ij"}),
    "Mul": (["{0}", "{0}"], {}),
    "Pad": (["{0}", "tens2"], {}),
}


def growing(model: ModelProto, chance: random.Random) -> ModelProto:
    """Values that double, node after node."""
    op = chance.choice(list(GROWING))
    names, attributes = GROWING[op]
    nodes = []
    for index in range(chance.choice((5, 40, 200))):
        inputs = [name.format(f"v{index}") for name in names]
        nodes.append(helper.make_node(op, inputs, [f"v{index + 1}"], **attributes))
    code = TensorProto.STRING if op == "StringConcat" else TensorProto.FLOAT
    start = helper.make_tensor("v0", code, [2], [b"a", b"b"] if op == "StringConcat" else [1, 2])
    tensors = [
        numpy_helper.from_array(np.array([10], np.int64), "tens"),
        numpy_helper.from_array(np.array([10, 10], np.int64), "tens2"),
    ]
    given = [helper.make_tensor_value_info("v0", code, [2])] if chance.random() < 0.5 else []
    graph = helper.make_graph(
        nodes,
        "g",
        given,
        [helper.make_tensor_value_info(nodes[-1].output[0], code, None)],
        tensors if given else [*tensors, start],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


BYTES = (truncated, flipped, flipped, spliced, spliced, deep)
FIELDS = (changed,) * 6
ASKED: tuple[Callable[[ModelProto, random.Random], ModelProto], ...] = (
    cycle,
    same_names,
    missing,
    sized,
    beside,
    versions,
    renamed,
    too_much,
    too_much,
    windows,
    nested,
    calling,
    growing,
)


def damaged(seeds: dict[str, bytes], number: int) -> tuple[str, bytes]:
    """The ``number``-th damaged model, and how it came to be. The same number gives the same model."""
    chance = random.Random(number)
    own = sorted(onnx_seeds.names())
    name = chance.choice(own if chance.random() < 0.4 else sorted(seeds))
    way = chance.choice((*BYTES, *FIELDS, *ASKED))
    label = f"{number}: {way.__name__} {name}"
    if way in BYTES:
        return label, way(seeds[name], chance)  # type: ignore[arg-type]
    model = way(ModelProto.FromString(seeds[name]), chance)  # type: ignore[arg-type]
    return label, model.SerializePartialToString()
