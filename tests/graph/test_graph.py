"""Declared graphs: names, scopes, and what capture makes of program order, pruning and feeds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import (
    DTypeError,
    FailedPreconditionError,
    GraphGrowthWarning,
    InvalidArgumentError,
    NotFoundError,
)
from pyflow.graph import Graph
from pyflow.interpret import evaluate_graph
from pyflow.region import Lasting, capture


@pytest.fixture
def graph():
    graph = Graph()
    with graph.as_default():
        yield graph


def test_names_are_unique_and_scoped(graph) -> None:
    x = pf.placeholder("float32", [2], name="x")
    assert [pf.exp(x).name, pf.exp(x).name, pf.exp(x, name="x").name] == ["exp:0", "exp_1:0", "x_1:0"]
    with graph.name_scope("a"), graph.name_scope("b"):
        assert pf.exp(x, name="y").name == "a/b/y:0"
    with graph.name_scope("a"):
        assert pf.exp(x, name="y").name.startswith("a")
    assert graph.get_tensor_by_name("a/b/y:0") is graph.get_tensor_by_name("a/b/y")
    with pytest.raises(NotFoundError, match=r"nothing is named 'a/b/z:0'(.|\n)*did you mean"):
        graph.get_tensor_by_name("a/b/z:0")


def test_variables_without_names_get_some(graph) -> None:
    first, second = pf.Variable(1.0), pf.Variable(2.0)
    assert first.name != second.name
    assert list(graph.variables) == [first.name, second.name]


def test_a_value_is_no_bool_number_or_array(graph) -> None:
    x = pf.placeholder("float32", [2], name="x")
    for use in (bool, int, float, np.asarray):
        with pytest.raises(DTypeError, match=r"x:0: float32\[2\]"):
            use(x)


def test_a_finalized_graph_takes_no_node(graph) -> None:
    x = pf.placeholder("float32", [2])
    graph.finalize()
    with pytest.raises(FailedPreconditionError, match=r"finalized.*test_graph\.py"):
        pf.exp(x)


def test_an_op_of_another_graph_is_refused(graph) -> None:
    with Graph().as_default():
        other = pf.placeholder("float32", [2], name="other")
    with pytest.raises(InvalidArgumentError, match=r"other:0.*another graph"):
        pf.exp(other)


def test_a_loop_that_grows_the_graph_is_warned_of_once(graph) -> None:
    x = pf.placeholder("float32", [2])

    def steps() -> None:
        for _ in range(6):
            pf.exp(x)
            graph.note_run()

    with pytest.warns(GraphGrowthWarning, match=r"test_graph\.py:\d+") as caught:
        steps()
    assert len(caught) == 1


def test_building_once_is_not_warned_of(graph) -> None:
    x = pf.placeholder("float32", [2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.exp(x)
        for _ in range(5):
            graph.note_run()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_reads_see_the_writes_before_them_however_they_are_fetched(graph, order) -> None:
    v = pf.Variable(np.float32(1), name="v")
    fetches = [v.value(), v.assign(v + 1.0), v.value()]
    state = {"v": np.float32(1)}
    results = evaluate_graph(graph, [fetches[i] for i in order], {}, state)
    assert [float(results[order.index(i)]) for i in range(3)] == [1, 2, 2]
    assert state["v"] == 2


def test_an_order_is_not_a_need(graph) -> None:
    v = pf.Variable(np.float32(1), name="v")
    before, _, after = v.value(), v.assign(v + 1.0), v.value()
    state = {"v": np.float32(1)}
    assert evaluate_graph(graph, [before, after], {}, state) == [1, 1]
    assert state == {"v": 1}


def test_control_dependencies_pull_in_what_runs_before(graph) -> None:
    v = pf.Variable(np.float32(1), name="v")
    with graph.control_dependencies([v.assign(v + 1.0)]):
        after = pf.identity(v.value())
    state = {"v": np.float32(1)}
    assert evaluate_graph(graph, [after], {}, state) == [2]
    assert state["v"] == 2


def test_only_what_is_fetched_is_captured(graph) -> None:
    x = pf.placeholder("float32", [2])
    used, _ = pf.exp(x), pf.tanh(x)
    region = capture(graph, [used], [x])
    assert [node.op.name for node in region.nodes()] == ["input", "exp"]


def test_intermediates_can_be_fed(graph) -> None:
    x = pf.placeholder("float32", [2], name="x")
    middle = pf.exp(x)
    top = middle * 2.0
    np.testing.assert_array_equal(evaluate_graph(graph, [top, middle], {middle: [3.0, 4.0]})[0], [6, 8])


def test_missing_feeds_are_listed_at_once(graph) -> None:
    x, y = pf.placeholder("float32", [2], name="x"), pf.placeholder("int64", ["n"], name="y")
    with pytest.raises(InvalidArgumentError, match=r"x: float32\[2\](.|\n)*y: int64\[n\](.|\n)*feed_dict"):
        capture(graph, [x, y], [])


def test_a_default_may_be_fed(graph) -> None:
    x = pf.placeholder_with_default(np.float32(3))
    assert evaluate_graph(graph, [x * 2.0]) == [6]
    assert evaluate_graph(graph, [x * 2.0], {x: 5}) == [10]


def test_capture_interns_equal_nodes_and_unites_their_origins(graph) -> None:
    x = pf.placeholder("float32", [2], name="x")
    region = capture(graph, [pf.exp(x, name="one") + pf.exp(x, name="two")], [x])
    (node,) = [node for node in region.nodes() if node.op.name == "exp"]
    assert [origin.name for origin in region.table.origins[node]] == ["one", "two"]


def test_what_lasts_from_run_to_run(graph) -> None:
    kept, moved = pf.Variable(np.ones(2, np.float32), name="kept"), pf.Variable(np.ones(2, np.float32), name="moved")
    x = pf.placeholder("float32", [2])
    values = [kept * 2.0, moved * 2.0, kept + x, pf.constant([1.0]) + 1.0]
    region = capture(graph, [*values, moved.assign(moved + 1.0)], [x])
    lasting = Lasting(region)
    assert [value in lasting for value in region.outputs] == [True, False, False, True, False]


def test_sizes_that_do_not_agree_are_refused_at_feeding(graph) -> None:
    x, y = pf.placeholder("float32", ["n"], name="x"), pf.placeholder("float32", ["n"], name="y")
    with pytest.raises(InvalidArgumentError, match=r"n is 2"):
        evaluate_graph(graph, [x + y], {x: [1, 2], y: [1, 2, 3]})


def test_names_take_constant_time_each():
    graph = pf.Graph()
    for _ in range(30000):
        graph.variables[graph.unique_name("add")] = None
    assert graph.unique_name("add") == "add_30000"
