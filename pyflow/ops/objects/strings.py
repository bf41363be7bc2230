"""Text: the functions of ``pf.strings``. They run in Python; what only moves or compares texts runs in kernels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Size
from pyflow.dtypes import DType, converted, string
from pyflow.errors import DTypeError, InvalidArgumentError, UnimplementedError
from pyflow.graph import Value
from pyflow.objects import strings as as_strings
from pyflow.opdef import (
    ANY,
    BOOLEAN,
    DTYPE,
    INT,
    INTEGERS,
    SIZE,
    TEXT,
    Attr,
    TensorType,
    broadcast_dims,
    choice,
    define,
)
from pyflow.ops.common import no_gradient, normalise_axis
from pyflow.ops.objects.lookups import lookup, tfidf_vectorizer

__all__ = [
    "as_string",
    "join",
    "length",
    "lookup",
    "lower",
    "ngrams",
    "normalizer",
    "reduce_join",
    "regex_full_match",
    "regex_replace",
    "split",
    "strip",
    "substr",
    "tfidf_vectorizer",
    "to_number",
    "upper",
]


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)):
        raise TypeError(f"expected a sequence of texts, got {value!r}")
    return tuple(as_strings(list(value)).tolist())


TEXTS = Attr("texts", _texts, lambda value: ((), ()))


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, got {value!r}")
    try:
        re.compile(value)
    except re.error as error:
        raise InvalidArgumentError(f"{value!r} is no regular expression: {error}") from None
    return value


@lru_cache(64)
def _linear(pattern: str) -> Any:
    """A compiled expression of RE2. Raises InvalidArgumentError for what is none."""
    try:
        import re2
    except ImportError:
        raise UnimplementedError("it needs the package google-re2: pip install google-re2") from None
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error
        raise InvalidArgumentError(f"{pattern[:100]!r} is no regular expression of RE2: {why}") from None


def _linear_pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, got {value!r}")
    _linear(value)
    return value


PATTERN = Attr("pattern", _pattern, lambda value: ((), ()))
LINEAR_PATTERN = Attr("pattern", _linear_pattern, lambda value: ((), ()))


def _each(function: Callable[..., Any], *arrays: np.ndarray, dtype: DType = string) -> np.ndarray:
    """``function`` of each element; the arrays broadcast."""
    result = np.frompyfunc(function, len(arrays), 1)(*arrays)
    return np.asarray(result, object).astype(dtype.numpy)


def _text_op(name: str, inputs: str, doc: str, result: DType = string, **rest: Any) -> Callable[..., Any]:
    """Defines an op of one result, which has the inputs' common dims unless ``infer`` says otherwise."""

    def infer(*values: Value, **attrs: Any) -> TensorType:
        return TensorType(result, broadcast_dims(*values))

    return define(name, inputs, **{"infer": infer, "host": True, "vjp": no_gradient, "doc": doc, **rest})


def _join_ref(*xs: np.ndarray, separator: str) -> np.ndarray:
    return _each(lambda *texts: separator.join(texts), *xs)


_join = _text_op(
    "string_concat",
    "*xs:string",
    "The texts of ``xs`` one after the other, ``separator`` between them. The inputs broadcast together.",
    attrs={"separator": TEXT},
    defaults={"separator": ""},
    ref=_join_ref,
    onnx="StringConcat",
)


def join(inputs: Sequence[Any], separator: str = "", name: str | None = None) -> Value:
    """The texts of ``inputs``, which broadcast together, one after the other with ``separator`` between them."""
    result: Value = _join(*inputs, separator=separator, name=name)
    return result


def _per_text(name: str, function: Callable[[str], str], doc: str) -> Callable[..., Any]:
    return _text_op(name, "x:string", f"{doc} ``x``: texts of any shape.", ref=lambda x: _each(function, x))


lower = _per_text("string_lower", str.lower, "Each text in lower case.")
upper = _per_text("string_upper", str.upper, "Each text in upper case.")
strip = _per_text("string_strip", str.strip, "Each text without the white space around it.")

length = _text_op(
    "string_length",
    "x:string",
    "The length of each text, int64, in ``unit``: ``char`` (code points) or ``byte`` (of UTF-8).",
    result=dtypes.int64,
    attrs={"unit": choice("char", "byte")},
    defaults={"unit": "char"},
    ref=lambda x, unit: _each(lambda t: len(t if unit == "char" else t.encode()), x, dtype=dtypes.int64),
)


def _substr_ref(x: np.ndarray, pos: np.ndarray, length: np.ndarray) -> np.ndarray:
    def part(text: str, begin: int, count: int) -> str:
        first = begin + len(text) if begin < 0 else begin
        if not 0 <= first <= len(text):
            raise InvalidArgumentError(f"position {begin} is outside of a text of {len(text)} characters")
        return text[first : first + max(count, 0)]

    return _each(part, x, pos, length)


