"""Schedules of the learning rate: each is a function of the number of steps; :meth:`Schedule.step` sets the next rate.

``schedule = StepLR(optimizer, 30)``; after each epoch ``schedule.step()``. Rates hold in traced functions too.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyflow.eager.capture import current
from pyflow.errors import FailedPreconditionError, InvalidArgumentError, message, user_origin
from pyflow.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


def _refuse(name: str, what: str) -> InvalidArgumentError:
    return InvalidArgumentError(message(name, what, user_origin()))


class Schedule:
    """What all schedules share; a subclass gives :meth:`rate`."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer) or not optimizer.param_groups:
            raise _refuse(type(self).__name__, f"expected an optimiser of parameters, got {optimizer!r}")
        self.optimizer = optimizer
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set()

    def rate(self, epoch: int, base: float) -> float:
        """The learning rate after ``epoch`` steps of a schedule that starts from ``base``."""
        raise NotImplementedError

    def step(self) -> None:
        """Goes on to the next epoch."""
        if current() is not None:
            what = "a schedule is Python's: inside of a function that is traced it would be stepped once"
            raise FailedPreconditionError(message(type(self).__name__, what, user_origin(), "step it outside"))
        self.last_epoch += 1
        self._set()

    def _set(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(self.last_epoch, base)

    def get_last_lr(self) -> list[float]:
        """The learning rates now, one per group of parameters."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        """Goes to where the schedule of :meth:`state_dict` stood."""
        self.last_epoch = given["last_epoch"]
        self.base_lrs = list(given["base_lrs"])
        self._set()


class LambdaLR(Schedule):
    """``base * function(epoch)``."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float]) -> None:
        self.lr_lambda = lr_lambda
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return base * float(self.lr_lambda(epoch))


class StepLR(Schedule):
    """Times ``gamma`` every ``step_size`` epochs."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise _refuse("StepLR", f"expected step_size >= 1, got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return float(base * self.gamma ** (epoch // self.step_size))


class MultiStepLR(Schedule):
    """Times ``gamma`` at each of ``milestones``."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return float(base * self.gamma ** bisect.bisect_right(self.milestones, epoch))


class ExponentialLR(Schedule):
    """Times ``gamma`` every epoch."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return float(base * self.gamma**epoch)


class ConstantLR(Schedule):
    """Times ``factor`` for the first ``total_iters`` epochs."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return base * self.factor if epoch < self.total_iters else base


class LinearLR(Schedule):
    """Times a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` epochs: a warm-up."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        share = min(epoch, self.total_iters) / max(self.total_iters, 1)
        return base * (self.start_factor + (self.end_factor - self.start_factor) * share)


class PolynomialLR(Schedule):
    """``base * (1 - epoch / total_iters) ** power``, then 0."""

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return float(base * (1 - min(epoch, self.total_iters) / max(self.total_iters, 1)) ** self.power)


class CosineAnnealingLR(Schedule):
    """Along half a cosine from ``base`` to ``eta_min`` in ``T_max`` epochs. I. Loshchilov, F. Hutter, 2017."""

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class CosineAnnealingWarmRestarts(Schedule):
    """As :class:`CosineAnnealingLR`, again and again: ``T_0`` epochs, then each time ``T_mult`` times as many."""

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        if T_0 < 1 or T_mult < 1:
            raise _refuse("CosineAnnealingWarmRestarts", f"expected T_0 and T_mult >= 1, got {T_0}, {T_mult}")
        self.T_0 = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        length = self.T_0
        while epoch >= length:
            epoch -= length
            length *= self.T_mult
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * epoch / length)) / 2


class OneCycleLR(Schedule):
    """Up to ``max_lr`` in the first ``pct_start`` of ``total_steps``, then far down, along cosines. L. Smith, 2018."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_lr = max_lr
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        if epoch >= self.total_steps:
            raise _refuse("OneCycleLR", f"step {epoch} of {self.total_steps}: the cycle is over")
        low = self.max_lr / self.div_factor
        top = self.pct_start * self.total_steps - 1
        if epoch <= top:
            return _along(low, self.max_lr, epoch / top)
        return _along(self.max_lr, low / self.final_div_factor, (epoch - top) / (self.total_steps - 1 - top))


def _along(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class SequentialLR(Schedule):
    """One schedule after the other: the next from each of ``milestones`` on."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        if len(schedulers) != len(milestones) + 1:
            raise _refuse("SequentialLR", f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones")
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        super().__init__(optimizer)

    def rate(self, epoch: int, base: float) -> float:
        place = bisect.bisect_right(self.milestones, epoch)
        return self.schedulers[place].rate(epoch - (self.milestones[place - 1] if place else 0), base)


class ReduceLROnPlateau:
    """Times ``factor`` where what :meth:`step` is given has not got better for more than ``patience`` epochs.

    mode: "min" or "max" is better. threshold: the share by which it must. cooldown: epochs without a look after that.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if mode not in ("min", "max") or not 0 < factor < 1:
            raise _refuse("ReduceLROnPlateau", f"expected mode min or max and factor < 1, got {mode!r}, {factor}")
        self.optimizer = optimizer
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.best = math.inf if mode == "min" else -math.inf
        self._waited = 0
        self._resting = 0

    def step(self, metrics: Any) -> None:
        """One epoch, after which ``metrics`` is a number."""
        now = float(metrics)
        if self.mode == "min":
            better = now < self.best * (1 - self.threshold)
        else:
            better = now > self.best * (1 + self.threshold)
        if better:
            self.best = now
        self._waited = 0 if better else self._waited + 1
        if self._resting:
            self._resting -= 1
            self._waited = 0
        if self._waited > self.patience:
            for group in self.optimizer.param_groups:
                group["lr"] = max(float(group["lr"]) * self.factor, self.min_lr)
            self._resting, self._waited = self.cooldown, 0

    def get_last_lr(self) -> list[float]:
        """The learning rates now, one per group of parameters."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands."""
        return {"best": self.best, "waited": self._waited, "resting": self._resting, "lrs": self.get_last_lr()}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        """Goes to where the schedule of :meth:`state_dict` stood."""
        self.best, self._waited, self._resting = given["best"], given["waited"], given["resting"]
        for group, rate in zip(self.optimizer.param_groups, given["lrs"], strict=True):
            group["lr"] = rate
