"""Rows of sequences and optionals; what comes out is an array again."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyflow as pf
from cases.case import Case, normal

X, Y = normal(3, 2), normal(3, 2, seed=1)


def row(function: Any, *inputs: Any, expected: Any, label: str, **rest: Any) -> Case:
    return Case(function, inputs, expected=expected, label=label, **{"gradient": False, **rest})


CASES = [
    row(lambda x, y: pf.sequence_at(pf.sequence_construct(x, y), 1), X, Y, expected=lambda x, y: y, label="at"),
    row(lambda x, y: pf.sequence_at(pf.sequence_construct(x, y), -2) * 2.0, X, Y, expected=lambda x, y: x * 2,
        label="from the end"),
    row(lambda x, y: pf.sequence_length(pf.sequence_insert(pf.sequence_insert(pf.sequence_empty(), x), y)), X, Y[:1],
        expected=lambda x, y: 2, label="length"),
    row(lambda x, y: pf.concat_from_sequence(pf.sequence_insert(pf.sequence_construct(x), y, 0), 0), X, Y[:2],
        expected=lambda x, y: np.concatenate([y, x]), label="concat"),
    row(lambda x, y: pf.concat_from_sequence(pf.sequence_construct(x, y, x), -1, True), X, Y,
        expected=lambda x, y: np.stack([x, y, x], -1), label="stack"),
    row(lambda x, y: pf.sequence_at(pf.sequence_erase(pf.sequence_construct(x, y), 0), 0), X, Y,
        expected=lambda x, y: y, label="erase"),
    row(lambda x: pf.sequence_at(pf.split_to_sequence(x, 2), 1), X, expected=lambda x: x[2:], label="by size"),
    row(lambda x: pf.sequence_at(pf.split_to_sequence(x, keepdims=False, axis=1), 1), X, expected=lambda x: x[:, 1],
        label="one each"),
    row(lambda x, s: pf.concat_from_sequence(pf.split_to_sequence(x, s, 0), 0), X, np.array([1, 0, 2]),
        expected=lambda x, s: x, label="by sizes"),
    row(lambda x: pf.optional_get_element(pf.optional(x)) + 1.0, X, expected=lambda x: x + 1, label="optional"),
    row(lambda x: pf.optional_has_element(pf.optional(x)), X, expected=lambda x: True, label="has"),
    row(lambda x: pf.sequence_length(pf.optional_get_element(pf.optional(pf.sequence_construct(x, x)))), X,
        expected=lambda x: 2, label="of a sequence"),
]  # fmt: skip
