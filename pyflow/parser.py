"""Reads the text that printer.dump writes. The text is not trusted: whatever it holds, the answer is a graph or a
DataLossError that names the line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from pyflow import dims, dtypes
from pyflow.body import Body
from pyflow.dims import Dim, Size
from pyflow.errors import DataLossError, Origin, PyflowError
from pyflow.graph import Graph, Node, Value, building
from pyflow.opdef import BODY, OPS, VARIABLE, Constant, TensorType

LIMIT = 64 << 20
"""Characters of a text."""
DEEPEST = 32
"""Brackets in brackets."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<comment>\#.*)
    | (?P<string>"(?:[^"\\\x00-\x1f]|\\.)*")
    | (?P<size><[^<>]*>)
    | (?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|inf|nan)(?![\w.]))
    | (?P<value>%\d+(?::\d+)?)
    | (?P<word>[A-Za-z_][\w.]*)
    | (?P<mark>[$=(){}\[\],:!])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_HEAD = re.compile(r"pyflow (graph|region) 1\Z")
_DIM = re.compile(r"dim ([A-Za-z_][\w.:]*) min=(-?\d+)(?: max=<([^<>]*)>)?(?: hint=(\d+))?( late)?\Z")
_TYPE = re.compile(r"([a-z][a-z0-9_]*)\[([^\[\]]*)\]")
_VARIABLE = re.compile(
    r'variable ("(?:[^"\\]|\\.)*") : (\S+) trainable=(True|False)'
    r"(?: initial=(%\d+(?::\d+)?))?(?: initializer=(%\d+))?\Z"
)
_ALIAS = re.compile(r'(alias|commit) ("(?:[^"\\]|\\.)*") (%\d+(?::\d+)?)\Z')
_BODY = re.compile(r"body\d{1,9}\Z")
_PORT = re.compile(r"(input|output|effect) (%\d+(?::\d+)?)\Z")
_ORIGIN = re.compile(r"#\s*(.*?)(?::(\d{1,9}))?\s*\Z")


