"""Graphs that are compiled ahead of time, each with what feeds it at a size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pyflow as pf
from pyflow.demo.model import build_digits

Feeds = Mapping[str, np.ndarray]


@dataclass
class Case:
    """Entries over one graph, and feeds of each entry at a size."""

    graph: pf.Graph
    entries: dict[str, tuple[Sequence[Any], Any]]
    feeds: Callable[[np.random.Generator, int], dict[str, list[np.ndarray]]]
    initial: Any = None
    sizes: Sequence[int] = (1, 3, 17)
    max_sizes: dict[str, int] = field(default_factory=dict)


def _floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def _weight(seed: int, *shape: int) -> pf.Variable:
    return pf.Variable(_floats(np.random.default_rng(seed), *shape) * np.float32(0.3), name=f"w{seed}")


def _of(build: Callable[..., Any], *placeholders: tuple[Any, Sequence[Any]], **more: Any) -> Callable[[], Case]:
    """A case of one entry whose inputs are float32, or as told, with a name where the size stands."""

    def made() -> Case:
        graph = pf.Graph()
        graph.seed = 7
        with graph.as_default():
            inputs = [pf.placeholder(dtype, dims, name=f"x{i}") for i, (dtype, dims) in enumerate(placeholders)]
            outputs = build(*inputs)
            initial = pf.global_variables_initializer() if graph.variables else None

        def feeds(random: np.random.Generator, size: int) -> dict[str, list[np.ndarray]]:
            arrays = []
            for dtype, dims in placeholders:
                shape = [dim if isinstance(dim, int) else size for dim in dims]
                if dtype.is_integer:
                    arrays.append(random.integers(0, 5, shape).astype(dtype.numpy))
                elif dtype is pf.bool:
                    arrays.append(random.integers(0, 2, shape).astype(bool))
                else:
                    arrays.append(random.standard_normal(shape).astype(dtype.numpy))
            return {"predict": arrays}

        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return Case(graph, {"predict": (inputs, list(outputs))}, feeds, initial, **more)

    return made


F32 = pf.float32


def _mlp(x: Any) -> Any:
    hidden = pf.relu(x @ _weight(1, 20, 33) + _weight(2, 33))
    return pf.softmax(hidden @ _weight(3, 33, 5) + _weight(4, 5))


def _cnn(x: Any) -> Any:
    y = pf.relu(pf.conv2d(x, _weight(1, 8, 3, 3, 3), _weight(2, 8), padding="same"))
    y = pf.max_pool2d(y, 2)
    y = pf.conv2d(y, _weight(3, 4, 8, 3, 3), stride=2)
    return pf.reshape(pf.avg_pool2d(y, 2), (-1, 4)) @ _weight(4, 4, 3)


def _inverted_residual(x: Any) -> Any:
    """Of a mobile network: its wide image is never in memory as a whole."""
    y = pf.clip(pf.conv2d(x, _weight(1, 48, 8, 1, 1), _weight(2, 48)), 0.0, 6.0)
    y = pf.relu(pf.conv2d(y, _weight(3, 48, 1, 3, 3), _weight(4, 48), padding="same", groups=48))
    return x + pf.conv2d(y, _weight(5, 8, 48, 1, 1), _weight(6, 8))


def _attention(q: Any, k: Any, v: Any) -> Any:
    return pf.scaled_dot_product_attention(q, k, v)


def _block(x: Any) -> Any:
    """A transformer's block."""
    y = pf.layer_norm(x, _weight(1, 16), _weight(2, 16))
    heads = pf.transpose(pf.reshape(y @ _weight(3, 16, 16), (-1, 6, 4, 4)), (0, 2, 1, 3))
    mixed = pf.scaled_dot_product_attention(heads, heads, heads)
    x = x + pf.reshape(pf.transpose(mixed, (0, 2, 1, 3)), (-1, 6, 16))
    return x + pf.gelu(x @ _weight(4, 16, 24)) @ _weight(5, 24, 16)


def _branch(x: Any) -> Any:
    return pf.cond(pf.sum(x) > 0.0, lambda: pf.exp(x) * 2.0, lambda: x - 1.0)


def _loop(x: Any) -> Any:
    """Doubles until it is large."""
    return pf.while_loop(
        lambda value, turn: pf.logical_and(pf.sum(pf.abs(value)) < 1000.0, turn < 50),
        lambda value, turn: (value * 2.0 + 0.1, turn + 1),
        (x, pf.constant(np.int64(0))),
    )


def _scan(x: Any) -> Any:
    return pf.scan(lambda carry, row: (pf.tanh(carry + row), carry * row), pf.zeros((4,)), x)


def _statistics(x: Any) -> Any:
    centred = x - pf.mean(x, axis=0, keepdims=True)
    return [pf.std(x, axis=1), pf.max(centred, axis=0), pf.cumsum(x, axis=0), pf.argmax(x, axis=1)]


