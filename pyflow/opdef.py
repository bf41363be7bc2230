"""OpDef: the one definition of an op, read by everyone.

``define`` makes an OpDef, registers it and returns the user's function. No pass holds a list of op names: what a pass
needs to know of an op stands in the op's own row.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pyflow import dims, dtypes
from pyflow.dims import Dim, Size
from pyflow.dtypes import DType
from pyflow.errors import DTypeError, InvalidArgumentError, message

if TYPE_CHECKING:
    from pyflow.graph import Node, Value
    from pyflow.plan import Program, View

FLOATS = frozenset({dtypes.float16, dtypes.bfloat16, dtypes.float32, dtypes.float64})
INTEGERS = frozenset(dtype for dtype in dtypes.ALL if dtype.is_integer and not dtype.storage_only)
BOOL = frozenset({dtypes.bool_})
NUMERIC = FLOATS | INTEGERS
ANY = NUMERIC | BOOL
"""What is ordered and compared."""
COMPLEX = frozenset({dtypes.complex64, dtypes.complex128})
STORED = frozenset(dtype for dtype in dtypes.ALL if dtype.storage_only and not dtype.is_object)
"""Kept, cast and (de)quantised, not computed with."""
EVERY = ANY | COMPLEX | STORED | {dtypes.string}
"""What ops that only move elements take."""
WHOLE = frozenset(dtype for dtype in EVERY if dtype.bits >= 8 and not dtype.is_object)
"""What has whole bytes, whose bits may be read as another dtype."""
HELD = EVERY | {dtypes.variant}
"""What a value may be at all."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype and dims of a value."""

    dtype: DType
    dims: tuple[Size, ...]

    @property
    def ndim(self) -> int:
        return len(self.dims)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.dims))}]"


class Constant:
    """The value of a ``constant`` node: read-only. Equal by value up to 1 KiB, by identity above."""

    __slots__ = ("array", "key")

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        content: Any = id(array)
        if array.nbytes <= 1024:
            content = tuple(array.flat) if array.dtype.kind == "O" else array.tobytes()
        self.key = (array.dtype.str, array.shape, content)

    @property
    def dtype(self) -> np.dtype:
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype, copy=copy) if dtype is not None or copy else self.array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Constant({self.array!r})"


@dataclass(frozen=True)
class Attr:
    """The type of an attribute: how it is normalised, and how it reaches a kernel (ints and floats)."""

    name: str
    normalise: Callable[[Any], Any]
    encode: Callable[[Any], tuple[Sequence[Size], Sequence[float]]]

    def optional(self) -> Attr:
        """None is a value too; it does not reach kernels, so the op's ``lower`` must deal with it."""
        return Attr(self.name + "?", lambda v: None if v is None else self.normalise(v), self.encode)


def _int(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"expected an int, got {value!r}")
    return int(value)


def _size(value: Any) -> Size:
    return value if isinstance(value, Dim) else _int(value)


def _float(value: Any) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)):
        return float(value)
    raise TypeError(f"expected a number, got {value!r}")


def _bool(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)) or value in (0, 1):
        return bool(value)
    raise TypeError(f"expected True or False, got {value!r}")


def _many(item: Callable[[Any], Any]) -> Callable[[Any], tuple]:
    def normalise(value: Any) -> tuple:
        if isinstance(value, (str, bytes)):
            raise TypeError(f"expected a sequence, got {value!r}")
        if not isinstance(value, Iterable):
            return (item(value),)
        return tuple([item(entry) for entry in value])

    return normalise


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a str, got {value!r}")
    return value


def _not_for_kernels(value: Any) -> tuple[Sequence[Size], Sequence[float]]:
    return (), ()


def _object(value: Any) -> Any:
    return value


INT = Attr("int", _int, lambda v: ((v,), ()))
SIZE = Attr("size", _size, lambda v: ((v,), ()))
BOOLEAN = Attr("bool", _bool, lambda v: ((int(v),), ()))
FLOAT = Attr("float", _float, lambda v: ((), (v,)))
INTS = Attr("ints", _many(_int), lambda v: (v, ()))
SIZES = Attr("sizes", _many(_size), lambda v: (v, ()))
DTYPE = Attr("dtype", dtypes.as_dtype, _not_for_kernels)
TEXT = Attr("text", _text, _not_for_kernels)
CONSTANT = Attr("constant", lambda v: v if isinstance(v, Constant) else Constant(np.asarray(v)), _not_for_kernels)
VARIABLE = Attr("variable", _object, _not_for_kernels)
BODY = Attr("body", _object, _not_for_kernels)
"""What control flow runs: a :class:`pyflow.body.Body` in a declared graph, a region in a region."""
OBJECT = Attr("object", _object, _not_for_kernels)
"""A hashable Python object (a region, a callable); an op that has one is not written to text."""


