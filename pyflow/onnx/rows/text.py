"""Text, and tables looked up by it."""

from __future__ import annotations

from typing import Any

import pyflow as pf
from pyflow.errors import InvalidArgumentError
from pyflow.graph import Value
from pyflow.onnx.node import OnnxNode
from pyflow.onnx.table import onnx_op


@onnx_op("StringConcat")
def string_concat(node: OnnxNode, x: Value, y: Value) -> Value:
    return pf.strings.join([x, y])


@onnx_op("StringSplit")
def string_split(node: OnnxNode, x: Value) -> tuple[Value, Value]:
    most = node.get("maxsplit")
    return pf.strings.split(x, node.get("delimiter") or "", -1 if most is None else most)


@onnx_op("StringNormalizer")
def string_normalizer(node: OnnxNode, x: Value) -> Value:
    return pf.strings.normalizer(
        x,
        case=node["case_change_action"].lower(),
        is_case_sensitive=bool(node["is_case_sensitive"]),
        stopwords=node.get("stopwords") or [],
    )


@onnx_op("RegexFullMatch")
def regex_full_match(node: OnnxNode, x: Value) -> Value:
    return pf.strings.regex_full_match(x, pattern=node["pattern"])


@onnx_op("TfIdfVectorizer")
def tfidf_vectorizer(node: OnnxNode, x: Value) -> Value:
    texts = node.get("pool_strings")
    return pf.strings.tfidf_vectorizer(
        x,
        pool=node.get("pool_int64s") if texts is None else texts,
        ngram_counts=node["ngram_counts"],
        ngram_indexes=node["ngram_indexes"],
        min_gram_length=node["min_gram_length"],
        max_gram_length=node["max_gram_length"],
        max_skip_count=node["max_skip_count"],
        mode=node["mode"].lower(),
        weights=node.get("weights") or (),
    )


_KINDS = ("int64s", "strings", "floats")


def _given(node: OnnxNode, what: str) -> Any:
    """The one attribute of ``what`` that is given: a list, or the tensor."""
    names = [f"{what}_{kind}" for kind in (*_KINDS, "tensor")]
    found = [node.get(name) for name in names if node.get(name) is not None]
    if len(found) != 1:
        raise InvalidArgumentError(f"expected one of the attributes {', '.join(names)}, got {len(found)}")
    return found[0]


@onnx_op("LabelEncoder", domain="ai.onnx.ml", since=2)
def label_encoder(node: OnnxNode, x: Value) -> Value:
    keys, values = _given(node, "keys"), _given(node, "values")
    tensor = node.get("default_tensor")
    if tensor is not None:
        default = tensor.reshape(-1)[0]
    else:
        kind = next((kind for kind in _KINDS if node.get(f"values_{kind}") is not None), "int64s")
        default = node[f"default_{kind[:-1]}"]
    return pf.strings.lookup(x, _typed(keys, x), _typed(values, None), default)


def _typed(entries: Any, like: Value | None) -> Any:
    import numpy as np

    if like is not None and like.dtype is not pf.string:
        return np.asarray(entries, like.dtype.numpy)
    if isinstance(entries, list) and entries and isinstance(entries[0], float):
        return np.asarray(entries, np.float32)
    return entries
