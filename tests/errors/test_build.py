"""Errors while a graph is built: each names what came, what was expected, this file and the next step."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import pyflow as pf
from pyflow import errors

HERE = "test_build.py:"


def test_shapes_that_do_not_broadcast(graph, fails):
    x = pf.placeholder(pf.float32, ("batch", 3))
    y = pf.placeholder(pf.float32, (4,))
    with fails(errors.InvalidArgumentError, ValueError, "[add]", "float32[batch,3]", "float32[4]", HERE):
        x + y


def test_matmul_inner_sizes(graph, fails):
    a = pf.placeholder(pf.float32, (2, 3))
    b = pf.placeholder(pf.float32, (4, 5))
    with fails(errors.InvalidArgumentError, ValueError, "[matmul]", "float32[2,3]", "float32[4,5]", HERE):
        a @ b


def test_dtype_that_the_op_does_not_take(graph, fails):
    x = pf.placeholder(pf.bool_, (2,))
    with fails(errors.DTypeError, TypeError, "[logical_and]", "bool", HERE):
        pf.logical_and(x, np.ones(2, np.float32))


def test_axis_out_of_range(graph, fails):
    x = pf.placeholder(pf.float32, (4, 8))
    with fails(errors.InvalidArgumentError, ValueError, "[softmax]", "axis 3", "float32[4,8]", HERE):
        pf.softmax(x, axis=3)


def test_graph_value_as_bool(graph, fails):
    x = pf.placeholder(pf.float32, ())
    with fails(errors.DTypeError, TypeError, "truth value", "pf.where", HERE):
        if x > 0:
            pass


def test_graph_value_as_number_or_array(graph, fails):
    x = pf.placeholder(pf.float32, ())
    with fails(errors.DTypeError, TypeError, "session.run", HERE):
        float(x)
    with fails(errors.DTypeError, TypeError, "session.run", HERE):
        int(x)
    with fails(errors.DTypeError, TypeError, "session.run", HERE):
        np.asarray(x)


def test_operand_of_another_graph(graph, fails):
    x = pf.placeholder(pf.float32, (2,), name="mine")
    with pf.Graph().as_default(), fails(errors.InvalidArgumentError, ValueError, "mine", "another graph", HERE):
        pf.relu(x)


def test_unknown_rank_and_bad_sizes(graph, fails):
    with fails(errors.InvalidArgumentError, ValueError, "rank", "shape=", HERE):
        pf.placeholder(pf.float32)
    with fails(errors.InvalidArgumentError, ValueError, "-2", HERE):
        pf.placeholder(pf.float32, (-2,))
    with fails(errors.InvalidArgumentError, ValueError, "1.5", HERE):
        pf.placeholder(pf.float32, (1.5,))
    with fails(errors.InvalidArgumentError, ValueError, "size", HERE):
        pf.placeholder(pf.float32, ("4**b",))


def test_one_name_with_two_ranges(graph, fails):
    pf.placeholder(pf.float32, (pf.Dim("batch", max=64),))
    with fails(errors.InvalidArgumentError, ValueError, "'batch'", "64", "32", HERE):
        pf.placeholder(pf.float32, (pf.Dim("batch", max=32),))


def test_unknown_dtype_and_dtype_that_an_op_does_not_take(graph, fails):
    with pytest.raises(TypeError, match="float33"):
        pf.placeholder("float33", (1,))
    z = pf.placeholder(pf.complex64, (1,))
    with fails(errors.DTypeError, TypeError, "[less]", "complex64", HERE):
        pf.less(z, 1)
    text = pf.placeholder(pf.string, (1,))
    with fails(errors.DTypeError, TypeError, "[exp]", "string", HERE):
        pf.exp(text)
    with fails(errors.DTypeError, TypeError, "[add]", "float8_e4m3fn", HERE):
        pf.placeholder(pf.float8_e4m3fn, (1,)) + 1


def test_constant_of_what_is_no_number(graph, fails):
    with fails(errors.DTypeError, TypeError, "[constant]", "expected numbers", HERE):
        pf.constant([object(), "b"])
    with fails(errors.InvalidArgumentError, ValueError, "[constant]", HERE):
        pf.constant([[1, 2], [3]])
    with fails(errors.DTypeError, TypeError, "int32", HERE):
        pf.constant(2**40, pf.int32)


def test_reshape_of_the_wrong_size(graph, fails):
    x = pf.placeholder(pf.float32, (2, 3))
    with fails(errors.InvalidArgumentError, ValueError, "[reshape]", "float32[2,3]", HERE):
        pf.reshape(x, (4, 2))


def test_unknown_attribute(graph, fails):
    x = pf.placeholder(pf.float32, (2, 3))
    with fails(errors.InvalidArgumentError, ValueError, "[softmax]", "axes", HERE):
        pf.softmax(x, axes=1)


def test_assign_of_another_shape_or_dtype(graph, fails):
    v = pf.Variable(np.zeros((2, 3), np.float32), name="v")
    with fails(errors.InvalidArgumentError, ValueError, "[assign]", "float32[2,3]", "float32[3,2]", HERE):
        v.assign(np.zeros((3, 2), np.float32))
    with fails(errors.DTypeError, TypeError, "[assign]", "float64", "pf.cast", HERE):
        v.assign(pf.placeholder(pf.float64, (2, 3)))


def test_variable_of_unknown_shape(graph, fails):
    with fails(errors.InvalidArgumentError, ValueError, "known shape", "batch", HERE):
        pf.Variable(pf.placeholder(pf.float32, ("batch",)))


def test_finalized_graph(graph, fails):
    x = pf.placeholder(pf.float32, (2,))
    graph.finalize()
    with fails(errors.FailedPreconditionError, RuntimeError, "finalized", HERE):
        x + 1


def test_gradient_by_an_integer_and_through_an_op_without_one(graph, fails):
    n = pf.placeholder(pf.int32, (2,))
    with fails(errors.DTypeError, TypeError, "[gradients]", "int32", HERE):
        pf.gradients(pf.sum(pf.cast(n, pf.float32)), n)


def test_boolean_mask_and_bad_index(graph, fails):
    x = pf.placeholder(pf.float32, (4, 3))
    with fails(errors.InvalidArgumentError, ValueError, "getitem", HERE):
        x[x[1:] > 0]
    with fails(errors.OutOfRangeError, IndexError, "index 4", "-4 <= index < 4", HERE):
        x[4]
    with fails(errors.OutOfRangeError, IndexError, "getitem", "3 indices", HERE):
        x[0, 0, 0]


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_graphs_and_what_they_hold_are_not_copied(graph, fails, duplicate):
    x = pf.placeholder(pf.float32, (4, 3))
    for each in (graph, x, x.node, pf.Session(graph)):
        with fails(errors.DTypeError, TypeError, type(each).__name__, "graph.save(path)", HERE):
            duplicate(each)


def test_representations(graph):
    weights = pf.Variable(np.zeros(2, np.float32), name="weights")
    with pf.Session(graph) as session:
        assert repr(session) == "<pf.Session on cpu, <pf.Graph of 2 nodes, 1 variables>>"
    assert repr(session).endswith("closed>")
    assert repr(pf.optim.SGD(0.5)) == "pf.optim.SGD(lr=0.5, weight_decay=0.0, momentum=0.0, nesterov=False)"
    assert repr(pf.train.Saver([weights])) == "<pf.train.Saver of weights, max_to_keep=5>"
    assert repr(pf.data.Batches(np.zeros((10, 2)), batch_size=3)) == "<pf.data.Batches: 4 of 3 from 10 rows>"


def test_unknown_name_lists_near_ones(graph, fails):
    pf.placeholder(pf.float32, (2,), name="images")
    with fails(errors.NotFoundError, KeyError, "'image'", "images", HERE):
        graph.get_tensor_by_name("image")


def test_config_values(fails):
    with fails(errors.InvalidArgumentError, ValueError, "numerics", "fast", HERE):
        pf.SessionConfig(numerics="fast")
    with fails(errors.InvalidArgumentError, ValueError, "threads", HERE):
        pf.SessionConfig(threads=-1)
    with fails(errors.InvalidArgumentError, ValueError, "timeout", HERE):
        pf.RunOptions(timeout=0)


def test_data_and_optimisers(graph, fails):
    with fails(errors.InvalidArgumentError, ValueError, "rows", HERE):
        pf.data.Batches(np.zeros(3), np.zeros(4), batch_size=2)
    with fails(errors.InvalidArgumentError, ValueError, "batch_size", HERE):
        pf.data.Batches(np.zeros(3), batch_size=0)
    loss = pf.placeholder(pf.float32, ())
    with fails(errors.InvalidArgumentError, ValueError, "no trainable variable", HERE):
        pf.optim.SGD(0.1).minimize(loss)
    pf.Variable(np.float32(1), name="w")
    with fails(errors.InvalidArgumentError, ValueError, "depends on none", "w", HERE):
        pf.optim.SGD(0.1).minimize(loss)


def test_growing_graph_is_warned_of_with_its_line(graph):
    x = pf.placeholder(pf.float32, ())
    session = pf.Session(graph)
    with pytest.warns(errors.GraphGrowthWarning, match="test_build.py:"):
        for _ in range(5):
            session.run(x + 1.0, {x: np.float32(1)})


@pytest.mark.parametrize("wrong", [3, "x", None])
def test_gradients_by_what_is_no_value(graph, fails, wrong):
    x = pf.placeholder(pf.float32, (2,), name="x")
    with fails(errors.DTypeError, TypeError, "[gradients]", "expected values and variables", HERE):
        pf.gradients(x * 2.0, [wrong])


def test_values_one_by_one_instead_of_in_a_list(graph, fails):
    x = pf.placeholder(pf.float32, (2, 3), name="x")
    for function in (pf.concat, pf.stack):
        with fails(errors.DTypeError, TypeError, "expected a list of values", "([x, y], axis)", HERE):
            function(x, x)


def test_items_of_graph_values_are_not_assigned(graph, fails):
    x = pf.placeholder(pf.float32, (2, 3), name="x")
    with fails(errors.DTypeError, TypeError, "[setitem]", "x:0: float32[2,3]", "changed in place", "pf.where", HERE):
        x[0] = 1.0


def test_numbers_beyond_64_bits(graph, fails):
    with fails(errors.DTypeError, TypeError, "[constant]", str(2**70), "64 bits", HERE):
        pf.constant([1, 2**70])


def test_a_timeout_that_is_no_number(fails):
    with fails(errors.InvalidArgumentError, ValueError, "timeout", "in seconds", "'1s'", HERE):
        pf.RunOptions(timeout="1s")


@pytest.mark.parametrize(
    ("typed", "meant"), [("sofmax", "softmax"), ("reduce_meen", "reduce_mean"), ("array", "tensor")]
)
def test_functions_that_are_not_there(typed, meant):
    with pytest.raises(AttributeError, match=f"no attribute '{typed}'; did you mean {meant}"):
        getattr(pf, typed)
    assert not hasattr(pf, "qqqqqqqq")
