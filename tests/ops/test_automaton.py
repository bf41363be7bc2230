"""Patterns matched in linear time agree with ``re``, also where ``re`` takes for ever."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

import pyflow as pf
from pyflow.ops.objects.automaton import Automaton

ATOMS = (
    *("a", "b", "ab", "[ab]", "[^a]", ".", "\\w", "\\d", "\\s", "^", "$", "\\b", "\\B", "\\A", "\\Z", "\\.", "é", ""),
    *("(?i:A)", "(?s:.)", "(?-i:b)", "a?", "b*", "a+?", "a{2}", "[a-c]{2,3}", "(a|b)", "(ab|a)(c|bcd)", "(?:a|)"),
)


def test_as_python_matches() -> None:
    chance = random.Random(0)
    seen = {True: 0, False: 0}
    for _ in range(4000):
        pattern = "".join(chance.choice(ATOMS) for _ in range(chance.randrange(1, 6)))
        if chance.random() < 0.3:
            pattern = f"({pattern}){chance.choice(['*', '+', '?', '{0,2}', '{2}', '*?'])}"
        if chance.random() < 0.2:
            pattern = chance.choice(["(?i)", "(?m)", "(?s)", "(?a)"]) + pattern
        text = "".join(chance.choice("abcAB \n1.é") for _ in range(chance.randrange(6)))
        want = re.fullmatch(pattern, text) is not None
        assert Automaton(pattern).fullmatch(text) is want, (pattern, text)
        seen[want] += 1
    assert min(seen.values()) > 100


@pytest.mark.parametrize("pattern", ["(a+)+b", "(.*)*x", "(a|aa)+c", "a*" * 50 + "b"])
def test_what_backtracks_for_ever_elsewhere(pattern: str) -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.string, ("n",), name="x")
        matched = pf.strings.regex_full_match(x, pattern)
    texts = np.array(["a" * 3000, "", "aab"], object)
    result = pf.Session(graph).run(matched, {x: texts})
    assert not result[0] and result[2] == (re.fullmatch(pattern, "aab") is not None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(((", "no regular expression"),
        ("(?=a)a", "looks around"),
        ("(a)\\1", "looks around or back"),
        ("((a{1,1000}){1,1000}){1,1000}", "too large"),
        ("(" * 3000 + ")" * 3000, "nested too deeply"),
    ],
)
def test_what_is_refused(pattern: str, words: str) -> None:
    with pf.Graph().as_default(), pytest.raises(pf.errors.InvalidArgumentError, match=words):
        pf.strings.regex_full_match(pf.constant(["a"]), pattern)
