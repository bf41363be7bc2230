"""recognise: subgraphs of primitives, as exporters and users write them, become the composites they are.

Every rule here may round otherwise than the primitives, so none is used where numerics is strict. A subgraph is taken
only if nothing outside needs what is inside: training keeps what its gradients read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from pyflow import dtypes
from pyflow.algebra import factors_of, is_op, number, polynomial, reduced
from pyflow.dims import Size
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.common import constant_array
from pyflow.region import Lasting, Region
from pyflow.rewrite import Rule, again, also_from, constant_of, rewrite
from pyflow.target import Target

INVERSE_ROOT_2 = math.sqrt(0.5)
GELU_SLOPE = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715
"""Hendrycks and Gimpel 2016, arXiv:1606.08415."""


def close(have: float | None, want: float) -> bool:
    """Equal as far as constants in files are."""
    return have is not None and math.isclose(have, want, rel_tol=2e-4)


def recognise(region: Region, target: Target) -> Region:
    """``region`` with the composites it contains as one node each."""
    return rewrite(region, _Recogniser(region).rules(), target.numerics)


class _Recogniser:
    def __init__(self, region: Region) -> None:
        self.users = region.users()
        self.roots = set(region.roots())
        self.lasting = Lasting(region)

    def rules(self) -> tuple[Rule, ...]:
        return (
            Rule("sigmoid", ("divide", "reciprocal"), self.sigmoid, False, "1 / (1 + exp(-x))"),
            Rule("silu", ("multiply",), self.silu, False, "x * sigmoid(x)"),
            Rule("gelu", ("multiply", "divide"), self.gelu, False, "x/2 * (1 + erf(x/sqrt 2)), and with tanh"),
            Rule("softmax", ("divide",), self.softmax, False, "exp(x - max) / sum"),
            Rule("log_softmax", ("subtract", "log"), self.log_softmax, False, "x - max - log(sum(exp(x - max)))"),
            Rule("layer_norm", ("multiply", "divide"), self.normalised, False, "(x - mean) / sqrt(variance + epsilon)"),
            Rule("layer_norm_bias", ("add",), self.biased, False, "the bias after it"),
            Rule("matmul_scale", ("matmul",), self.scaled_product, False, "(a * c) @ (b * d): the numbers after it"),
            Rule("batch_norm_fold", ("batch_norm",), self.batch_norm, False, "into the weights before it"),
        )

    def alone(self, root: Node, inside: Iterable[Node]) -> bool:
        """Nothing but ``root`` and the nodes inside reads what is inside."""
        group = {root, *inside}
        return not any(
            value in self.roots or any(user not in group for user in self.users.get(value, ()))
            for node in group - {root}
            for value in node.outputs
        )

    def sigmoid(self, node: Node) -> Value | None:
        below = node.inputs[-1]
        if (node.op.name == "divide" and number(node.inputs[0]) != 1) or not is_op(below, "add"):
            return None
        power, one = below.node.inputs
        if number(one) != 1 or not is_op(power, "exp") or not is_op(power.node.inputs[0], "negative"):
            return None
        inside = [below.node, power.node, power.node.inputs[0].node]
        x = inside[-1].inputs[0]
        if x.dims != node.types[0].dims or not self.alone(node, inside):
            return None
        return _made("sigmoid", inside, x)

    def silu(self, node: Node) -> Value | None:
        for gate, x in (node.inputs, reversed(node.inputs)):
            if is_op(gate, "sigmoid") and gate.node.inputs[0] is x and self.alone(node, [gate.node]):
                return _made("silu", [gate.node], x)
        return None

    def gelu(self, node: Node) -> Value | None:
        product = factors_of(node.outputs[0])
        bend = product.take(1.0, only=lambda value: is_op(value, "add") and is_op(value.node.inputs[0], "erf", "tanh"))
        x = product.take(1.0)
        if bend is None or x is None or product.powers or not close(product.scale, 0.5):
            return None
        curve, one = bend.node.inputs
        inside = [*product.inside[1:], bend.node, curve.node]
        inner = polynomial(curve.node.inputs[0], x, inside)
        if number(one) != 1 or inner is None or x.dims != node.types[0].dims:
            return None
        if is_op(curve, "erf"):
            fits, form = set(inner) == {1} and close(inner[1], INVERSE_ROOT_2), "none"
        else:
            fits = set(inner) == {1, 3} and close(inner[1], GELU_SLOPE) and close(inner[3], GELU_SLOPE * GELU_CUBIC)
            form = "tanh"
        if not fits or not self.alone(node, inside):
            return None
        also_from(inside)
        made: Value = call("gelu", x, form)
        return made

    def shifted(self, value: Value, inside: list[Node]) -> tuple[Value, int] | None:
        """(x, axis) if ``value`` is x - max(x) along one axis."""
        if not is_op(value, "subtract"):
            return None
        x, top = value.node.inputs
        peak = reduced(top, "max", inside)
        if peak is None or peak[0] is not x or len(peak[1]) != 1:
            return None
        inside.append(value.node)
        return x, peak[1][0]

    def softmax(self, node: Node) -> Value | None:
        powers, total = node.inputs
        inside = [powers.node]
        below = reduced(total, "sum", inside)
        if below is None or below[0] is not powers or not is_op(powers, "exp"):
            return None
        start = self.shifted(powers.node.inputs[0], inside)
        if start is None or below[1] != (start[1],) or not self.alone(node, inside):
            return None
        return _made("softmax", inside, *start)

    def log_softmax(self, node: Node) -> Value | None:
        first = node.inputs[0]
        if node.op.name == "log":
            if not is_op(first, "softmax") or not self.alone(node, [first.node]):
                return None
            return _made("log_softmax", [first.node], first.node.inputs[0], first.node.attrs["axis"])
        inside: list[Node] = []
        whole = reduced(node.inputs[1], "logsumexp", inside)
        if whole is not None and whole[0] is first and len(whole[1]) == 1 and self.alone(node, inside):
            return _made("log_softmax", inside, first, whole[1][0])
        logarithm = node.inputs[1].node
        if logarithm.op.name != "log":
            return None
        inside = [logarithm]
        below = reduced(logarithm.inputs[0], "sum", inside)
        if below is None or not is_op(below[0], "exp") or below[0].node.inputs[0] is not first:
            return None
        inside.append(below[0].node)
        start = self.shifted(first, inside)
        if start is None or below[1] != (start[1],) or not self.alone(node, inside):
            return None
        return _made("log_softmax", inside, *start)

    def normalised(self, node: Node) -> Value | None:
        grown = self.scaled(node)
        if grown is not None:
            return grown
        product = factors_of(node.outputs[0])
        spread = product.take(-0.5)
        centred = product.take(1.0, only=lambda value: is_op(value, "subtract"))
        scale = product.take(1.0)
        if spread is None or centred is None or product.powers or product.scale != 1.0:
            return None
        x, middle = centred.node.inputs
        inside = [*(entry for entry in product.inside if entry is not node), centred.node]
        mean = reduced(middle, "mean", inside)
        if mean is None or mean[0] is not x or mean[1] != tuple(range(mean[1][0], x.ndim)) or not is_op(spread, "add"):
            return None
        variance, epsilon = spread.node.inputs
        inside.append(spread.node)
        held = number(epsilon)
        if held is None or not self.is_variance(variance, x, centred, mean[1], inside):
            return None
        axis = mean[1][0]
        wanted = x.dims[axis:]
        gain = _uniform(1.0, wanted, x) if scale is None else _without_ones(scale, wanted)
        offset = _uniform(0.0, wanted, x)
        if gain is None or offset is None or not self.alone(node, inside):
            return None
        also_from(inside)
        made: Value = call("layer_norm", x, gain, offset, axis=axis, epsilon=held)
        return made

    def is_variance(self, value: Value, x: Value, centred: Value, axes: tuple[int, ...], inside: list[Node]) -> bool:
        whole = reduced(value, "var", inside)
        if whole is not None:
            return whole[0] is x and whole[1] == axes and all(node.attrs.get("ddof", 0) == 0 for node in inside)
        mean = reduced(value, "mean", inside)
        if mean is None or mean[1] != axes:
            return False
        inside.append(mean[0].node)
        return polynomial(mean[0], centred, inside) == {2: 1.0}

    def scaled(self, node: Node) -> Value | None:
        """layer_norm(x, 1, 0) * scale."""
        for norm, scale in (node.inputs, reversed(node.inputs)):
            if node.op.name != "multiply" or not is_op(norm, "layer_norm") or not self.alone(node, [norm.node]):
                continue
            x, gain, offset = norm.node.inputs
            new = _without_ones(scale, gain.dims)
            if new is not None and _is_all(gain, 1) and _is_all(offset, 0) and norm.type == node.types[0]:
                also_from([norm.node])
                made: Value = call("layer_norm", x, new, offset, **norm.node.attrs)
                return made
        return None

    def biased(self, node: Node) -> Value | None:
        """layer_norm(x, scale, 0) + bias."""
        for norm, bias in (node.inputs, reversed(node.inputs)):
            if not is_op(norm, "layer_norm") or not self.alone(node, [norm.node]):
                continue
            x, gain, offset = norm.node.inputs
            new = _without_ones(bias, offset.dims)
            if new is not None and _is_all(offset, 0) and norm.type == node.types[0]:
                also_from([norm.node])
                made: Value = call("layer_norm", x, gain, new, **norm.node.attrs)
                return made
        return None

    def scaled_product(self, node: Node) -> Value | None:
        """matmul(a * c, b * d) for numbers c and d, as attention scales queries and keys. Not in 16 bits, where the
        product might overflow."""
        if node.types[0].dtype not in (dtypes.float32, dtypes.float64) or any(v.ndim < 2 for v in node.inputs):
            return None
        scale, inside, operands = 1.0, [], []
        for value in node.inputs:
            factors = list(value.node.inputs) if is_op(value, "multiply", "divide") else []
            if is_op(value, "multiply") and number(factors[0]) is not None:
                factors.reverse()
            held = number(factors[1]) if factors else None
            if not held or not math.isfinite(held) or factors[0].dims != value.dims or value in self.lasting:
                operands.append(value)
                continue
            scale = scale * held if is_op(value, "multiply") else scale / held
            operands.append(factors[0])
            inside.append(value.node)
        if not inside or not self.alone(node, inside):
            return None
        also_from(inside)
        return again(node, *operands) * constant_of(np.asarray(scale, node.types[0].dtype.numpy))

    def batch_norm(self, node: Node) -> Value | None:
        """batch_norm(conv2d(x, w) + b), and matmul: w and b take the factors, once."""
        x, scale, bias, mean, variance = node.inputs
        inside = [x.node]
        product, before = x.node, None
        if product.op.name == "add":
            product, before = product.inputs[0].node, product.inputs[1]
            inside.append(product)
        if product.op.name not in ("conv2d", "matmul") or product.types[0] != x.type:
            return None
        axis, ndim = node.attrs["axis"], x.ndim
        weights = product.inputs[1]
        if product.op.name == "conv2d":
            last = product.attrs["data_format"] == "NHWC"
            channel, spread = (3, (-1,)) if last else (1, (-1, 1, 1, 1))
        else:
            channel, spread = ndim - 1, (-1,)
        given = [weights, scale, bias, mean, variance, *([before] if before is not None else [])]
        if axis != channel or weights.ndim < 2 or not all(value in self.lasting for value in given):
            return None
        along = (-1, *(1,) * (ndim - channel - 1))
        if before is not None:
            before = _without_ones(before, (x.dims[channel],), keep=along)
        if (before is None) != (len(given) == 5) or not self.alone(node, inside):
            return None
        also_from(inside)
        factor = scale * call("rsqrt", variance + node.attrs["epsilon"])
        offset = bias - mean * factor if before is None else bias + (before - mean) * factor
        folded = weights * call("reshape", factor, spread)
        made: Value = again(product, product.inputs[0], folded) + call("reshape", offset, along)
        return made


def _made(op: str, inside: Iterable[Node], *args: object) -> Value:
    also_from(inside)
    result: Value = call(op, *args)
    return result


def _uniform(value: float, shape: tuple[Size, ...], like: Value) -> Value | None:
    if not all(isinstance(size, int) for size in shape):
        return None
    return constant_of(np.full(shape, value, like.dtype.numpy))  # type: ignore[arg-type]


def _is_all(value: Value, wanted: float) -> bool:
    held = constant_array(value)
    return held is not None and bool((held == wanted).all())


def _without_ones(value: Value, shape: tuple[Size, ...], keep: tuple[int, ...] = ()) -> Value | None:
    """``value``, which broadcasts against axes that end in ``shape``, with just these axes; None if it has others.

    ``keep``: where the one axis stands among trailing axes of size 1.
    """
    wanted = tuple(shape[0] if size == -1 else size for size in keep) if keep else shape
    extra = value.ndim - len(wanted)
    if extra < 0 or value.dims[extra:] != wanted or any(size != 1 for size in value.dims[:extra]):
        return None
    if value.dims == shape:
        return value
    result: Value = call("reshape", value, shape)
    return result
