"""Every dtype through sessions: what each claims to do, against the same in float64 or int64; casts; promotion."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cases import CASES
from cases.case import Case
from test_ops import build

import pyflow as pf
from pyflow import _core, dtypes
from pyflow.dtypes import DType
from pyflow.interpret import evaluate_graph
from pyflow.opdef import ANY, COMPLEX, FLOATS, INTEGERS, STORED

NUMBERS = sorted((FLOATS | INTEGERS), key=lambda dtype: dtype.code)
ROOM = [dtype for dtype in dtypes.ALL if not dtype.is_object]
REAL = [dtype for dtype in ROOM if dtype not in COMPLEX]


@pytest.fixture(params=_core.cpu_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each ISA level that this machine runs."""
    before = _core.selected_isa()
    _core.select_isa(request.param)
    yield request.param
    _core.select_isa(before)


def numbers(dtype: DType, *shape: int, seed: int = 0) -> np.ndarray:
    """Small numbers that every dtype holds exactly."""
    random = np.random.default_rng([seed, *shape])
    low = 0 if dtype.kind == "u" else -4
    return random.integers(low, 5, shape).astype(dtype.numpy)


def patterns(dtype: DType) -> np.ndarray:
    """All values of a narrow dtype; of a wide one those around every power of two and every tie of narrower ones."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.bits <= 16:
        return np.arange(2**dtype.bits, dtype=f"u{dtype.itemsize}").view(dtype.numpy)
    random = np.random.default_rng(7)
    if dtype.is_integer:
        bits = random.integers(0, 2**63, 3001, np.uint64) >> random.integers(0, 63, 3001, np.uint64)
        powers = np.array([(1 << k) + shift for k in range(dtype.bits - 1) for shift in (-1, 0, 1)], np.uint64)
        positive = np.concatenate([bits, powers]).astype(dtype.numpy)
        return np.concatenate([positive, ~positive])
    steps = np.arange(0, 2**16, 3, dtype=np.uint16)
    grid = np.concatenate([steps.view(kind).astype(dtype.numpy) for kind in (np.float16, ml_dtypes.bfloat16)])
    around = [
        grid,
        *(np.nextafter(grid, dtype.numpy.type(end)) for end in (np.inf, -np.inf)),
        (grid[1:] + grid[:-1]) / 2,
    ]
    whole = np.array([2.0**k + shift for k in (7, 8, 15, 16, 31, 32, 63, 64) for shift in (-1, -0.5, 0, 0.5, 1)])
    return np.concatenate([*around, whole.astype(dtype.numpy), -whole.astype(dtype.numpy)])


def same_bits(got: np.ndarray, wanted: np.ndarray, dtype: DType) -> bool:
    """Equal to the bit; NaNs are equal."""
    assert got.dtype == wanted.dtype == dtype.numpy
    equal = got.view(f"u{dtype.itemsize}") == wanted.view(f"u{dtype.itemsize}")
    if dtype.kind == "f":
        equal |= np.isnan(got.astype(np.float64)) & np.isnan(wanted.astype(np.float64))
    return bool(equal.all())


@pytest.mark.parametrize("source", REAL, ids=str)
def test_every_cast(source: DType, isa: str) -> None:
    """Kernels and ``ref`` agree to the bit, from every value to every dtype."""
    with pf.Graph().as_default() as graph, np.errstate(all="ignore"):
        x = pf.placeholder(source, (None,))
        ways = [(target, saturate) for target in REAL for saturate in (False, True)]
        made = [pf.cast(x, target, saturate=saturate) for target, saturate in ways]
        values = patterns(source)
        with pf.Session(graph) as session:
            results = session.run(made, {x: values})
        for (target, saturate), got in zip(ways, results, strict=True):
            wanted = dtypes.converted(values, target, saturate and target.bits == 8 and target.kind == "f")
            assert same_bits(got, wanted, target), f"{source} to {target}"


@pytest.mark.parametrize("target", [dtype for dtype in REAL if dtype.kind == "f" and dtype.bits <= 16], ids=str)
def test_casts_to_narrow_floats_are_those_of_numpy(target: DType) -> None:
    with np.errstate(all="ignore"):
        for source in (dtypes.float32, dtypes.float16):
            values = patterns(source)
            assert same_bits(dtypes.converted(values, target), values.astype(target.numpy), target)


def test_casts_round_once() -> None:
    """A float64 just above a tie of float32's last bit is not rounded to the tie first."""
    just_above = np.array([1 + 2**-11 + 2**-40, 1 + 2**-8 + 2**-40, 2**60 + 2**52 + 1])
    assert dtypes.converted(just_above[:1], dtypes.float16)[0] == np.float16(1 + 2**-10)
    assert dtypes.converted(just_above[1:2], dtypes.bfloat16)[0] == ml_dtypes.bfloat16(1 + 2**-7)
    whole = np.array([2**60 + 2**52 + 1])
    assert dtypes.converted(whole, dtypes.bfloat16)[0] == ml_dtypes.bfloat16(2**60 + 2**53)


