"""Every scalar function, dtype and ISA against NumPy or SciPy in higher precision, with stated bounds in ulps."""

from __future__ import annotations

import itertools
import math
import struct

import numpy as np
import pytest
from scipy import special

from pyflow import _core, dtypes

ISAS = _core.cpu_isas()
OPS = {name: (nargs, [dtypes.BY_CODE[code] for code in codes]) for name, nargs, codes in _core.scalar_ops()}
PROGRAM_ONLY = ("where", "const", "cast", "cast_saturated")
FLOATS = (dtypes.float32, dtypes.float64)
INTS = (dtypes.int32, dtypes.int64, dtypes.uint64)
SIZES = (0, 1, 2, 7, 31, 127, 1021, 4099)


def code(value: object) -> int:
    return dtypes.as_dtype(value).code


def bits(value: object, dtype: dtypes.DType) -> int:
    return int.from_bytes(np.array(value, dtype.numpy).tobytes().ljust(8, b"\0"), "little")


def run(op, result_dtype, *args, isa=None, threads=1, out=None):
    """One scalar function over arrays of equal dims."""
    program = ([code(a.dtype) for a in args], [(op, code(result_dtype), list(range(len(args))), 0)], [len(args)])
    if out is None:
        out = np.empty(np.broadcast_shapes(*(a.shape for a in args)), dtypes.as_dtype(result_dtype).numpy)
    _core.call_kernel("elementwise", list(args), [out], programs=[program], isa=isa, threads=threads)
    return out


def wide(x):
    """The precision that references are computed in: twice the mantissa for float32, 64 bits for float64."""
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def ulps(got, exact):
    """Distance in units in the last place of the exact value rounded to ``got``'s dtype; inf where one is special."""
    dtype = got.dtype.type
    with np.errstate(all="ignore"):
        rounded = exact.astype(dtype)
        unit = np.spacing(np.abs(rounded)).astype(exact.dtype)
        distance = np.abs(got.astype(exact.dtype) - exact) / unit
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        # One ulp around overflow: a finite neighbour of infinity.
        largest = np.finfo(dtype).max
        near = np.isinf(rounded) & (np.abs(got) == largest) | (np.isinf(got) & (np.abs(rounded) == largest))
    distance = np.where(same, np.where(np.isfinite(distance), distance, 0), distance)
    distance = np.where(near, 1.0, distance)
    return np.where(np.isfinite(distance), distance, np.inf)


def special_values(dtype):
    info = np.finfo(dtype)
    values = [0.0, 1.0, 0.5, 1.5, 2.5, np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal, info.eps, 1e-5]
    values += [info.tiny / 8, 3.7, 10.0, 88.7, 88.72284, 103.97, 709.78, 745.0, 1e10, 0.9375 * 2**0.5, 4.0, 1 + 1e-6]
    return np.array([*values, *(-v for v in values)], dtype)


def float_inputs(dtype, seed=0):
    """All magnitudes, dense where functions bend, and the special values; an odd number of them."""
    random = np.random.default_rng(seed)
    everywhere = np.exp2(random.uniform(-140, 120, 6000)) * random.choice([-1, 1], 6000)
    parts = [random.uniform(-b, b, 6000) for b in (1e-3, 1.0, 3.0, 12.0, 110.0, 800.0)]
    near_one = 1 + random.uniform(-1e-3, 1e-3, 3001)
    return np.concatenate([everywhere, *parts, near_one, special_values(dtype)]).astype(dtype)


def in_double(function):
    """For functions that SciPy has in float64 only; its own errors, about 2 ulps, count against the bound."""
    return lambda x: function(x.astype(np.float64)).astype(x.dtype)


def normal_cdf(x):
    return in_double(special.ndtr)(x)


def gelu_tanh(x):
    # x * (1 + tanh(u)) / 2 without cancellation.
    u = np.sqrt(x.dtype.type(8) / x.dtype.type(np.pi)) * (x + x.dtype.type(0.044715) * x**3)
    return np.where(x < -1e9, x.dtype.type(-0.0), x / (1 + np.exp(-u)))


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, x.dtype.type(1)) / (1 + e)


