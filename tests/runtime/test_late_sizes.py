"""Sizes that the run tells: integer values as shapes, sizes without an upper bound, memory that is found while a plan
runs."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import pyflow as pf
from pyflow import dims, dtypes, opdef
from pyflow.interpret import evaluate_graph
from pyflow.ops.sizes import SHAPE, as_size, as_sizes, held_sizes

DEVICES = ("cpu", "ref")


@pytest.fixture
def graph():
    made = pf.Graph()
    with made.as_default():
        yield made


def vector(length, name="s"):
    return pf.placeholder(pf.int64, [length], name=name)


def number(name="k", dtype=pf.int64):
    return pf.placeholder(dtype, [], name=name)


def values(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def agree(graph, fetch, feeds, want):
    """On every backend, twice, and through the refs alone, ``fetch`` is ``want``."""
    np.testing.assert_array_equal(evaluate_graph(graph, [fetch], feeds)[0], want)
    for device in DEVICES:
        session = pf.Session(graph, pf.SessionConfig(device=device))
        for _ in range(2):
            have = session.run(fetch, feeds)
            assert have.dtype == np.asarray(want).dtype
            np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("shape", [(2, 3), (6, 1), (1, 6), (3, 2)])
def test_reshape(graph, shape):
    x, s = pf.placeholder(pf.float32, ["n"]), vector(2)
    agree(graph, pf.reshape(x, s) * 2.0, {x: values(6), s: np.array(shape)}, values(6).reshape(shape) * 2)


def test_reshape_to_nothing(graph):
    x, s = pf.placeholder(pf.float32, ["n"]), vector(2)
    agree(graph, pf.reshape(x, s) * 2.0, {x: values(0), s: np.array([0, 5])}, values(0, 5))


def test_reshape_with_what_is_left(graph):
    x, k = pf.placeholder(pf.float32, [2, "n"]), number()
    feeds = {x: values(2, 6), k: np.int64(3)}
    agree(graph, pf.reshape(x, [k, -1]), feeds, values(2, 6).reshape(3, 4))
    agree(graph, pf.reshape(x, pf.stack([k, -1])), feeds, values(2, 6).reshape(3, 4))
    agree(graph, pf.reshape(x, pf.concat([pf.shape(x)[:1], pf.expand_dims(k, 0), [-1]])), feeds, values(2, 3, 2))


@pytest.mark.parametrize("dtype", [pf.int8, pf.uint8, pf.int16, pf.uint16, pf.int32, pf.uint32, pf.int64, pf.uint64])
def test_integers_of_every_dtype(graph, dtype):
    x, s = pf.placeholder(pf.float32, [6]), pf.placeholder(dtype, [2])
    agree(graph, pf.reshape(x, s), {x: values(6), s: np.array([2, 3], dtype.numpy)}, values(2, 3))


@pytest.mark.parametrize("k", [-9, -6, -2, -1, 0, 1, 3, 6, 9])
def test_slices(graph, k):
    x, at = pf.placeholder(pf.float32, [6, "m"]), number()
    feeds = {x: values(6, 4), at: np.int64(k)}
    agree(graph, x[at:], feeds, values(6, 4)[k:])
    agree(graph, x[:at] + 1.0, feeds, values(6, 4)[:k] + 1)
    agree(graph, x[1:at, at:], feeds, values(6, 4)[1:k, k:])
    agree(graph, x[::-2, :at], feeds, values(6, 4)[::-2, :k])
    agree(graph, x[at::-1], feeds, values(6, 4)[k::-1])


@pytest.mark.parametrize("k", [np.iinfo(np.int64).min, np.iinfo(np.int64).max])
def test_bounds_far_outside(graph, k):
    x, at = pf.placeholder(pf.float32, ["n"]), number()
    agree(graph, x[at:], {x: values(5), at: k}, values(5)[k:])
    agree(graph, x[:at], {x: values(5), at: k}, values(5)[:k])


@pytest.mark.parametrize("k", [0, 1, 5])
def test_what_is_made_at_a_size(graph, k):
    x, many = pf.placeholder(pf.float32, ["n"]), number(dtype=pf.int32)
    feeds = {x: values(3), many: np.int32(k)}
    agree(graph, pf.broadcast_to(x, [many, 3]), feeds, np.broadcast_to(values(3), (k, 3)))
    agree(graph, pf.arange(many), feeds, np.arange(k, dtype=np.int32))
    agree(graph, pf.arange(1, many, 2), feeds, np.arange(1, k, 2, dtype=np.int32))
    agree(graph, pf.arange(many, 0, -2), feeds, np.arange(k, 0, -2, dtype=np.int32))
    agree(graph, pf.arange(0.0, pf.cast(many, pf.float32), 0.5), feeds, np.arange(0, k, 0.5, dtype=np.float32))
    agree(graph, pf.one_hot(pf.constant([0, 2]), many), feeds, np.equal.outer([0, 2], np.arange(k)).astype(np.float32))
    agree(graph, pf.pad(x, [(many, 1)]), feeds, np.pad(values(3), (k, 1)))
    agree(graph, pf.broadcast_to(pf.constant(7.0), pf.expand_dims(many, 0)), feeds, np.full(k, 7, np.float32))


def test_pads_that_crop(graph):
    x, amount = pf.placeholder(pf.float32, ["n"]), number()
    agree(graph, pf.pad(x, [(amount, 2)]), {x: values(5), amount: np.int64(-3)}, np.array([3, 4, 0, 0], np.float32))


def test_split(graph):
    x, sections = pf.placeholder(pf.float32, [6]), vector(2)
    first, second = pf.split(x, sections)
    feeds = {x: values(6), sections: np.array([2, 4])}
    agree(graph, first * 2.0, feeds, values(6)[:2] * 2)
    agree(graph, second, feeds, values(6)[2:])


def test_the_sizes_of_a_size_are_the_same_each_time(graph):
    x, y, k = pf.placeholder(pf.float32, [6]), pf.placeholder(pf.float32, [6]), number()
    left, right = pf.reshape(x, [k, -1]), pf.reshape(y, [k, -1])
    assert left.shape == right.shape
    assert as_size(k) == as_sizes([k])[0]
    assert sum(node.op.name == "late_sizes" for node in graph.nodes) == 1
    agree(graph, left + right, {x: values(6), y: values(6), k: np.int64(2)}, values(2, 3) * 2)


def test_known_values_define_nothing(graph):
    x = pf.placeholder(pf.float32, [4, "n"])
    pf.reshape(x, pf.cast(pf.ceil(pf.cast(pf.shape(pf.constant(np.zeros((3, 2)))), pf.float32) * 0.5), pf.int64))
    assert as_sizes(pf.constant([2, 3]) * 2) == (4, 6)
    assert held_sizes(pf.concat([pf.shape(x), [-1]])) == (*x.shape, -1)
    assert all(node.op.name != "late_sizes" for node in graph.nodes)


def test_what_is_no_size(graph):
    x = pf.placeholder(pf.float32, ["n"])
    for given in (pf.placeholder(pf.float32, [2]), pf.placeholder(pf.int64, ["m"]), pf.placeholder(pf.int64, [2, 2])):
        with pytest.raises(pf.errors.DTypeError, match="sizes"):
            pf.reshape(x, given)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("size", "kind", "text"),
    [
        (-1, pf.errors.InvalidArgumentError, "came out as -1; expected 0 or more"),
        (-(2**62), pf.errors.InvalidArgumentError, "came out as"),
        (2**40, pf.errors.ResourceExhaustedError, "memory"),
        (2**62, pf.errors.PyflowError, "size"),
    ],
)
def test_sizes_that_cannot_be(graph, device, size, kind, text):
    k = number()
    made = pf.broadcast_to(pf.constant(1.0), [k, 3]) + pf.broadcast_to(pf.arange(3.0), [k, 3])
    session = pf.Session(graph, pf.SessionConfig(device=device))
    with pytest.raises(kind, match=rf"(?s){text}.*test_late_sizes\.py"):
        session.run(made, {k: np.int64(size)})
    np.testing.assert_array_equal(session.run(made, {k: np.int64(1)}), [[1, 2, 3]])


@pytest.mark.parametrize("device", DEVICES)
def test_elements_that_do_not_fit(graph, device):
    x, s = pf.placeholder(pf.float32, [6]), vector(2)
    y = pf.reshape(x, s) * 2.0
    session = pf.Session(graph, pf.SessionConfig(device=device))
    with pytest.raises(pf.errors.InvalidArgumentError, match="elements: got 6 and 8"):
        session.run(y, {x: values(6), s: [2, 4]})
    np.testing.assert_array_equal(session.run(y, {x: values(6), s: [2, 3]}), values(2, 3) * 2)


@pytest.mark.parametrize(("left", "right"), [(3, 3), (1, 3), (3, 1), (1, 1), (0, 1), (1, 0)])
def test_two_late_sizes_broadcast(graph, left, right):
    a, b, x, y = number("a"), number("b"), pf.placeholder(pf.float32, [4]), pf.placeholder(pf.float32, [4])
    feeds = {a: np.int64(left), b: np.int64(right), x: values(4), y: values(4) + 1}
    want = values(4)[:left] * (values(4) + 1)[:right]
    agree(graph, pf.exp(x[:a] * y[:b] * 0.0) * (x[:a] * y[:b]), feeds, want)


@pytest.mark.parametrize("device", DEVICES)
def test_two_late_sizes_that_do_not_broadcast(graph, device):
    a, b = number("a"), number("b")
    both = pf.arange(a) + pf.arange(b)
    session = pf.Session(graph, pf.SessionConfig(device=device))
    with pytest.raises(pf.errors.InvalidArgumentError, match=r"sizes 2 and 3 do not broadcast"):
        session.run(both, {a: 2, b: 3})
    np.testing.assert_array_equal(session.run(both, {a: 1, b: 3}), [0, 1, 2])


def test_a_count_that_is_fetched_alone(graph):
    x = pf.placeholder(pf.float32, ["n"])
    feeds = {x: np.array([0, 2, 0, 3, 4], np.float32)}
    count = pf.shape(pf.nonzero(x))[1]
    agree(graph, count, feeds, np.int64(3))
    agree(graph, pf.broadcast_to(pf.constant(1.0), [count]), feeds, np.ones(3, np.float32))


@pytest.mark.parametrize("x", [[0, 2, 0, 3, 4], [0, 0], [1], []])
def test_chains_of_counts(graph, x):
    given = pf.placeholder(pf.float32, ["n"])
    array = np.array(x, np.float32)
    picked = pf.gather(given, pf.nonzero(given)[0])
    again = pf.gather(picked, pf.nonzero(picked > 2.0)[0])
    agree(graph, again * 2.0, {given: array}, array[array > 2] * 2)
    rest = given[pf.shape(picked)[0] :]
    agree(graph, rest + 0.0, {given: array}, array[np.count_nonzero(array) :])


def test_in_a_gradient(graph):
    x, s, k = pf.placeholder(pf.float32, [6]), vector(2), number()
    y = pf.reshape(x, s)[:k] * pf.reshape(x, s)[-1:]
    (slope,) = pf.gradients(pf.sum(y * y), [x])
    array = np.arange(1, 7, dtype=np.float32)
    rows = array.reshape(3, 2)
    want = np.zeros((3, 2), np.float32)
    want[:2] = 2 * rows[:2] * rows[2] ** 2
    want[2] = 2 * rows[2] * (rows[:2] ** 2).sum(0)
    agree(graph, slope, {x: array, s: np.array([3, 2]), k: np.int64(2)}, want.reshape(-1))


def test_a_graph_is_saved_and_loaded(graph, tmp_path):
    x, k = pf.placeholder(pf.float32, ["n"], name="x"), number()
    graph.alias("y", pf.pad(pf.reshape(x, [k, -1]), [(k, -1), (0, 0)]))
    text = graph.dump()
    assert pf.parse_graph(text).dump() == text
    graph.save(tmp_path / "graph")
    loaded = pf.load_graph(tmp_path / "graph")
    with loaded.as_default():
        more = pf.reshape(loaded.find("x:0"), [loaded.find("k:0"), -1])
        loaded.alias("more", pf.broadcast_to(pf.expand_dims(more, 0), [pf.shape(pf.nonzero(more))[1], *more.shape]))
    names = [name for node in loaded.nodes for name in node.defines]
    assert len(names) == len(set(names)) == 4
    feeds = {"x": values(6), "k": np.int64(2)}
    with pf.Session(loaded) as session:
        have, more = session.run(["y", "more"], feeds)
    np.testing.assert_array_equal(have, np.pad(values(2, 3), ((2, 0), (0, 0)))[:-1])
    assert more.shape == (5, 2, 3)


@pytest.mark.parametrize("device", DEVICES)
def test_sizes_that_grow_and_shrink(graph, device):
    x, s = pf.placeholder(pf.float32, ["n"]), vector(2)
    y = pf.softmax(pf.reshape(x, s) @ pf.transpose(pf.reshape(x, s)))
    session = pf.Session(graph, pf.SessionConfig(device=device))
    for shape in ((2, 3), (3, 2), (40, 30), (1, 1), (30, 40), (0, 4), (1200, 1), (1, 1200), (2, 3)):
        array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        have = session.run(y, {x: array.reshape(-1), s: shape})
        product = array @ array.T
        want = np.exp(product - product.max(axis=1, initial=-np.inf, keepdims=True))
        np.testing.assert_allclose(have, want / want.sum(axis=1, keepdims=True), rtol=1e-4, atol=1e-6)
    assert session.stats.compiles == 1


def test_threads(graph):
    x, s = pf.placeholder(pf.float32, ["n"]), vector(2)
    y = pf.exp(pf.reshape(x, s)) @ pf.transpose(pf.reshape(x, s))
    session = pf.Session(graph)
    wrong = []

    def work(seed):
        for turn in range(20):
            shape = (1 + (seed + turn) % 7, 1 + turn % 5)
            array = np.full(shape, seed, np.float32) / 8
            have = session.run(y, {x: array.reshape(-1), s: shape})
            if not np.allclose(have, np.exp(array) @ array.T, rtol=1e-5):
                wrong.append(shape)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_variables_take_values_that_turn_out_to_fit(graph):
    k = number()
    v = pf.Variable(np.zeros(3, np.float32), name="v")
    up = v.assign(pf.reshape(pf.broadcast_to(pf.constant(2.0), [k]), [3]))
    session = pf.Session(graph, pf.SessionConfig(auto_init=True))
    session.run(up, {k: 3})
    assert session.run(v).tolist() == [2, 2, 2]
    with pytest.raises(pf.errors.InvalidArgumentError, match="got 4 and 3"):
        session.run(up, {k: 4})
    assert session.run(v).tolist() == [2, 2, 2]


def test_the_memory_plan_names_what_is_not_in_it(graph):
    x, k = pf.placeholder(pf.float32, ["n"]), number()
    kept, late = pf.exp(x[:k]), pf.reshape(x, [k, -1]) * 2.0
    session = pf.Session(graph)
    assert not session.memory_plan({"n": 4}, kept, [x, k]).late
    (step,) = session.memory_plan({"n": 4}, late, [x, k]).late
    assert "test_late_sizes.py" in step


@pytest.fixture
def unique():
    """An op that runs in Python and has results of a size that nothing bounds."""
    function = pf.define(
        "test_late_unique",
        "x:T",
        attrs={"count": opdef.SIZE},
        infer=lambda x, count: (opdef.TensorType(x.dtype, (count,)), opdef.TensorType(dtypes.int64, (count, 2))),
        ref=lambda x, count: (np.unique(x), np.stack([np.arange(np.unique(x).size)] * 2, 1)),
        defines=lambda node: dims.late_names(node.attrs["count"]),
        host=True,
        multiple=True,
        doc="The values of ``x``, each once.",
    )
    yield lambda x: function(x, count=dims.fresh_late_symbol("unique"))
    del opdef.OPS["test_late_unique"], opdef.FUNCTIONS["test_late_unique"]


@pytest.mark.parametrize("device", DEVICES)
def test_a_host_op_of_unbounded_results(graph, device, unique):
    x = pf.placeholder(pf.float32, ["n"])
    found, places = unique(x * 2.0)
    both = [found + 1.0, places, pf.shape(found)[0]]
    session = pf.Session(graph, pf.SessionConfig(device=device))
    for array in ([1, 1, 2], [], [3, 1, 2, 3], [5]):
        values, rows, count = session.run(both, {x: np.array(array, np.float32)})
        np.testing.assert_array_equal(values, np.unique(np.array(array, np.float32) * 2) + 1)
        assert rows.shape == (count, 2) and values.shape == (count,)


def test_shape_attributes_take_values(graph):
    k = number()
    assert SHAPE.normalise([2, k, 4]) == (2, as_size(k), 4)


def test_a_size_that_the_run_tells_is_not_fed(graph):
    x = pf.placeholder(pf.float32, ["n"])
    places = pf.nonzero(x)
    with pytest.raises(pf.errors.InvalidArgumentError, match="cannot be fed: the run itself finds out its size"):
        pf.Session(graph).run(pf.gather(x, places[0]), {x: values(3), places: [[0]]})


def test_a_group_does_not_wait_for_itself(graph):
    """What a size is made of and what has that size are not one call."""
    c = pf.placeholder(pf.float32, [])
    twice = c * 2.0
    made = pf.broadcast_to(twice, [pf.cast(twice + 1.0, pf.int64)]) * 3.0 + twice
    agree(graph, made, {c: np.float32(2)}, np.full(5, 16, np.float32))


def test_a_run_that_fails_late_leaves_variables_as_they_were(graph):
    k = number()
    v = pf.Variable(np.zeros(3, np.float32), name="v")
    after = pf.reshape(v.assign(v + 1.0)[:k], [2, 1]) * 2.0
    session = pf.Session(graph, pf.SessionConfig(auto_init=True))
    assert session.run(after, {k: 2}).tolist() == [[2], [2]]
    with pytest.raises(pf.errors.InvalidArgumentError, match="elements: got 3 and 2"):
        session.run(after, {k: 3})
    assert session.run(v).tolist() == [1, 1, 1]
