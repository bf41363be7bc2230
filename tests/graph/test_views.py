"""Windows on strides: a reshape without a copy shows what numpy's shows, and is found wherever numpy finds it."""

from __future__ import annotations

import itertools
import random
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pyflow import dtypes, views
from pyflow.dims import Dim
from pyflow.plan import View


def _shape_of(total: int, chance: random.Random) -> list[int]:
    shape: list[int] = []
    while total > 1:
        factor = chance.choice([k for k in range(2, total + 1) if total % k == 0])
        shape.append(factor)
        total //= factor
    for _ in range(chance.randint(0, 2)):
        shape.insert(chance.randint(0, len(shape)), 1)
    return shape


def test_reshape_is_numpys() -> None:
    chance = random.Random(3)
    seen = found = 0
    for _ in range(4000):
        dims = [chance.choice([1, 2, 3, 4, 6]) for _ in range(chance.randint(1, 4))]
        strides = [prod(dims[i + 1 :]) * chance.choice([1, 1, 1, 2]) for i in range(len(dims))]
        order = chance.sample(range(len(dims)), len(dims)) if chance.random() < 0.6 else range(len(dims))
        dims, strides = [dims[i] for i in order], [strides[i] for i in order]
        memory = np.arange(8 * prod(dims))
        array = as_strided(memory, dims, [8 * stride for stride in strides])
        shape = _shape_of(prod(dims), chance)
        made = views.reshape(View(0, dtypes.int64, tuple(dims), tuple(strides), 0), shape)
        seen += 1
        if made is None:
            assert not np.shares_memory(array.reshape(shape), memory), (dims, strides, shape)
            continue
        found += 1
        np.testing.assert_array_equal(
            as_strided(memory, made.dims, [8 * s for s in made.strides]), array.reshape(shape)
        )
    assert seen // 4 < found < seen


def test_unknown_sizes_stay_whole() -> None:
    n = Dim("n")
    view = View(0, dtypes.float32, (n, 6, 4), (48, 4, 1), 0)
    made = views.reshape(view, (n, 2, 3, 4))
    assert made is not None and made.strides == (48, 12, 4, 1)
    assert views.reshape(view, (2, n, 3, 4)) is None
    for shape in itertools.permutations((n, 24)):
        assert (views.reshape(view, shape) is not None) == (shape[0] is n)