def vanishing(values):
    """-inf times 0 is the limit 0 in x * sigmoid(x) and its kin."""
    return lambda x: np.where(np.isneginf(x), x.dtype.type(-0.0), values(x))


def trigamma(x):
    left = x <= 0
    reflected = (np.pi / np.sin(np.pi * (x - np.floor(x)))) ** 2 - special.polygamma(1, np.where(left, 1 - x, 1.0))
    return np.where(left, reflected, special.polygamma(1, np.where(left, 1.0, x)))


# op: (reference, bound in ulps for float32, for float64)
UNARY = {
    "neg": (np.negative, 0, 0),
    "abs": (np.abs, 0, 0),
    "sign": (np.sign, 0, 0),
    "square": (np.square, 0.5, 0.51),
    "sqrt": (np.sqrt, 0.5, 0.51),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5, 1.5),
    "reciprocal": (lambda x: 1 / x, 0.5, 0.51),
    "exp": (np.exp, 2, 2),
    "expm1": (np.expm1, 3, 2),
    "log": (np.log, 2, 2),
    "log1p": (np.log1p, 3, 2),
    "sin": (np.sin, 2, 2),
    "cos": (np.cos, 2, 2),
    "tanh": (np.tanh, 3, 3),
    "erf": (in_double(special.erf), 2, 4),
    "sigmoid": (logistic, 4, 4),
    "softplus": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), 4, 4),
    "relu": (lambda x: np.where(x < 0, x.dtype.type(0), x), 0, 0),
    "floor": (np.floor, 0, 0),
    "ceil": (np.ceil, 0, 0),
    "round": (np.rint, 0, 0),
    "trunc": (np.trunc, 0, 0),
    "tan": (np.tan, 2, 1),
    "asin": (np.arcsin, 1, 1),
    "acos": (np.arccos, 1, 1),
    "atan": (np.arctan, 1, 1),
    "sinh": (np.sinh, 1, 3),
    "cosh": (np.cosh, 1, 3),
    "asinh": (np.arcsinh, 3, 3),
    "acosh": (np.arccosh, 3, 3),
    "atanh": (np.arctanh, 3, 3),
    "exp2": (np.exp2, 1, 1),
    "log2": (np.log2, 1, 1),
    "log10": (np.log10, 1, 2),
    "cbrt": (np.cbrt, 1, 4),
    "erfc": (in_double(np.vectorize(math.erfc)), 4, 6),
}
# Near their zeros these cross, so that a bound in ulps does not fit: relative to 1 there.
CROSSING = {
    "lgamma": (special.gammaln, 2e-7, 2e-14),
    "digamma": (special.digamma, 2e-7, 2e-14),
    "trigamma": (trigamma, 2e-7, 2e-14),
}
PAIRED = {"atan2": (np.arctan2, 2, 1), "hypot": (np.hypot, 1, 1)}
# x times something in [0, 1]
GATED = {
    "silu": vanishing(lambda x: x * logistic(x)),
    "gelu": vanishing(lambda x: x * normal_cdf(x)),
    "gelu_tanh": gelu_tanh,
}
PREDICATES = {
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "signbit": np.signbit,
    "logical_not": np.logical_not,
}
COMPARISONS = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
ARITHMETIC = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": np.floor_divide,
    "mod": np.mod,
    "minimum": np.minimum,
    "maximum": np.maximum,
    "fmod": np.fmod,
    "copysign": np.copysign,
    "nextafter": np.nextafter,
    "gcd": np.gcd,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}
OTHERS = {*PROGRAM_ONLY, "pow", "clip", "bitwise_not"}
TESTED = {*UNARY, *CROSSING, *PAIRED, *GATED, *PREDICATES, *COMPARISONS, *ARITHMETIC, *OTHERS}