@pytest.mark.parametrize("dtype", [dtype for dtype in REAL if dtype.is_integer], ids=str)
def test_floats_saturate_and_integers_wrap(dtype: DType) -> None:
    limits = ml_dtypes.iinfo(dtype.numpy)
    floats = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, -0.9, 1.9])
    with pf.Graph().as_default() as graph:
        cast = pf.cast(pf.constant(floats), dtype)
        wrapped = pf.cast(pf.constant([int(limits.max) + 1 if dtype.bits < 63 else -1]), dtype)
        with pf.Session(graph) as session:
            got, around = session.run([cast, wrapped])
    expected = [0, limits.max, limits.min, limits.max, limits.min, 0, 1]
    assert [int(entry) for entry in got] == [int(entry) for entry in expected]
    wraps = int(limits.min) if dtype.bits < 63 else -1 if dtype.kind == "i" else int(limits.max)
    assert int(around[0]) == wraps


ROWS: dict[str, Callable[..., Any]] = {
    "add": lambda m, x, y: x + y,
    "subtract": lambda m, x, y: x - y,
    "multiply": lambda m, x, y: x * y,
    "maximum": lambda m, x, y: m.maximum(x, y),
    "less": lambda m, x, y: x < y,
    "equal": lambda m, x, y: x == y,
    "square": lambda m, x, y: m.square(x),
    "negative": lambda m, x, y: -x,
    "abs": lambda m, x, y: m.abs(x),
    "sign": lambda m, x, y: m.sign(x),
    "clip": lambda m, x, y: m.clip(x, 1, 3),
    "where": lambda m, x, y: m.where(x < y, x, y),
    "power": lambda m, x, y: x**2,
    "sum": lambda m, x, y: m.sum(x, axis=1),
    "prod": lambda m, x, y: m.prod(x, axis=0),
    "max": lambda m, x, y: m.max(x, axis=1),
    "min": lambda m, x, y: m.min(x),
    "argmax": lambda m, x, y: m.argmax(x, axis=1),
    "matmul": lambda m, x, y: x @ y.T,
    "slice": lambda m, x, y: x[::-1, 1:],
    "transpose": lambda m, x, y: m.transpose(x),
    "concat": lambda m, x, y: m.concatenate([x, y], 1),
    "take": lambda m, x, y: m.take(x, np.array([2, 0, 2]), axis=0),
    "nonzero": lambda m, x, y: m.nonzero(x) if m is pf else np.stack(np.nonzero(x)),
    "pad": lambda m, x, y: m.pad(x, ((1, 0), (0, 2))),
}
FLOATING: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "divide": (lambda x, y: x / (y * y + 1), lambda x, y: x / (y * y + 1)),
    "exp": (lambda x, y: pf.exp(x * 0.5), lambda x, y: np.exp(x * 0.5)),
    "tanh": (lambda x, y: pf.tanh(x), lambda x, y: np.tanh(x)),
    "sqrt": (lambda x, y: pf.sqrt(pf.abs(x)), lambda x, y: np.sqrt(np.abs(x))),
    "softmax": (lambda x, y: pf.softmax(x), lambda x, y: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
    "mean": (lambda x, y: pf.mean(x, axis=0), lambda x, y: x.mean(0)),
    "gelu": (lambda x, y: pf.relu(x) + pf.sigmoid(y), lambda x, y: np.maximum(x, 0) + 1 / (1 + np.exp(-y))),
    "conv2d": (
        lambda x, y: pf.conv2d(pf.reshape(x, (1, 1, 5, 7)), pf.reshape(y[:3, :3], (1, 1, 3, 3))),
        lambda x, y: np.array([[[[(x[i : i + 3, j : j + 3] * y[:3, :3]).sum() for j in range(5)] for i in range(3)]]]),
    ),
}