def _normal(x: Any) -> Any:
    return x + pf.random_normal((3,)) * pf.dropout(x, 0.5)


def _late(x: Any) -> Any:
    return pf.nonzero(x > 0.5)


def _assigning() -> Case:
    """Writes of variables, in place and not, between entries that read them."""
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(F32, ("n", 4), name="x")
        w = pf.Variable(np.ones((4, 3), np.float32), name="w")
        total = pf.Variable(np.zeros((), np.float32), name="total")
        y = x @ w
        grow = w.assign(w * 1.5 + pf.sum(x)).op
        count = total.assign(total + pf.sum(y))
        initial = pf.global_variables_initializer()

    def feeds(random: np.random.Generator, size: int) -> dict[str, list[np.ndarray]]:
        array = _floats(random, size, 4)
        return {"predict": [array], "grow": [array], "count": [array]}

    entries = {"predict": ([x], [y]), "grow": ([x], [grow]), "count": ([x], [count, y])}
    return Case(graph, entries, feeds, initial)


def _digits() -> Case:
    model = build_digits()
    images, labels, rate = model.images, model.labels, model.rate
    entries = {
        "train_step": ([images, labels, rate], [model.loss, model.train_step]),
        "predict": ([images], [model.logits, model.probabilities]),
        "test": ([images, labels], [model.accuracy]),
    }

    def feeds(random: np.random.Generator, size: int) -> dict[str, list[np.ndarray]]:
        pictures, classes = _floats(random, size, 1, 8, 8), random.integers(0, 10, size)
        return {
            "train_step": [pictures, classes, np.float32(1e-3)],
            "predict": [pictures],
            "test": [pictures, classes],
        }

    return Case(model.graph, entries, feeds, model.initialise, (2, 19))


CASES: dict[str, Callable[[], Case]] = {
    "mlp": _of(_mlp, (F32, ("n", 20)), sizes=(1, 3, 17, 900)),
    "cnn": _of(_cnn, (F32, ("n", 3, 13, 13)), sizes=(1, 3, 40)),
    "inverted residual": _of(_inverted_residual, (F32, ("n", 8, 56, 50)), sizes=(1, 3)),
    "softmax": _of(lambda x: [pf.softmax(x), pf.log_softmax(x, axis=0)], (F32, ("n", 7)), sizes=(1, 17, 20000)),
    "layer_norm": _of(lambda x: pf.layer_norm(x, _weight(1, 9), _weight(2, 9)), (F32, ("n", 9))),
    "embedding": _of(lambda i: pf.embedding(i, _weight(1, 5, 6)), (pf.int64, ("n", 3))),
    "attention": _of(_attention, *[(F32, (2, "n", 8))] * 3, sizes=(1, 3, 200)),
    "block": _of(_block, (F32, ("n", 6, 16)), sizes=(1, 3, 90)),
    "branch": _of(_branch, (F32, ("n", 2))),
    "loop": _of(_loop, (F32, ("n",))),
    "scan": _of(_scan, (F32, ("n", 4))),
    "statistics": _of(_statistics, (F32, ("n", 5)), sizes=(1, 3, 20000)),
    "random": _of(_normal, (F32, ("n", 3))),
    "assigning": _assigning,
    "digits": _digits,
    "late": _of(_late, (F32, ("n",))),
    "integers": _of(lambda a, b: [a * b + 1, a // (b + 1), a % 3], *[(pf.int64, ("n", 3))] * 2),
    "doubles": _of(lambda a, b: pf.sqrt(pf.abs(a @ b)), (pf.float64, ("n", 5)), (pf.float64, (5, "n"))),
    "halves": _of(lambda a: pf.tanh(a) * 2 + pf.sum(a, axis=1, keepdims=True), (pf.float16, ("n", 5))),
    "broadcasting": _of(lambda a, b: a * b - pf.transpose(a), (F32, ("n", "n")), (F32, ("m", 1))),
    "pieces": _of(lambda a: [pf.concat([a[::2], a * 2.0], 0), pf.pad(a, [(1, 2), (0, 1)])], (F32, ("n", 4))),
    "scattered": _of(
        lambda a, i: [pf.take_along_axis(a, i, 1), pf.sort(a, axis=1), pf.one_hot(i, 5)],
        (F32, ("n", 6)),
        (pf.int64, ("n", 2)),
    ),
    "identity": _of(lambda a: [a, pf.reshape(a, (-1,))], (F32, ("n", 4))),
    "fixed": _of(lambda a: pf.relu(a @ _weight(1, 6, 40)), (F32, (3, 6))),
    "lstm": _of(
        lambda x: pf.lstm(x, _weight(1, 1, 16, 3), _weight(2, 1, 16, 4), _weight(3, 1, 32)), (F32, ("n", 2, 3))
    ),
}
