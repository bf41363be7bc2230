"""The functions of a generated program: sizes, bodies of steps, preparations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pyflow import dims
from pyflow.aot.program import CONTROL, Program, bound_of, elements_of, reachable
from pyflow.aot.sizes import Sizes, number
from pyflow.aot.tables import array, comment, quoted
from pyflow.dims import Dim, Size, Symbol
from pyflow.plan import Check, Kind, Step, View


class Bodies:
    """The steps of one entry, or of one preparation: a function per body, over one struct of sizes."""

    def __init__(self, program: Program, name: str, root: int, sizes: Sizes, checks: Sequence[Check] = ()) -> None:
        self.program = program
        self.plan = program.plan
        self.name = name
        self.label = program.labels.give("".join(part.capitalize() for part in name.split("_")))
        """In the names of types and tables."""
        self.root = root
        self.sizes = sizes
        self.checks = [check for check in checks if dims.late_in(check.left) or dims.late_in(check.right)]
        self.bodies = reachable(self.plan, root)
        self.late = bool(self._defined())
        self._given: set[str] = set()

    def _defined(self) -> list[str]:
        return [name for body in self.bodies for step in self.plan.bodies[body] for name in step.defines]

    def function(self, body: int) -> str:
        return f"{self.name}_steps" if body == self.root else f"{self.name}_body{body}"

    @property
    def parameters(self) -> str:
        return f"Run& run, {'' if self.late else 'const '}{self.struct}& n"

    @property
    def struct(self) -> str:
        return f"{self.label}Sizes"

    def emit(self, last_cancellable: int | None = None) -> list[str]:
        """Definitions, callees first; the root's begins with the layout of temporaries."""
        lines: list[str] = []
        for body in reversed(self.bodies):
            inner = self._steps(body, last_cancellable if body == self.root else None)
            head = self._temporaries() if body == self.root else []
            lines += [f"bool {self.function(body)}({self.parameters}) {{"]
            lines += [f"  static_cast<void>({name});" for name in ("run", "n") if not mentions((*head, *inner), name)]
            lines += [*head, *inner, "  return true;", "}", ""]
        return lines

    def tables(self) -> list[str]:
        rows = [
            f"{{{b}, {self.plan.buffers[b].slot}, PF_DTYPE_{self.plan.buffers[b].dtype.name}}}"
            for b in self._temporary_buffers()
        ]
        return array("Temporary", f"k{self.label}Temporaries", rows)

    def _temporary_buffers(self) -> list[int]:
        steps = [step for body in self.bodies for step in self.plan.bodies[body]]
        used = {view.buffer for step in steps for view in (*step.inputs, *step.outputs)}
        return [b for b in sorted(used) if self.plan.buffers[b].kind is Kind.TEMPORARY]

    def _temporaries(self) -> list[str]:
        buffers = self._temporary_buffers()
        if not buffers:
            return []
        elements = [self.sizes.text(elements_of(self.plan, b, self.program.bounds)) for b in buffers]
        slots = max((self.plan.buffers[b].slot for b in buffers), default=-1) + 1
        lines = wrapped("  const int64_t elements[] = {", elements, "};")
        lines.append(f"  int64_t slots[{max(1, slots)}];")
        table = f"k{self.label}Temporaries"
        lines.append(f"  if (!run.temporaries({table}, {len(buffers)}, elements, slots, {slots})) return false;")
        return lines

    def _steps(self, body: int, last_cancellable: int | None) -> list[str]:
        lines: list[str] = []
        for index, step in enumerate(self.plan.bodies[body]):
            if last_cancellable is not None and index == last_cancellable + 1:
                lines.append("  run.past_cancelling();")
            lines.append(f"  {comment(step)}")
            if step.kernel in CONTROL:
                lines += self._control(step)
            else:
                lines += self._kernel(step, self.program.steps[body, index])
        return lines

    def _call(self, body: int) -> str:
        return f"{self.function(body)}(run, n)"

    def _control(self, step: Step) -> list[str]:
        if step.kernel == "call":
            return [f"  if (!{self._call(step.bodies[0])}) return false;"]
        view = step.inputs[0]
        condition = f"run.condition({view.buffer}, {self.sizes.text(view.offset)})"
        first, second = map(self._call, step.bodies)
        if step.kernel == "if":
            return [
                "  if (!run.go_on()) return false;",
                "  {",
                f"    const bool taken = {condition};",
                f"    if (taken && !{first}) return false;",
                f"    if ((!taken || run.measuring()) && !{second}) return false;",
                "  }",
            ]
        return [
            "  for (;;) {",
            f"    if (!run.go_on() || !{first}) return false;",
            f"    if (!{condition}) break;",
            f"    if (!{second}) return false;",
            "    if (run.measuring()) break;",
            "  }",
        ]

    def _kernel(self, step: Step, index: int) -> list[str]:
        rows: list[str] = []
        for view in (*step.inputs, *step.outputs):
            rows += view_sizes(self.sizes, view)
        rows += [self.sizes.text(size) for size in step.ints]
        lines = ["  {"]
        symbols = [self._late_symbol(name) for name in step.defines]
        for symbol in symbols:
            lines.append(f"    n.{self.sizes.symbol(symbol)} = {self._bound(symbol)};")
        lines += [f"    {self.name}_late_sizes(n);"] if symbols else []
        if rows:
            kind = "const" if mentions(rows, "n") else "static constexpr"
            lines += wrapped(f"    {kind} int64_t sizes[] = {{", rows, "};")
        given = "sizes" if rows else "nullptr"
        if not symbols:
            return [*lines, f"    if (!run.step(kStep{index}, {given})) return false;", "  }"]
        lines.append(f"    int64_t defines[] = {{{', '.join('0' for _ in symbols)}}};")
        lines.append(f"    if (!run.step(kStep{index}, {given}, defines)) return false;")
        for place, symbol in enumerate(symbols):
            field = f"n.{self.sizes.symbol(symbol)}"
            high = "INT64_MAX" if bound_of(symbol, self.program.bounds) is None else field
            low = number(symbol.min)
            lines.append(f"    if (!run.defined({quoted(symbol.name)}, defines[{place}], {low}, {high})) return false;")
            lines.append(f"    if (!run.measuring()) {field} = defines[{place}];")
            self._given.add(symbol.name)
        lines.append(f"    {self.name}_late_sizes(n);")
        for check in self.checks:
            names = {s.name for side in (check.left, check.right) for s in dims.symbols_of(side) if s.late}
            if names <= self._given and names & set(step.defines):
                sides = f"{self.sizes.text(check.left)}, {self.sizes.text(check.right)}"
                lines.append(f"    if (!run.measuring() && !run.equal({sides}, {quoted(check.message)})) return false;")
        return [*lines, "  }"]

    def _late_symbol(self, name: str) -> Symbol:
        """The symbol as sizes mention it, or one without bounds where none does."""
        for body in self.bodies:
            for step in self.plan.bodies[body]:
                views = (*step.inputs, *step.outputs)
                every = [size for view in views for size in (*view.dims, *view.strides, view.offset)]
                for size in (*every, *step.ints):
                    for symbol in dims.symbols_of(size):
                        if symbol.name == name:
                            return symbol
        for _, symbol in self.sizes.symbols.values():
            if symbol.name == name:
                return symbol
        return Symbol(name, -(2**63), late=True)

    def _bound(self, symbol: Symbol) -> str:
        bound = bound_of(symbol, self.program.bounds)
        return self.sizes.text(bound) if bound is not None else "0"


