"""schedule: a region becomes a plan: steps in an order of low peak memory, values written where they are wanted.

Reads of variables are the variables' own buffers, because what a run writes is committed at its end. A commit costs no
copy where the step that makes the value may write the variable's buffer: it is then one of the last steps, after
everything that reads the old value and everything that may fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pyflow import dims, views
from pyflow.dims import Size
from pyflow.errors import InvalidArgumentError, message
from pyflow.graph import Node, Value
from pyflow.passes.bodies import lower_flow
from pyflow.passes.lowering import Draft, Lowered, settled
from pyflow.passes.order import Dependencies
from pyflow.plan import Commit, Entry, Kind, Plan, Port, Prepare, Solve, Step, View
from pyflow.region import Region
from pyflow.target import Target


def schedule(
    region: Region,
    target: Target,
    *,
    entry_name: str = "main",
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Plan:
    """The plan of one entry. ``input_names`` are those of the feeds (region inputs that are no variables), in order.

    Raises InvalidArgumentError for a size that no feed tells, UnimplementedError for a node that no backend takes.
    """
    variables = set(region.variables.values())
    feeds = [value for value in region.inputs if value not in variables]
    return _Scheduler(Lowered(region, target, lower_flow), feeds).plan(
        entry_name,
        tuple(input_names) if input_names is not None else tuple(f"input:{i}" for i in range(len(feeds))),
        tuple(output_names) if output_names is not None else tuple(f"output:{i}" for i in range(len(region.outputs))),
    )


class _Scheduler:
    def __init__(self, lowered: Lowered, feeds: list[Value]) -> None:
        self.lowered = lowered
        self.feeds = feeds
        self.region = lowered.region
        self.buffers = lowered.buffers
        self.names = lowered.names

    def plan(self, name: str, input_names: Sequence[str], output_names: Sequence[str]) -> Plan:
        low = self.lowered
        prepared = self._prepared_drafts()
        outputs = self._outputs(output_names, prepared)
        sources = [self._commit_source(*commit) for commit in self.region.commits]
        drafts = [draft for draft in low.drafts if draft not in prepared]
        prepares, prepare_bodies = self._prepare(prepared, drafts)
        graph = Dependencies(drafts, low.late_names)
        last = self._in_place(sources, graph, prepared)
        order = graph.order(
            last, low.bytes_of, {index for index, b in enumerate(self.buffers) if b.kind is Kind.TEMPORARY}
        )
        steps = tuple(drafts[index].step for index in order)
        bodies = [*low.bodies, *prepare_bodies]
        first_write = next((at for at, index in enumerate(order) if index in last), len(order))
        inputs = tuple(Port(n, low.view[value]) for n, value in zip(input_names, self.feeds, strict=True))
        solves = self._solves([*steps, *(step for body in low.bodies for step in body)])
        reads = [low.variables[n] for n, value in self.region.variables.items() if value in low.view]
        entry = Entry(
            name,
            inputs,
            tuple(Port(n, view) for n, view in outputs),
            solves,
            tuple(low.checks),
            tuple(Commit(buffer, view) for buffer, view in sources),
            tuple(reads),
            prepares,
            len(bodies),
            first_write - 1,
        )
        return self._renamed(
            Plan(tuple(self.buffers), (*bodies, steps), (entry,), 0, low.target.numerics, tuple(low.constants))
        )

    def _prepared_drafts(self) -> set[Draft]:
        """What prepare bodies compute: drafts of constant result that others, which run each time, read."""
        low = self.lowered
        pending = [buffer for draft in low.drafts if draft.sources is None for buffer in draft.reads]
        found: set[Draft] = set()
        while pending:
            buffer = pending.pop()
            if low.sources_of(buffer) is None:
                continue
            for draft in low.writers.get(buffer, ()):
                if draft not in found:
                    found.add(draft)
                    pending.extend(draft.reads)
        return found

    def _outputs(self, names: Sequence[str], prepared: set[Draft]) -> list[tuple[str, View]]:
        """The output ports, before renaming. OUTPUT buffers are the caller's: no step reads them."""
        low = self.lowered
        shared = {buffer for draft in low.drafts for buffer in draft.reads}
        shared |= {low.view[value].buffer for _, value in self.region.commits}
        once: set[int] = set()
        for value in self.region.outputs:
            buffer = low.view[value].buffer
            (shared if buffer in once else once).add(buffer)
        result = []
        for name, value in zip(names, self.region.outputs, strict=True):
            view = low.view[value]
            origin = low.origin(value.node)
            kind = self.buffers[view.buffer].kind
            temporary = kind is Kind.TEMPORARY and not any(d in prepared for d in low.writers.get(view.buffer, ()))
            if any(dims.late_in(size) for size in value.dims):
                if not temporary or not views.is_contiguous(view):
                    view = low.temporary_copy(view, origin)
                result.append((name, view))
                continue
            buffer = low.add_buffer(Kind.OUTPUT, value.type, name)
            port = low.contiguous(buffer, value.type)
            direct = temporary and view.buffer not in shared and low.is_whole(view)
            if direct and self.buffers[view.buffer].backend == self.buffers[buffer].backend:
                self.names[view.buffer] = buffer
            else:
                low.copy(view, port, origin)
            result.append((name, port))
        return result

    def _commit_source(self, name: str, value: Value) -> tuple[int, View]:
        """The variable's buffer and the view that it takes its value from: contiguous, no other written one."""
        low = self.lowered
        view = low.view[value]
        buffer = low.variable(name, value.type)
        source = self.buffers[view.buffer]
        if view.buffer == buffer and low.is_whole(view):
            return buffer, view
        moving = source.kind is Kind.VARIABLE and source.name in low.written
        if moving or not views.is_contiguous(view):
            view = low.temporary_copy(view, low.origin(value.node))
        return buffer, view

    def _in_place(self, sources: list[tuple[int, View]], graph: Dependencies, prepared: set[Draft]) -> set[int]:
        """Renames values to the variables that take them, where that is right; gives the drafts that come last."""
        low = self.lowered
        last: set[int] = set()
        for variable, view in sources:
            temporary = view.buffer
            writers = low.writers.get(temporary, ())
            if self.buffers[temporary].kind is not Kind.TEMPORARY or temporary in self.names or len(writers) != 1:
                continue
            writer = writers[0]
            known = isinstance(self.buffers[temporary].elements, int)
            if writer in prepared or writer.step.bodies or not known or not low.is_whole(view):
                continue
            written = next(v for v in writer.step.outputs if v.buffer == temporary)
            if not low.is_whole(written) or self.buffers[temporary].backend != self.buffers[variable].backend:
                continue
            if writer.barrier:
                continue
            then = graph.write_in_place(writer, variable, written, lambda each: each.barrier or low.is_late(each))
            if then is None:
                continue
            last |= then
            self.names[temporary] = variable
        return last

    def _prepare(self, prepared: set[Draft], drafts: list[Draft]) -> tuple[tuple[Prepare, ...], list[tuple[Step, ...]]]:
        """The prepare bodies, one per set of variables; what ordinary drafts read of them becomes PREPARED."""
        low = self.lowered
        if not prepared:
            return (), []
        wanted = {buffer for draft in drafts for buffer in draft.reads}
        wanted |= {low.view[value].buffer for _, value in self.region.commits}
        groups: dict[tuple[str, ...], list[int]] = {}
        for draft in low.drafts:
            if draft not in prepared or not wanted.intersection(draft.writes):
                continue
            for buffer in draft.writes:
                members = groups.setdefault(tuple(sorted(low.sources_of(buffer) or ())), [])
                if buffer not in members:
                    members.append(buffer)
                    self.buffers[buffer] = replace(self.buffers[buffer], kind=Kind.PREPARED)
        prepares, bodies = [], []
        done: set[int] = set()
        for names, results in sorted(groups.items(), key=lambda group: (len(group[0]), group[0])):
            needed: set[Draft] = set()
            pending = list(results)
            while pending:
                buffer = pending.pop()
                for draft in low.writers.get(buffer, ()) if buffer not in done else ():
                    if draft not in needed:
                        needed.add(draft)
                        pending.extend(draft.reads)
            done.update(results)
            bodies.append(tuple(draft.step for draft in low.drafts if draft in needed))
            sources = tuple(low.variables[name] for name in names)
            prepares.append(Prepare(len(low.bodies) + len(bodies) - 1, sources, tuple(results)))
        return tuple(prepares), bodies

    def _solves(self, steps: Iterable[Step]) -> tuple[Solve, ...]:
        """How the fed sizes tell every symbol; a dim that is the symbol itself is preferred."""
        best: dict[str, tuple[tuple[bool, bool], Solve]] = {}
        for index, value in enumerate(self.feeds):
            for axis, size in enumerate(value.dims):
                solved = dims.solve(size)
                if solved is not None:
                    symbol, scale, shift = solved
                    rank = (scale != 1, shift != 0)
                    if symbol not in best or rank < best[symbol][0]:
                        best[symbol] = (rank, Solve(symbol, index, axis, scale, shift))
        known = best.keys() | {name for step in steps for name in step.defines}
        seen: set[Size] = set()
        for node in self._nodes():
            for type in node.types:
                self._require(type.dims, known, seen)
        for value in self.feeds:
            self._require(value.dims, known, seen)
        for step in steps:
            self._require(step.ints, known, seen)
        return tuple(solve for _, solve in best.values())

    def _nodes(self) -> list[Node]:
        return [*self.lowered.nodes, *self.lowered.inner_nodes]

    def _require(self, sizes: Iterable[Size], known: Iterable[str], seen: set[Size]) -> None:
        for size in sizes:
            if isinstance(size, int) or size in seen:
                continue
            seen.add(size)
            for symbol in dims.symbols_of(size):
                if symbol.name not in known:
                    self._untold(symbol.name)

    def _untold(self, name: str) -> None:
        having = [
            (node, type)
            for node in self._nodes()
            for type in node.types
            if any(symbol.name == name for size in type.dims for symbol in dims.symbols_of(size))
        ]
        table = self.region.table
        shown = [
            f"{origins[0].name or node.op.name if (origins := table.origins.get(node, ())) else node.op.name}: {type}"
            for node, type in having[:4]
        ]
        origin = next((origins[0] for node, _ in having if (origins := table.origins.get(node, ()))), None)
        where = f"; it is a size of {', '.join(shown)}" if shown else ""
        raise InvalidArgumentError(
            message(
                "run",
                f"no feed tells the size {name!r}{where}",
                origin,
                f"feed a value that has {name!r} as a dim of its own, or give it a number when the graph is built",
            )
        )

    def _renamed(self, plan: Plan) -> Plan:
        """``plan`` with what the buffers in ``names`` became in their place, and without them."""
        if not self.names:
            return plan
        place: dict[int, int] = {}
        for index in range(len(plan.buffers)):
            if index not in self.names:
                place[index] = len(place)
        kept = frozenset(place)
        place.update((index, place[settled(index, self.names)]) for index in self.names)

        (entry,) = plan.entries
        entry = replace(
            entry,
            inputs=tuple(Port(port.name, port.view.moved(place)) for port in entry.inputs),
            outputs=tuple(Port(port.name, port.view.moved(place)) for port in entry.outputs),
            commits=tuple(Commit(place[each.variable], each.source.moved(place)) for each in entry.commits),
            reads=tuple(place[each] for each in entry.reads),
            prepares=tuple(
                Prepare(each.body, tuple(place[b] for b in each.sources), tuple(place[b] for b in each.results))
                for each in entry.prepares
            ),
        )
        return replace(
            plan,
            buffers=tuple(buffer for index, buffer in enumerate(plan.buffers) if index in kept),
            bodies=tuple(tuple([step.moved(place) for step in body]) for body in plan.bodies),
            entries=(entry,),
        )
