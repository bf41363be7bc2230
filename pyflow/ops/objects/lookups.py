"""Tables in the graph: an entry per key, and n-grams counted by a vocabulary. They run in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyflow import dtypes
from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.graph import Value
from pyflow.objects import element
from pyflow.opdef import CONSTANT, INT, INTEGERS, INTS, Constant, TensorType, choice, define
from pyflow.ops.common import no_gradient

__all__ = ["lookup", "tfidf_vectorizer"]


def _encoder_infer(x: Value, keys: Constant, table: Constant) -> TensorType:
    wanted = dtypes.as_dtype(keys.array.dtype)
    if x.dtype is not wanted:
        raise InvalidArgumentError(f"the keys are {wanted}, got x: {x.type}; cast one of them")
    return TensorType(dtypes.as_dtype(table.array.dtype), x.dims)


def _encoder_ref(x: np.ndarray, keys: Constant, table: Constant) -> np.ndarray:
    """NaN is one key, whatever its bits."""
    places = {_key(key): place for place, key in reversed(list(enumerate(keys.array.tolist())))}
    missing = len(keys.array)
    found = [places.get(_key(entry), missing) for entry in x.reshape(-1).tolist()]
    return table.array[np.array(found, np.int64)].reshape(x.shape)


def _key(entry: Any) -> Any:
    return "NaN of no text" if isinstance(entry, float) and entry != entry else (entry,)


_encoder = define(
    "label_encoder",
    "x:*",
    attrs={"keys": CONSTANT, "table": CONSTANT},
    infer=_encoder_infer,
    ref=_encoder_ref,
    host=True,
    vjp=no_gradient,
    onnx="LabelEncoder",
    doc="""The entry of ``table`` in the place that ``x`` has among ``keys``; its last entry for what is no key.""",
)


def lookup(x: Any, keys: Any, values: Any, default: Any, name: str | None = None) -> Value:
    """The entry of ``values`` for each element of ``x``, which is looked up in ``keys``; ``default`` for what is none.

    ``keys``, ``values``: lists or 1-d arrays of equal length, numbers or text; of equal keys the first counts, and NaN
    is a key. ``x``: any shape, in the dtype of the keys.
    """
    known, table = element(keys), element(values)
    if known.ndim != 1 or known.shape != table.shape:
        what = f"expected keys and values of one length, got {list(known.shape)} and {list(table.shape)}"
        raise InvalidArgumentError(message("lookup", what, user_origin()))
    last = element([default]).astype(table.dtype)
    result: Value = _encoder(convert(x), Constant(known), Constant(np.concatenate([table, last])), name=name)
    return result


def _tfidf_infer(x: Value, **attrs: Any) -> TensorType:
    pool, indexes, weights = attrs["pool"].array, attrs["ngram_indexes"], attrs["weights"].array
    if x.ndim not in (1, 2):
        raise InvalidArgumentError(f"expected x: [n] or [batch, n], got {x.type}")
    if x.dtype.is_object != (pool.dtype.kind == "O"):
        raise InvalidArgumentError(f"the pool holds {pool.dtype}, got x: {x.type}")
    counts = attrs["ngram_counts"]
    if attrs["min_gram_length"] < 1 or attrs["max_gram_length"] < attrs["min_gram_length"]:
        raise InvalidArgumentError("expected 1 <= min_gram_length <= max_gram_length")
    if len(counts) < attrs["max_gram_length"] or list(counts) != sorted(counts) or min((0, *counts)) < 0:
        raise InvalidArgumentError(f"expected where the n-grams of every length begin in the pool, got {counts}")
    total = len(_ngrams(pool.tolist(), counts))
    if len(indexes) != total or min(indexes, default=0) < 0:
        raise InvalidArgumentError(f"expected an index >= 0 per n-gram of the pool ({total}), got {len(indexes)}")
    if weights.size not in (0, total):
        raise InvalidArgumentError(f"expected a weight per n-gram of the pool ({total}), got {weights.size}")
    return TensorType(dtypes.float32, (*x.dims[:-1], max(indexes, default=-1) + 1))


def _ngrams(pool: Sequence[Any], counts: Sequence[int]) -> list[tuple[Any, ...]]:
    """The n-grams of the pool in order: those of one entry, of two ... ``counts`` says where each length begins."""
    result: list[tuple[Any, ...]] = []
    ends = (*counts[1:], len(pool))
    for size, (begin, end) in enumerate(zip(counts, ends, strict=True), 1):
        result += [tuple(pool[at : at + size]) for at in range(begin, end - size + 1, size)]
    return result


def _tfidf_ref(x: np.ndarray, **attrs: Any) -> np.ndarray:
    known = _ngrams(attrs["pool"].array.tolist(), attrs["ngram_counts"])
    place = {ngram: index for index, ngram in reversed(list(enumerate(known)))}
    indexes, weights = attrs["ngram_indexes"], attrs["weights"].array
    rows = x.reshape(-1, x.shape[-1])
    found = np.zeros((len(rows), len(known)), np.int64)
    for counts, row in zip(found, rows.tolist(), strict=True):
        for size in range(attrs["min_gram_length"], attrs["max_gram_length"] + 1):
            furthest = (len(row) - 1) // (size - 1) if size > 1 else 1
            for step in range(1, min(attrs["max_skip_count"] + 1, furthest) + 1 if size > 1 else 2):
                for begin in range(len(row) - step * (size - 1)):
                    index = place.get(tuple(row[begin : begin + step * (size - 1) + 1 : step]))
                    if index is not None:
                        counts[index] += 1
    scale = weights if weights.size else np.ones(len(known))
    scored = {"tf": found, "idf": (found > 0) * scale, "tfidf": found * scale}[attrs["mode"]]
    result = np.zeros((len(rows), max(indexes, default=-1) + 1), np.float32)
    for column, index in enumerate(indexes):
        result[:, index] += scored[:, column]
    return result.reshape(*x.shape[:-1], result.shape[-1])


_tfidf = define(
    "tfidf_vectorizer",
    "x:T",
    attrs={
        "min_gram_length": INT,
        "max_gram_length": INT,
        "max_skip_count": INT,
        "mode": choice("tf", "idf", "tfidf"),
        "ngram_counts": INTS,
        "ngram_indexes": INTS,
        "pool": CONSTANT,
        "weights": CONSTANT,
    },
    kinds={"T": INTEGERS | {dtypes.string}},
    infer=_tfidf_infer,
    ref=_tfidf_ref,
    host=True,
    vjp=no_gradient,
    onnx="TfIdfVectorizer",
    doc="""How often the n-grams of a pool stand in ``x``; see :func:`pyflow.strings.tfidf_vectorizer`.""",
)


def tfidf_vectorizer(
    x: Any,
    pool: Any,
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    min_gram_length: int = 1,
    max_gram_length: int = 1,
    max_skip_count: int = 0,
    mode: str = "tf",
    weights: Sequence[float] = (),
    name: str | None = None,
) -> Value:
    """ONNX's TfIdfVectorizer: how often the n-grams of ``pool`` stand in ``x``: float32, [batch, max index + 1].

    ``x``: [n] or [batch, n], integers or text. ``pool``: all n-grams in one list, those of one entry first;
    ``ngram_counts`` says where each length begins. ``ngram_indexes``: the place of each n-gram in the result.
    ``max_skip_count``: how many entries may lie between those of an n-gram. ``mode``: ``tf`` counts, ``idf`` gives the
    weight of what is there, ``tfidf`` the product; ``weights`` default to 1.
    """
    result: Value = _tfidf(
        x,
        min_gram_length=min_gram_length,
        max_gram_length=max_gram_length,
        max_skip_count=max_skip_count,
        mode=mode,
        ngram_counts=ngram_counts,
        ngram_indexes=ngram_indexes,
        pool=Constant(element(pool)),
        weights=Constant(np.asarray(weights, np.float32)),
        name=name,
    )
    return result
