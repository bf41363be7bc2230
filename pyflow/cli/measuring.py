"""One measurement in a process of its own, so that engines share neither threads nor memory."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from pyflow.errors import InternalError, PyflowError, UnimplementedError, message


@dataclass(frozen=True)
class Request:
    """What to measure: at least ``runs`` runs and ``seconds`` seconds, after ``warmup`` runs."""

    engine: str
    path: str
    feeds: Mapping[str, Any]
    threads: int
    device: str
    warmup: int
    runs: int
    seconds: float
    profile: bool = False
    cache_dir: str | None = None


@dataclass
class Timing:
    """Seconds."""

    engine: str
    load: float
    first: float
    runs: list[float]
    steps: list[dict[str, Any]] = field(default_factory=list)

    def quantile(self, part: float) -> float:
        ordered = sorted(self.runs)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]

    def to_json(self) -> dict[str, Any]:
        return {
            "engine": self.engine,
            "load_seconds": self.load,
            "first_seconds": self.first,
            "median_seconds": self.quantile(0.5),
            "p90_seconds": self.quantile(0.9),
            "min_seconds": min(self.runs),
            "runs": len(self.runs),
            **({"steps": self.steps} if self.steps else {}),
        }


def measure_apart(request: Request) -> Timing:
    """:func:`measure` in a new process; its errors are raised here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            result = pool.submit(measure, request).result()
        except BrokenProcessPool:
            raise InternalError(message("bench", f"the process that ran {request.engine} ended early")) from None
    if isinstance(result, str):
        raise UnimplementedError(result)
    return result


def measure(request: Request) -> Timing | str:
    """Loads and runs the model; the text of an error if it cannot."""
    try:
        return _measured(request)
    except PyflowError as error:
        return str(error)
    except Exception as error:
        return message("bench", f"{request.engine} cannot run the model: {' '.join(str(error).split())[:400]}")


def _measured(request: Request) -> Timing:
    begin = time.perf_counter()
    run, profile = _ENGINES[request.engine](request)
    load = time.perf_counter() - begin
    times: list[float] = []

    def timed() -> float:
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    first = timed()
    for _ in range(request.warmup):
        run()
    end = time.perf_counter() + request.seconds
    while len(times) < request.runs or time.perf_counter() < end:
        times.append(timed())
    return Timing(request.engine, load, first, times, profile() if request.profile else [])


Engine = tuple[Callable[[], Any], Callable[[], list[dict[str, Any]]]]


def _pyflow(request: Request) -> Engine:
    from pyflow.cli.models import open_graph
    from pyflow.runtime.config import RunOptions, SessionConfig
    from pyflow.runtime.session import Session

    graph = open_graph(request.path, request.cache_dir)
    config = SessionConfig(threads=request.threads, device=request.device, cache_dir=request.cache_dir)
    session = Session(graph, config)
    function = session.make_callable(None, list(request.feeds))
    arrays = list(request.feeds.values())

    def profile() -> list[dict[str, Any]]:
        """The median time of each step over a few runs, without what is computed once."""
        seen: dict[int, list[Any]] = {}
        session.run(None, dict(request.feeds))
        for _ in range(5):
            session.run(None, dict(request.feeds), RunOptions(trace=True))
            assert session.last_trace is not None
            for event in session.last_trace.events:
                seen.setdefault(event.step, []).append(event)
        return [
            {
                "step": step,
                "kernel": events[0].kernel,
                "origin": events[0].origin,
                "shapes": list(events[0].shapes),
                "seconds": median(event.end - event.begin for event in events) / 1e9,
            }
            for step, events in seen.items()
        ]

    return lambda: function(*arrays), profile


def _onnxruntime(request: Request) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = request.threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(request.path, options, providers=["CPUExecutionProvider"])
    feeds = dict(request.feeds)
    return lambda: session.run(None, feeds), list


_ENGINES: Mapping[str, Callable[[Request], Engine]] = {"pyflow": _pyflow, "onnxruntime": _onnxruntime}
