"""Complex arithmetic in terms of real and imaginary parts: how ops that take complex numbers are composed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pyflow.dtypes import DType, real_dtype
from pyflow.graph import Value
from pyflow.opdef import call


def is_complex(value: Value) -> bool:
    return value.dtype.kind == "c"


def in_parts(rule: Callable[..., Any]) -> Callable[..., Any]:
    """An ``expand`` that follows ``rule`` for complex operands and leaves real ones to the kernels."""

    def expand(*values: Value, **attrs: Any) -> Any:
        return rule(*values, **attrs) if any(map(is_complex, values)) else None

    return expand


def conjugate(value: Value) -> Value:
    """The conjugate of a complex value; a real one is its own."""
    return call("conj", value) if is_complex(value) else value


def parts(value: Value) -> tuple[Value, Value]:
    return call("real", value), call("imag", value)


def join(real: Value, imag: Value) -> Value:
    result: Value = call("complex", real, imag)
    return result


def filled(number: float, like: Value) -> Value:
    """A real number in the shape of ``like``, of the dtype of its parts."""
    result: Value = call("broadcast_to", call("constant", number, real_dtype(like.dtype)), like.dims)
    return result


def zeros(like: Value) -> Value:
    return filled(0.0, like)


def each_part(op: str) -> Callable[..., Value]:
    """A rule: the op on the real and on the imaginary parts alone."""

    def rule(*values: Value, **attrs: Any) -> Value:
        pairs = [parts(value) for value in values]
        return join(*(call(op, *(pair[i] for pair in pairs), **attrs) for i in (0, 1)))

    return rule


def multiply(x: Value, y: Value) -> Value:
    (a, b), (c, d) = parts(x), parts(y)
    return join(a * c - b * d, a * d + b * c)


def divide(x: Value, y: Value) -> Value:
    """Smith's method: the larger part of the divisor is divided out first, so that nothing overflows on the way."""
    (a, b), (c, d) = parts(x), parts(y)
    wide = call("abs", c) >= call("abs", d)
    ratio = call("where", wide, d, c) / call("where", wide, c, d)
    scale = call("where", wide, c + d * ratio, d + c * ratio)
    real = call("where", wide, a + b * ratio, a * ratio + b)
    imag = call("where", wide, b - a * ratio, b * ratio - a)
    nothing = call("logical_and", c == 0, d == 0)
    return join(*(call("where", nothing, part / call("abs", c), sum / scale) for part, sum in ((a, real), (b, imag))))


def reciprocal(x: Value) -> Value:
    return divide(join(filled(1.0, x), zeros(x)), x)


def square(x: Value) -> Value:
    a, b = parts(x)
    return join((a - b) * (a + b), 2 * (a * b))


def magnitude(x: Value) -> Value:
    result: Value = call("hypot", *parts(x))
    return result


def angle(x: Value) -> Value:
    a, b = parts(x)
    result: Value = call("atan2", b, a)
    return result


def _scaled(factor: Value, by: Value) -> Value:
    """``factor * by``, and 0 where ``factor`` is, whatever it is multiplied by."""
    result: Value = call("where", factor == 0, factor, factor * by)
    return result


def polar(magnitude: Value, angle: Value) -> Value:
    return join(magnitude * call("cos", angle), _scaled(call("sin", angle), magnitude))


def exp(x: Value) -> Value:
    a, b = parts(x)
    return polar(call("exp", a), b)


def exp2(x: Value) -> Value:
    a, b = parts(x)
    return polar(call("exp2", a), b * math.log(2))


def expm1(x: Value) -> Value:
    a, b = parts(x)
    half = call("sin", b * 0.5)
    return join(call("expm1", a) * call("cos", b) - 2 * half * half, _scaled(call("sin", b), call("exp", a)))


def log(x: Value) -> Value:
    return join(call("log", magnitude(x)), angle(x))


def log_to(base: float) -> Callable[[Value], Value]:
    """A rule: the logarithm to a base."""

    def rule(x: Value) -> Value:
        a, b = parts(log(x))
        return join(a / math.log(base), b / math.log(base))

    return rule


def log1p(x: Value) -> Value:
    """The real part without cancellation near 0: half of log1p(|1 + x|**2 - 1)."""
    a, b = parts(x)
    small = call("log1p", a * (2 + a) + b * b) * 0.5
    large = call("log", call("hypot", 1 + a, b))
    near = call("logical_and", call("abs", a) < 0.5, call("abs", b) < 0.5)
    return join(call("where", near, small, large), call("atan2", b, 1 + a))


def sqrt(x: Value) -> Value:
    a, b = parts(x)
    t = call("sqrt", (magnitude(x) + call("abs", a)) * 0.5)
    other = call("where", t == 0, b, b / call("where", t == 0, 1, 2 * t))
    right = a >= 0
    return join(call("where", right, t, call("abs", other)), call("where", right, other, call("copysign", t, b)))


def sin(x: Value) -> Value:
    a, b = parts(x)
    return join(_scaled(call("sin", a), call("cosh", b)), call("cos", a) * call("sinh", b))


def cos(x: Value) -> Value:
    a, b = parts(x)
    return join(call("cos", a) * call("cosh", b), -_scaled(call("sin", a), call("sinh", b)))


