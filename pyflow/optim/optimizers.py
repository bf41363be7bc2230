"""SGD with momentum, and Adam with decoupled weight decay, as nodes of the graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyflow.apply import convert
from pyflow.errors import InvalidArgumentError, message, user_origin
from pyflow.gradients import gradients
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.state import Variable, group, trainable_variables

LearningRate = float | Value
GradientsAndVariables = Sequence[tuple[Value | None, Variable]]


class Optimizer:
    """What all optimisers share; a subclass gives :meth:`_update`."""

    def __init__(self, lr: LearningRate, weight_decay: float = 0.0) -> None:
        if not isinstance(lr, Value) and lr < 0:
            raise InvalidArgumentError(message("optim", f"expected lr >= 0, got {lr}", user_origin()))
        self.lr = lr
        self.weight_decay = weight_decay

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"pf.optim.{type(self).__name__}({settings})"

    def minimize(self, loss: Value, var_list: Sequence[Variable] | None = None, name: str = "minimize") -> Node:
        """The train step: an op that moves ``var_list`` (default: all trainable variables) against the gradient."""
        return self.apply_gradients(self.compute_gradients(loss, var_list), name=name)

    def compute_gradients(
        self, loss: Value, var_list: Sequence[Variable] | None = None
    ) -> list[tuple[Value | None, Variable]]:
        """(gradient or None, variable) pairs, to look at or change before :meth:`apply_gradients`."""
        variables = list(var_list) if var_list is not None else trainable_variables(loss.graph)
        variables = [variable for variable in variables if variable.dtype.is_floating]
        if not variables:
            raise InvalidArgumentError(message("optim", "the graph has no trainable variable", user_origin()))
        return list(zip(gradients(loss, variables), variables, strict=True))

    def apply_gradients(self, grads_and_vars: GradientsAndVariables, name: str = "train_step") -> Node:
        """The op that updates each variable by its gradient; pairs without one are left out."""
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars if gradient is not None]
        if not pairs:
            names = ", ".join(variable.name for _, variable in grads_and_vars)
            raise InvalidArgumentError(
                message("optim", f"the loss depends on none of the variables: {names}", user_origin())
            )
        graph = pairs[0][1].graph
        with graph.name_scope(name):
            shared = self._begin(pairs[0][1])
            writes = [write for gradient, variable in pairs for write in self._update(variable, gradient, shared)]
            return group(*writes, name="step")

    def _begin(self, variable: Variable) -> list[Value]:
        """Values that all updates of a step share."""
        return []

    def _update(self, variable: Variable, gradient: Value, shared: list[Value]) -> list[Value]:
        raise NotImplementedError

    def _rate(self, variable: Variable) -> Value:
        return convert(self.lr, variable.dtype)


def _slot(variable: Variable, name: str) -> Variable:
    shape = [int(size) for size in variable.dims]  # type: ignore[arg-type]
    zeros = np.zeros(shape, variable.dtype.numpy)
    return Variable(zeros, name=f"{variable.name.replace('/', '.')}.{name}", trainable=False)


class SGD(Optimizer):
    """v = momentum * v + g; w -= lr * v (or g + momentum * v with ``nesterov``); weight decay is added to g."""

    def __init__(
        self, lr: LearningRate = 0.01, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        if nesterov and not momentum:
            raise InvalidArgumentError(message("optim", "nesterov needs momentum > 0", user_origin()))
        self.momentum = momentum
        self.nesterov = nesterov

    def _update(self, variable: Variable, gradient: Value, shared: list[Value]) -> list[Value]:
        writes: list[Value] = []
        if self.weight_decay:
            gradient = gradient + variable.value() * self.weight_decay
        if self.momentum:
            slot = _slot(variable, "momentum")
            velocity = slot.assign(slot.value() * self.momentum + gradient)
            writes.append(velocity)
            gradient = gradient + velocity * self.momentum if self.nesterov else velocity
        return [*writes, variable.assign_sub(gradient * self._rate(variable))]


class Adam(Optimizer):
    """Adam (Kingma & Ba, 2015, algorithm 1) with decoupled weight decay (Loshchilov & Hutter, 2019)."""

    def __init__(
        self,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay)
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            raise InvalidArgumentError(message("optim", f"expected 0 <= betas < 1, got {betas}", user_origin()))
        self.betas = betas
        self.epsilon = epsilon

    def _begin(self, variable: Variable) -> list[Value]:
        steps = Variable(np.zeros((), np.float64), name="steps", trainable=False)
        now = steps.assign_add(1.0)
        first, second = (call("subtract", 1.0, call("pow", np.float64(beta), now)) for beta in self.betas)
        return [call("divide", call("sqrt", second), first), call("sqrt", second)]

    def _update(self, variable: Variable, gradient: Value, shared: list[Value]) -> list[Value]:
        first, second = self.betas
        scale, root = (call("cast", value, variable.dtype) for value in shared)
        mean, square = _slot(variable, "mean"), _slot(variable, "square")
        new_mean = mean.assign(mean.value() * first + gradient * (1.0 - first))
        new_square = square.assign(square.value() * second + gradient * gradient * (1.0 - second))
        step = new_mean * (self._rate(variable) * scale) / (call("sqrt", new_square) + root * self.epsilon)
        if self.weight_decay:
            step = step + variable.value() * (self._rate(variable) * self.weight_decay)
        return [new_mean, new_square, variable.assign_sub(step)]


def clip_by_global_norm(values: Sequence[Value | None], norm: float) -> tuple[list[Value | None], Value]:
    """Scales all ``values`` by one factor so that their joint 2-norm is at most ``norm``; also gives the norm."""
    present = [value for value in values if value is not None]
    if not present:
        raise InvalidArgumentError(message("clip_by_global_norm", "expected at least one value", user_origin()))
    squares = [call("sum", value * value) for value in present]
    total = squares[0]
    for square in squares[1:]:
        total = total + square
    found = call("sqrt", total)
    factor = call("divide", norm, call("maximum", found, norm))
    return [None if value is None else value * factor for value in values], found