def mentions(lines: Iterable[str], name: str) -> bool:
    """Does code outside of comments name a variable?"""
    return any(re.search(rf"\b{name}\b", line.partition("//")[0]) for line in lines)


def view_sizes(sizes: Sizes, view: View) -> list[str]:
    """dims, strides, offset."""
    return [sizes.text(size) for size in (*view.dims, *view.strides, view.offset)]


def size_functions(bodies: Bodies, given: Sequence[Symbol], checks: Sequence[Check]) -> list[str]:
    """The struct, and what fills it from the sizes that are given; what depends on late sizes is filled again."""
    sizes = bodies.sizes
    for check in checks:
        sizes.text(check.left), sizes.text(check.right)
    bounds: dict[str, Size] = {}
    for name, (_, symbol) in list(sizes.symbols.items()):
        bound = sizes.bound(symbol)
        if symbol.late and bound is not None:
            bounds[name] = bound
            sizes.text(bound)
    lines = [f"struct {bodies.struct} {{"]
    lines += [f"  int64_t {field};" for field, _ in sizes.symbols.values()]
    lines += [f"  int64_t s[{len(sizes.rows)}];"] if sizes.rows else []
    lines += [f"  int64_t late[{len(sizes.late_rows)}];"] if sizes.late_rows else []
    lines += ["};", ""]
    if bodies.late:
        inner = _assignments(sizes, sizes.late_rows, "late") or ["  static_cast<void>(n);"]
        lines += [f"void {bodies.name}_late_sizes({bodies.struct}& n) {{", *inner, "}", ""]
    body: list[str] = []
    for symbol in given:
        high = number(symbol.max) if isinstance(symbol.max, int) else "INT64_MAX"
        name = quoted(symbol.name)
        body.append(f"  if (!run.size({name}, n.{sizes.symbol(symbol)}, {symbol.min}, {high})) return false;")
    if sizes.rows:
        body += _assignments(sizes, sizes.rows, "s")
        body += wrapped("  static const char* const texts[] = {", [quoted(str(row)) for row in sizes.rows], "};")
        body.append(f"  if (!run.known(n.s, texts, {len(sizes.rows)})) return false;")
    for check in checks:
        if not (dims.late_in(check.left) or dims.late_in(check.right)):
            sides = f"{sizes.text(check.left)}, {sizes.text(check.right)}"
            body.append(f"  if (!run.equal({sides}, {quoted(check.message)})) return false;")
    for name, (field, symbol) in sizes.symbols.items():
        if symbol.late:
            body.append(f"  n.{field} = {sizes.text(bounds[name]) if name in bounds else '0'};")
    body += [f"  {bodies.name}_late_sizes(n);"] if bodies.late else []
    body = [*(f"  static_cast<void>({name});" for name in ("run", "n") if not mentions(body, name)), *body]
    return [*lines, f"bool {bodies.name}_sizes(Run& run, {bodies.struct}& n) {{", *body, "  return true;", "}", ""]


def _assignments(sizes: Sizes, rows: Sequence[Dim], field: str) -> list[str]:
    return [f"  n.{field}[{i}] = {sizes.expression(row)};  // {row}" for i, row in enumerate(rows)]


def wrapped(head: str, items: Sequence[str], tail: str) -> list[str]:
    """``head`` item, item, ... ``tail`` on as many lines as it takes."""
    one = head + ", ".join(items) + tail
    if len(one) <= 118:
        return [one]
    indent = " " * (len(head) - len(head.lstrip()) + 4)
    lines, line = [head], indent
    for item in items:
        if len(line) + len(item) + 2 > 118:
            lines.append(line.rstrip())
            line = indent
        line += f"{item}, "
    return [*lines, line.rstrip().rstrip(","), indent[:-4] + tail]