def sinh(x: Value) -> Value:
    a, b = parts(x)
    return join(call("sinh", a) * call("cos", b), _scaled(call("sin", b), call("cosh", a)))


def cosh(x: Value) -> Value:
    a, b = parts(x)
    return join(call("cosh", a) * call("cos", b), _scaled(call("sin", b), call("sinh", a)))


def tanh(x: Value) -> Value:
    """From functions of the parts that do not overflow."""
    a, b = parts(x)
    t, s, c = call("tanh", a), call("sin", b), call("cos", b)
    rest = call("square", 1 / call("cosh", a))  # 1 - t*t, without cancellation
    scale = c * c + call("square", t * s)
    return join(t / scale, s * c * rest / scale)


def rsqrt(x: Value) -> Value:
    return reciprocal(sqrt(x))


def _roots(x: Value) -> tuple[Value, Value, Value, Value]:
    """The parts of sqrt(1 - x) and of sqrt(1 + x)."""
    a, b = parts(x)
    return *parts(sqrt(join(1 - a, -b))), *parts(sqrt(join(1 + a, b)))


def asin(x: Value) -> Value:
    """W. Kahan, Branch cuts for complex elementary functions, 1987; so are acos and acosh."""
    c, d, e, f = _roots(x)
    return join(call("atan2", call("real", x), c * e - d * f), call("asinh", c * f - d * e))


def acos(x: Value) -> Value:
    c, d, e, f = _roots(x)
    return join(2 * call("atan2", c, e), call("asinh", e * d - f * c))


def acosh(x: Value) -> Value:
    a, b = parts(x)
    c, d = parts(sqrt(join(a - 1, b)))
    e, f = parts(sqrt(join(a + 1, b)))
    return join(call("asinh", c * e + d * f), 2 * call("atan2", d, e))


def atanh(x: Value) -> Value:
    a, b = parts(x)
    real = call("log1p", 4 * a / (call("square", 1 - a) + b * b)) * 0.25
    return join(real, 0.5 * call("atan2", 2 * b, (1 - a) * (1 + a) - b * b))


def turned(rule: Callable[[Value], Value]) -> Callable[[Value], Value]:
    """A rule: ``-i f(i x)``: the hyperbolic function of a trigonometric one, and the other way round."""

    def made(x: Value) -> Value:
        a, b = parts(x)
        c, d = parts(rule(join(-b, a)))
        return join(d, -c)

    return made


def pow(x: Value, y: Value) -> Value:
    """exp(y log x); a power of 0 is 0 where the exponent's real part is positive, 1 where it is 0, else NaN."""
    power = exp(multiply(y, log(x)))
    real, imag = parts(y)
    nan = call("where", real > 0, 0.0, call("cast", float("nan"), real.dtype))
    one = call("logical_and", real == 0, imag == 0)
    at_zero = join(call("where", one, 1.0, nan), call("where", one, 0.0, nan))
    result: Value = call("where", x == 0, at_zero, power)
    return result


def both(op: str, joined: str) -> Callable[..., Value]:
    """A rule: a predicate of the real parts and of the imaginary parts, joined."""

    def rule(*values: Value) -> Value:
        pairs = [parts(value) for value in values]
        result: Value = call(joined, *(call(op, *(pair[i] for pair in pairs)) for i in (0, 1)))
        return result

    return rule


def matmul(x: Value, y: Value) -> Value:
    (a, b), (c, d) = parts(x), parts(y)
    real = call("matmul", a, c) - call("matmul", b, d)
    return join(real, call("matmul", a, d) + call("matmul", b, c))


def cast(x: Value, dtype: DType) -> Value:
    if not is_complex(x):
        real = call("cast", x, real_dtype(dtype))
        return join(real, zeros(real))
    a, b = parts(x)
    if dtype.kind == "c":
        return join(call("cast", a, real_dtype(dtype)), call("cast", b, real_dtype(dtype)))
    if dtype.kind == "b":
        result: Value = call("logical_or", a != 0, b != 0)
        return result
    real = call("cast", a, dtype)
    return real


def prod(x: Value, axis: tuple[int, ...], keepdims: bool) -> Value | None:
    """Halves are multiplied until one is left: sizes must be known."""
    if not all(isinstance(x.dims[each], int) for each in axis):
        return None
    for each in axis:
        while x.dims[each] != 1:
            x = _halved(x, each)
    return x if keepdims or not axis else call("squeeze", x, axis)


def _halved(x: Value, axis: int) -> Value:
    """The first half of ``axis`` times the second; one that is left over is kept, and 1 stands for nothing."""
    size = int(str(x.dims[axis]))

    def cut(start: int, stop: int) -> Value:
        result: Value = x[(slice(None),) * axis + (slice(start, stop),)]
        return result

    if not size:
        shape = (*x.dims[:axis], 1, *x.dims[axis + 1 :])
        result: Value = call("broadcast_to", call("cast", call("constant", 1.0), x.dtype), shape)
        return result
    half = size // 2
    product = cut(0, half) * cut(half, 2 * half)
    return call("concat", product, cut(2 * half, size), axis=axis) if size % 2 else product
