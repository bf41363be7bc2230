"""Texts matched with RE2: as ``re`` matches them, also where ``re`` takes for ever."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

import pyflow as pf

ATOMS = (
    *("a", "b", "ab", "[ab]", "[^a]", ".", "\\w", "\\d", "\\s", "^", "\\b", "\\A", "\\.", "\u00e9", ""),
    *("(?i:A)", "(?s:.)", "a?", "b*", "a+?", "a{2}", "[a-c]{2,3}", "(a|b)", "(ab|a)(c|bcd)", "(?:a|)"),
)
"""What RE2 and Python's ``re`` mean the same by, in ASCII."""


def matched(pattern: str, texts: list[str]) -> list[bool]:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.string, ("n",), name="x")
        result = pf.strings.regex_full_match(x, pattern)
    return pf.Session(graph).run(result, {x: np.array(texts, object)}).tolist()


def test_as_python_matches() -> None:
    chance = random.Random(0)
    seen = {True: 0, False: 0}
    for _ in range(300):
        pattern = "".join(chance.choice(ATOMS) for _ in range(chance.randrange(1, 5)))
        if chance.random() < 0.3:
            pattern = f"({pattern}){chance.choice(['+', '?', '{2}', '*?'])}"
        texts = ["".join(chance.choice("abcAB \n1.") for _ in range(chance.randrange(6))) for _ in range(20)]
        for text, found in zip(texts, matched(pattern, texts), strict=True):
            want = re.fullmatch(pattern, text) is not None
            assert found is want, (pattern, text)
            seen[want] += 1
    assert min(seen.values()) > 100


@pytest.mark.parametrize("pattern", ["(a+)+b", "(.*)*x", "(a|aa)+c", "a*" * 50 + "b"])
def test_what_backtracks_for_ever_elsewhere(pattern: str) -> None:
    result = matched(pattern, ["a" * 3000, "", "aab"])
    assert not result[0]
    assert result[2] == (re.fullmatch(pattern, "aab") is not None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(((", "missing \\)"),
        ("(?=a)a", "invalid perl operator"),
        ("(a)\\1", "invalid escape sequence"),
        ("((a{1,1000}){1,1000}){1,1000}", "invalid repetition size"),
    ],
)
def test_what_is_refused(pattern: str, words: str) -> None:
    with pf.Graph().as_default(), pytest.raises(pf.errors.InvalidArgumentError, match=words):
        pf.strings.regex_full_match(pf.constant(["a"]), pattern)
