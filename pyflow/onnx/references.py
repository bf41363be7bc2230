"""What a model is compared with: every value that its top-level nodes make, by name, as someone else computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
from onnx import ModelProto

from pyflow import dtypes
from pyflow.errors import InvalidArgumentError, UnimplementedError, message, user_origin
from pyflow.graph import Graph, Value
from pyflow.interpret import evaluate_graph
from pyflow.onnx import extract

Values = Mapping[str, Any]


def _own(proto: ModelProto, graph: Graph, feeds: Values, names: Sequence[str]) -> Values:
    """Each op's NumPy reference on the graph as declared."""
    wanted = [graph.get_tensor_by_name(name) for name in names]
    fed: dict[Value, Any] = {graph.get_tensor_by_name(name): array for name, array in feeds.items()}
    results = evaluate_graph(graph, wanted, fed)
    return {
        name: array.item() if value.dtype is dtypes.variant else array
        for name, value, array in zip(names, wanted, results, strict=True)
    }


def _reference(proto: ModelProto, graph: Graph, feeds: Values, names: Sequence[str]) -> Values:
    from onnx.reference import ReferenceEvaluator

    try:
        results = ReferenceEvaluator(proto).run(None, dict(feeds), intermediate=True)
    except Exception:
        return _node_by_node(proto, graph, feeds, names)
    assert isinstance(results, dict)
    return {name: results[name] for name in names if name in results}


def _node_by_node(proto: ModelProto, graph: Graph, feeds: Values, names: Sequence[str]) -> Values:
    """The results of the nodes that the standard's reference can run; those of others are pyflow's, and left out."""
    from onnx.reference import ReferenceEvaluator

    made = {name for node in proto.graph.node for name in node.output if name}
    own = _own(proto, graph, feeds, [name for name in graph.aliases if name in made])
    read = [name for node in proto.graph.node for name in node.input]
    known: dict[str, Any] = {**extract.constants_of(proto, None, read), **feeds}
    results: dict[str, Any] = {}
    for node in proto.graph.node:
        outputs = [name for name in node.output if name]
        try:
            alone = extract.one_node(proto, node, known, {})
            inputs = {entry.name: known[entry.name] for entry in alone.graph.input}
            computed = dict(zip(outputs, ReferenceEvaluator(alone).run(None, inputs), strict=True))
        except Exception:
            computed = {}
        known.update({name: own[name] for name in outputs if name in own})
        known.update(computed)
        results.update(computed)
    if not results:
        raise UnimplementedError(message("verify", "the reference can run none of the nodes", user_origin()))
    return {name: results[name] for name in names if name in results}


def _onnxruntime(proto: ModelProto, graph: Graph, feeds: Values, names: Sequence[str]) -> Values:
    try:
        import onnxruntime
    except ImportError:
        raise UnimplementedError(
            message("verify", "onnxruntime is not installed", user_origin(), "pip install onnxruntime")
        ) from None
    whole = ModelProto()
    whole.CopyFrom(proto)
    there = {entry.name for entry in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(list(names), dict(feeds)), strict=True))


REFERENCES: Mapping[str, tuple[str, Callable[[ModelProto, Graph, Values, Sequence[str]], Values]]] = {
    "numpy": ("pyflow's own NumPy references", _own),
    "reference": ("onnx.reference.ReferenceEvaluator", _reference),
    "onnxruntime": ("ONNX Runtime, unoptimised", _onnxruntime),
}


def values_of(against: str, proto: ModelProto, graph: Graph, feeds: Values, names: Sequence[str]) -> Values:
    """The values of ``names`` as the reference ``against`` computes them; it may leave some out.

    Raises InvalidArgumentError for a reference that there is none of, UnimplementedError if it cannot run the model.
    """
    if against not in REFERENCES:
        what = f"there is no reference {against!r}; expected one of {', '.join(REFERENCES)}"
        raise InvalidArgumentError(message("verify", what, user_origin()))
    try:
        return REFERENCES[against][1](proto, graph, feeds, names)
    except UnimplementedError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:400]
        others = ", ".join(name for name in REFERENCES if name != against)
        raise UnimplementedError(
            message("verify", f"{against} cannot run the model: {text}", user_origin(), f"compare with {others}")
        ) from None
