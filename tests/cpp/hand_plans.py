"""Plans made by hand, and what makes them."""

from __future__ import annotations

import numpy as np

from pyflow import _core, dtypes
from pyflow.dims import Dim, Size, late_symbol, product
from pyflow.plan import Buffer, Commit, Entry, Instr, Kind, Plan, Port, Program, Solve, Step, View

F32 = dtypes.float32
BATCH = Dim("batch", min=1, max=64)


def view(buffer: int, *dims: Size, dtype: dtypes.DType = F32, offset: Size = 0) -> View:
    strides: list[Size] = []
    for axis in range(len(dims)):
        strides.append(product(dims[axis + 1 :]))
    return View(buffer, dtype, tuple(dims), tuple(strides), offset)


def elementwise(op: str, output: View, *inputs: View, **fields: object) -> Step:
    dtype_list = tuple(each.dtype for each in inputs)
    program = Program(dtype_list, (Instr(op, output.dtype, tuple(range(len(inputs)))),), (len(inputs),))
    return Step("elementwise", inputs=inputs, outputs=(output,), programs=(program,), **fields)  # type: ignore[arg-type]


def entry(inputs: list[Port], outputs: list[Port], **fields: object) -> Entry:
    solves = []
    seen: set[str] = set()
    for index, port in enumerate(inputs):
        for axis, size in enumerate(port.view.dims):
            if isinstance(size, Dim) and str(size).isidentifier() and str(size) not in seen:
                seen.add(str(size))
                solves.append(Solve(str(size), index, axis, 1, 0))
    values: dict[str, object] = {
        "name": "main", "inputs": tuple(inputs), "outputs": tuple(outputs), "solves": tuple(solves), "checks": (),
        "commits": (), "reads": (), "prepares": (), "body": 0, "last_cancellable": 1 << 30,
    }  # fmt: skip
    values.update(fields)
    return Entry(**values)  # type: ignore[arg-type]


def replaced(given: Entry, **fields: object) -> Entry:
    values = {name: getattr(given, name) for name in Entry.__slots__}
    return Entry(**{**values, **fields})


def load(plan: Plan, state: object = None, threads: int = 1, constants: tuple = (), index: int = 0, **fields: object):
    model = _core.Model(plan.to_bytes(), list(constants))
    return _core.Callable(model, index, state or _core.State(), _core.Threads(threads), **fields)


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def scalar(value: object, dtype: type = np.float32) -> np.ndarray:
    return np.array(value, dtype)


_registered = 0


def register(run, supports=lambda *step: True) -> str:
    global _registered
    _registered += 1
    _core.register_host_backend(f"test{_registered}", supports, run)
    return f"test{_registered}"


def add_plan(**fields: object) -> Plan:
    x, y, z = view(0, BATCH, 3), view(1, BATCH, 3), view(2, BATCH, 3)
    buffers = (
        Buffer(Kind.INPUT, F32, 3 * BATCH),
        Buffer(Kind.INPUT, F32, 3 * BATCH),
        Buffer(Kind.OUTPUT, F32, 3 * BATCH),
    )
    step = elementwise("add", z, x, y, origin="model.py:12")
    return Plan(buffers, ((step,),), (entry([Port("x", x), Port("y", y)], [Port("z", z)], **fields),))


def counter_plan(*more: Step) -> Plan:
    """w <- w + x, and y = w before; ``more`` runs after that and before the commit."""
    buffers = (
        Buffer(Kind.VARIABLE, F32, 2, "w"),
        Buffer(Kind.INPUT, F32, 2),
        Buffer(Kind.TEMPORARY, F32, 2),
        Buffer(Kind.OUTPUT, F32, 2),
        Buffer(Kind.INPUT, dtypes.bool_, 1),
    )
    steps = (
        elementwise("add", view(2, 2), view(0, 2), view(1, 2)),
        Step("copy", inputs=(view(0, 2),), outputs=(view(3, 2),)),
        *more,
    )
    return Plan(
        buffers,
        (steps,),
        (
            entry(
                [Port("x", view(1, 2)), Port("ok", view(4, dtype=dtypes.bool_))],
                [Port("y", view(3, 2))],
                reads=(0,),
                commits=(Commit(0, view(2, 2)),),
            ),
        ),
    )


def check_step() -> Step:
    return Step(
        "assert", inputs=(view(4, dtype=dtypes.bool_),), text="it was not so", origin="train.py:7", fallible=True
    )