def run(dtype: DType, function: Callable[..., Any], *arrays: np.ndarray) -> np.ndarray:
    graph = pf.Graph()
    with graph.as_default():
        values = [pf.placeholder(dtype, array.shape) for array in arrays]
        made = function(*values)
        with pf.Session(graph) as session:
            return np.asarray(session.run(made, dict(zip(values, arrays, strict=True))))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_numbers(dtype: DType, isa: str) -> None:
    """Small whole numbers: every dtype gives the very numbers that int64 gives, modulo its range."""
    x, y = numbers(dtype, 5, 7), numbers(dtype, 5, 7, seed=1)
    a, b = (array.astype(np.int64) for array in (x, y))
    for name, row in ROWS.items():
        got = run(dtype, lambda *values, row=row: row(pf, *values), x, y)
        wanted = np.asarray(row(np, a, b))
        result = dtypes.as_dtype(got.dtype)
        if name == "prod" and dtype.kind == "f":
            wanted = wanted.astype(np.float64)
        np.testing.assert_array_equal(got, dtypes.converted(wanted, result), err_msg=f"{name} of {dtype}")


@pytest.mark.parametrize("dtype", sorted(INTEGERS, key=str), ids=str)
def test_integers_over_their_whole_range(dtype: DType, isa: str) -> None:
    limits = np.iinfo(dtype.numpy)
    random = np.random.default_rng(3)
    x, y = random.integers(limits.min, limits.max, (2, 501), dtype.numpy, endpoint=True)
    y[y == 0] = 1
    x[:4] = limits.min, limits.max, limits.min, 0
    y[:2] = limits.max, 1
    rows: dict[str, Callable[..., Any]] = {
        "add": lambda m, x, y: x + y,
        "multiply": lambda m, x, y: x * y,
        "floor_divide": lambda m, x, y: x // y,
        "mod": lambda m, x, y: x % y,
        "less": lambda m, x, y: x < y,
        "maximum": lambda m, x, y: m.maximum(x, y),
        "max": lambda m, x, y: m.max(x),
        "argmin": lambda m, x, y: m.argmin(x),
        "sum": lambda m, x, y: m.sum(x),
        "square": lambda m, x, y: m.square(x),
    }
    for name, row in rows.items():
        with np.errstate(all="ignore"):
            wanted = np.asarray(row(np, x, y))
        got = run(dtype, lambda *values, row=row: row(pf, *values), x, y)
        assert got.dtype == wanted.dtype, name
        np.testing.assert_array_equal(got, wanted, err_msg=f"{name} of {dtype}")


@pytest.mark.parametrize("dtype", sorted(FLOATS, key=str), ids=str)
def test_floating(dtype: DType, isa: str) -> None:
    """Within one unit in the last place of the float64 answer for what is rounded once, two for chains of three."""
    x, y = numbers(dtype, 5, 7), numbers(dtype, 5, 7, seed=1)
    a, b = (array.astype(np.float64) for array in (x, y))
    eps = float(ml_dtypes.finfo(dtype.numpy).eps)
    for name, (function, reference) in FLOATING.items():
        got = run(dtype, function, x, y)
        assert got.dtype == dtype.numpy
        wanted = reference(a, b)
        scale = np.abs(wanted).max()
        near = max(4 * eps, 1e-14)
        np.testing.assert_allclose(got.astype(np.float64), wanted, rtol=near, atol=eps * scale, err_msg=name)


@pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=str)
def test_a_narrow_op_is_the_float32_op_rounded_once(dtype: DType, isa: str) -> None:
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(33, 65)).astype(dtype.numpy) for _ in range(2))
    wide = [array.astype(np.float32) for array in (x, y)]
    for function in (
        lambda x, y: x * y,
        lambda x, y: pf.exp(x),
        lambda x, y: pf.matmul(x, pf.transpose(y)),
        lambda x, y: pf.sum(x, axis=1),
        lambda x, y: pf.softmax(x),
    ):
        got = run(dtype, function, x, y)
        np.testing.assert_array_equal(got, run(dtypes.float32, function, *wide).astype(dtype.numpy))


def test_numerics_of_chains() -> None:
    """By default a chain stays in float32; strict rounds after every op, as the same ops one by one would."""
    x = np.array([0.1, 1 / 3, 1000.0], np.float16)
    for numerics, wanted in (
        ("default", ((x.astype(np.float32) * np.float32(np.float16(1.1))) + x.astype(np.float32)).astype(np.float16)),
        ("strict", x * np.float16(1.1) + x),
    ):
        graph = pf.Graph()
        with graph.as_default():
            value = pf.placeholder(pf.float16, (3,))
            made = value * 1.1 + value
            with pf.Session(graph, config=pf.SessionConfig(numerics=numerics)) as session:
                np.testing.assert_array_equal(session.run(made, {value: x}), wanted)
                rounded = pf.cast(pf.cast(pf.cast(value, pf.float32) / 3, pf.float16), pf.float32)
                third = (x.astype(np.float32) / 3).astype(np.float16).astype(np.float32)
                np.testing.assert_array_equal(session.run(rounded, {value: x}), third)


