"""Plans of one entry each become one plan of several entries over one State."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyflow.errors import InvalidArgumentError, message
from pyflow.plan import Buffer, Commit, Entry, Kind, Plan, Port, Prepare, Step


def join(plans: Sequence[Plan]) -> Plan:
    """One plan with the entries of all, in order. Variables of one name are one buffer, and so is a constant array.

    Raises InvalidArgumentError if two entries have one name, or a variable two types.
    """
    joined = _Joined()
    for plan in plans:
        joined.add(plan)
    names = [entry.name for entry in joined.entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgumentError(message("plan", f"there are two entries named {', '.join(map(repr, twice))}"))
    numerics = {plan.numerics for plan in plans}
    if len(numerics) != 1:
        raise InvalidArgumentError(message("plan", f"expected entries of one numerics, got {sorted(numerics)}"))
    return Plan(
        tuple(joined.buffers),
        tuple(joined.bodies),
        tuple(joined.entries),
        max(plan.slots for plan in plans),
        numerics.pop(),
        tuple(joined.constants),
    )


class _Joined:
    def __init__(self) -> None:
        self.buffers: list[Buffer] = []
        self.bodies: list[tuple[Step, ...]] = []
        self.entries: list[Entry] = []
        self.constants: list[object] = []
        self._shared: dict[object, int] = {}
        """Variables by name, constants by identity."""

    def add(self, plan: Plan) -> None:
        place: list[int] = []
        constants = iter(plan.constants)
        for buffer in plan.buffers:
            array = next(constants) if buffer.kind is Kind.CONSTANT else None
            place.append(self._buffer(buffer, array))
        first = len(self.bodies)

        def step(each: Step) -> Step:
            return replace(each.moved(place), bodies=tuple(body + first for body in each.bodies))

        def port(each: Port) -> Port:
            return Port(each.name, each.view.moved(place))

        def prepare(each: Prepare) -> Prepare:
            return Prepare(
                each.body + first, tuple(place[b] for b in each.sources), tuple(place[b] for b in each.results)
            )

        self.bodies += [tuple(map(step, body)) for body in plan.bodies]
        self.entries += [
            replace(
                entry,
                inputs=tuple(map(port, entry.inputs)),
                outputs=tuple(map(port, entry.outputs)),
                commits=tuple(Commit(place[each.variable], each.source.moved(place)) for each in entry.commits),
                reads=tuple(place[each] for each in entry.reads),
                prepares=tuple(map(prepare, entry.prepares)),
                body=entry.body + first,
            )
            for entry in plan.entries
        ]

    def _buffer(self, buffer: Buffer, array: object) -> int:
        key = buffer.name if buffer.kind is Kind.VARIABLE else id(array) if buffer.kind is Kind.CONSTANT else None
        if key is not None and key in self._shared:
            known = self.buffers[self._shared[key]]
            if (known.dtype, known.elements) != (buffer.dtype, buffer.elements):
                raise InvalidArgumentError(message("plan", f"the variable {buffer.name!r} has two types"))
            return self._shared[key]
        index = len(self.buffers)
        self.buffers.append(buffer)
        if buffer.kind is Kind.CONSTANT:
            self.constants.append(array)
        if key is not None:
            self._shared[key] = index
        return index
