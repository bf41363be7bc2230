"""Rows of text ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case

strings = pf.strings
TEXTS = np.array(["a b", "Hello World", "", "Größe 2"])
NUMBERS = np.array([["1", " -2.5 ", "1e-5"], ["INF", "nan", "-inf"]])


def is_(*wanted: Any) -> Callable[..., None]:
    """A ``check``: the results are these, text too."""

    def check(results: Any, inputs: Any) -> None:
        assert len(results) == len(wanted)
        for result, expected in zip(results, wanted, strict=True):
            np.testing.assert_array_equal(result, np.array(expected, result.dtype))

    return check


def row(function: Callable[..., Any], *inputs: Any, wanted: Any, label: str = "", **rest: Any) -> Case:
    several = isinstance(wanted, tuple)
    return Case(function, inputs, check=is_(*wanted) if several else is_(wanted), label=label, **rest)


CASES = [
    row(lambda x, y: strings.join([x, y], "-"), TEXTS[:2], np.array([["q"], ["r"]]),
        wanted=[["a b-q", "Hello World-q"], ["a b-r", "Hello World-r"]], label="join"),
    row(strings.lower, TEXTS, wanted=["a b", "hello world", "", "größe 2"]),
    row(strings.upper, TEXTS, wanted=["A B", "HELLO WORLD", "", "GRÖSSE 2"]),
    row(strings.strip, np.array([[" a ", "b\t\n"]]), wanted=[["a", "b"]]),
    row(strings.length, TEXTS, wanted=[3, 11, 0, 7]),
    row(lambda x: strings.length(x, "byte"), TEXTS, wanted=[3, 11, 0, 9], label="bytes"),
    row(strings.substr, np.array(["abc", "de", ""]), np.array([-2, 1, 0]), np.array([1, 5, -1]), wanted=["b", "e", ""]),
    row(lambda x: strings.regex_full_match(x, r"[aH].*"), TEXTS, wanted=[True, True, False, False], label="match"),
    row(lambda x: strings.regex_replace(x, "(o|b)", r"<\1>"), TEXTS,
        wanted=["a <b>", "Hell<o> W<o>rld", "", "Größe 2"], label="replace"),
    row(lambda x: strings.regex_replace(x, "o", "", False), TEXTS,
        wanted=["a b", "Hell World", "", "Größe 2"], label="first"),
    row(strings.to_number, NUMBERS, wanted=[[1, -2.5, 1e-5], [np.inf, np.nan, -np.inf]]),
    row(lambda x: strings.to_number(x, pf.uint8), np.array(["+7", "3.9", "1e2"]), wanted=[7, 3, 100], label="uint8"),
    row(lambda x: pf.cast(x, pf.bool), np.array(["True", "false", "0"]), wanted=[True, False, False], label="bool"),
    row(strings.as_string, np.array([0.1, -3, np.inf, -np.inf, np.nan, 1e-7], np.float32),
        wanted=["0.1", "-3.0", "INF", "-INF", "NaN", "1e-07"], gradient=False),
    row(strings.as_string, np.array([2**64 - 1], np.uint64), wanted=["18446744073709551615"]),
    row(lambda x: pf.cast(x, pf.string), np.array([True, False]), wanted=["True", "False"], label="cast"),
    row(strings.split, TEXTS, wanted=([["a", "b"], ["Hello", "World"], ["", ""], ["Größe", "2"]], [2, 2, 0, 2])),
    row(lambda x: strings.split(x, "-", 1), np.array([["a-b-c"], ["-"]]),
        wanted=([[["a", "b-c"]], [["", ""]]], [[2], [2]]), label="once"),
    row(strings.split, np.empty((2, 0), "U1"), wanted=(np.empty((2, 0, 0), object), np.empty((2, 0)))),
    row(lambda x: strings.normalizer(x, "upper", False, ["A B", "größe 2"]), TEXTS,
        wanted=["HELLO WORLD", ""], label="normalizer"),
    row(lambda x: strings.normalizer(x, stopwords=["b"]), np.array([["B", "b"]]),
        wanted=[[""]], label="nothing left", symbolic=False),
    row(lambda x: strings.ngrams(x, 2, "+"), TEXTS, wanted=["a b+Hello World", "Hello World+", "+Größe 2"], label="2"),
    row(lambda x: strings.ngrams(x, 3), TEXTS[:2].reshape(1, 2), wanted=np.empty((1, 0), object), label="too few"),
    row(lambda x: strings.reduce_join(x, 0, ","), np.array([["a", "b"], ["c", "d"]]), wanted=["a,c", "b,d"], label="0"),
    row(strings.reduce_join, np.empty((2, 0), "U1"), wanted=["", ""]),
    row(lambda x: strings.lookup(x, ["", "a b", "a b"], [5, 6, 7], -1), TEXTS, wanted=[6, -1, 5, -1], label="lookup"),
    row(lambda x: strings.lookup(x, np.array([1, np.nan]), ["one", "none"], "?"), np.array([np.nan, 2, 1]),
        wanted=["none", "?", "one"], label="floats"),
    row(lambda x: strings.tfidf_vectorizer(x, [2, 3, 5, 4, 5, 6, 7, 8, 6, 7], [0, 4], range(7), 1, 2, 5),
        np.array([[1, 1, 3, 3, 3, 7], [8, 6, 7, 5, 6, 8]]),
        wanted=[[0, 3, 0, 0, 0, 0, 0], [0, 0, 1, 0, 1, 1, 1]], label="skips"),
    row(lambda x: strings.tfidf_vectorizer(x, ["a", "b"], [0], [1, 0], mode="tfidf", weights=[2, 3]),
        np.array(["b", "a", "b", "c"]), wanted=[6, 2], label="weights"),
    row(pf.equal, TEXTS, np.array("a b"), wanted=[True, False, False, False]),
    row(pf.not_equal, TEXTS, TEXTS[::-1].copy(), wanted=[True, True, True, True]),
    row(lambda c, x: pf.where(c, x, "-"), np.array([True, False, False, True]), TEXTS,
        wanted=["a b", "-", "-", "Größe 2"], label="where"),
    row(lambda x, y: pf.concat([x, y, pf.constant(["z"])], 0), TEXTS[:1], TEXTS[1:2],
        wanted=["a b", "Hello World", "z"], label="concat", symbolic=False),
    row(lambda x: pf.transpose(pf.reshape(x, (2, 2)))[::-1], TEXTS,
        wanted=[["Hello World", "Größe 2"], ["a b", ""]], label="views", symbolic=False),
    row(lambda x, i: strings.upper(pf.gather(x, i)), TEXTS, np.array([[1], [0]]),
        wanted=[["HELLO WORLD"], ["A B"]], label="gather"),
]  # fmt: skip
