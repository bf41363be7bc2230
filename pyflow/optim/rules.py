"""The optimisers. A rule is written once; it serves declared graphs, eager parameters and traced functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyflow.opdef import call
from pyflow.optim.optimizer import LearningRate, Optimizer, Settings

Updated = tuple[Any, Mapping[str, Any]]


def _root(x: Any) -> Any:
    return call("sqrt", x)


def _powers(betas: Sequence[float], now: Any) -> list[Any]:
    """``1 - beta ** now`` of each."""
    return [call("subtract", 1.0, call("pow", np.float64(beta), now)) for beta in betas]


def _decayed(w: Any, g: Any, settings: Settings) -> Any:
    """The gradient of the loss plus ``weight_decay / 2 * sum(w**2)``."""
    return g + w * settings["weight_decay"] if settings["weight_decay"] else g


class SGD(Optimizer):
    """v = momentum * v + g; w -= lr * v (or g + momentum * v with ``nesterov``); weight_decay times w is added to g."""

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and not momentum:
            self._refuse("nesterov needs momentum > 0")
        super().__init__(params, lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"momentum": 0.0} if settings["momentum"] else {}

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g, momentum = _decayed(w, g, settings), settings["momentum"]
        if not momentum:
            return w - g * rate, {}
        velocity = kept["momentum"] * momentum + g
        g = g + velocity * momentum if settings["nesterov"] else velocity
        return w - g * rate, {"momentum": velocity}


class _Betas(Optimizer):
    """A mean and a mean square of gradients, each with its beta."""

    counts = True

    def __init__(
        self,
        params: Any,
        lr: LearningRate,
        betas: tuple[float, float],
        epsilon: float,
        weight_decay: float,
        **rest: Any,
    ) -> None:
        if not (0 <= betas[0] < 1 and 0 <= betas[1] < 1):
            self._refuse(f"expected 0 <= betas < 1, got {betas}")
        super().__init__(params, lr, weight_decay=weight_decay, betas=tuple(betas), epsilon=epsilon, **rest)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0}


class Adam(_Betas):
    """Adam (Kingma and Ba, 2015, algorithm 1).

    weight_decay: times w is added to the gradient; :class:`AdamW` takes it from w itself. amsgrad: divides by the
    largest mean square so far (Reddi et al., 2018).
    """

    decoupled = False

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, epsilon, weight_decay, amsgrad=amsgrad)

    def _slots(self, settings: Settings) -> dict[str, float]:
        slots = super()._slots(settings)
        return {**slots, "largest": 0.0} if settings["amsgrad"] else slots

    def _shared(self, now: Any, settings: Settings) -> tuple[Any, ...]:
        first, second = _powers(settings["betas"], now)
        return call("divide", _root(second), first), _root(second)

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        (first, second), (scale, root) = settings["betas"], shared
        if not self.decoupled:
            g = _decayed(w, g, settings)
        mean = kept["mean"] * first + g * (1.0 - first)
        square = kept["square"] * second + g * g * (1.0 - second)
        keeps = {"mean": mean, "square": square}
        below = square
        if settings["amsgrad"]:
            below = keeps["largest"] = call("maximum", kept["largest"], square)
        step = mean * (rate * scale) / (_root(below) + root * settings["epsilon"])
        if self.decoupled and settings["weight_decay"]:
            step = step + w * (rate * settings["weight_decay"])
        return w - step, keeps


class AdamW(Adam):
    """Adam with decoupled weight decay: w -= lr * weight_decay * w beside the step. I. Loshchilov, F. Hutter, 2019."""

    decoupled = True

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, epsilon, weight_decay, amsgrad)


class Adamax(_Betas):
    """Adam with the largest gradient, which fades with the second beta, for the mean square. Kingma and Ba, 2015."""

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas, epsilon, weight_decay)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"mean": 0.0, "largest": 0.0}

    def _shared(self, now: Any, settings: Settings) -> tuple[Any, ...]:
        return tuple(_powers(settings["betas"][:1], now))

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g, (first, second) = _decayed(w, g, settings), settings["betas"]
        mean = kept["mean"] * first + g * (1.0 - first)
        largest = call("maximum", kept["largest"] * second, call("abs", g) + settings["epsilon"])
        return w - mean * (rate / shared[0]) / largest, {"mean": mean, "largest": largest}


class NAdam(_Betas):
    """Adam with Nesterov's momentum. T. Dozat, 2016; the schedule of momentum is PyTorch's."""

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.002,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
    ) -> None:
        super().__init__(params, lr, betas, epsilon, weight_decay, momentum_decay=momentum_decay)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"mean": 0.0, "square": 0.0, "product": 1.0}

    def _shared(self, now: Any, settings: Settings) -> tuple[Any, ...]:
        first, second = settings["betas"]
        mu, following = (
            first * (1.0 - 0.5 * call("pow", np.float64(0.96), at * settings["momentum_decay"]))
            for at in (now, now + 1.0)
        )
        return mu, following, _powers([second], now)[0]

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g, (first, second), (mu, following, power) = _decayed(w, g, settings), settings["betas"], shared
        mean = kept["mean"] * first + g * (1.0 - first)
        square = kept["square"] * second + g * g * (1.0 - second)
        product = kept["product"] * mu
        root = _root(square / power) + settings["epsilon"]
        step = g * ((1.0 - mu) / (1.0 - product)) + mean * (following / (1.0 - product * following))
        return w - step * rate / root, {"mean": mean, "square": square, "product": product}


class RMSprop(Optimizer):
    """w -= lr * g / (sqrt(mean square of g) + epsilon). T. Tieleman, G. Hinton, 2012.

    alpha: how much of the mean square stays. centered: the mean's square is taken from it. momentum: of the step.
    """

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        settings = {"alpha": alpha, "epsilon": epsilon, "momentum": momentum, "centered": centered}
        super().__init__(params, lr, weight_decay=weight_decay, **settings)

    def _slots(self, settings: Settings) -> dict[str, float]:
        wanted = {"square": True, "mean": settings["centered"], "momentum": settings["momentum"]}
        return {name: 0.0 for name, there in wanted.items() if there}

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g, alpha = _decayed(w, g, settings), settings["alpha"]
        keeps = {"square": kept["square"] * alpha + g * g * (1.0 - alpha)}
        below = keeps["square"]
        if settings["centered"]:
            keeps["mean"] = kept["mean"] * alpha + g * (1.0 - alpha)
            below = below - keeps["mean"] * keeps["mean"]
        step = g / (_root(below) + settings["epsilon"])
        if settings["momentum"]:
            step = keeps["momentum"] = kept["momentum"] * settings["momentum"] + step
        return w - step * rate, keeps


class Adagrad(Optimizer):
    """w -= lr * g / (sqrt(sum of the squares of g) + epsilon). J. Duchi, E. Hazan, Y. Singer, 2011.

    lr_decay: the rate of step n is ``lr / (1 + (n - 1) * lr_decay)``.
    """

    counts = True

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        settings = {"lr_decay": lr_decay, "initial_accumulator_value": initial_accumulator_value, "epsilon": epsilon}
        super().__init__(params, lr, weight_decay=weight_decay, **settings)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"sum": settings["initial_accumulator_value"]}

    def _shared(self, now: Any, settings: Settings) -> tuple[Any, ...]:
        return ((now - 1.0) * settings["lr_decay"] + 1.0,)

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g = _decayed(w, g, settings)
        total = kept["sum"] + g * g
        return w - g * (rate / shared[0]) / (_root(total) + settings["epsilon"]), {"sum": total}


class Adadelta(Optimizer):
    """Steps scaled by their own mean square, over that of the gradients. M. Zeiler, 2012."""

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 1.0,
        rho: float = 0.9,
        epsilon: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay=weight_decay, rho=rho, epsilon=epsilon)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"square": 0.0, "steps": 0.0}

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        g, rho, epsilon = _decayed(w, g, settings), settings["rho"], settings["epsilon"]
        square = kept["square"] * rho + g * g * (1.0 - rho)
        step = g * _root(kept["steps"] + epsilon) / _root(square + epsilon)
        steps = kept["steps"] * rho + step * step * (1.0 - rho)
        return w - step * rate, {"square": square, "steps": steps}


class Lion(_Betas):
    """Steps of one size, by the sign of a mean. X. Chen et al.: Symbolic discovery of optimization algorithms, 2023."""

    counts = False

    def __init__(
        self,
        params: Any = None,
        lr: LearningRate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, betas, 0.0, weight_decay)

    def _slots(self, settings: Settings) -> dict[str, float]:
        return {"mean": 0.0}

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> Updated:
        first, second = settings["betas"]
        step = call("sign", kept["mean"] * first + g * (1.0 - first))
        if settings["weight_decay"]:
            step = step + w * settings["weight_decay"]
        return w - step * rate, {"mean": kept["mean"] * second + g * (1.0 - second)}