def choice(*options: str) -> Attr:
    """One of ``options``; kernels get its index."""

    def normalise(value: Any) -> str:
        if value not in options:
            raise TypeError(f"expected one of {', '.join(map(repr, options))}, got {value!r}")
        return str(value)

    return Attr(f"choice({'|'.join(options)})", normalise, lambda v: ((options.index(v),), ()))


@dataclass(frozen=True)
class Input:
    """One declared input: ``x:T``, ``*xs:T`` (any number), ``c:bool`` (one dtype) or ``*xs:*`` (each its own)."""

    name: str
    kind: str
    variadic: bool = False


@dataclass(frozen=True)
class Facts:
    """Algebra of a two-input op (or a unary one where that makes sense). Each fact names the dtypes for which it is
    exact, because x*0 is not 0 for NaN and x+0 is not x for -0.0."""

    commutative: frozenset[DType] = frozenset()
    identity: tuple[tuple[float, frozenset[DType]], ...] = ()
    """(c, dtypes): op(x, c) is x (and op(c, x) if commutative)."""
    absorbing: tuple[tuple[float, frozenset[DType]], ...] = ()
    """(c, dtypes): op(x, c) is c."""
    involution: frozenset[DType] = frozenset()
    """op(op(x)) is x."""
    idempotent: frozenset[DType] = frozenset()
    """op(op(x)) is op(x), or op(x, x) is x."""


@dataclass(frozen=True)
class Lowering:
    """How a node becomes a kernel call: the views in the kernel's logical order, its ints and floats."""

    kernel: str
    inputs: tuple[View, ...]
    outputs: tuple[View, ...]
    ints: tuple[Size, ...] = ()
    floats: tuple[float, ...] = ()
    text: str = ""
    programs: tuple[Program, ...] = ()
    defines: tuple[str, ...] = ()
    """Late symbols to which the step gives their values."""


@dataclass(frozen=True)
class Flow:
    """Control flow: an op whose BODY attributes say what runs.

    A body's inputs are the node's, after ``lead`` of them. The variables that bodies write stand after the first
    ``carried`` (an attribute's name; none: 0) of them, and of the results.
    """

    run: Callable[..., Sequence[np.ndarray]]
    """``(attrs, arrays, call, zeros) -> arrays``: with NumPy. ``call(body, arrays)`` gives a body's outputs,
    ``zeros(i)`` an array of the type of result ``i``."""
    kernel: str = ""
    """The step of a plan that it is; "" if it must be expanded."""
    lead: int = 0
    carried: str = ""
    condition: str = ""
    """The body, if any, whose results are a bool, then the variables that bodies write."""


