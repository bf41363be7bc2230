"""What arrays of objects hold: text (``string``), and in 0-d ones (``variant``) a sequence, an array or nothing.

In memory that kernels see an object is a 64-bit handle. 0 is "" and None; a text that stands in a graph has a negative
one as long as the process lives; positive ones belong to a run (runtime/handles.py). Equal texts have equal handles.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from pyflow.dtypes import DType, float32, int64, string
from pyflow.errors import DTypeError, InvalidArgumentError

_TEXT_KINDS = "UST"
_texts: list[str] = []
_handles: dict[str, int] = {}
_lock = threading.Lock()


def is_text(array: np.ndarray) -> bool:
    """Does an array of this dtype hold text, or objects that may be text?"""
    return array.dtype.kind in _TEXT_KINDS or array.dtype.kind == "O"


def _text(entry: Any) -> str:
    if isinstance(entry, str):
        return str(entry)
    if isinstance(entry, bytes):
        try:
            return entry.decode()
        except UnicodeDecodeError as error:
            raise DTypeError(f"expected text in UTF-8, got {entry[:40]!r}: {error.reason}") from None
    if isinstance(entry, (list, tuple, np.ndarray)):
        raise InvalidArgumentError("expected rows of equal length")
    raise DTypeError(f"expected text, got {entry!r} of {type(entry).__name__}")


def strings(given: Any) -> np.ndarray:
    """``given`` (text, bytes in UTF-8, nested lists or arrays of them) as an array of ``str``.

    Raises DTypeError for what is no text, InvalidArgumentError for rows of different lengths.
    """
    array = np.asarray(given, None if isinstance(given, np.ndarray) else object)
    if array.size and not is_text(array):
        raise DTypeError(f"expected text, got {array.dtype}")
    result = np.empty(array.shape, object)
    flat = result.reshape(-1)
    for index, entry in enumerate(array.reshape(-1).tolist()):
        flat[index] = _text(entry)
    return result


def variant(content: Any) -> np.ndarray:
    """A 0-d array that holds ``content``: a tuple of arrays, an array or None."""
    result = np.empty((), object)
    result[()] = content
    return result


def element(given: Any) -> np.ndarray:
    """One element of a sequence: an array keeps its dtype, text becomes ``string``, Python's numbers int64 and
    float32."""
    array = np.asarray(given)
    if is_text(array):
        return strings(given)
    if not isinstance(given, (np.ndarray, np.generic)):
        wanted = {"f": float32.numpy, "i": int64.numpy}.get(array.dtype.kind, array.dtype)
        array = array.astype(wanted)
    return array


def as_objects(given: Any, dtype: DType) -> np.ndarray:
    """``given`` as an array of ``dtype``: for ``variant``, a list is a sequence of arrays, None an empty optional and
    anything else an optional that holds it."""
    if dtype is string:
        return strings(given)
    if isinstance(given, np.ndarray) and given.dtype.kind == "O" and given.ndim == 0:
        given = given[()]
    if isinstance(given, (list, tuple)):
        return variant(tuple(element(entry) for entry in given))
    return variant(None if given is None else element(given))


def handle_of(text: str) -> int | None:
    """The handle that ``text`` has as long as the process lives; None if no graph holds it."""
    return _handles.get(text) if text else 0


def text_of(handle: int) -> str:
    """What a handle <= 0 stands for."""
    return _texts[-handle - 1] if handle else ""


def constant_handles(array: np.ndarray) -> np.ndarray:
    """The handles of the texts of a constant."""
    with _lock:
        for text in array.reshape(-1).tolist():
            if text and text not in _handles:
                _texts.append(text)
                _handles[text] = -len(_texts)
    return np.array([handle_of(text) for text in array.reshape(-1).tolist()], np.int64).reshape(array.shape)