def test_every_scalar_function_is_tested_here():
    assert set(OPS) == TESTED


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", UNARY)
def test_unary_of_floats(op, dtype, isa):
    reference, *bounds = UNARY[op]
    bound = bounds[FLOATS.index(dtype)]
    x = float_inputs(dtype.numpy)
    with np.errstate(all="ignore"):
        exact = np.asarray(reference(wide(x)))
    if exact.dtype != wide(x).dtype:
        exact = exact.astype(wide(x).dtype)
    distance = ulps(run(op, dtype, x, isa=isa), exact)
    worst = int(np.argmax(distance))
    assert distance[worst] <= bound, f"{op}({x[worst]!r}) is {distance[worst]:.2f} ulp off"


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", PAIRED)
def test_pairs_of_floats(op, dtype, isa):
    reference, *bounds = PAIRED[op]
    a, b = float_pairs(dtype.numpy)
    with np.errstate(all="ignore"):
        exact = reference(wide(a), wide(b))
    assert ulps(run(op, dtype, a, b, isa=isa), exact).max() <= bounds[FLOATS.index(dtype)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", CROSSING)
def test_crossing(op, dtype, isa):
    reference, *bounds = CROSSING[op]
    random = np.random.default_rng(4)
    x = np.concatenate([random.uniform(1e-3, 3, 3000), random.uniform(3, 100, 3000), random.uniform(-3, 0, 1001)])
    x = x.astype(dtype.numpy)
    exact = reference(x.astype(np.float64))
    error = np.abs(run(op, dtype, x, isa=isa) - exact) / np.maximum(1, np.abs(exact))
    # What rounding of an argument near a pole does to the result is the reference's own error.
    near_pole = (x < 0.01) & (np.abs(x - np.round(x)) < 0.01)
    assert error[~near_pole].max() <= bounds[FLOATS.index(dtype)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", OPS["bitwise_not"][1], ids=str)
def test_bitwise_not(dtype, isa):
    x = pairs(dtype)[0]
    np.testing.assert_array_equal(run("bitwise_not", dtype, x, isa=isa), np.bitwise_not(x))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("op", GATED)
def test_gated(op, dtype, isa):
    # The tail for negative x is tiny against x: a few ulps for |x| < 4, beyond that relative to what is left of it.
    x = float_inputs(dtype.numpy)
    with np.errstate(all="ignore"):
        exact = GATED[op](wide(x)).astype(np.float64)
    got = run(op, dtype, x, isa=isa)
    finite = np.isfinite(exact) & np.isfinite(x)
    relative = 4e-5 if dtype is dtypes.float32 else 1e-12
    eps = np.finfo(dtype.numpy).eps
    tiny = np.finfo(dtype.numpy).tiny
    factor = x.astype(np.float64) * tiny
    bound = np.where(x > 0, 4 * eps * np.abs(exact), relative * np.abs(exact)) + np.abs(factor) + tiny
    near = np.abs(x) <= 1
    bound = np.where(near, 6 * eps * np.abs(exact) + tiny, bound)
    error = np.abs(got[finite].astype(np.float64) - exact[finite])
    worst = int(np.argmax(error - bound[finite]))
    assert error[worst] <= bound[finite][worst], (x[finite][worst], got[finite][worst], exact[finite][worst])
    limits = np.array([np.inf, -np.inf, np.nan, 0.0, -0.0], dtype.numpy)
    np.testing.assert_array_equal(run(op, dtype, limits, isa=isa), np.array([np.inf, 0, np.nan, 0, 0], dtype.numpy))


def test_signed_zeros_stay():
    zero = np.array([-0.0, 0.0], np.float32)
    for op in ("tanh", "erf", "sin", "expm1", "log1p", "sqrt", "trunc", "gelu", "silu"):
        np.testing.assert_array_equal(np.signbit(run(op, np.float32, zero)), [True, False], err_msg=op)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", ["sin", "cos"])
def test_large_angles(op, isa):
    random = np.random.default_rng(3)
    x = np.concatenate([np.exp2(random.uniform(15, 127, 4000)), np.array([1e6, 1000001.0, 16367173.0 * 2**72])])
    x = x.astype(np.float32)
    exact = np.array([getattr(math, op)(float(v)) for v in x])
    assert ulps(run(op, np.float32, x, isa=isa), exact).max() <= 2


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("op", "dtype"), [(op, dtype) for op in PREDICATES for dtype in OPS[op][1]], ids=str)
def test_predicates(op, dtype, isa):
    if dtype in FLOATS:
        x = float_inputs(dtype.numpy)
    else:
        x = np.array([0, 1, 0, 1, 1] if dtype is dtypes.bool_ else [0, 1, 3, 5, 0], dtype.numpy)
    np.testing.assert_array_equal(run(op, bool, x, isa=isa), PREDICATES[op](x))


def int_inputs(dtype):
    info = np.iinfo(dtype)
    random = np.random.default_rng(1)
    edges = [0, 1, -1, 2, -2, 3, 7, -7, info.max, info.min, info.max - 1, info.min + 1]
    edges = [edge for edge in edges if info.min <= edge <= info.max]
    grid = np.array(list(itertools.product(edges, edges)), dtype)
    noise = random.integers(info.min, info.max, (501, 2), dtype)
    small = random.integers(max(info.min, -50), 50, (500, 2), dtype)
    return np.concatenate([grid, noise, small]).T.copy()


def float_pairs(dtype):
    edges = special_values(dtype)
    grid = np.array(list(itertools.product(edges, edges)), dtype)
    random = np.random.default_rng(2)
    noise = random.normal(0, 100, (4001, 2)).astype(dtype)
    return np.concatenate([grid, noise]).T.copy()


def bool_pairs():
    return np.array([[0, 0, 1, 1, 1], [0, 1, 0, 1, 1]], np.bool_)


def pairs(dtype):
    if dtype is dtypes.bool_:
        return bool_pairs()
    return int_inputs(dtype.numpy) if dtype in INTS else float_pairs(dtype.numpy)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("op", "dtype"), [(op, dtype) for op in COMPARISONS for dtype in OPS[op][1]], ids=str)