def late_plan() -> Plan:
    """nonzero of x, then -rows of it: sizes that the run tells."""
    count = late_symbol("count", 6)
    buffers = (
        Buffer(Kind.INPUT, F32, 6),
        Buffer(Kind.TEMPORARY, dtypes.int64, 6),
        Buffer(Kind.TEMPORARY, dtypes.int64, 6),
    )
    steps = (
        Step("nonzero", inputs=(view(0, 6),), outputs=(view(1, 1, count, dtype=dtypes.int64),), defines=("count",)),
        elementwise("neg", view(2, count, dtype=dtypes.int64), view(1, count, dtype=dtypes.int64)),
    )
    ports = [Port("where", view(1, 1, count, dtype=dtypes.int64)), Port("minus", view(2, count, dtype=dtypes.int64))]
    return Plan(buffers, (steps,), (entry([Port("x", view(0, 6))], ports),))


I64 = dtypes.int64


def unbounded_plan() -> Plan:
    """iota of as many elements as the feed says, negated, and twice as many."""
    count, twice = late_symbol("count"), late_symbol("twice")
    buffers = (
        Buffer(Kind.INPUT, I64, 1),
        Buffer(Kind.TEMPORARY, I64, 1),
        Buffer(Kind.TEMPORARY, I64, count),
        Buffer(Kind.TEMPORARY, I64, count),
        Buffer(Kind.TEMPORARY, I64, twice),
    )
    steps = (
        Step("late_sizes", inputs=(view(0, 1, dtype=I64),), outputs=(view(1, 1, dtype=I64),), defines=("count",)),
        Step("define_sizes", ints=(2 * count,), defines=("twice",)),
        Step("iota", outputs=(view(2, count, dtype=I64),)),
        elementwise("neg", view(3, count, dtype=I64), view(2, count, dtype=I64), origin="train.py:9"),
        Step("iota", outputs=(view(4, twice, dtype=I64),)),
    )
    ports = [Port("minus", view(3, count, dtype=I64)), Port("more", view(4, twice, dtype=I64))]
    return Plan(buffers, (steps,), (entry([Port("x", view(0, 1, dtype=I64))], ports),))


def growing_plan() -> Plan:
    """A loop that makes iota of 1, then 2 ... up to ``limit`` elements, always in the same buffer."""
    n = late_symbol("n")
    buffers = (
        Buffer(Kind.INPUT, I64, 1),
        Buffer(Kind.TEMPORARY, I64, 1),
        Buffer(Kind.TEMPORARY, dtypes.bool_, 1),
        Buffer(Kind.CONSTANT, I64, 1),
        Buffer(Kind.TEMPORARY, I64, 1),
        Buffer(Kind.TEMPORARY, I64, n),
    )
    limit, counter, one, size = (view(index, 1, dtype=I64) for index in (0, 1, 3, 4))
    more = View(2, dtypes.bool_, (), ())
    less = Program((I64, I64), (Instr("less", dtypes.bool_, (0, 1)),), (2,))
    compare = (View(1, I64, (), ()), View(0, I64, (), ()))
    bodies = (
        (elementwise("sub", counter, limit, limit), Step("while", inputs=(more,), bodies=(1, 2))),
        (Step("elementwise", inputs=compare, outputs=(more,), programs=(less,)),),
        (
            elementwise("add", counter, counter, one),
            Step("late_sizes", inputs=(counter,), outputs=(size,), defines=("n",)),
            Step("iota", outputs=(view(5, n, dtype=I64),)),
        ),
    )
    return Plan(buffers, bodies, (entry([Port("limit", limit)], [Port("y", view(5, n, dtype=I64))]),))


def control_plan() -> Plan:
    """if up: x += 1 else x -= 1; then while x < limit: x *= 2."""
    boolean = dtypes.bool_
    buffers = (
        Buffer(Kind.INPUT, F32, 1),
        Buffer(Kind.INPUT, boolean, 1),
        Buffer(Kind.INPUT, F32, 1),
        Buffer(Kind.OUTPUT, F32, 1),
        Buffer(Kind.TEMPORARY, boolean, 1),
        Buffer(Kind.CONSTANT, F32, 1),
    )
    x, limit, y, more, one = view(0), view(2), view(3), view(4, dtype=boolean), view(5)
    up = View(1, boolean, (), ())
    main = (Step("if", inputs=(up,), bodies=(1, 2)), Step("while", inputs=(more,), bodies=(3, 4)))
    bodies = (
        main,
        (elementwise("add", y, x, one),),
        (elementwise("sub", y, x, one),),
        (elementwise("less", more, y, limit),),
        (elementwise("add", y, y, y),),
    )
    ports = [Port("x", x), Port("up", up), Port("limit", limit)]
    return Plan(buffers, bodies, (entry(ports, [Port("y", y)]),))
