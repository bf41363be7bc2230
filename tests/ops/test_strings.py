"""Text: what may be fed and fetched, what moves it, what is refused, and what of it outlives a run."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import pyflow as pf
from pyflow import objects
from pyflow.errors import DTypeError, InternalError, InvalidArgumentError
from pyflow.runtime import handles


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made


@pytest.fixture(params=["cpu", "ref"])
def session(graph: pf.Graph, request: pytest.FixtureRequest) -> pf.Session:
    return pf.Session(graph, pf.SessionConfig(device=request.param))


@pytest.mark.parametrize(
    "given",
    [
        ["a", "Größe", ""],
        ("a", "Größe", ""),
        np.array(["a", "Größe", ""]),
        np.array(["a", "Größe", ""], object),
        np.array([b"a", "Größe".encode(), b""]),
        [b"a", "Größe", np.str_("")],
        np.array(["a", "Größe", ""], np.dtypes.StringDType()),
        np.array(["a", "x", "Größe", "x", "", "x"])[::2],
    ],
    ids=["list", "tuple", "U", "object", "S", "mixed", "StringDType", "strided"],
)
def test_feeds(graph: pf.Graph, session: pf.Session, given: object) -> None:
    x = pf.placeholder(pf.string, ("n",), name="x")
    for value in (x, pf.identity(x), pf.constant(given)):
        found = session.run(value, {x: given})
        assert found.dtype == object
        assert found.tolist() == ["a", "Größe", ""]
        assert all(type(entry) is str for entry in found)


def test_dtypes() -> None:
    assert pf.constant("a").dtype is pf.string
    for name in ("string", str, bytes, "U7", np.dtype("S3"), np.dtype(object), np.dtypes.StringDType()):
        assert pf.placeholder(name, ()).dtype is pf.string
    assert pf.placeholder("variant").dtype is pf.variant


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ([1, 2], DTypeError, "expected text, got 1"),
        (np.zeros(2), DTypeError, "expected text, got float64"),
        ([b"\xff", b""], DTypeError, "UTF-8"),
        (["a", None], DTypeError, "expected text, got None"),
        ("a", InvalidArgumentError, r"shape \[\] with 0 dims"),
        ([["a"], ["b", "c"]], InvalidArgumentError, "equal length"),
    ],
    ids=["ints", "floats", "bytes", "None", "rank", "rows"],
)
def test_feeds_that_do_not_fit(
    graph: pf.Graph, session: pf.Session, given: object, kind: type[Exception], expected: str
) -> None:
    x = pf.placeholder(pf.string, ("n",), name="x")
    with pytest.raises(kind, match=f"x: string.*{expected}"):
        session.run(x, {x: given})


def test_of_one_name_two_sizes(graph: pf.Graph, session: pf.Session) -> None:
    x, y = (pf.placeholder(pf.string, ("n",), name=name) for name in "xy")
    with pytest.raises(InvalidArgumentError):
        session.run(pf.equal(x, y), {x: ["a"], y: ["b", "c"]})


def test_what_texts_do_not_do(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    for wrong in (
        lambda: x + x,
        lambda: x < x,
        lambda: pf.equal(x, 1),
        lambda: pf.equal(x, pf.constant([1.0])),
        lambda: pf.concat([x, pf.constant([1])], 0),
        lambda: pf.Variable(["a"]),
        lambda: pf.strings.lower(pf.constant(1)),
        lambda: pf.cast(x, pf.complex64),
    ):
        with pytest.raises(DTypeError):
            wrong()
    with pytest.raises(DTypeError, match="a variable holds numbers"):
        pf.Variable("a")


def test_they_move_in_kernels(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n", 2))
    y = pf.where(pf.equal(x, "b"), pf.transpose(x[::-1, ::-1])[:1], pf.concat([x, x], 0)[2:3])
    session = pf.Session(graph)
    assert {row.backend for row in session.explain(y).rows} == {"cpu"}
    assert session.run(y, {x: [["a", "b"], ["b", "c"]]}).tolist() == [["a", "b"], ["c", "b"]]


def test_constants_and_texts_of_a_run_are_equal(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.string, ("n",))
    made = pf.strings.join([x, "b"])
    found = session.run([pf.equal(made, "ab"), pf.equal(made, x), pf.equal(x, "")], {x: ["a", "ab", ""]})
    assert [array.tolist() for array in found] == [[True, False, False], [False] * 3, [False, False, True]]


def test_conditions_of_texts(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.string, ("n",))
    places = pf.nonzero(pf.equal(x, "b"))[0]
    assert session.run(pf.strings.upper(pf.gather(x, places)), {x: ["b", "a", "b"]}).tolist() == ["B", "B"]


def test_folding(graph: pf.Graph, session: pf.Session) -> None:
    y = pf.strings.upper(pf.concat([pf.constant(["a"]), pf.constant(["b"])], 0))
    assert [row.kernel for row in session.explain(y).rows] == ["copy"]
    assert session.run(y).tolist() == ["A", "B"]


def test_equal_constants_are_one(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    pairs = [pf.equal(x, text) for text in ("a", "a", "b")]
    found = pf.Session(graph).run(pairs, {x: ["a"]})
    assert [array.tolist() for array in found] == [[True], [True], [False]]


def test_saved_graphs(graph: pf.Graph, tmp_path: object) -> None:
    x = pf.placeholder(pf.string, ("n",), name="x")
    graph.outputs.append(pf.strings.lookup(pf.concat([x, pf.constant(['q"\n', "é"])], 0), ["a", "é"], ["x", "y"], ""))
    graph.save(f"{tmp_path}/texts")
    loaded = pf.load_graph(f"{tmp_path}/texts")
    assert pf.Session(loaded).run(None, {"x": ["a", "b"]})[0].tolist() == ["x", "", "", "y"]


def test_run_options_and_out(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.string, ("n",))
    lengths, shown = pf.strings.length(x), pf.strings.upper(x)
    out = np.empty(2, np.int64)
    found = session.run([lengths, shown], {x: ["a", "bc"]}, pf.RunOptions(trace=True), out=[out, None])
    assert found[0] is out
    assert out.tolist() == [1, 2]
    assert found[1].tolist() == ["A", "BC"]
    assert session.last_trace is not None
    with pytest.raises(InvalidArgumentError, match="out= takes no objects"):
        session.run([lengths, shown], {x: ["a", "bc"]}, out=[out, np.empty(2, object)])


def test_callables(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    session = pf.Session(graph)
    assert session.make_callable(pf.strings.upper(x), [x])(["a"]).tolist() == ["A"]
    plain = session.make_callable(pf.placeholder_with_default(1.0) + 1.0)
    assert plain() == 2
    assert not any(isinstance(each.run, handles.ObjectRun) for each in session._cache.values() if not each.feeds)


def test_patterns_and_numbers_that_are_none(graph: pf.Graph, session: pf.Session) -> None:
    x = pf.placeholder(pf.string, ("n",), name="x")
    with pytest.raises(InvalidArgumentError, match="no regular expression"):
        pf.strings.regex_full_match(x, "(")
    for text in ("q", "", "1_0", "0x10"):
        with pytest.raises(InvalidArgumentError, match=r"expected a number, got .*test_strings.py"):
            session.run(pf.strings.to_number(x), {x: [text]})
    for text, dtype in (("256", pf.uint8), ("nan", pf.int32), ("1e30", pf.int64)):
        with pytest.raises(InvalidArgumentError, match="does not fit"):
            session.run(pf.strings.to_number(x, dtype), {x: [text]})
    with pytest.raises(InvalidArgumentError, match="position 3 is outside"):
        session.run(pf.strings.substr(x, 3, 1), {x: ["ab"]})


@pytest.mark.parametrize(
    "change",
    [
        {"ngram_counts": [1, 0]},
        {"ngram_indexes": [0]},
        {"weights": [1.0]},
        {"min_gram_length": 0},
        {"max_gram_length": 3},
        {"pool": ["a", "b", "c"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_tables_of_ngrams_that_do_not_fit(graph: pf.Graph, change: dict[str, object]) -> None:
    given = {"pool": [1, 2, 3], "ngram_counts": [0, 1], "ngram_indexes": [0, 1], "max_gram_length": 2, **change}
    with pytest.raises(InvalidArgumentError):
        pf.strings.tfidf_vectorizer(pf.placeholder(pf.int64, ("n",)), **given)


def test_tables_that_do_not_fit(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    for keys, values in ((["a"], [1, 2]), ([1], [1]), ([["a"]], [[1]])):
        with pytest.raises(InvalidArgumentError):
            pf.strings.lookup(x, keys, values, 0)


def test_a_table_of_handles() -> None:
    table = handles.Table()
    put = table.put(np.array([["a run's", ""], ["b run's", "a run's"]], object), pf.string)
    assert put.dtype == np.int64
    assert put.tolist() == [[1, 0], [2, 1]]
    assert len(table) == 2
    assert table.get(put, pf.string).tolist() == [["a run's", ""], ["b run's", "a run's"]]
    known = objects.constant_handles(np.array(["a graph's"], object))
    assert known[0] < 0
    assert table.put(np.array(["a graph's"], object), pf.string).tolist() == known.tolist()
    with pytest.raises(InternalError, match="no handle"):
        table.get(np.array(9), pf.string)
    with pytest.raises(InternalError, match="no table"):
        handles.table()


def test_many_threads(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    y = pf.strings.join([pf.strings.upper(x), x], "|")
    session = pf.Session(graph)
    wrong: list[object] = []

    def work(name: str) -> None:
        for turn in range(50):
            texts = [f"{name}{turn}", name, f"t{turn}"]
            found = session.run(y, {x: texts}).tolist()
            if found != [f"{text.upper()}|{text}" for text in texts]:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_run_within_a_run(graph: pf.Graph) -> None:
    x = pf.placeholder(pf.string, ("n",))
    inner = pf.Graph()
    with inner.as_default():
        y = pf.placeholder(pf.string, ("n",))
        upper = pf.strings.upper(y)
    within = pf.Session(inner)
    outer = pf.py_function(lambda texts: within.run(upper, {y: texts}), [pf.strings.join([x, "?"])], x.type)
    found = pf.Session(graph).run([pf.strings.join([outer, x]), pf.equal(outer, "A?")], {x: ["a", "b"]})
    assert [array.tolist() for array in found] == [["A?a", "B?b"], [True, False]]
