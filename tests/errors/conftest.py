"""What every error must have: a type of pf.errors that is also the builtin, the user's file, and the named words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import pyflow as pf


@contextmanager
def _fails(kind: type[Exception], builtin: type[Exception], *words: str) -> Iterator[None]:
    frame = inspect.currentframe()
    assert frame is not None
    with pytest.raises(kind) as caught:
        yield
    assert isinstance(caught.value, builtin)
    text = str(caught.value)
    for word in words:
        assert word in text, f"{word!r} is not in:\n{text}"


@pytest.fixture
def fails() -> Callable[..., object]:
    return _fails


@pytest.fixture
def graph() -> Iterator[pf.Graph]:
    made = pf.Graph()
    with made.as_default():
        yield made
