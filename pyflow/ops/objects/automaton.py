"""Regular expressions matched in time linear in the text: one step per character for all ways through the pattern.

Python's ``re`` parses them and tells whether one character, or one place, is what a pattern's atom takes; it tries one
way after the other, which takes for ever for patterns like ``(a+)+b``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any

from pyflow.errors import InvalidArgumentError

if sys.version_info >= (3, 11):
    _parser, _compiler, _codes = (import_module(f"re.{name}") for name in ("_parser", "_compiler", "_constants"))
else:
    _parser, _compiler, _codes = map(import_module, ("sre_parse", "sre_compile", "sre_constants"))

MOST_STATES = 4096
"""Of a pattern; a counted repetition has those of what it repeats as many times."""
_CHARACTERS = {_codes.LITERAL, _codes.NOT_LITERAL, _codes.ANY, _codes.IN, _codes.CATEGORY}


class _Char:
    """An atom that takes one character."""

    def __init__(self, matcher: re.Pattern[str]) -> None:
        self._matcher = matcher
        self._known: dict[str, bool] = {}

    def takes(self, char: str) -> bool:
        if char not in self._known:
            self._known[char] = self._matcher.fullmatch(char) is not None
        return self._known[char]


class Automaton:
    """A pattern's states: each takes a character, stands for a condition on the place, or leads on to others.

    Raises InvalidArgumentError for what is no regular expression, what needs memory of the text (look-around,
    references to groups), and for patterns of more than ``MOST_STATES`` states.
    """

    def __init__(self, pattern: str) -> None:
        try:
            re.compile(pattern)
            tree = _parser.parse(pattern)
        except re.error as error:
            raise InvalidArgumentError(f"{pattern!r} is no regular expression: {error}") from None
        except RecursionError:
            raise InvalidArgumentError("the regular expression is nested too deeply") from None
        self._pattern = pattern
        self._state, self._flags = tree.state, tree.state.flags
        self._chars: list[_Char | None] = [None]
        self._places: list[re.Pattern[str] | None] = [None]
        self._next: list[list[int]] = [[]]
        self._accepts = 0
        self._starts = self._sequence(tree, 0, self._flags)
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def fullmatch(self, text: str) -> bool:
        """Does the pattern match all of ``text``?"""
        anchored = any(self._places)
        current = self._closed([self._starts], text, 0)
        for at, char in enumerate(text, 1):
            key = (current, char)
            following = None if anchored else self._steps.get(key)
            if following is None:
                taken = [state for state in current if (atom := self._chars[state]) is not None and atom.takes(char)]
                following = self._closed([to for state in taken for to in self._next[state]], text, at)
                if not anchored and len(self._steps) < MOST_STATES:
                    self._steps[key] = following
            if not following:
                return False
            current = following
        return self._accepts in current

    def _closed(self, states: Iterable[int], text: str, at: int) -> frozenset[int]:
        """``states``, and what they lead to at this place without taking a character."""
        found: set[int] = set()
        pending = list(states)
        while pending:
            state = pending.pop()
            if state in found:
                continue
            found.add(state)
            place = self._places[state]
            if self._chars[state] is None and (place is None or place.match(text, at) is not None):
                pending.extend(self._next[state])
        return frozenset(found)

    def _add(self, to: list[int], char: _Char | None = None, place: re.Pattern[str] | None = None) -> int:
        if len(self._next) >= MOST_STATES:
            raise InvalidArgumentError(f"{self._pattern[:40]!r} is too large: it has more than {MOST_STATES} states")
        self._chars.append(char)
        self._places.append(place)
        self._next.append(to)
        return len(self._next) - 1

    def _sequence(self, items: Any, to: int, flags: int) -> int:
        """The state from which ``items`` lead to the state ``to``; built from the last to the first."""
        for item in reversed(list(items)):
            to = self._item(item, to, flags)
        return to

    def _item(self, item: Any, to: int, flags: int) -> int:
        code, what = item
        if code in _CHARACTERS:
            return self._add([to], char=_Char(self._compiled(item, flags)))
        if code is _codes.AT:
            return self._add([to], place=self._compiled(item, flags))
        if code is _codes.BRANCH:
            return self._add([self._sequence(branch, to, flags) for branch in what[1]])
        if code is _codes.SUBPATTERN:
            _, added, removed, inner = what
            return self._sequence(inner, to, (flags | added) & ~removed)
        if code in (_codes.MAX_REPEAT, _codes.MIN_REPEAT):
            least, most, inner = what
            return self._repeated(least, most, inner, to, flags)
        raise InvalidArgumentError(
            f"{self._pattern!r} looks around or back ({str(code).lower()}), which no pattern may that is matched in "
            "linear time"
        )

    def _repeated(self, least: int, most: Any, inner: Any, to: int, flags: int) -> int:
        if most is _codes.MAXREPEAT:
            again = self._add([to])
            self._next[again].append(self._sequence(inner, again, flags))
            to = again
        else:
            for _ in range(most - least):
                to = self._add([to, self._sequence(inner, to, flags)])
        for _ in range(least):
            before = len(self._next)
            to = self._sequence(inner, to, flags)
            if len(self._next) == before:
                break
        return to

    def _compiled(self, item: Any, flags: int) -> re.Pattern[str]:
        """What ``re`` makes of one item of its tree."""
        made: re.Pattern[str] = _compiler.compile(_parser.SubPattern(self._state, [item]), flags)
        return made


@lru_cache(maxsize=64)
def automaton(pattern: str) -> Automaton:
    """The automaton of ``pattern``, made once."""
    return Automaton(pattern)