def parse_graph(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Graph:
    """The graph whose :func:`pyflow.printer.dump` is ``text``; ``constants`` holds the large ones, by the names in it.

    Every type is inferred anew and must be the one written. The text of a region gives a graph whose inputs can be fed
    and whose outputs are those of the region, then its commits. Raises DataLossError, naming the line.
    """
    if not isinstance(text, str):
        raise DataLossError(f"[parse] expected the text of a graph, got {type(text).__name__}")
    if len(text) > LIMIT:
        raise DataLossError(f"[parse] a text of {len(text)} characters; expected at most {LIMIT}")
    parser = _Parser(constants or {})
    for number, line in enumerate(text.split("\n"), 1):
        try:
            parser.line(line.rstrip())
        except _Malformed as error:
            raise DataLossError(f"[parse] line {number}: {error}; the line is {line[:200]!r}") from None
        except (PyflowError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
            raise DataLossError(f"[parse] line {number}: {error}; the line is {line[:200]!r}") from error
        except (RecursionError, MemoryError) as error:
            raise DataLossError(f"[parse] line {number}: too large ({type(error).__name__})") from None
    return parser.finished()


class _Malformed(Exception):
    pass


def _malformed(what: str) -> NoReturn:
    raise _Malformed(what)


class _Parser:
    def __init__(self, constants: Mapping[str, np.ndarray]) -> None:
        self.given = constants
        self.graph = Graph()
        self.nodes: dict[int, Node] = {}
        self.symbols: dict[str, Dim] = {}
        self.variables: list[tuple[Any, str | None, str | None]] = []
        self.started = False
        self.bodies: dict[str, Body] = {}
        self.around: list[tuple[str, Graph, dict[int, Node]]] = []
        """The bodies that are open: their names, and where each stands."""

    def line(self, line: str) -> None:
        line = line.lstrip(" ") if self.around else line
        if not line or line.startswith("#"):
            return
        if not self.started:
            if not _HEAD.match(line):
                _malformed("expected 'pyflow graph 1'")
            self.started = True
            return
        word = line.split(" ", 1)[0]
        if line.startswith("%"):
            self.node(line)
        elif word in ("begin", "end"):
            self.body(line)
        elif word == "dim":
            self.dim(line)
        elif word == "variable":
            self.variable(line)
        elif word in ("alias", "commit"):
            kind, name, value = self.matched(_ALIAS, line, word)
            if kind == "alias":
                self.graph.alias(json.loads(name), self.value(value))
            else:
                self.graph.outputs.append(self.value(value))
        elif word in ("input", "output", "effect"):
            kind, value = self.matched(_PORT, line, word)
            if kind != "effect":
                (self.graph.inputs if kind == "input" else self.graph.outputs).append(self.value(value))
        elif word == "seed":
            self.graph.seed = int(line.removeprefix("seed ")[:40])
        else:
            _malformed(f"a line starts with %, dim, variable, alias, input, output or seed, not {word[:40]!r}")

    def body(self, line: str) -> None:
        word, _, name = line.partition(" ")
        if word == "end":
            if not self.around:
                _malformed("no body is open")
            name, outer, nodes = self.around.pop()
            assert isinstance(self.graph, Body)
            self.bodies[name] = self.graph
            self.graph, self.nodes = outer, nodes
            return
        if not _BODY.match(name) or name in self.bodies or len(self.around) >= DEEPEST:
            _malformed("expected 'begin body' and a number, each once")
        self.around.append((name, self.graph, self.nodes))
        self.graph, self.nodes = Body(self.graph), {}

    def finished(self) -> Graph:
        if self.around:
            raise DataLossError(f"[parse] {self.around[-1][0]} has no end")
        if not self.started:
            raise DataLossError("[parse] the text is empty; expected 'pyflow graph 1'")
        for variable, initial, initializer in self.variables:
            try:
                if initial is not None:
                    variable.initial_value = self.value(initial)
                if initializer is not None:
                    variable.initializer = self.value_or_node(initializer)
            except _Malformed as error:
                raise DataLossError(f"[parse] variable {variable.name!r}: {error}") from None
        return self.graph

    def matched(self, pattern: re.Pattern[str], line: str, what: str) -> tuple[Any, ...]:
        found = pattern.match(line)
        return found.groups() if found else _malformed(f"cannot read this {what}")

    def dim(self, line: str) -> None:
        name, low, high, hint, late = self.matched(_DIM, line, "dim")
        bound = self.size(high) if high is not None else None
        if late:
            self.symbols[name] = dims.late_symbol(name, bound, int(low))
            return
        if int(low) < 0:
            _malformed(f"the lower bound of {name!r} is negative")
        if isinstance(bound, Dim):
            _malformed(f"the upper bound of {name!r} must be a number")
        dim = Dim(name, int(low), bound, None if hint is None else int(hint))
        self.symbols[name] = self.graph.symbol(dim)

    def variable(self, line: str) -> None:
        from pyflow.ops.state import Variable

        name, type, trainable, initial, initializer = self.matched(_VARIABLE, line, "variable")
        made = Variable.declared(self.graph, json.loads(name), self.type(type), trainable == "True")
        self.variables.append((made, initial, initializer))

    def size(self, text: str) -> Size:
        size = dims.parse(text, self.symbols)
        for symbol in dims.symbols_of(size):
            if symbol.name not in self.symbols:
                _malformed(f"the dim {symbol.name!r} is not declared")
        return size

    def type(self, text: str) -> TensorType:
        found = _TYPE.fullmatch(text.strip())
        if found is None or found[1] not in dtypes.BY_NAME:
            _malformed(f"{text[:60]!r} is no type")
        inside = found[2].strip()
        sizes = tuple(self.size(part) for part in _split(inside)) if inside else ()
        if any(isinstance(size, int) and size < 0 for size in sizes):
            _malformed(f"{text[:60]!r} has a negative size")
        return TensorType(dtypes.BY_NAME[found[1]], sizes)

    def value_or_node(self, text: str) -> Node:
        number = int(text[1:].partition(":")[0])
        return self.nodes[number] if number in self.nodes else _malformed(f"{text} is not defined")

    def value(self, text: str) -> Value:
        outputs = self.value_or_node(text).outputs
        index = int(text.partition(":")[2] or 0)
        return outputs[index] if index < len(outputs) else _malformed(f"{text}: there is no such output")

    def node(self, line: str) -> None:
        reader = _Reader(line, self)
        number = int(reader.take("value")[1:])
        if number in self.nodes:
            _malformed(f"%{number} is defined twice")
        reader.mark("=")
        word = reader.take("word")
        op = OPS[word] if word in OPS else _malformed(f"there is no op {word!r}")
        inputs = tuple(self.value(reader.take("value")) for _ in reader.items("(", ")"))
        attrs: dict[str, Any] = {}
        if reader.peek == "{":
            for _ in reader.items("{", "}"):
                name = reader.take("word")
                reader.mark("=")
                if name in attrs:
                    _malformed(f"attribute {name} stands twice")
                declared = op.attrs.get(name)
                attrs[name] = reader.declared(declared)
        reader.mark(":")
        written = reader.types()
        name = json.loads(reader.take("string")) if reader.kind == "string" else ""
        after: tuple[Node, ...] = ()
        if reader.kind == "word" and reader.peek == "after":
            reader.take("word")
            after = tuple(self.value_or_node(reader.take("value")) for _ in reader.items("(", ")"))
        origin = reader.origin(name)
        fixed = op.inputs[:-1] if op.inputs and op.inputs[-1].variadic else op.inputs
        if len(inputs) < len(fixed) or (len(inputs) > len(fixed) and len(fixed) == len(op.inputs)):
            _malformed(f"{op.name} takes {len(op.inputs)} inputs, got {len(inputs)}")
        self.check_dtypes(op, inputs)
        settled = op.normalise(attrs)
        types = op.types_of(inputs, settled)
        if len(types) != len(written) or any(
            a.dtype is not b.dtype or a.dims != b.dims for a, b in zip(types, written, strict=True)
        ):
            _malformed(f"the types are ({', '.join(map(str, types))}), the text says ({', '.join(map(str, written))})")
        contents = op.contents_of(inputs, settled, types)
        with building(self.graph):
            node = self.graph.add(op, inputs, settled, types, contents, name or None)
        if name and node.name != name:
            _malformed(f"the name {name!r} stands twice")
        node.after, node.origin = after, origin
        self.nodes[number] = node

    def check_dtypes(self, op: Any, inputs: tuple[Value, ...]) -> None:
        kinds: dict[str, Any] = {}
        for index, value in enumerate(inputs):
            kind = op.inputs[min(index, len(op.inputs) - 1)].kind
            if kind == "*":
                continue
            if kind in dtypes.BY_NAME:
                fits = value.dtype is dtypes.BY_NAME[kind]
            else:
                fits = value.dtype in op.kinds[kind] and kinds.setdefault(kind, value.dtype) is value.dtype
            if not fits:
                _malformed(f"{op.name} does not take {value.type} as input {index}")


def _split(text: str) -> list[str]:
    """At commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


class _Reader:
    """The tokens of one node's line."""

    def __init__(self, line: str, parser: _Parser) -> None:
        self.line = line
        self.parser = parser
        self.position = 0
        self.kind = ""
        self.peek = ""
        self._next()

    def _next(self) -> None:
        found = _TOKEN.match(self.line, self.position)
        if found is None:
            _malformed(f"cannot read {self.line[self.position : self.position + 40]!r}")
        self.position = found.end()
        self.kind = str(found.lastgroup)
        self.peek = found[self.kind]

    def take(self, kind: str) -> str:
        if self.kind != kind:
            _malformed(f"expected a {kind}, got {self.peek[:40] or 'the end'!r}")
        text = self.peek
        self._next()
        return text

    def mark(self, mark: str) -> None:
        if self.kind != "mark" or self.peek != mark:
            _malformed(f"expected {mark!r}, got {self.peek[:40] or 'the end'!r}")
        self._next()

    def items(self, first: str, last: str) -> Any:
        """One turn per item between brackets; the caller reads the item."""
        self.mark(first)
        if self.peek != last or self.kind != "mark":
            yield
            while self.kind == "mark" and self.peek == ",":
                self._next()
                yield
        self.mark(last)

    def declared(self, declared: Any) -> Any:
        """An attribute of the type ``declared``."""
        if declared is VARIABLE:
            return self.variable()
        if declared is BODY and self.peek in self.parser.bodies:
            return self.parser.bodies.pop(self.take("word"))
        return self.attr(0)

    def variable(self) -> Any:
        self.mark("$")
        name = json.loads(self.take("string"))
        known = self.parser.graph.variables
        return known[name] if name in known else _malformed(f"there is no variable {name!r}")

    def attr(self, depth: int) -> Any:
        if depth > DEEPEST:
            _malformed(f"brackets nested more than {DEEPEST} deep")
        if self.kind == "string":
            return json.loads(self.take("string"))
        if self.kind == "size":
            return self.parser.size(self.take("size")[1:-1])
        if self.kind == "number":
            return _number(self.take("number"))
        if self.kind == "mark" and self.peek == "[":
            return tuple(self.attr(depth + 1) for _ in self.items("[", "]"))
        if self.kind != "word":
            _malformed(f"expected an attribute, got {self.peek[:40] or 'the end'!r}")
        word = self.take("word")
        if word in ("None", "True", "False"):
            return {"None": None, "True": True, "False": False}[word]
        if word in ("inf", "nan"):
            return float(word)
        if word == "tensor":
            return self.tensor()
        if word in dtypes.BY_NAME:
            return dtypes.BY_NAME[word]
        if word in self.parser.given:
            array = np.asarray(self.parser.given[word])
            dtypes.as_dtype(array.dtype)
            if array.flags.writeable:
                array = array.copy()
                array.setflags(write=False)
            return Constant(array)
        _malformed(f"there is no constant {word[:40]!r}")

    def tensor(self) -> Constant:
        parts: list[Any] = [
            self.attr(1) if index else self.take("word") for index, _ in enumerate(self.items("(", ")"))
        ]
        if len(parts) != 3 or parts[0] not in dtypes.BY_NAME or not all(isinstance(part, tuple) for part in parts[1:]):
            _malformed("expected tensor(dtype, [shape], [elements])")
        dtype, shape, entries = dtypes.BY_NAME[parts[0]], parts[1], parts[2]
        if not all(isinstance(size, int) and 0 <= size < 2**31 for size in shape) or dims.product(shape) != len(
            entries
        ):
            _malformed(f"{len(entries)} elements do not fill the shape {list(shape)}")
        wanted = {"b": (bool,), "f": (float, int), "O": (str,)}.get(dtype.kind, (int,))
        if not all(isinstance(entry, wanted) for entry in entries):
            _malformed(f"the elements are not of {dtype}")
        array = np.array(entries, dtype.numpy).reshape(shape)
        array.setflags(write=False)
        return Constant(array)

    def types(self) -> tuple[TensorType, ...]:
        if self.kind == "mark" and self.peek == "(":
            self._next()
            self.mark(")")
            return ()
        result = [self.type()]
        while self.kind == "mark" and self.peek == ",":
            self._next()
            result.append(self.type())
        return tuple(result)

    def type(self) -> TensorType:
        start = self.position - len(self.peek)
        found = _TYPE.match(self.line, start)
        if self.kind != "word" or found is None:
            _malformed(f"expected a type, got {self.peek[:40] or 'the end'!r}")
        self.position = found.end()
        self._next()
        return self.parser.type(found.group())

    def origin(self, name: str) -> Origin | None:
        if self.kind == "end":
            return None
        found = _ORIGIN.match(self.take("comment"))
        if found is None or self.kind != "end":
            _malformed(f"unexpected {self.peek[:40]!r}")
        return Origin(found[1], int(found[2] or 0), name)


def _number(text: str) -> int | float:
    if text.lstrip("+-").isdigit():
        if len(text) > 40:
            _malformed("a number of more than 40 digits")
        return int(text)
    return float(text)
