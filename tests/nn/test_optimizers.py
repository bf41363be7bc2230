"""Optimisers: one rule gives NumPy's formula, PyTorch's numbers and a declared graph's; schedules; clipping; states."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyflow as pf
from pyflow.errors import DTypeError, FailedPreconditionError, InvalidArgumentError

HERE = "test_optimizers.py"
STEPS = 5


def starts() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape) for shape in ((3, 2), (4,), ())]


def slopes(step: int) -> list[np.ndarray]:
    rng = np.random.default_rng([1, step])
    return [rng.standard_normal(shape) for shape in ((3, 2), (4,), ())]


Rule = Callable[[np.ndarray, Callable[[int], np.ndarray]], np.ndarray]


def sgd(w: np.ndarray, slope: Callable[[int], np.ndarray]) -> np.ndarray:
    v = np.zeros_like(w)
    for n in range(STEPS):
        g = slope(n) + 0.1 * w
        v = 0.9 * v + g
        w = w - 0.05 * (g + 0.9 * v)
    return w


def adam(w: np.ndarray, slope: Callable[[int], np.ndarray], decoupled: bool = False) -> np.ndarray:
    m, v = np.zeros_like(w), np.zeros_like(w)
    for n in range(STEPS):
        g = slope(n) if decoupled else slope(n) + 0.1 * w
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        step = (m / (1 - 0.8 ** (n + 1))) / (np.sqrt(v / (1 - 0.95 ** (n + 1))) + 1e-6)
        w = w - 0.02 * step - (0.02 * 0.1 * w if decoupled else 0)
    return w


def rmsprop(w: np.ndarray, slope: Callable[[int], np.ndarray]) -> np.ndarray:
    square, mean, moment = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for n in range(STEPS):
        g = slope(n)
        square, mean = 0.9 * square + 0.1 * g * g, 0.9 * mean + 0.1 * g
        moment = 0.5 * moment + g / (np.sqrt(square - mean * mean) + 1e-6)
        w = w - 0.02 * moment
    return w


def adagrad(w: np.ndarray, slope: Callable[[int], np.ndarray]) -> np.ndarray:
    total = np.full_like(w, 0.5)
    for n in range(STEPS):
        g = slope(n)
        total = total + g * g
        w = w - 0.1 / (1 + n * 0.2) * g / (np.sqrt(total) + 1e-10)
    return w


def lion(w: np.ndarray, slope: Callable[[int], np.ndarray]) -> np.ndarray:
    m = np.zeros_like(w)
    for n in range(STEPS):
        g = slope(n)
        w = w - 0.01 * (np.sign(0.9 * m + 0.1 * g) + 0.1 * w)
        m = 0.99 * m + 0.01 * g
    return w


OPTIMIZERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any] | None, Rule | None]] = {
    "SGD": (
        lambda p: pf.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda o, p: o.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
        sgd,
    ),
    "SGD, plain": (lambda p: pf.optim.SGD(p, lr=0.05), lambda o, p: o.SGD(p, lr=0.05), None),
    "Adam": (
        lambda p: pf.optim.Adam(p, 0.02, (0.8, 0.95), 1e-6, 0.1),
        lambda o, p: o.Adam(p, 0.02, (0.8, 0.95), 1e-6, 0.1),
        adam,
    ),
    "Adam, amsgrad": (
        lambda p: pf.optim.Adam(p, 0.02, amsgrad=True),
        lambda o, p: o.Adam(p, 0.02, amsgrad=True),
        None,
    ),
    "AdamW": (
        lambda p: pf.optim.AdamW(p, 0.02, (0.8, 0.95), 1e-6, 0.1),
        lambda o, p: o.AdamW(p, 0.02, (0.8, 0.95), 1e-6, 0.1),
        lambda w, slope: adam(w, slope, True),
    ),
    "Adamax": (lambda p: pf.optim.Adamax(p), lambda o, p: o.Adamax(p), None),
    "NAdam": (lambda p: pf.optim.NAdam(p, weight_decay=0.1), lambda o, p: o.NAdam(p, weight_decay=0.1), None),
    "RMSprop": (
        lambda p: pf.optim.RMSprop(p, 0.02, 0.9, 1e-6, momentum=0.5, centered=True),
        lambda o, p: o.RMSprop(p, 0.02, 0.9, 1e-6, momentum=0.5, centered=True),
        rmsprop,
    ),
    "Adagrad": (
        lambda p: pf.optim.Adagrad(p, 0.1, 0.2, initial_accumulator_value=0.5),
        lambda o, p: o.Adagrad(p, 0.1, 0.2, initial_accumulator_value=0.5),
        adagrad,
    ),
    "Adadelta": (lambda p: pf.optim.Adadelta(p), lambda o, p: o.Adadelta(p), None),
    "Lion": (lambda p: pf.optim.Lion(p, lr=0.01, weight_decay=0.1), None, lion),
}


def stepped(make: Callable[[Any], Any]) -> list[np.ndarray]:
    parameters = [pf.nn.Parameter(start) for start in starts()]
    optimizer = make(parameters)
    for n in range(STEPS):
        for parameter, slope in zip(parameters, slopes(n), strict=True):
            parameter.grad = pf.tensor(slope)
        optimizer.step()
    return [parameter.numpy() for parameter in parameters]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rules_give_numpys_formulas(name: str) -> None:
    make, _, rule = OPTIMIZERS[name]
    if rule is None:
        pytest.skip("compared with PyTorch, and with the graph")
    for place, mine in enumerate(stepped(make)):
        np.testing.assert_allclose(mine, rule(starts()[place], lambda n, place=place: slopes(n)[place]), rtol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rules_give_pytorchs_numbers(name: str) -> None:
    torch = pytest.importorskip("torch")
    make, theirs, _ = OPTIMIZERS[name]
    if theirs is None:
        pytest.skip("PyTorch has none")
    parameters = [torch.nn.Parameter(torch.tensor(start)) for start in starts()]
    optimizer = theirs(torch.optim, parameters)
    for n in range(STEPS):
        for parameter, slope in zip(parameters, slopes(n), strict=True):
            parameter.grad = torch.tensor(slope)
        optimizer.step()
    for mine, wanted in zip(stepped(make), parameters, strict=True):
        np.testing.assert_allclose(mine, wanted.detach().numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_declared_graph_gives_the_same_bits(name: str) -> None:
    make = OPTIMIZERS[name][0]
    graph = pf.Graph()
    with graph.as_default():
        variables = [pf.Variable(start, name=f"w{i}") for i, start in enumerate(starts())]
        fed = [pf.placeholder(pf.float64, start.shape) for start in starts()]
        step = make(None).apply_gradients(list(zip(fed, variables, strict=True)))
    with pf.Session(graph, pf.SessionConfig(numerics="strict", auto_init=True)) as session:
        for n in range(STEPS):
            session.run(step, dict(zip(fed, slopes(n), strict=True)))
        for mine, wanted in zip(variables, stepped(make), strict=True):
            np.testing.assert_array_equal(session.state.get(mine.name), wanted)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_state_goes_on_where_it_was(name: str) -> None:
    make = OPTIMIZERS[name][0]
    wanted = stepped(make)
    parameters = [pf.nn.Parameter(start) for start in starts()]
    optimizer = make(parameters)
    for n in range(STEPS):
        if n == 2:
            state = pickle.loads(pickle.dumps(optimizer.state_dict()))
            parameters = [pf.nn.Parameter(parameter.detach()) for parameter in parameters]
            optimizer = make(parameters)
            optimizer.load_state_dict(state)
        for parameter, slope in zip(parameters, slopes(n), strict=True):
            parameter.grad = pf.tensor(slope)
        optimizer.step()
    for mine, value in zip(parameters, wanted, strict=True):
        np.testing.assert_array_equal(mine.numpy(), value)


def test_groups_and_rates() -> None:
    a, b, c = (pf.nn.Parameter([1.0]) for _ in range(3))
    optimizer = pf.optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    optimizer.add_param_group({"params": [("c", c)], "momentum": 0.9})
    for parameter in (a, b):
        parameter.grad = pf.tensor([1.0])
    optimizer.step()
    assert [round(p.item(), 6) for p in (a, b, c)] == [0.9, 0.5, 1.0]
    optimizer.param_groups[0]["lr"] = 0.2
    optimizer.param_groups[2]["momentum"] = 0.0
    c.grad = pf.tensor([1.0])
    optimizer.step()
    assert [round(p.item(), 6) for p in (a, b, c)] == [0.7, 0.0, 0.9]
    optimizer.lr = 0.0
    optimizer.step()
    assert [round(p.item(), 6) for p in (a, b, c)] == [0.7, 0.0, 0.9]
    optimizer.zero_grad()
    assert a.grad is None and optimizer.step() is None
    assert optimizer.step(lambda: pf.tensor(3.0)).item() == 3
    assert copy.deepcopy(optimizer.state_dict())["param_groups"][1]["params"] == [1]


def test_a_rate_that_changes_needs_no_new_trace() -> None:
    w = pf.nn.Parameter([0.0])
    optimizer = pf.optim.SGD([w], lr=1.0)
    schedule = pf.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

    @pf.function
    def step() -> Any:
        optimizer.zero_grad()
        loss = (w * 1.0).sum()
        loss.backward()
        optimizer.step()
        return loss

    for wanted in (-1.0, -1.5, -1.75):
        step()
        schedule.step()
        assert w.item() == wanted
    assert step.traces == 1
    optimizer.weight_decay = 1.0
    step()
    assert step.traces == 2 and "setting of the optimiser" in step.explain()
    with pytest.raises(FailedPreconditionError, match="outside"):
        pf.function(lambda x: (schedule.step(), x)[1])(w)


RATES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[int], float] | None]] = {
    "StepLR": (lambda s, o: s.StepLR(o, 3, 0.5), lambda n: 0.1 * 0.5 ** (n // 3)),
    "MultiStepLR": (lambda s, o: s.MultiStepLR(o, [2, 5], 0.1), lambda n: 0.1 * 0.1 ** ((n >= 2) + (n >= 5))),
    "ExponentialLR": (lambda s, o: s.ExponentialLR(o, 0.9), lambda n: 0.1 * 0.9**n),
    "ConstantLR": (lambda s, o: s.ConstantLR(o, 0.5, 3), lambda n: 0.05 if n < 3 else 0.1),
    "LinearLR": (lambda s, o: s.LinearLR(o, 0.25, total_iters=4), lambda n: 0.1 * (0.25 + 0.75 * min(n, 4) / 4)),
    "PolynomialLR": (lambda s, o: s.PolynomialLR(o, 6, 2.0), lambda n: 0.1 * (1 - min(n, 6) / 6) ** 2),
    "LambdaLR": (lambda s, o: s.LambdaLR(o, lambda n: 1 / (1 + n)), lambda n: 0.1 / (1 + n)),
    "CosineAnnealingLR": (
        lambda s, o: s.CosineAnnealingLR(o, 8, 0.01),
        lambda n: 0.01 + 0.09 * (1 + math.cos(math.pi * n / 8)) / 2,
    ),
    "CosineAnnealingWarmRestarts": (lambda s, o: s.CosineAnnealingWarmRestarts(o, 2, 2), None),
    "OneCycleLR": (lambda s, o: s.OneCycleLR(o, max_lr=1.0, total_steps=9), None),
    "SequentialLR": (
        lambda s, o: s.SequentialLR(o, [s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.5)], [2]),
        lambda n: 0.01 if n < 2 else 0.1 * 0.5 ** (n - 2),
    ),
}


@pytest.mark.parametrize("name", RATES)
def test_schedules(name: str) -> None:
    make, formula = RATES[name]
    optimizer = pf.optim.SGD([pf.nn.Parameter([1.0])], lr=0.1)
    schedule = make(pf.optim.lr_scheduler, optimizer)
    mine = [schedule.get_last_lr()[0]]
    for _ in range(8):
        schedule.step()
        mine.append(optimizer.param_groups[0]["lr"])
    if formula is not None:
        np.testing.assert_allclose(mine, [formula(n) for n in range(9)], rtol=1e-12)
    again = make(pf.optim.lr_scheduler, pf.optim.SGD([pf.nn.Parameter([1.0])], lr=0.1))
    again.load_state_dict(schedule.state_dict())
    assert again.get_last_lr() == schedule.get_last_lr()


@pytest.mark.parametrize("name", RATES)
def test_schedules_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch")
    rates = []
    for optim, parameter in ((pf.optim, pf.nn.Parameter([1.0])), (torch.optim, torch.nn.Parameter(torch.ones(1)))):
        optimizer = optim.SGD([parameter], lr=0.1)
        schedule = RATES[name][0](optim.lr_scheduler, optimizer)
        rates.append([optimizer.param_groups[0]["lr"]])
        for _ in range(8):
            if optim is not pf.optim:
                optimizer.step()
            schedule.step()
            rates[-1].append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-9, atol=1e-12)


def test_a_plateau_lowers_the_rate() -> None:
    optimizer = pf.optim.SGD([pf.nn.Parameter([1.0])], lr=1.0)
    schedule = pf.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1)
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0):
        schedule.step(pf.tensor(loss))
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_clipping() -> None:
    parameters = [pf.nn.Parameter(np.zeros(2, np.float32)), pf.nn.Parameter(np.zeros((), np.float64))]
    for kind in (2.0, 1.0, math.inf):
        slopes = [np.array([3.0, -4.0], np.float32), np.array(12.0)]
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.grad = pf.tensor(slope)
        norm = np.linalg.norm(np.array([3.0, -4.0, 12.0]), kind)
        assert pf.optim.clip_grad_norm_(parameters, 100.0, kind).item() == norm
        assert parameters[0].grad.tolist() == [3, -4]
        pf.nn.utils.clip_grad_norm_(parameters, 2.0, kind)
        for parameter, slope in zip(parameters, slopes, strict=True):
            np.testing.assert_allclose(parameter.grad.numpy(), slope * (2 / norm), rtol=1e-6)
            assert parameter.grad.dtype is parameter.dtype
    pf.optim.clip_grad_value_(parameters, 0.25)
    assert parameters[0].grad.tolist() == [0.25, -0.25]
    parameters[0].grad = pf.tensor([math.nan, 1.0])
    with pytest.raises(FailedPreconditionError, match="nan"):
        pf.optim.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
    assert pf.optim.clip_grad_norm_([pf.nn.Parameter([1.0])], 1.0).item() == 0


WRONG: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "none": (lambda: pf.optim.SGD([], lr=0.1), InvalidArgumentError, "no parameters"),
    "rate": (lambda: pf.optim.SGD([pf.nn.Parameter([1.0])], lr=-1), InvalidArgumentError, "lr >= 0"),
    "order": (lambda: pf.optim.Adam([pf.nn.Parameter([1.0])], "a"), DTypeError, "parameters come first"),
    "betas": (lambda: pf.optim.Adam(betas=(0.9, 1.0)), InvalidArgumentError, "betas"),
    "decay": (lambda: pf.optim.AdamW(weight_decay=-1), InvalidArgumentError, "weight_decay >= 0"),
    "nesterov": (lambda: pf.optim.SGD(nesterov=True), InvalidArgumentError, "momentum > 0"),
    "integers": (lambda: pf.optim.SGD([pf.tensor([1])]), InvalidArgumentError, "floating parameters, got int64"),
    "a module": (lambda: pf.optim.SGD(pf.nn.Linear(1, 1)), InvalidArgumentError, "expected parameters, got Linear"),
    "no tensor": (lambda: pf.optim.SGD(["w"]), InvalidArgumentError, "floating parameters, got str"),
    "results": (lambda: pf.optim.SGD([pf.nn.Parameter([1.0]) * 2]), InvalidArgumentError, "leaves"),
    "twice": (lambda: pf.optim.SGD([(w := pf.nn.Parameter([1.0])), w]), InvalidArgumentError, "given twice"),
    "unknown": (
        lambda: pf.optim.SGD([{"params": [pf.nn.Parameter([1.0])], "beta": 1}]),
        InvalidArgumentError,
        "unknown settings beta",
    ),
    "step": (lambda: pf.optim.SGD(0.1).step(), InvalidArgumentError, "no parameters to step"),
    "minimize": (lambda: pf.optim.SGD(0.1).minimize(pf.tensor(1.0)), DTypeError, "loss.backward"),
    "state": (
        lambda: pf.optim.SGD([pf.nn.Parameter([1.0])]).load_state_dict(
            pf.optim.SGD([pf.nn.Parameter([1.0]), pf.nn.Parameter([1.0])]).state_dict()
        ),
        InvalidArgumentError,
        r"groups of \[2\] parameters; here are \[1\]",
    ),
    "schedule": (lambda: pf.optim.lr_scheduler.StepLR(pf.optim.SGD(0.1), 3), InvalidArgumentError, "optimiser of"),
    "cycle": (
        lambda: pf.optim.lr_scheduler.OneCycleLR(pf.optim.SGD([pf.nn.Parameter([1.0])]), 1.0, 3).rate(3, 1.0),
        InvalidArgumentError,
        "cycle is over",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors(name: str) -> None:
    attempt, kind, text = WRONG[name]
    with pytest.raises(kind, match=text) as caught:
        attempt()
    assert HERE in str(caught.value)
