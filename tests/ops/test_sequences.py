"""Sequences and optionals: feeds and fetches, types that are told and that are not, errors, and nothing left behind."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, InvalidArgumentError, OutOfRangeError
from pyflow.ops.objects.sequences import element_type


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


@pytest.fixture(params=["cpu", "ref"])
def session(graph: pf.Graph, request: pytest.FixtureRequest) -> pf.Session:
    return pf.Session(graph, pf.SessionConfig(device=request.param))


A, B = np.arange(3, dtype=np.float32), np.arange(4, dtype=np.float32)


def lists(found: Any) -> Any:
    return [entry.tolist() for entry in found]


def test_feeds_and_fetches(graph: pf.Graph, session: pf.Session) -> None:
    v = pf.placeholder(pf.variant, name="v")
    has = pf.optional_has_element(v)
    found, there = session.run([v, has], {v: [A, B]})
    assert isinstance(found, list)
    assert lists(found) == lists([A, B])
    assert there
    found, there = session.run([v, has], {v: None})
    assert found is None
    assert not there
    found, there = session.run([v, has], {v: A})
    np.testing.assert_array_equal(found, A)
    assert there
    found = session.run(v, {v: (["a", "b"], [1, 2], 2.5)})
    assert [entry.dtype for entry in found] == [np.dtype(object), np.int64, np.float32]
    assert session.run(v, {v: []}) == []


def test_what_is_fetched_may_be_fed(graph: pf.Graph, session: pf.Session) -> None:
    v = pf.placeholder(pf.variant, name="v")
    longer = pf.sequence_insert(v, pf.constant(B))
    held: Any = []
    for _ in range(3):
        held = session.run(longer, {v: held})
    assert lists(held) == lists([B, B, B])


def test_elements_are_copies(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.float32, ("n",))
    given = A.copy()
    found = session.run(pf.sequence_construct(x), {x: given})
    given[0] = 9
    assert found[0][0] == 0


def test_sizes_that_the_run_finds_out(graph: pf.Graph, session: pf.Session) -> None:
    v, i = pf.placeholder(pf.variant, name="v"), pf.placeholder(pf.int64, ())
    at = pf.sequence_at(v, i, pf.float32, (None,))
    twice = pf.concat([at * 2.0, at], 0)
    for index, wanted in ((0, A), (1, B), (-1, B), (-2, A)):
        np.testing.assert_array_equal(session.run(twice, {v: [A, B], i: index}), np.concatenate([wanted * 2, wanted]))
    joined = pf.concat_from_sequence(v, 0, dtype=pf.float32, shape=(None,))
    np.testing.assert_array_equal(session.run(joined + 1.0, {v: [A, B, A]}), np.concatenate([A, B, A]) + 1)


def test_what_the_graph_tells_of_elements(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.float32, ("n", 2))
    y = pf.placeholder(pf.float32, ("m", 2))
    told = element_type(pf.sequence_construct(x, y))
    assert told is not None
    assert told.dtype is pf.float32
    assert told.dims[1] == 2
    assert element_type(pf.sequence_erase(pf.sequence_construct(x))) == x.type
    assert element_type(pf.sequence_insert(pf.sequence_empty(), x)) == x.type
    assert element_type(pf.placeholder(pf.variant)) is None
    assert pf.sequence_at(pf.sequence_construct(x, x), 0).dims == x.dims
    assert pf.sequence_at(pf.split_to_sequence(x, keepdims=False), 0).dims == (2,)


def test_of_text(graph: pf.Graph, session: pf.Session) -> None:
    s = pf.placeholder(pf.string, ("n",))
    q = pf.sequence_insert(pf.sequence_empty(pf.string), s)
    q = pf.sequence_insert(q, pf.strings.upper(s))
    found = session.run([pf.equal(pf.sequence_at(q, 0), "a"), pf.concat_from_sequence(q, 0)], {s: ["a", "b"]})
    assert lists(found) == [[True, False], ["a", "b", "A", "B"]]


def test_optionals(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.float32, ("n",))
    q = pf.sequence_construct(x, x)
    assert session.run(pf.optional()) is None
    np.testing.assert_array_equal(session.run(pf.optional_get_element(pf.optional(x)) * 2.0, {x: A}), A * 2)
    assert session.run(pf.sequence_length(pf.optional_get_element(pf.optional(q))), {x: A}) == 2
    assert pf.optional_get_element(x) is x
    assert session.run(pf.optional_has_element(x), {x: A})
    v = pf.placeholder(pf.variant)
    inside = pf.optional_get_element(v, pf.variant)
    assert lists(session.run(inside, {v: [A]})) == lists([A])
    with pytest.raises(InvalidArgumentError, match=r"the optional is empty.*test_sequences.py"):
        session.run(inside, {v: None})


def test_in_control_flow(graph: pf.Graph, session: pf.Session) -> None:
    x, yes = pf.placeholder(pf.float32, ("n",)), pf.placeholder(pf.bool, ())
    chosen = pf.cond(yes, lambda: pf.sequence_construct(x, x), pf.sequence_empty)
    count = pf.placeholder(pf.int64, ())

    def turn(i: Any, q: Any) -> Any:
        return i + 1, pf.sequence_insert(q, pf.cast(i, pf.float32) * x)

    _, collected = pf.while_loop(lambda i, q: i < count, turn, (pf.constant(0), pf.sequence_empty()))
    for given in (True, False):
        found = session.run([pf.sequence_length(chosen), collected], {x: A, yes: given, count: 3})
        assert found[0] == 2 * given
        assert lists(found[1]) == lists([A * 0, A, A * 2])


def test_map(graph: pf.Graph, session: pf.Session) -> None:
    x, y = pf.placeholder(pf.float32, ("n",)), pf.placeholder(pf.float32, ("n",))
    q = pf.sequence_construct(x, y)
    assert lists(session.run(pf.sequence_map(lambda e: e * y, [q]), {x: A, y: A + 1})) == lists(
        [A * A + A, (A + 1) ** 2]
    )
    v, w = pf.placeholder(pf.variant), pf.placeholder(pf.variant)
    types = [(pf.float32, (None,)), (pf.float32, (None,))]
    both = pf.sequence_map(lambda a, b: (pf.concat([a, b], 0), pf.sum(b)), [v, w], types, results=2)
    joined, sums = session.run(list(both), {v: [A, B], w: [B, A]})
    assert lists(joined) == lists([np.concatenate([A, B]), np.concatenate([B, A])])
    assert lists(sums) == [6.0, 3.0]
    assert session.run(both[0], {v: [], w: []}) == []
    with pytest.raises(pf.errors.FailedPreconditionError, match="sequences differ in length"):
        session.run(both[0], {v: [A], w: [A, B]})
    with pytest.raises(InvalidArgumentError, match="not known"):
        pf.sequence_map(lambda a: a, [v])
    with pytest.raises(InvalidArgumentError, match="expected results=2"):
        pf.sequence_map(lambda a: a, [q], results=2)


def test_what_a_run_refuses(graph: pf.Graph, session: pf.Session) -> None:
    v, i = pf.placeholder(pf.variant, name="v"), pf.placeholder(pf.int64, ())
    at = pf.sequence_at(v, i, pf.float32, (None,))
    x = pf.constant(A)
    for position in (2, -3):
        with pytest.raises(OutOfRangeError, match=rf"position {position} .*expected -2 <= position < 2"):
            session.run(at, {v: [A, B], i: position})
        with pytest.raises(OutOfRangeError):
            session.run(pf.sequence_erase(v, i), {v: [A, B], i: position})
    with pytest.raises(OutOfRangeError, match="expected -2 <= position < 3"):
        session.run(pf.sequence_insert(v, x, i), {v: [A, B], i: 3})
    refused: list[tuple[Any, Any, str]] = [
        (at, [A.astype(np.int64), B], "expected an element of float32 with 1 dims, got int64"),
        (at, [A.reshape(3, 1)], r"got float32\[3, 1\]"),
        (at, None, "expected a sequence, got nothing"),
        (pf.sequence_length(v), A, "expected a sequence, got an array"),
        (pf.sequence_insert(v, x), [A.astype(np.int64)], "expected an element of int64"),
        (pf.concat_from_sequence(v, 0, dtype=pf.float32, shape=(None,)), [], "empty sequence"),
        (pf.concat_from_sequence(v, 0, True, pf.float32, (None,)), [A, B], "do not join"),
        (pf.optional_get_element(v, pf.float32, (None,)), None, "the optional is empty"),
        (pf.optional_get_element(v, pf.float32, (None,)), [A], "holds a sequence"),
    ]
    for fetch, given, expected in refused:
        with pytest.raises(InvalidArgumentError, match=expected):
            session.run(fetch, {v: given, i: 0})
    y = pf.placeholder(pf.float32, ("k",))
    for split, expected in (([1, 1], "do not sum up"), ([4, -1], "do not sum up"), (0, "expected a size > 0")):
        with pytest.raises(InvalidArgumentError, match=expected):
            session.run(pf.split_to_sequence(y, split), {y: A})


def test_what_a_graph_refuses(graph: pf.Graph) -> None:
    v, x = pf.placeholder(pf.variant), pf.placeholder(pf.float32, ("n",))
    with pytest.raises(InvalidArgumentError, match="the type of the elements is not known"):
        pf.sequence_at(v, 0)
    for wrong in (
        lambda: pf.sequence_at(x, 0),
        lambda: pf.sequence_construct(x, pf.constant([1])),
        lambda: v + v,
        lambda: pf.reshape(v, (1,)),
        lambda: pf.Variable(pf.sequence_empty()),
    ):
        with pytest.raises(DTypeError):
            wrong()
    for wrong in (
        lambda: pf.sequence_insert(v, x, pf.constant([0])),
        lambda: pf.split_to_sequence(x, axis=1),
        lambda: pf.concat_from_sequence(pf.sequence_construct(x), 2),
    ):
        with pytest.raises(InvalidArgumentError):
            wrong()


def test_nothing_outlives_a_run(graph: pf.Graph, session: pf.Session) -> None:
    """Whether it succeeds or fails: neither arrays in sequences nor texts keep a reference."""
    v, s = pf.placeholder(pf.variant, name="v"), pf.placeholder(pf.string, ())
    fine = pf.sequence_length(pf.sequence_insert(v, pf.constant(A)))
    fails = pf.sequence_at(v, 5, pf.float32, (None,))
    text = "".join(["a text of ", "this test alone"])
    shown = pf.strings.upper(s)
    held = np.arange(5, dtype=np.float32)
    alive = weakref.ref(held)
    before = sys.getrefcount(held), sys.getrefcount(text)
    for _ in range(20):
        session.run([fine, shown], {v: [held], s: text})
        with pytest.raises(OutOfRangeError):
            session.run([fails, shown], {v: [held], s: text})
    gc.collect()
    assert (sys.getrefcount(held), sys.getrefcount(text)) == before
    del held
    gc.collect()
    assert alive() is None
