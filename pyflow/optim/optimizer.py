"""Optimizer: one update rule, as nodes of a declared graph and as steps of eager parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from pyflow.apply import convert
from pyflow.eager import Tensor, enable_grad, function, no_grad
from pyflow.eager.binding import Binding
from pyflow.eager.capture import current
from pyflow.eager.surroundings import is_plain
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError, message, user_origin
from pyflow.gradients import gradients
from pyflow.graph import Node, Value
from pyflow.opdef import call
from pyflow.ops.state import Variable, group, trainable_variables
from pyflow.optim.gradients import clear

LearningRate = float | Value | Tensor
GradientsAndVariables = Sequence[tuple[Value | None, Variable]]
Settings = Mapping[str, Any]


class Group(dict[str, Any]):
    """Parameters, under ``"params"``, and the settings of their updates.

    ``group["lr"] = rate`` holds from the next step on, in traced functions too; they are traced anew where another
    setting changes.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        given = settings["lr"]
        self.rate = given if isinstance(given, Tensor) else Tensor(float(given), np.float64)
        """The learning rate, as steps read it."""
        self.steps = Tensor(0.0, np.float64)
        """How many were made."""

    def __setitem__(self, name: str, value: Any) -> None:
        if current() is not None:
            what = f"{name!r} of an optimiser cannot be set inside of a function that is traced: it is Python's"
            raise FailedPreconditionError(
                message("optim", what, user_origin(), "set it, or step its schedule, outside")
            )
        if name == "lr":
            _check_rate(value)
            self.rate.fill_(float(value))
        super().__setitem__(name, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def settings(self) -> tuple[Any, ...]:
        """What the update is made with, besides the learning rate."""
        plain = [(name, value) for name, value in self.items() if name != "lr" and is_plain(value)]
        return (*plain, *map(id, self["params"]))


def _check_rate(lr: Any) -> None:
    if isinstance(lr, (Value, Tensor)):
        return
    if isinstance(lr, bool) or not isinstance(lr, (int, float, np.number)):
        what = f"expected lr to be a number, got {type(lr).__name__}"
        hint = "parameters come first: SGD(model.parameters(), lr=0.1), or none for a declared graph: SGD(lr=0.1)"
        raise DTypeError(message("optim", what, user_origin(), hint))
    if not lr >= 0:
        raise InvalidArgumentError(message("optim", f"expected lr >= 0, got {lr}", user_origin()))


class Optimizer:
    """What all optimisers share; a subclass gives :meth:`_rule`.

    params: eager parameters (``model.parameters()``), pairs of names and parameters, or dicts of ``"params"`` and
    settings of their own, for :meth:`step`; none for :meth:`minimize` of a declared graph. lr: the learning rate.
    """

    counts = False
    """The rule needs the number of the step."""

    def __init__(self, params: Any, lr: LearningRate, **settings: Any) -> None:
        if isinstance(params, (int, float, np.number, Value)) and not isinstance(params, bool):
            params, lr = None, params  # SGD(0.1) of a declared graph
        _check_rate(lr)
        for name in ("weight_decay", "epsilon"):
            if not settings.get(name, 0.0) >= 0:
                self._refuse(f"expected {name} >= 0, got {settings[name]}")
        self.defaults: dict[str, Any] = {"lr": lr, **settings}
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        """By parameter: what its updates keep, by name."""
        self._names: dict[Tensor, str] = {}
        self._compiled: Callable[[], None] | None = None
        if params is not None:
            given = (
                list(params) if isinstance(params, Iterable) else self._refuse(f"expected parameters, got {params!r}")
            )
            if not given:
                self._refuse("got no parameters")
            groups = given if isinstance(given[0], Mapping) else [{"params": given}]
            for each in groups:
                self.add_param_group(each)

    def _refuse(self, what: str, hint: str = "") -> NoReturn:
        raise InvalidArgumentError(message(f"optim.{type(self).__name__}", what, user_origin(), hint))

    def __getattr__(self, name: str) -> Any:
        defaults = self.__dict__.get("defaults", {})
        if name in defaults:
            groups = self.__dict__.get("param_groups")
            return groups[0][name] if groups else defaults[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__.get("defaults", {}):
            super().__setattr__(name, value)
            return
        self.defaults[name] = value
        for each in self.param_groups:
            each[name] = value

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.defaults)
        return f"pf.optim.{type(self).__name__}({settings})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # The rule, on values of a graph.

    def _slots(self, settings: Settings) -> dict[str, float]:
        """What a parameter's updates keep: names, and the number that they start from everywhere."""
        return {}

    def _shared(self, now: Any, settings: Settings) -> tuple[Any, ...]:
        """What the updates of one step share. now: float64, the number of this step, from 1."""
        return ()

    def _rule(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> tuple[Any, Mapping[str, Any]]:
        """(the new weight, what is kept now): of the weight ``w``, its gradient, what was kept, the learning rate, and
        what is shared, all of the dtype of ``w``."""
        raise NotImplementedError

    def _updated(
        self, w: Any, g: Any, kept: Mapping[str, Any], rate: Any, shared: Sequence[Any], settings: Settings
    ) -> tuple[Any, Mapping[str, Any]]:
        dtype = w.dtype
        return self._rule(w, g, kept, _cast(rate, dtype), [_cast(value, dtype) for value in shared], settings)

    # Of a declared graph.

    def minimize(self, loss: Value, var_list: Sequence[Variable] | None = None, name: str = "minimize") -> Node:
        """The train step: an op that moves ``var_list`` (default: all trainable variables) against the gradient."""
        return self.apply_gradients(self.compute_gradients(loss, var_list), name=name)

    def compute_gradients(
        self, loss: Value, var_list: Sequence[Variable] | None = None
    ) -> list[tuple[Value | None, Variable]]:
        """(gradient or None, variable) pairs, to look at or change before :meth:`apply_gradients`."""
        if isinstance(loss, Tensor):
            what = f"loss: {loss.type} is a tensor, not a value of a declared graph"
            raise DTypeError(message("optim", what, user_origin(), "call loss.backward(), then optimizer.step()"))
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
        settings = self.defaults
        graph = pairs[0][1].graph
        writes: list[Value] = []
        with graph.name_scope(name):
            shared: tuple[Any, ...] = ()
            if self.counts:
                steps = Variable(np.zeros((), np.float64), name="steps", trainable=False)
                shared = self._shared(steps.assign_add(1.0), settings)
            for gradient, variable in pairs:
                slots = {key: _slot(variable, key, start) for key, start in self._slots(settings).items()}
                kept = {key: slot.value() for key, slot in slots.items()}
                new, keeps = self._updated(variable.value(), gradient, kept, settings["lr"], shared, settings)
                writes += [slots[key].assign(value) for key, value in keeps.items()]
                writes.append(variable.assign(new))
            return group(*writes, name="step")

    # Of eager parameters.

    def add_param_group(self, given: Mapping[str, Any]) -> None:
        """More parameters, with settings of their own: ``{"params": [...], "lr": 0.01}``."""
        if "params" not in given:
            self._refuse(f"a group of parameters needs 'params', got {sorted(given)}")
        entries = given["params"]
        entries = [entries] if isinstance(entries, Tensor) else list(entries)
        unknown = sorted(set(given) - set(self.defaults) - {"params"})
        if unknown:
            self._refuse(f"unknown settings {', '.join(unknown)}", f"known: {', '.join(self.defaults)}")
        parameters: list[Tensor] = []
        for entry in entries:
            name, parameter = entry if isinstance(entry, tuple) else (None, entry)
            if not isinstance(parameter, Tensor) or not parameter.dtype.is_floating:
                shown = parameter.type if isinstance(parameter, Tensor) else type(parameter).__name__
                self._refuse(f"expected floating parameters, got {shown}")
            if parameter._record is not None:
                self._refuse(f"expected leaves, got {parameter.type}, the result of a call", "optimise x.detach()")
            if parameter in self._names or any(parameter is each for each in parameters):
                self._refuse(f"a parameter {parameter.type} is given twice")
            self._names[parameter] = name or f"parameter{len(self._names)}"
            parameters.append(parameter)
        merged = {**self.defaults, **given, "params": parameters}
        _check_rate(merged["lr"])
        if isinstance(merged["lr"], Value):
            self._refuse(f"lr: {merged['lr'].type} is a graph value", "pass a number; set optimizer.lr to change it")
        self.param_groups.append(Group(merged))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Takes the gradients of all parameters away, or sets them to 0."""
        clear(self._parameters(), set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves every parameter that has a gradient against it. closure: computes the loss anew, calls backward and
        returns the loss, which this then gives.

        All updates run as one plan. Inside of a ``pf.function`` they are part of its trace.
        """
        if not self.param_groups:
            hint = f"make it {type(self).__name__}(model.parameters(), lr=...); a declared graph is trained by minimize"
            self._refuse("there are no parameters to step", hint)
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if current() is not None:
            self._advance()
            return loss
        if all(parameter._grad is None for parameter in self._parameters()):
            return loss
        if self._compiled is None:
            self._compiled = function(self._advance, max_traces=64)
        with no_grad():
            self._compiled()
        return loss

    def _parameters(self) -> list[Tensor]:
        return [parameter for each in self.param_groups for parameter in each["params"]]

    def _kept(self, parameter: Tensor, settings: Settings) -> dict[str, Tensor]:
        if parameter not in self.state:
            slots = self._slots(settings).items()
            self.state[parameter] = {
                key: Tensor._of(np.full(parameter.shape, start, parameter.dtype.numpy), parameter.dtype)
                for key, start in slots
            }
        return self.state[parameter]

    @no_grad()
    def _advance(self) -> None:
        """One step, inside of a trace."""
        capture = current()
        assert capture is not None
        for each in self.param_groups:
            capture.assume(each.settings, "a setting of the optimiser")
            pairs = [(parameter, parameter.grad) for parameter in each["params"]]
            if all(gradient is None for _, gradient in pairs):
                continue
            if isinstance(capture, Binding):
                self._declare(capture, each)
            shared: tuple[Any, ...] = ()
            if self.counts:
                now = call("add", each.steps, 1.0)
                each.steps.copy_(now)
                shared = self._shared(now, each)
            for parameter, gradient in pairs:
                if gradient is None:
                    continue
                slots = self._kept(parameter, each)
                inside = {key: capture.value_of(slot) for key, slot in slots.items()}
                w = capture.value_of(parameter)
                new, keeps = self._updated(w, gradient, inside, capture.value_of(each.rate), shared, each)
                for key, value in keeps.items():
                    slots[key].copy_(value)
                parameter.copy_(new)

    def _declare(self, binding: Binding, each: Group) -> None:
        binding.declare(each.rate, "optimizer.lr")
        if self.counts:
            binding.declare(each.steps, "optimizer.steps")
        for parameter in each["params"]:
            name = binding.declare(parameter, self._names[parameter]).name
            for key, slot in self._kept(parameter, each).items():
                binding.declare(slot, f"{name}.{key}")

    # What is saved.

    def state_dict(self) -> dict[str, Any]:
        """``{"state": {number of the parameter: {name: tensor}}, "param_groups": [settings ...]}``."""
        number = {parameter: place for place, parameter in enumerate(self._parameters())}
        state = {number[parameter]: dict(kept) for parameter, kept in self.state.items()}
        groups = [
            {**each, "params": [number[parameter] for parameter in each["params"]], "steps": int(each.steps.item())}
            for each in self.param_groups
        ]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        """Sets what :meth:`state_dict` of an optimiser of this class, of parameters of these shapes, gave.

        Raises InvalidArgumentError, with nothing changed, where they do not fit.
        """
        groups, state = given["param_groups"], given["state"]
        counts, wanted = ([len(each["params"]) for each in part] for part in (groups, self.param_groups))
        if counts != wanted:
            self._refuse(f"the state is of groups of {counts} parameters; here are {wanted}")
        order = [number for each in groups for number in each["params"]]
        found: list[tuple[Tensor, np.ndarray]] = []
        for number, parameter in zip(order, self._parameters(), strict=True):
            kept = state.get(number, state.get(str(number), {}))
            settings = next(each for each in self.param_groups if any(p is parameter for p in each["params"]))
            slots = self._kept(parameter, settings)
            for key, value in kept.items():
                array = np.asarray(value)
                if key not in slots or slots[key].shape != array.shape:
                    here = slots[key].type if key in slots else f"no such state; it keeps {', '.join(slots) or 'none'}"
                    self._refuse(f"{key} of parameter {number} is {array.dtype}{list(array.shape)}; here: {here}")
                found.append((slots[key], array))
        for slot, array in found:
            slot.copy_(array.astype(slot.dtype.numpy))
        for each, saved in zip(self.param_groups, groups, strict=True):
            each.steps.fill_(float(saved.get("steps", 0)))
            each.update({name: value for name, value in saved.items() if name in self.defaults})


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, (Value, Tensor)):
        return value if value.dtype is dtype else call("cast", value, dtype)
    return convert(value, dtype)


def _slot(variable: Variable, name: str, start: float) -> Variable:
    shape = [int(size) for size in variable.dims]  # type: ignore[arg-type]
    filled = np.full(shape, start, variable.dtype.numpy)
    return Variable(filled, name=f"{variable.name.replace('/', '.')}.{name}", trainable=False)