def test_comparisons(op, dtype, isa):
    a, b = pairs(dtype)
    np.testing.assert_array_equal(run(op, bool, a, b, isa=isa), COMPARISONS[op](a, b))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("op", "dtype"), [(op, dtype) for op in ARITHMETIC for dtype in OPS[op][1]], ids=str)
def test_arithmetic_is_exact(op, dtype, isa):
    a, b = pairs(dtype)
    if dtype in INTS and op in ("div", "floordiv", "mod", "fmod"):
        a, b = a[b != 0], b[b != 0]
    with np.errstate(all="ignore"):
        if op == "div" and dtype in INTS:
            wrapped = (b + 1 == 0) & (a == np.iinfo(dtype.numpy).min) & (a != 0)
            floor = np.floor_divide(a, b)
            expected = np.where(wrapped, a, floor + ((floor * b != a) & ((a < 0) != (b < 0))))
        else:
            expected = ARITHMETIC[op](a, b)
    np.testing.assert_array_equal(run(op, dtype, a, b, isa=isa), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", INTS, ids=str)
def test_integers_wrap(dtype, isa):
    limits = np.iinfo(dtype.numpy)
    x = np.array([limits.min, limits.max - 4, 0, 7], dtype.numpy)
    for op, reference in {"neg": np.negative, "abs": np.abs, "sign": np.sign, "square": np.square}.items():
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(run(op, dtype, x, isa=isa), reference(x), err_msg=op)
    np.testing.assert_array_equal(run("relu", dtype, x, isa=isa), np.maximum(x, 0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTS], ids=str)
def test_pow(dtype, isa):
    if dtype in INTS:
        a, b = int_inputs(dtype.numpy)
        b = np.abs(b % 40)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(run("pow", dtype, a, b, isa=isa), np.power(a, b))
        return
    a, b = float_pairs(dtype.numpy)
    with np.errstate(all="ignore"):
        exact = np.power(wide(a), wide(b))
    assert ulps(run("pow", dtype, a, b, isa=isa), exact).max() <= 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", OPS["clip"][1], ids=str)
def test_clip(dtype, isa):
    a, b = pairs(dtype)
    low, high = np.minimum(b, 3), np.maximum(b, 40)
    with np.errstate(all="ignore"):
        expected = np.minimum(np.maximum(a, low), high)
    np.testing.assert_array_equal(run("clip", dtype, a, low, high, isa=isa), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [dtype for dtype in OPS["where"][1] if not dtype.is_object], ids=str)
def test_where(dtype, isa):
    raw = np.random.default_rng(5).integers(0, 2 if dtype.bits < 16 else 60, (2, 501 * dtype.itemsize), np.uint8)
    a, b = raw.view(dtype.numpy)
    condition = np.arange(a.size) % 3 == 0
    got = run("where", dtype, condition, a, b, isa=isa)
    assert got.tobytes() == np.where(condition, a, b).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_faults(isa):
    zero, one = np.zeros(70, np.int32), np.ones(70, np.int32)
    for op in ("div", "floordiv", "mod"):
        with pytest.raises(Exception, match="division by zero"):
            run(op, np.int32, one, zero, isa=isa)
    with pytest.raises(Exception, match="negative power"):
        run("pow", np.int64, np.ones(3, np.int64), np.array([1, -1, 2]), isa=isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_strides(size, isa):
    random = np.random.default_rng(size)
    base = random.normal(size=(3, 2 * size + 1)).astype(np.float32)
    row = random.normal(size=(1, size)).astype(np.float32)
    column = random.normal(size=(3, 1)).astype(np.float32)
    scalar = np.broadcast_to(np.float32(2.5), (3, size))
    strided, backward = base[:, : 2 * size : 2], base[::-1, :size][:, ::-1]
    for other in (strided, backward, np.broadcast_to(row, (3, size)), np.broadcast_to(column, (3, size)), scalar):
        np.testing.assert_array_equal(run("sub", np.float32, strided, other, isa=isa), strided - other)
        target = np.full((3, 2 * size + 1), 7, np.float32)
        run("sub", np.float32, other, strided, isa=isa, out=target[:, 1::2])
        np.testing.assert_array_equal(target[:, 1::2], other - strided)
        np.testing.assert_array_equal(target[:, ::2], 7)


def test_many_dims_and_transposed():
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 1, 5, 2, 7, 4))
    y = np.broadcast_to(random.normal(size=(3, 6, 1, 2, 1, 4)), (3, 6, 5, 2, 7, 4))
    wide_x = np.broadcast_to(x, y.shape)
    np.testing.assert_array_equal(run("mul", np.float64, wide_x, y), x * y)
    axes = (3, 0, 5, 1, 4, 2)
    out = np.empty(y.shape)
    run("mul", np.float64, wide_x.transpose(axes), y.transpose(axes), out=out.transpose(axes))
    np.testing.assert_array_equal(out, x * y)
    scalar = np.empty(())
    np.testing.assert_array_equal(run("neg", np.float64, np.array(3.0), out=scalar), -3.0)


