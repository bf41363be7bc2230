"""What a call costs: one run of a 16-32-32-4 MLP at batch 1 and one thread, beside ONNX Runtime; and compile time.

    python bench/overhead.py            # the table
    python bench/overhead.py --json

Each contender runs in a process of its own; turns are interleaved, with a rest between, because thread pools spin
after a run and would steal a core from whoever is timed next. Medians of rounds; only ratios mean anything.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time

import numpy as np
from turns import Contender, commit, interleaved, machine, serve

SIZES = (16, 32, 32, 4)
CALLS = 2000


def weights() -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(0)
    return [
        ((random.standard_normal((a, b)) / np.sqrt(a)).astype(np.float32), random.standard_normal(b).astype(np.float32))
        for a, b in itertools.pairwise(SIZES)
    ]


def pyflow_mlp():
    import pyflow as pf

    graph = pf.Graph()
    with graph.as_default():
        x = value = pf.placeholder(pf.float32, ("batch", SIZES[0]), name="x")
        for i, (w, b) in enumerate(weights()):
            value = value @ pf.constant(w) + pf.constant(b)
            if i < len(SIZES) - 2:
                value = pf.relu(value)
    return pf.Session(graph, pf.SessionConfig(threads=1)), x, value


def contender(name: str):
    """(call, feed) of a contender."""
    feed = np.random.default_rng(1).standard_normal((1, SIZES[0])).astype(np.float32)
    if name == "onnxruntime":
        return onnxruntime_call(feed)
    session, x, y = pyflow_mlp()
    if name == "pyflow run":
        return lambda: session.run(y, {x: feed})
    call = session.make_callable(y, [x])
    return lambda: call(feed)


def onnxruntime_call(feed: np.ndarray):
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, initializers, value = [], [], "x"
    for i, (w, b) in enumerate(weights()):
        initializers += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [f"y{i}"]))
        value = f"y{i}"
        if i < len(SIZES) - 2:
            nodes.append(helper.make_node("Relu", [value], [f"r{i}"]))
            value = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", SIZES[0]])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["batch", SIZES[-1]])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": feed})[0]


def contend(name: str) -> None:
    """A contender's process: microseconds of each of CALLS calls, per turn."""
    call = contender(name)
    result = call()
    for _ in range(200):
        call()

    def turn(_: str) -> float:
        begin = time.perf_counter()
        for _ in range(CALLS):
            call()
        return (time.perf_counter() - begin) / CALLS * 1e6

    serve(np.asarray(result).tolist(), turn)


def compile_seconds(nodes: int = 500) -> float:
    """Median time from a declared graph of about ``nodes`` nodes to its first plan, weights not packed."""
    import pyflow as pf

    times = []
    for _ in range(7):
        graph = pf.Graph()
        with graph.as_default():
            x = value = pf.placeholder(pf.float32, ("batch", 32), name="x")
            while len(graph.nodes) < nodes:
                value = pf.tanh(value * 0.5 + x)
                value = value - pf.mean(value, axis=1, keepdims=True)
        session = pf.Session(graph, pf.SessionConfig(threads=1))
        begin = time.perf_counter()
        session.make_callable(value, [x])
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.contend:
        contend(arguments.contend)
        return
    names = ["onnxruntime", "pyflow run", "pyflow make_callable"]
    contenders = {name: Contender([__file__, "--contend", name]) for name in names}
    answers = {name: np.array(each.about) for name, each in contenders.items()}
    for name in names[1:]:
        np.testing.assert_allclose(answers[name], answers[names[0]], rtol=1e-5, atol=1e-5)
    times = interleaved(contenders, arguments.rounds)
    for each in contenders.values():
        each.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    report = {
        "machine": machine(),
        "commit": commit(),
        "microseconds": medians,
        "ratio": {name: medians[name] / medians["onnxruntime"] for name in names},
        "compile_500_nodes_ms": compile_seconds() * 1e3,
    }
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    print(f"{report['machine']}, commit {report['commit']}")
    for name in names:
        print(f"{name:<24}{medians[name]:8.2f} us per call   {report['ratio'][name]:5.2f} x onnxruntime")
    print(f"compile of a 500-node graph: {report['compile_500_nodes_ms']:.0f} ms")


if __name__ == "__main__":
    main()