@pytest.mark.parametrize("dtype", ROOM, ids=str)
def test_what_moves_elements_takes_every_dtype(dtype: DType, isa: str) -> None:
    raw = np.random.default_rng(1).integers(
        0, 2 if dtype.bits < 8 or dtype.kind == "b" else 60, (4, 3 * dtype.itemsize), np.uint8
    )
    x = raw.view(dtype.numpy)
    where = np.arange(12).reshape(4, 3) % 3 == 0
    rows: list[tuple[Callable[..., Any], np.ndarray]] = [
        (lambda v: v, x),
        (lambda v: pf.transpose(v), x.T),
        (lambda v: pf.reshape(v[::-1, ::2], (2, 4)), x[::-1, ::2].reshape(2, 4)),
        (lambda v: pf.concat([v, v[:2]]), np.concatenate([x, x[:2]])),
        (lambda v: pf.stack([v, v], 1), np.stack([x, x], 1)),
        (lambda v: pf.take(v, [3, 0, 3], axis=0), x[[3, 0, 3]]),
        (lambda v: pf.broadcast_to(v[0], (2, 3)), np.broadcast_to(x[0], (2, 3))),
        (lambda v: pf.where(where, v, v[::-1]), np.where(where, x, x[::-1])),
        (lambda v: pf.concat([v, pf.constant(x)]), np.concatenate([x, x])),
        (lambda v: pf.take_along_axis(v, np.array([[2, 0]]), 1), np.take_along_axis(x, np.array([[2, 0]] * 4), 1)),
        (lambda v: pf.scatter_nd(v, [[1], [3]], v[:2]), np.stack([x[0], x[0], x[2], x[1]])),
    ]
    for function, wanted in rows:
        got = run(dtype, function, x)
        assert got.dtype == dtype.numpy
        assert got.tobytes() == np.ascontiguousarray(wanted).tobytes()


@pytest.mark.parametrize("dtype", ROOM, ids=str)
def test_variables_and_checkpoints(dtype: DType, tmp_path: Any) -> None:
    first = np.zeros((2, 3 * dtype.itemsize), np.uint8).view(dtype.numpy)
    raw = np.random.default_rng(1).integers(
        0, 2 if dtype.bits < 8 or dtype.kind == "b" else 60, (2, 3 * dtype.itemsize), np.uint8
    )
    second = raw.view(dtype.numpy)
    graph = pf.Graph()
    with graph.as_default():
        variable = pf.Variable(first, name="v")
        x = pf.placeholder(dtype, (2, 3))
        write = variable.assign(x)
        saver = pf.train.Saver()
        with pf.Session(graph) as session:
            session.run(pf.global_variables_initializer())
            session.run(write, {x: second})
            path = saver.save(session, str(tmp_path / "model"))
        with pf.Session(graph) as session:
            saver.restore(session, path)
            got = session.run(variable.value())
    assert got.dtype == dtype.numpy
    assert got.tobytes() == second.tobytes()


def _narrowed(given: Any, source: Any, target: DType) -> np.ndarray:
    array = np.asarray(given)
    return array.astype(target.numpy) if array.dtype == source else array


def _first_rows(source: Any) -> list[Case]:
    """The first row of each op that has inputs of that dtype, and elements."""
    found: dict[str, Case] = {}
    for case in CASES:
        arrays = [np.asarray(given) for given in case.inputs]
        if isinstance(case.op, str) and any(array.dtype == source for array in arrays) and all(a.size for a in arrays):
            found.setdefault(case.op, case)
    return list(found.values())