ADAM = (
    [code(np.float32)] * 4,
    [
        ("const", code(np.float32), [], struct.unpack("<I", struct.pack("<f", 0.9))[0]),
        ("const", code(np.float32), [], struct.unpack("<I", struct.pack("<f", 1e-8))[0]),
        ("mul", code(np.float32), [1, 4], 0),
        ("add", code(np.float32), [6, 3], 0),
        ("square", code(np.float32), [3], 0),
        ("mul", code(np.float32), [2, 4], 0),
        ("add", code(np.float32), [8, 9], 0),
        ("sqrt", code(np.float32), [10], 0),
        ("add", code(np.float32), [11, 5], 0),
        ("div", code(np.float32), [7, 12], 0),
        ("sub", code(np.float32), [0, 13], 0),
    ],
    [14, 7, 10],
)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [1, 1000, 100_003])
def test_program_of_many_in_place(size, isa):
    random = np.random.default_rng(size)
    value, first, second, gradient = (random.uniform(0.1, 1, size).astype(np.float32) for _ in range(4))
    new_first = first * np.float32(0.9) + gradient
    new_second = gradient * gradient + second * np.float32(0.9)
    new_value = value - new_first / (np.sqrt(new_second) + np.float32(1e-8))
    _core.call_kernel(
        "elementwise", [value, first, second, gradient], [value, first, second], programs=[ADAM], isa=isa, threads=2
    )
    np.testing.assert_array_equal(value, new_value)
    np.testing.assert_array_equal(first, new_first)
    np.testing.assert_array_equal(second, new_second)