@dataclass(frozen=True, eq=False)
class OpDef:
    """See the fields of :func:`define`."""

    name: str
    inputs: tuple[Input, ...]
    attrs: Mapping[str, Attr]
    kinds: Mapping[str, frozenset[DType]]
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    ref: Callable[..., Any] | None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    expand: Callable[..., Any] | None = None
    vjp: Callable[..., Sequence[Value | None]] | None = None
    content: Callable[..., Any] | None = None
    view: Callable[..., Sequence[View] | None] | None = None
    parts: Callable[[Node, View], Sequence[View]] | None = None
    checks: Callable[[Node], Sequence[tuple[Size, Size, str]]] | None = None
    lower: Callable[[Node, tuple[View, ...], tuple[View, ...]], Lowering] | None = None
    canonical: Callable[..., Mapping[str, Any]] | None = None
    defines: Callable[[Node], Sequence[str]] | None = None
    scalar: str = ""
    epilogue: bool = False
    facts: Facts = Facts()
    flow: Flow | None = None
    effect: str = ""
    host: bool = False
    fallible: bool | Callable[[Node], bool] = False
    rounds: bool = False
    onnx: str = ""
    module: str = ""  # of whoever defined it
    doc: str = ""
    multiple: bool = False

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def bodies(self, node: Node) -> dict[str, Any]:
        """What ``node``, of control flow, runs, by attribute; {} for other ops."""
        if self.flow is None:
            return {}
        return {n: node.attrs[n] for n, attr in self.attrs.items() if attr is BODY and node.attrs[n] is not None}

    def is_fallible(self, node: Node) -> bool:
        """May the node fail at run time? What runs in Python always may."""
        return self.host or (self.fallible(node) if callable(self.fallible) else self.fallible)

    def normalise(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes in declared order and form; unknown, missing or ill-typed ones raise."""
        result: dict[str, Any] = {}
        for name, attr in self.attrs.items():
            if name in given:
                try:
                    result[name] = attr.normalise(given[name])
                except DTypeError:
                    raise
                except TypeError as error:
                    raise DTypeError(f"attribute {name}: {error}") from None
            elif name in self.defaults:
                result[name] = self.defaults[name]
            else:
                raise InvalidArgumentError(f"attribute {name} ({attr.name}) is missing")
        if not given.keys() <= result.keys():
            unknown = sorted(set(given) - set(result))
            raise InvalidArgumentError(f"unknown attributes {unknown}; it has {', '.join(self.attrs) or 'none'}")
        return result

    def types_of(self, inputs: tuple[Value, ...], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        result = self.infer(*inputs, **attrs)
        return (result,) if isinstance(result, TensorType) else tuple(result)

    def contents_of(
        self, inputs: tuple[Value, ...], attrs: Mapping[str, Any], types: tuple[TensorType, ...]
    ) -> tuple[Any, ...]:
        """What is known of small integer outputs: a nested-free tuple of sizes per output, or None."""
        if self.content is None:
            return (None,) * len(types)
        result = self.content(*inputs, **attrs)
        return (None,) * len(types) if result is None else (result,) if not self.multiple else tuple(result)

    def lowering(self, node: Node, inputs: tuple[View, ...], outputs: tuple[View, ...]) -> Lowering:
        if self.lower is not None:
            return self.lower(node, inputs, outputs)
        ints: list[Size] = []
        floats: list[float] = []
        for name, attr in self.attrs.items():
            more_ints, more_floats = attr.encode(node.attrs[name])
            ints.extend(more_ints)
            floats.extend(more_floats)
        return Lowering(self.name, inputs, outputs, tuple(ints), tuple(floats))


OPS: dict[str, OpDef] = {}
"""Every op by name."""
BY_ONNX: dict[str, list[OpDef]] = {}
"""The ops that have a name in the standard of ONNX, by it."""
FUNCTIONS: dict[str, Callable[..., Any]] = {}
"""The user's function of each op."""


def call(op: str, /, *args: Any, **kwargs: Any) -> Any:
    """The user function of the op of that name."""
    return FUNCTIONS[op](*args, **kwargs)


def _parse_inputs(text: str) -> tuple[Input, ...]:
    result = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, kind = part.partition(":")
        result.append(Input(name.strip().lstrip("*"), kind.strip() or "T", name.strip().startswith("*")))
    return tuple(result)


def define(
    name: str,
    inputs: str,
    *,
    infer: Callable[..., TensorType | tuple[TensorType, ...]],
    ref: Callable[..., Any] | None,
    attrs: Mapping[str, Attr] | None = None,
    defaults: Mapping[str, Any] | None = None,
    kinds: Mapping[str, frozenset[DType]] | None = None,
    **rest: Any,
) -> Callable[..., Any]:
    """Defines an op and returns its function ``f(*inputs, **attrs, name=None)``.

    name: lower snake case, unique.
    inputs: ``"x:T, y:T"``: a dtype variable (see ``kinds``) or a dtype's name per input; ``"*xs:T"`` for any number.
        The kind ``*`` takes each input in its own dtype, whatever it is. Inputs that share a variable are promoted to
        one dtype, NumPy's way; Python numbers take the others' dtype.
    attrs, defaults: attribute types (:data:`INT`, :data:`SIZES`, :func:`choice` ...) and default values.
    kinds: the dtypes that each variable may be; default: T is any numeric dtype.
    infer: ``(*values, **attrs) -> TensorType`` or a tuple of them; reads ``.dtype``, ``.dims`` and ``.content`` of its
        inputs; raises InvalidArgumentError.
    ref: ``(*arrays, **attrs) -> array`` or a tuple: NumPy, plain and right; computes in the dtypes it is given.
    expand: ``(*values, **attrs) -> value(s)``: the op composed of others; used where there is no kernel. None: not for
        these operands (as ops that are composed for complex numbers alone say of real ones).
    vjp: ``(node, *gradients) -> gradients``: one gradient or None per input, built from ops; ``gradients`` has one
        entry per output, None where nothing flows. Without it the gradient is that of ``expand``.
    content: ``(*values, **attrs) -> tuple of sizes or None``: what a small integer result holds, when known.
    view: ``(node, input_views) -> output views or None``: the op needs no step, its result is a window on its input.
    parts: ``(node, output_view) -> windows``: the result is the inputs laid side by side; the window of the output that
        each input fills. The op has no kernel: inputs are copied there, or their producers write there.
    checks: ``(node) -> (left, right, what)``...: sizes that must be equal for the node to be right and that ``infer``
        could not tell; they are compared when sizes are bound.
    lower: ``(node, input_views, output_views) -> Lowering``: default: the kernel of the op's name, attributes in order.
    canonical: ``(*values, **attrs) -> attrs``: makes attributes unique (axes non-negative) before ``infer``.
    defines: ``(node) -> names`` of the late symbols to which the node's step gives their values; they stand in the
        dims of its outputs or in their ``content``. Whatever needs a node whose types or attributes mention a late
        symbol needs the node that defines it too.
    scalar: the row of scalar_ops.def that computes one element; the op is element-wise with broadcasting.
    epilogue: the kernel takes an element-wise program (programs[0], docs/kernels.md) that acts on its finished result;
        what it reads besides comes to ``lower`` after the op's own inputs, with the dims of the result, and is arranged
        as the result is.
    flow: for control flow: how its bodies run.
    facts: algebra. effect: "", "read", "write", "update" (variables) or "host" (seen outside).
    host: runs in Python through ``ref``, on every device; what a kernel would not pay for.
    fallible: may fail at run time (bool, or a function of the node). rounds: ``expand`` may give other bits.
    onnx: ONNX op_type. doc: what users read. multiple: the result is a tuple of outputs.
    """
    op = OpDef(
        name,
        _parse_inputs(inputs),
        dict(attrs or {}),
        {"T": NUMERIC, **(kinds or {})},
        infer,
        ref,
        dict(defaults or {}),
        module=sys._getframe(1).f_globals.get("__name__", ""),
        **rest,
    )
    if name in OPS:
        raise InvalidArgumentError(message("define", f"there is an op {name!r} already"))
    OPS[name] = op
    if op.onnx:
        BY_ONNX.setdefault(op.onnx, []).append(op)
    FUNCTIONS[name] = function = _function(op)
    return function


def _function(op: OpDef) -> Callable[..., Any]:
    from pyflow.apply import apply

    names = [entry.name for entry in op.inputs]
    variadic = bool(op.inputs) and op.inputs[-1].variadic
    positional = names + list(op.attrs)
    Parameter = inspect.Parameter
    parameters = [
        Parameter(n, Parameter.VAR_POSITIONAL if variadic and n == names[-1] else Parameter.POSITIONAL_OR_KEYWORD)
        for n in names
    ]
    parameters += [
        Parameter(
            attr,
            Parameter.KEYWORD_ONLY if variadic else Parameter.POSITIONAL_OR_KEYWORD,
            default=op.defaults.get(attr, Parameter.empty),
        )
        for attr in op.attrs
    ]
    parameters.append(Parameter("name", Parameter.KEYWORD_ONLY, default=None))
    required = [p for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD and p.default is Parameter.empty]
    optional = [p for p in parameters if p.kind is Parameter.POSITIONAL_OR_KEYWORD and p.default is not Parameter.empty]
    others = [p for p in parameters if p.kind is not Parameter.POSITIONAL_OR_KEYWORD]

    def function(*args: Any, name: str | None = None, **kwargs: Any) -> Any:
        if variadic:
            return apply(op, args, kwargs, name=name)
        if len(args) > len(positional):
            raise TypeError(f"{op.name}() takes {len(positional)} arguments, got {len(args)}")
        given = dict(zip(positional, args, strict=False))
        for key, value in kwargs.items():
            if key in given:
                raise TypeError(f"{op.name}() got {key!r} twice")
            given[key] = value
        missing = [n for n in names if n not in given]
        if missing:
            raise TypeError(f"{op.name}() misses {', '.join(missing)}")
        return apply(op, [given.pop(n) for n in names], given, name=name)

    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = op.doc
    function.__signature__ = inspect.Signature(required + optional + others)  # type: ignore[attr-defined]
    function.op = op  # type: ignore[attr-defined]
    return function


def same_types(value: Value, *rest: Value) -> TensorType:
    """Result of an element-wise op: the inputs' dtype, their dims broadcast."""
    return TensorType(value.dtype, broadcast_dims(value, *rest))


def broadcast_dims(*values: Value) -> tuple[Size, ...]:
    """The common dims, NumPy's rule; InvalidArgumentError names all operands where there is none."""
    try:
        return dims.broadcast_shapes(*(value.dims for value in values))
    except ValueError:
        shown = " and ".join(str(value.type) for value in values)
        raise InvalidArgumentError(f"shapes do not broadcast: {shown}") from None