substr = _text_op(
    "string_substr",
    "x:string, pos:I, length:I",
    "``length`` characters of each text from position ``pos`` on, fewer at its end; a negative ``pos`` counts from the "
    "end. The inputs broadcast together. The run fails with InvalidArgumentError for a position outside of its text.",
    kinds={"I": INTEGERS},
    ref=_substr_ref,
)

regex_full_match = _text_op(
    "string_regex_full_match",
    "x:string",
    "Does all of each text match ``pattern``, a regular expression of RE2 (the package google-re2; no look-around, no "
    "references to groups)? bool. The time is linear in the text.",
    result=dtypes.bool_,
    attrs={"pattern": LINEAR_PATTERN},
    ref=lambda x, pattern: _each(lambda t: _linear(pattern).fullmatch(t) is not None, x, dtype=dtypes.bool_),
    onnx="RegexFullMatch",
)

regex_replace = _text_op(
    "string_regex_replace",
    "x:string",
    "Each text with what matches ``pattern`` replaced by ``rewrite`` (``\\1``: the first group); ``replace_global``: "
    "everywhere, else the first match only.",
    attrs={"pattern": PATTERN, "rewrite": TEXT, "replace_global": BOOLEAN},
    defaults={"replace_global": True},
    ref=lambda x, pattern, rewrite, replace_global: _each(
        lambda t: re.sub(pattern, rewrite, t, count=0 if replace_global else 1), x
    ),
)


def _as_number(text: str, dtype: DType) -> Any:
    """Plain and scientific numbers, ``INF`` and ``NaN`` in any case, ``True`` and ``False`` for bool."""
    plain = text.strip()
    if dtype.kind == "b" and plain.lower() in ("true", "false"):
        return plain.lower() == "true"
    try:
        if "_" in plain:
            raise ValueError
        return int(plain) if re.fullmatch(r"[+-]?\d+", plain) and not dtype.is_floating else float(plain)
    except ValueError:
        raise InvalidArgumentError(f"expected a number, got {text[:40]!r}") from None


def _to_number_ref(x: np.ndarray, dtype: DType) -> np.ndarray:
    numbers = [_as_number(text, dtype) for text in x.reshape(-1).tolist()]
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        whole = [int(number) if np.isfinite(number) else number for number in numbers]
        wrong = next((number for number in whole if not limits.min <= number <= limits.max), None)
        if wrong is not None:
            raise InvalidArgumentError(f"{wrong} does not fit {dtype}")
        return np.array(whole, dtype.numpy).reshape(x.shape)
    return converted(np.array(numbers, np.float64), dtype).reshape(x.shape)


def _to_number_infer(x: Value, dtype: DType) -> TensorType:
    if dtype not in ANY:
        raise DTypeError(f"no text stands for a {dtype}; expected a real dtype or bool")
    return TensorType(dtype, x.dims)


_to_number = _text_op(
    "string_to_number",
    "x:string",
    "The numbers that texts stand for, see :func:`pyflow.strings.to_number`.",
    attrs={"dtype": DTYPE},
    infer=_to_number_infer,
    ref=_to_number_ref,
)


