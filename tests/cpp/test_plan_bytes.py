"""Bytes that are no plan, or lie."""

from __future__ import annotations

import random
import struct
import time
import zlib

import numpy as np
import pytest
from hand_plans import (
    F32,
    add_plan,
    array,
    check_step,
    control_plan,
    counter_plan,
    entry,
    growing_plan,
    late_plan,
    scalar,
    unbounded_plan,
)

from pyflow import _core, errors
from pyflow.plan import VERSION, Buffer, Kind, Plan, Step


def test_bytes_that_are_no_plan() -> None:
    data = add_plan().to_bytes()
    with pytest.raises(errors.DataLossError, match="no plan"):
        _core.Model(b"hello", [])
    for version, reads in ((9, f"reads up to version {VERSION}"), (2, "reads versions from 3 on.*save the plan again")):
        with pytest.raises(errors.FailedPreconditionError, match=f"format version {version}; this pyflow {reads}"):
            _core.Model(data[:8] + struct.pack("<I", version) + data[12:], [])
    with pytest.raises(errors.DataLossError, match="checksum"):
        _core.Model(data[:-1] + bytes([data[-1] ^ 1]), [])
    with pytest.raises(errors.InvalidArgumentError, match="0 constants; got 1"):
        _core.Model(data, [array(1)])


def test_bodies_must_not_reach_themselves() -> None:
    buffers = (Buffer(Kind.INPUT, F32, 1),)
    bodies = ((Step("call", bodies=(1,)),), (Step("call", bodies=(0,)),))
    with pytest.raises(errors.DataLossError, match="reaches itself"):
        _core.Model(Plan(buffers, bodies, (entry([], []),)).to_bytes(), [])
    deep = (*((Step("call", bodies=(index + 1,)),) for index in range(100)), ())
    with pytest.raises(errors.DataLossError, match="deep"):
        _core.Model(Plan(buffers, deep, (entry([], []),)).to_bytes(), [])


def _seal(content: bytes) -> bytes:
    return b"PYFLPLAN" + struct.pack("<II", VERSION, zlib.crc32(content)) + content


@pytest.mark.parametrize("sealed", [False, True], ids=["as damaged", "with the checksum made again"])
def test_damaged_bytes_never_crash(sealed: bool) -> None:
    """With a checksum that fits, reader and executor themselves must refuse what would read or write outside."""
    rng = random.Random(2_718)
    cases = [
        (add_plan(), (), [np.ones((4, 3), np.float32)] * 2),
        (control_plan(), (scalar(1),), [scalar(2), scalar(True, bool), scalar(20)]),
        (late_plan(), (), [array(0, 1, 0, 2, 3, 0)]),
        (unbounded_plan(), (), [np.array([5])]),
        (growing_plan(), (np.array([1]),), [np.array([3])]),
        (counter_plan(check_step()), (), [array(1, 2), np.array(True)]),
    ]
    accepted = refused = 0
    for _ in range(2_000):
        plan, constants, inputs = rng.choice(cases)
        content = bytearray(plan.to_bytes()[16:] if sealed else plan.to_bytes())
        if rng.random() < 0.2:
            del content[rng.randrange(len(content)) :]
        else:
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(content))
                content[at] = rng.choice([content[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255])
        state = _core.State()
        state.set("w", array(1, 2))
        try:
            model = _core.Model(_seal(bytes(content)) if sealed else bytes(content), list(constants))
            run = _core.Callable(model, 0, state, _core.Threads(1))
            run.run(inputs, deadline_ns=time.monotonic_ns() + 20_000_000)
            accepted += 1
        except errors.PyflowError:
            refused += 1
    assert refused > 100
    assert accepted > 0 or not sealed
