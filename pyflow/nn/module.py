"""Module: what holds parameters, buffers and other modules, and computes with them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pyflow as pf
from pyflow.eager.binding import Binding, declared, has_value
from pyflow.eager.capture import Capture, current
from pyflow.eager.function import Function
from pyflow.eager.surroundings import is_plain
from pyflow.eager.tensor import Hook, Tensor
from pyflow.errors import DTypeError, NotFoundError, UnimplementedError, message, user_origin
from pyflow.graph import Value
from pyflow.nn import state
from pyflow.nn.parameter import Parameter

M = TypeVar("M", bound="Module")

PARAMETER, BUFFER, PASSING, MODULE = "parameter", "buffer", "buffer that is not saved", "module"

_changes = itertools.count(1)
_last_change = 0
"""Of attributes of any module."""


def _changed() -> None:
    global _last_change
    _last_change = next(_changes)


class Module:
    """Subclass it: assign parameters, buffers and modules to attributes in ``__init__``, and compute in ``forward``.

    A call, ``module(*args)``, runs on tensors at once; inside of a ``pf.function`` it is part of the trace; given graph
    values it adds to their graph, where parameters and buffers are variables by the names of :meth:`state_dict`.
    """

    training: bool
    """Whether dropout drops and batch norms learn; see :meth:`train`."""
    may_lack: tuple[str, ...] = ()
    """Names that a state may be loaded without."""
    _kinds: dict[str, str]
    """What each attribute that is more than an attribute is, in order. Its value is the attribute."""
    _before: list[Callable[..., Any]] | None
    _after: list[Callable[..., Any]] | None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        self.__dict__.update(training=True, _kinds={}, _before=None, _after=None)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles trace their methods anew."""
        traced = {name for name, value in self.__dict__.items() if isinstance(value, Function)}
        own = {name for name in traced if isinstance(getattr(type(self), name, None), Function)}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What a call gives; for subclasses to define."""
        what = f"{type(self).__name__} has no forward"
        raise UnimplementedError(message("nn", what, user_origin(), "define forward(self, x)"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        capture = current()
        if capture is not None:
            if isinstance(capture, Binding):
                self._declare(capture)
            else:
                _note(capture, self)
        elif has_value(args) or (kwargs and has_value(kwargs)):
            return declared(self._run, args, kwargs, self._declare)
        if self._before is None and self._after is None:
            return self.forward(*args, **kwargs)
        return self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        for hook in tuple(self._before or ()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in tuple(self._after or ()):
            changed = hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def _declare(self, binding: Binding) -> None:
        for name, tensor in (*self.named_parameters(), *self.named_buffers()):
            binding.declare(tensor, name)

    # What it holds.

    def __setattr__(self, name: str, value: Any) -> None:
        known = self._kinds.get(name)
        kind = PARAMETER if isinstance(value, Parameter) else MODULE if isinstance(value, Module) else None
        if kind is not None:
            self._kinds[name] = kind
        elif known in (BUFFER, PASSING) and isinstance(value, Value) and current() is not None:
            getattr(self, name).copy_(value)
            return
        elif known is not None and value is not None and not (known in (BUFFER, PASSING) and isinstance(value, Tensor)):
            wanted = {PARAMETER: "a pf.nn.Parameter", MODULE: "a module"}.get(known, "a tensor")
            what = (
                f"{name} of {type(self).__name__} is a {known}: expected {wanted} or None, got {type(value).__name__}"
            )
            raise DTypeError(message("nn", what, user_origin(), f"change its values with module.{name}.copy_(...)"))
        self.__dict__[name] = value
        _changed()

    if TYPE_CHECKING:  # what __init__ and add_module put there

        def __getattr__(self, name: str) -> Any: ...

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._kinds.pop(name, None)
        _changed()

    def register_parameter(self, name: str, parameter: Any) -> None:
        """Adds a parameter, or with None the place of one that is not there."""
        if parameter is not None and not isinstance(parameter, Parameter):
            what = f"{name}: expected a pf.nn.Parameter or None, got {type(parameter).__name__}"
            raise DTypeError(message("nn", what, user_origin()))
        self._kinds[name] = PARAMETER
        setattr(self, name, parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Adds a tensor that is no parameter; persistent: it is part of :meth:`state_dict`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            what = f"{name}: expected a tensor or None, got {type(tensor).__name__}"
            raise DTypeError(message("nn", what, user_origin(), "make it one: pf.tensor(...)"))
        self._kinds[name] = BUFFER if persistent else PASSING
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a module under a name that need not be an identifier."""
        if module is not None and not isinstance(module, Module):
            what = f"{name}: expected a module or None, got {type(module).__name__}"
            raise DTypeError(message("nn", what, user_origin()))
        self._kinds[name] = MODULE
        setattr(self, name, module)

    register_module = add_module

    def _own(self, *kinds: str) -> Iterator[tuple[str, Any]]:
        for name, kind in self._kinds.items():
            if kind in kinds and self.__dict__[name] is not None:
                yield name, self.__dict__[name]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, each once."""
        seen: set[int] = set()
        for name, module in self._own(MODULE):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """:meth:`named_children` without the names."""
        return (module for _, module in self.named_children())

    def _all_modules(self, prefix: str) -> Iterator[tuple[str, Module]]:
        yield prefix, self
        for name, module in self._own(MODULE):
            yield from module._all_modules(f"{prefix}.{name}" if prefix else name)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all in it, each once: by their paths, ``"layers.0"``."""
        seen: set[int] = set()
        for name, module in self._all_modules(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """:meth:`named_modules` without the names."""
        return (module for _, module in self.named_modules())

    def _tensors(self, kinds: tuple[str, ...], prefix: str, recurse: bool, once: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, module in self._all_modules(prefix) if recurse else [(prefix, self)]:
            for name, tensor in module._own(*kinds):
                if not (once and id(tensor) in seen):
                    seen.add(id(tensor))
                    yield f"{path}.{name}" if path else name, tensor

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters by their paths, ``"layers.0.weight"``; recurse: also those of the modules inside."""
        return self._tensors((PARAMETER,), prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Tensor]:
        """:meth:`named_parameters` without the names: what an optimiser takes."""
        return (tensor for _, tensor in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers by their paths."""
        return self._tensors((BUFFER, PASSING), prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """:meth:`named_buffers` without the names."""
        return (tensor for _, tensor in self.named_buffers(recurse=recurse))

    def get_submodule(self, path: str) -> Module:
        """The module at a path of :meth:`named_modules`; NotFoundError."""
        found: Any = self
        for name in path.split(".") if path else ():
            if found._kinds.get(name) != MODULE or found.__dict__[name] is None:
                names = ", ".join(name for name, _ in found.named_children()) or "none"
                what = f"{type(found).__name__} has no module {name!r}, of the path {path!r}"
                raise NotFoundError(message("nn", what, user_origin(), f"its modules: {names}"))
            found = found.__dict__[name]
        return found  # type: ignore[no-any-return]

    def _at(self, path: str, kinds: tuple[str, ...]) -> Tensor:
        parent, _, name = path.rpartition(".")
        module = self.get_submodule(parent)
        found = dict(module._own(*kinds)).get(name)
        if found is None:
            what = f"{type(module).__name__} has no {kinds[0]} {name!r}"
            names = ", ".join(name for name, _ in module._own(*kinds)) or "none"
            raise NotFoundError(message("nn", what, user_origin(), f"it has: {names}"))
        return found  # type: ignore[no-any-return]

    def get_parameter(self, path: str) -> Tensor:
        """The parameter at a path of :meth:`named_parameters`; NotFoundError."""
        return self._at(path, (PARAMETER,))

    def get_buffer(self, path: str) -> Tensor:
        """The buffer at a path of :meth:`named_buffers`; NotFoundError."""
        return self._at(path, (BUFFER, PASSING))

    # What it does with all of it.

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """``function(module)`` for all modules inside, then for this one; gives the module itself."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    def train(self: M, mode: bool = True) -> M:
        """Sets ``training`` here and in all modules inside."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """``train(False)``."""
        return self.train(False)

    def requires_grad_(self: M, wanted: bool = True) -> M:
        """Sets ``requires_grad`` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad = wanted
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Takes the gradients of all parameters away, or sets them to 0."""
        from pyflow.optim.gradients import clear

        clear(self.parameters(), set_to_none)

    def to(self: M, dtype: Any) -> M:
        """Parameters and buffers that are floating in another floating dtype: new tensors where it is another one, so
        do this before an optimiser is made."""
        wanted = pf.dtypes.as_dtype(dtype)
        if not wanted.is_floating:
            what = f"expected a floating dtype, got {wanted}"
            raise DTypeError(message("nn", what, user_origin()))
        made: dict[int, Tensor] = {}
        for module in self.modules():
            for name, tensor in list(module._own(PARAMETER, BUFFER, PASSING)):
                if not tensor.dtype.is_floating or tensor.dtype is wanted:
                    continue
                if id(tensor) not in made:
                    with pf.no_grad():
                        new = tensor.astype(wanted).detach()
                    new.requires_grad = tensor.requires_grad
                    new._is_parameter = tensor._is_parameter
                    made[id(tensor)] = new
                setattr(module, name, made[id(tensor)])
        return self

    def float(self: M) -> M:
        """``to(pf.float32)``."""
        return self.to(pf.float32)

    def double(self: M) -> M:
        """``to(pf.float64)``."""
        return self.to(pf.float64)

    def half(self: M) -> M:
        """``to(pf.float16)``."""
        return self.to(pf.float16)

    def bfloat16(self: M) -> M:
        """``to(pf.bfloat16)``."""
        return self.to(pf.bfloat16)

    # What is saved.

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """Parameters and persistent buffers by their paths, as PyTorch names and orders them; they share memory with
        the module's."""
        named = self._tensors((PARAMETER,), "", False, False), self._tensors((BUFFER,), "", False, False)
        result = {prefix + name: tensor.detach() for part in named for name, tensor in part}
        for name, module in self._own(MODULE):
            result.update(module.state_dict(f"{prefix}{name}."))
        return result

    def load_state_dict(
        self, given: Mapping[str, Any] | str | os.PathLike[str], strict: bool = True
    ) -> state.IncompatibleKeys:
        """Sets parameters and buffers to ``given``: by the paths of :meth:`state_dict`, tensors, NumPy arrays, PyTorch
        tensors, whatever can be an array; or the name of a safetensors file. Floating values are cast to the dtype that
        is here.

        strict: paths must be the same. Gives those that are missing and unexpected. Raises InvalidArgumentError that
        lists all missing and unexpected paths and all conflicts of shape and dtype, and has then changed nothing.
        """
        return state.load(self, given, strict)

    def read_from(self, session: Any) -> None:
        """Sets parameters and buffers to what their variables hold in ``session``, in whose graph the module was
        called; those that no run has needed so far stay as they are."""
        state.read_from(self, session)

    def write_to(self, session: Any) -> None:
        """Sets the variables of parameters and buffers in ``session`` to what the module holds."""
        state.write_to(self, session)

    # Hooks.

    def register_forward_pre_hook(self, hook: Callable[[Any, tuple[Any, ...]], Any]) -> Hook:
        """``hook(module, args)`` is called before ``forward``; what it gives, unless it is None, takes their place."""
        return self._register("_before", hook)

    def register_forward_hook(self, hook: Callable[[Any, tuple[Any, ...], Any], Any]) -> Hook:
        """``hook(module, args, result)`` is called after ``forward``; what it gives, unless it is None, takes the
        result's place. ``.remove()`` of what this gives takes the hook away."""
        return self._register("_after", hook)

    def _register(self, place: str, hook: Callable[..., Any]) -> Hook:
        if self.__dict__[place] is None:
            self.__dict__[place] = []
        hooks = self.__dict__[place]
        hooks.append(hook)
        _changed()
        return Hook(hooks, hook)

    # How it looks.

    def extra_repr(self) -> str:
        """What stands between the parentheses of a module's ``repr``."""
        return ""

    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        rows = [f"({name}): {module!r}".replace("\n", "\n  ") for name, module in self._own(MODULE)]
        own = self.extra_repr()
        if not rows:
            return f"{self._name()}({own})"
        lines = [own] if own else []
        return "\n  ".join([f"{self._name()}(", *lines, *rows]) + "\n)"

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._kinds})


class _Settings:
    """What a trace takes from the modules that it calls, besides tensors' values: which tensors and modules they hold,
    and their plain attributes, such as ``training``."""

    def __init__(self) -> None:
        self.modules: dict[int, Module] = {}
        self._seen_at = -1
        self._found: tuple[Any, ...] = ()

    def __call__(self) -> tuple[Any, ...]:
        if self._seen_at != _last_change:
            self._seen_at = _last_change
            found = tuple([entry for module in self.modules.values() for entry in _settings(module)])
            if found != self._found:
                self._found = found
        return self._found


def _settings(module: Module) -> Iterator[Any]:
    for name, value in module.__dict__.items():
        if name in module._kinds:
            yield name, id(value)
        elif is_plain(value):
            yield name, type(value), value
    yield len(module._before or ()), len(module._after or ())


def _note(capture: Capture, module: Module) -> None:
    settings = capture.shared.get("nn")
    if settings is None:
        settings = capture.shared["nn"] = _Settings()
        capture.assume(settings, "an attribute (training ...) of a module")
    settings.modules[id(module)] = module