def to_number(x: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Value:
    """The numbers that texts stand for: plain (``1000``, ``3.14``), scientific (``1e-5``), ``INF`` and ``NaN`` in any
    case. To integers they are truncated; to bool, ``True`` and ``False`` too.

    The run fails with InvalidArgumentError for other text and for what an integer ``dtype`` does not hold.
    """
    result: Value = _to_number(x, dtype, name=name)
    return result


def _shown(number: Any) -> str:
    """Shortest decimal that reads back; as ONNX names what is not finite."""
    if np.isfinite(number):
        return str(number)
    return "NaN" if np.isnan(number) else "INF" if number > 0 else "-INF"


def _as_string_ref(x: np.ndarray) -> np.ndarray:
    numbers = list(x.reshape(-1))
    result = np.empty(len(numbers), object)
    result[:] = [_shown(number) for number in numbers]
    return result.reshape(x.shape)


as_string = _text_op(
    "string_from_number",
    "x:T",
    "Numbers as text: the shortest decimal that reads back, ``NaN``, ``INF``, ``-INF``, ``True`` and ``False``.",
    kinds={"T": ANY},
    ref=_as_string_ref,
)


def _late(prefix: str, count: Size | None) -> Size:
    return dims.fresh_late_symbol(prefix) if count is None else count


def _split_ref(x: np.ndarray, sep: str, maxsplit: int, count: Any = None) -> tuple[np.ndarray, np.ndarray]:
    pieces = [text.split(sep or None, maxsplit) for text in x.reshape(-1).tolist()]
    widest = max(map(len, pieces), default=0)
    padded = np.full((len(pieces), widest), "", object)
    for row, found in zip(padded, pieces, strict=True):
        row[: len(found)] = found
    counts = np.array([len(found) for found in pieces], np.int64)
    return padded.reshape(*x.shape, widest), counts.reshape(x.shape)


_split = _text_op(
    "string_split",
    "x:string",
    "The pieces of each text and how many they are, see :func:`pyflow.strings.split`.",
    attrs={"sep": TEXT, "maxsplit": INT, "count": SIZE.optional()},
    defaults={"count": None},
    canonical=lambda x, sep, maxsplit, count: {"count": _late("pieces", count)},
    infer=lambda x, sep, maxsplit, count: (TensorType(string, (*x.dims, count)), TensorType(dtypes.int64, x.dims)),
    ref=_split_ref,
    defines=lambda node: dims.late_names(node.attrs["count"]),
    multiple=True,
    onnx="StringSplit",
)


def split(x: Any, sep: str = "", maxsplit: int = -1, name: str | None = None) -> tuple[Value, Value]:
    """The pieces of each text between ``sep`` (``""``: any white space), cut at most ``maxsplit`` times (-1: any).

    Returns them along a new last axis, whose size the run finds out, ``""`` behind the last one of a text; and how
    many each text has, int64.
    """
    pieces, counts = _split(x, sep=sep, maxsplit=maxsplit, name=name)
    return pieces, counts


def _normalizer_infer(x: Value, **attrs: Any) -> TensorType:
    if x.ndim not in (1, 2) or (x.ndim == 2 and x.dims[0] != 1):
        raise InvalidArgumentError(f"expected texts of shape [n] or [1, n], got x: {x.type}")
    return TensorType(string, (*x.dims[:-1], attrs["count"]))


def _normalizer_ref(
    x: np.ndarray, case: str, is_case_sensitive: bool, stopwords: tuple[str, ...], count: Any = None
) -> np.ndarray:
    changes: dict[str, Callable[[str], str]] = {"none": str, "lower": str.lower, "upper": str.upper}
    folded = changes["none" if is_case_sensitive else "lower"]
    stops = {folded(word) for word in stopwords}
    kept = [changes[case](text) for text in x.reshape(-1).tolist() if folded(text) not in stops] or [""]
    return as_strings(kept).reshape(*x.shape[:-1], len(kept))


normalizer = _text_op(
    "string_normalizer",
    "x:string",
    """The texts of ``x`` ([n] or [1, n]) that are none of ``stopwords``, in ``case``: ``none``, ``lower`` or ``upper``.

    The run finds out how many they are; where none is left, one ``""``. ``is_case_sensitive``: whether stopwords are.
    """,
    attrs={
        "case": choice("none", "lower", "upper"),
        "is_case_sensitive": BOOLEAN,
        "stopwords": TEXTS,
        "count": SIZE.optional(),
    },
    defaults={"case": "none", "is_case_sensitive": False, "stopwords": (), "count": None},
    canonical=lambda x, count, **attrs: {"count": _late("words", count)},
    infer=_normalizer_infer,
    ref=_normalizer_ref,
    defines=lambda node: dims.late_names(node.attrs["count"]),
    onnx="StringNormalizer",
)


def _ngrams_infer(x: Value, width: int, separator: str) -> TensorType:
    if width < 1 or x.ndim == 0:
        raise InvalidArgumentError(f"expected a width >= 1 and at least 1 axis, got width {width}, x: {x.type}")
    return TensorType(string, (*x.dims[:-1], dims.maximum(dims.add(x.dims[-1], 1 - width), 0)))


def _ngrams_ref(x: np.ndarray, width: int, separator: str) -> np.ndarray:
    count = max(x.shape[-1] - width + 1, 0)
    if not count:
        return np.empty((*x.shape[:-1], 0), object)
    return _join_ref(*(x[..., begin : begin + count] for begin in range(width)), separator=separator)


ngrams = _text_op(
    "string_ngrams",
    "x:string",
    "Every ``width`` texts that follow each other along the last axis, joined by ``separator``.",
    attrs={"width": INT, "separator": TEXT},
    defaults={"separator": " "},
    infer=_ngrams_infer,
    ref=_ngrams_ref,
)


def _reduce_join_ref(x: np.ndarray, axis: int, separator: str) -> np.ndarray:
    if not x.shape[axis]:
        return np.full(x.shape[:axis] + x.shape[axis + 1 :], "", object)
    return _join_ref(*np.moveaxis(x, axis, 0), separator=separator)


def _without(x: Value, axis: int) -> tuple[Size, ...]:
    return x.dims[:axis] + x.dims[axis + 1 :]


reduce_join = _text_op(
    "string_reduce_join",
    "x:string",
    "The texts along ``axis`` joined by ``separator``.",
    attrs={"axis": INT, "separator": TEXT},
    defaults={"axis": -1, "separator": ""},
    canonical=lambda x, axis, separator: {"axis": normalise_axis(axis, x.ndim)},
    infer=lambda x, axis, separator: TensorType(string, _without(x, axis)),
    ref=_reduce_join_ref,
)