@pytest.mark.parametrize(
    ("case", "source", "target"),
    [
        pytest.param(case, source, target, id=f"{case.op}-{target}")
        for source, target in ((np.float32, dtypes.bfloat16), (np.int32, dtypes.int8))
        for case in _first_rows(source)
    ],
)
def test_rows_in_narrow_dtypes(case: Case, source: Any, target: DType) -> None:
    """What ops do in float32 and int32 they do in a narrow dtype: the session agrees with ``ref``."""
    graph = pf.Graph()
    with graph.as_default():
        made, feeds = build(case, graph, False, [_narrowed(given, source, target) for given in case.inputs])
        wanted = evaluate_graph(graph, made, feeds)
        with pf.Session(graph) as session:
            results = session.run(made, feeds)
    for got, want in zip(results, wanted, strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape
        if not dtypes.as_dtype(want.dtype).is_floating:
            np.testing.assert_array_equal(got, want)
        elif "random" not in str(case.op):
            eps = float(ml_dtypes.finfo(want.dtype).eps)
            scale = np.nanmax(np.abs(want.astype(np.float64)), initial=1e-3, where=np.isfinite(want))
            np.testing.assert_allclose(
                got.astype(np.float64), want.astype(np.float64), rtol=4 * eps, atol=4 * eps * scale
            )


def test_promotion() -> None:
    for left, right in itertools.product(ROOM, ROOM):
        made = dtypes.promote(left, right)
        assert made is dtypes.promote(right, left)
        try:
            assert made.numpy == np.promote_types(left.numpy, right.numpy)
        except TypeError:
            assert {left, right} & ({dtypes.bfloat16} | STORED)
    assert dtypes.promote(dtypes.float16, dtypes.bfloat16) is dtypes.float32
    assert dtypes.promote(dtypes.bfloat16, dtypes.int32) is dtypes.float64
    assert dtypes.promote(dtypes.bfloat16, dtypes.int16) is dtypes.float32


@pytest.mark.parametrize("dtype", sorted(ANY | COMPLEX, key=str), ids=str)
def test_python_numbers_are_weak(dtype: DType) -> None:
    with pf.Graph().as_default():
        x = pf.placeholder(dtype, (2,))
        number = dtype.kind == "b"
        assert (x + 1).dtype is (pf.int64 if number else dtype)
        assert (x + 1.5).dtype is (dtype if dtype.kind in "fc" else pf.float32 if number else pf.float64)
        if dtype.kind in "fc":
            assert (pf.cast(x, dtypes.complex_dtype(dtype)) + 1j).dtype is dtypes.complex_dtype(dtype)


def test_feeds_are_cast_where_no_value_can_change() -> None:
    graph = pf.Graph()
    with graph.as_default():
        x = pf.placeholder(pf.float32, (2,))
        z = pf.placeholder(pf.complex64, (2,))
        with pf.Session(graph) as session:
            for kind in (ml_dtypes.bfloat16, np.float16, np.int8, ml_dtypes.float8_e5m2, np.uint16):
                np.testing.assert_array_equal(session.run(x, {x: np.array([1, 2], kind)}), np.array([1, 2], np.float32))
            np.testing.assert_array_equal(session.run(z, {z: np.array([1, 2], np.float32)}), [1, 2])
            with pytest.raises(pf.errors.DTypeError, match="a cast could change values"):
                session.run(x, {x: np.array([1, 2], np.int32)})
            with pytest.raises(pf.errors.DTypeError, match="expected float32"):
                session.run(x, {x: np.array([1, 2], np.complex64)})


@pytest.mark.parametrize("dtype", sorted(COMPLEX, key=str), ids=str)
def test_complex(dtype: DType, isa: str) -> None:
    random = np.random.default_rng(2)
    x, y = ((random.normal(size=(5, 5)) + 1j * random.normal(size=(5, 5))).astype(dtype.numpy) for _ in range(2))
    near = 1e-4 if dtype is dtypes.complex64 else 1e-12
    rows: list[tuple[Callable[..., Any], Any]] = [
        (lambda x, y: x * y + 1j, x * y + 1j),
        (lambda x, y: x / y, x / y),
        (lambda x, y: pf.abs(pf.exp(x)), np.abs(np.exp(x))),
        (lambda x, y: pf.matmul(x, y), x @ y),
        (lambda x, y: pf.sum(pf.conj(x) * y, axis=0), (x.conj() * y).sum(0)),
        (lambda x, y: pf.real(x)[1:] - pf.imag(y)[:-1], x.real[1:] - y.imag[:-1]),
        (lambda x, y: pf.real(pf.transpose(x)), x.real.T),
        (lambda x, y: pf.where(pf.abs(x) > 1, x, y), np.where(np.abs(x) > 1, x, y)),
        (lambda x, y: pf.cast(x, pf.complex128), x.astype(np.complex128)),
        (lambda x, y: pf.nonzero(x - x * 0), np.stack(np.nonzero(x))),
    ]
    for function, wanted in rows:
        got = run(dtype, function, x, y)
        assert got.dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(got, wanted, rtol=near, atol=near)


def test_gradients_of_complex_values_need_a_direction() -> None:
    with pf.Graph().as_default():
        z = pf.placeholder(pf.complex64, (2,))
        with pytest.raises(pf.errors.DTypeError, match="give grad_ys"):
            pf.gradients(z * z, z)
        (slope,) = pf.gradients(pf.sum(pf.square(pf.abs(z))), z)
        with pf.Session() as session:
            value = np.array([1 + 2j, -3j], np.complex64)
            np.testing.assert_allclose(session.run(slope, {z: value}), 2 * value, rtol=1e-6)