def test_in_place_when_a_later_instruction_reads_the_input():
    f32 = code(np.float32)
    x = np.arange(5000, dtype=np.float32)
    twice = np.empty_like(x)
    program = ([f32], [("neg", f32, [0], 0), ("add", f32, [0, 0], 0)], [1, 2])
    _core.call_kernel("elementwise", [x], [x, twice], programs=[program])
    np.testing.assert_array_equal(x, -np.arange(5000, dtype=np.float32))
    np.testing.assert_array_equal(twice, 2 * np.arange(5000, dtype=np.float32))


def test_outputs_that_are_inputs_constants_or_repeated():
    f32 = code(np.float32)
    x = np.arange(3000, dtype=np.float32).reshape(3, 1000)
    outs = [np.empty_like(x) for _ in range(4)]
    program = ([f32], [("const", f32, [], bits(4.5, dtypes.float32)), ("neg", f32, [0], 0)], [0, 1, 2, 2])
    _core.call_kernel("elementwise", [x], outs, programs=[program])
    for out, expected in zip(outs, (x, np.full_like(x, 4.5), -x, -x), strict=True):
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_threads_give_equal_bits(isa):
    x = np.random.default_rng(5).normal(size=(517, 1031)).astype(np.float32)
    f32 = code(np.float32)
    chain = ["exp", "log1p", "tanh", "sin", "gelu", "erf", "sigmoid"]
    program = ([f32], [(op, f32, [i], 0) for i, op in enumerate(chain)], [len(chain)])
    results = []
    for threads in (1, 2, 3):
        out = np.empty_like(x)
        _core.call_kernel("elementwise", [x], [out], programs=[program], isa=isa, threads=threads)
        results.append(out.tobytes())
    assert results[0] == results[1] == results[2]
    # Nor does an element's place matter.
    piece = np.empty(911, np.float32)
    _core.call_kernel("elementwise", [x[3, 7:918]], [piece], programs=[program], isa=isa)
    np.testing.assert_array_equal(piece, out[3, 7:918])


def test_what_is_refused():
    f32, i32 = code(np.float32), code(np.int32)
    x = np.zeros(3, np.float32)

    def program(*instrs):
        return [([f32], list(instrs), [len(instrs)])]

    for wrong, message in (
        (("nope", f32, [0], 0), "no scalar function"),
        (("exp", i32, [0], 0), "gives float32, not int32"),
        (("add", f32, [0], 0), "takes 2 arguments"),
        (("neg", f32, [5], 0), "before it is written"),
        (("where", f32, [0, 0, 0], 0), "expected bool"),
    ):
        with pytest.raises(Exception, match=message):
            _core.call_kernel("elementwise", [x], [np.empty_like(x)], programs=program(wrong))
    with pytest.raises(Exception, match="size 4 along axis 0"):
        run("add", np.float32, np.zeros(4, np.float32), x, out=np.empty(3, np.float32))
    with pytest.raises(Exception, match="this machine runs"):
        run("neg", np.float32, x, isa="vax")
