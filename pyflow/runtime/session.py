"""Session: compiles what a run fetches, once per (fetches, feeds), and runs it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from pyflow import _core, dims
from pyflow import graph as graphs
from pyflow.collecting import collected_after
from pyflow.errors import FailedPreconditionError, InvalidArgumentError, message, user_origin
from pyflow.graph import Graph, Value, get_default_graph
from pyflow.knobs import DEBUG, THREADS
from pyflow.operators import Unique
from pyflow.ops.state import GENERATOR
from pyflow.plan import Plan
from pyflow.region import needed_for
from pyflow.runtime import feeds as feeding
from pyflow.runtime import fetches as fetching
from pyflow.runtime.by_name import restore_by_name
from pyflow.runtime.config import RunOptions, SessionConfig, SessionStats
from pyflow.runtime.executable import Binding, Executable, compile_fetches
from pyflow.runtime.explain import Explanation, MemoryPlan, explain_plan
from pyflow.runtime.observe import NumericsCheck, Seen, Trace, print_time
from pyflow.runtime.plan_folder import folder_of
from pyflow.runtime.saved_plan import joined, save_plan
from pyflow.runtime.state import State
from pyflow.runtime.target import BackendTarget


class Session(Unique):
    """Runs parts of one graph over one State.

    graph: default: the default graph. config: see :class:`SessionConfig`. state: share another's variables.
    Any value may be fetched and any intermediate fed, by value or name. Safe to use from many threads: runs that
    write variables take turns. Use as a context manager, or call :meth:`close` to give memory back.
    """

    def __init__(
        self, graph: Graph | None = None, config: SessionConfig | None = None, state: State | None = None
    ) -> None:
        self.graph = graph or get_default_graph()
        self.config = config or SessionConfig()
        self.state = state or State()
        for name, value in self.graph.saved.items():
            if not self.state.has(name):
                self.state.set(name, value)
        self.stats = SessionStats()
        self.last_trace: Trace | None = None
        config = self.config
        self.target = BackendTarget(config.device, config.numerics, config.allow_fallback, config.weight_growth)
        self._threads = _core.Threads(self.config.threads or THREADS.get(), self.config.executor)
        self._cache: OrderedDict[Any, Executable] = OrderedDict()
        self._lock = threading.RLock()
        self._closed = False
        self._timed = DEBUG.get() >= 5
        stop = "infer" if self.config.check_numerics else None
        self._binding = Binding(self.target, self.state, self._threads, stop, folder_of(self.config.cache_dir))

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        return f"<pf.{type(self).__name__} on {self.config.device}, {self.graph!r}{state}>"

    @property
    def optional_variables(self) -> frozenset[str]:
        """Variables that a session gives a value itself."""
        return frozenset({GENERATOR})

    def run(
        self,
        fetches: Any,
        feed_dict: Mapping[Any, Any] | None = None,
        options: RunOptions | None = None,
        out: Any = None,
    ) -> Any:
        """Computes ``fetches`` and returns arrays in the same structure.

        fetches: a value, op, variable or name, or nested lists, tuples and dicts of them; None: ``graph.outputs``.
            An op gives None; a variable gives what it holds after the run.
        feed_dict: arrays by value or name. Contiguous arrays of the right dtype are not copied; they are never written.
        out: arrays to write the fetched values to, in the order of the fetched values; returned in their place.
        Raises InvalidArgumentError, NotFoundError, FailedPreconditionError, DeadlineExceededError, CancelledError ...;
        whatever is raised, variables are as they were.
        """
        feed = feed_dict if feed_dict is not None else {}
        key = (fetching.key_of(fetches), *[k if type(k) is str else id(k) for k in feed])
        executable = self._cache.get(key)
        if executable is None or self._closed:
            executable = self._compile(key, fetches, list(feed))
        elif len(self._cache) == self.config.plan_cache:
            self._touch(key)
        if options is None and out is None and not self.config.check_numerics and not self._timed:
            try:
                arrays = executable.run(*feed.values())
            except FailedPreconditionError:
                if not self._missing(executable):
                    raise
                self._initialise(executable)
                arrays = executable.run(*feed.values())
        else:
            arrays = self._run_with(executable, list(feed.values()), options or RunOptions(), out)
        self.stats.runs += 1
        self.graph.note_run()
        if executable.fetches.flat:
            return arrays[0]
        values = [self.state.get(variable.name) for variable in executable.fetches.variables]
        return executable.fetches.build([*arrays, *values])

    def make_callable(self, fetches: Any, feed_list: Sequence[Value | str] = ()) -> Callable[..., Any]:
        """A function of the arrays of ``feed_list``, in order, with everything looked up beforehand.

        It returns what ``run`` would. The quickest way to run one thing many times.
        """
        keys = list(feed_list)
        key = (fetching.key_of(fetches), *[k if type(k) is str else id(k) for k in keys])
        executable = self._cache.get(key) or self._compile(key, fetches, keys)
        if self._missing(executable):
            self._initialise(executable, only_automatic=True)
        plain = not (executable.fetches.variables or self.config.check_numerics or self._timed)
        if plain and executable.fetches.flat:
            native = executable.run
            return lambda *arrays: native(*arrays)[0]
        wanted = fetching.outputs_of(self.graph) if fetches is None else fetches
        row = type(wanted) in (list, tuple) and all(type(entry) in (Value, str) for entry in wanted)
        if plain and row and len(executable.fetches.values) == len(wanted):
            native = executable.run
            return native if type(wanted) is tuple else lambda *arrays: list(native(*arrays))

        def function(*arrays: Any) -> Any:
            if len(arrays) != len(keys):
                what = f"this callable takes {len(keys)} arrays, got {len(arrays)}"
                raise InvalidArgumentError(message("make_callable", what, user_origin()))
            return self.run(fetches, dict(zip(keys, arrays, strict=True)))

        return function

    def _compile(self, key: Any, fetches: Any, feed_keys: list[Any]) -> Executable:
        with self._lock:
            if self._closed:
                raise FailedPreconditionError(message("session", "the session is closed", user_origin()))
            found = self._cache.get(key)
            if found is not None:
                self._cache.move_to_end(key)
                return found
            made = restore_by_name(self.graph, fetches, feed_keys, self._binding)
            if made is None:
                with collected_after():
                    made = self._resolved(fetches, feed_keys)
            made.keys = (fetches, tuple(feed_keys))
            if made.kept_in:
                self.stats.cache_hits += 1
            else:
                self.stats.compiles += 1
            if DEBUG.get() >= 4:
                print(explain_plan(made), file=sys.stderr)
            self._cache[key] = made
            while len(self._cache) > self.config.plan_cache:
                self._cache.popitem(last=False)
                self.stats.evictions += 1
            if self._missing(made):
                self._initialise(made, only_automatic=True)
            return made

    def _resolved(self, fetches: Any, feed_keys: Sequence[Any]) -> Executable:
        wanted = fetching.resolve(self.graph, fetches)
        return compile_fetches(self.graph, wanted, feeding.resolve(self.graph, feed_keys), self._binding)

    def _touch(self, key: Any) -> None:
        """The plan was used: of those in the full cache it is now the last to go."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)

    def _missing(self, executable: Executable) -> list[str]:
        return [name for name in executable.reads if not self.state.has(name)]

    def _initialise(self, executable: Executable, only_automatic: bool = False) -> None:
        """Gives the generator its seed and, with ``auto_init``, other variables their initial values."""
        missing = self._missing(executable)
        if GENERATOR in missing:
            missing.remove(GENERATOR)
            self.state.set(GENERATOR, np.array([self._seed(), 0], np.int64))
        if missing and self.config.auto_init:
            writes = [self.graph.variables[name].initializer for name in missing]
            self.run([write for write in writes if write is not None])
            missing = self._missing(executable)
        if missing and not only_automatic:
            variable = self.graph.variables[missing[0]]
            raise FailedPreconditionError(
                message(
                    "run",
                    f"variable {variable.name}: {variable.type} has no value yet",
                    variable.initializer.origin if variable.initializer is not None else user_origin(),
                    "run pf.global_variables_initializer(), restore a checkpoint, or use SessionConfig(auto_init=True)",
                )
            )

    def _seed(self) -> int:
        for seed in (self.config.seed, self.graph.seed):
            if seed is not None:
                return int(np.int64(np.uint64(seed & (2**64 - 1))))
        return int.from_bytes(os.urandom(8), "little", signed=True)

    def _run_with(self, executable: Executable, arrays: list[Any], options: RunOptions, out: Any) -> Any:
        deadline = time.monotonic_ns() + int(options.timeout * 1e9) if options.timeout is not None else 0
        observers: list[Any] = []
        if options.trace:
            self.last_trace = Trace()
            observers.append(self.last_trace)
        if self.config.check_numerics:
            observers.append(NumericsCheck())
        if self._timed:
            observers.append(print_time)

        def observe(*step: Any) -> None:
            for observer in observers:
                observer(Seen(*step))

        given = None if out is None else [out] if isinstance(out, np.ndarray) else list(out)
        if self._missing(executable):
            self._initialise(executable)
        return executable.run.run(
            tuple(arrays),
            out=given,
            cancel=options.cancel.address if options.cancel is not None else 0,
            deadline_ns=deadline,
            observer=observe if observers else None,
        )

    def explain(self, fetches: Any = None, feeds: Sequence[Value | str] | None = None) -> Explanation:
        """What a run of ``fetches`` does: one row per step, with the user's line, backend, kernel and why."""
        return explain_plan(self._executable(fetches, feeds))

    def memory_plan(
        self, sizes: Mapping[str, int] | None = None, fetches: Any = None, feeds: Sequence[Value | str] | None = None
    ) -> MemoryPlan:
        """What a run at ``sizes`` (symbol → number) takes, before it runs: peak bytes and a row per buffer.

        What only the run tells is not in it: ``late`` lists the steps whose results take their memory then.
        """
        executable = self._executable(fetches, feeds)
        numbers = dict(sizes or {})
        try:
            shapes = [[dims.evaluate(size, numbers) for size in value.dims] for value in executable.feeds]
        except KeyError as missing:
            raise InvalidArgumentError(
                message("memory_plan", f"the size {missing} is not given", user_origin(), "pass sizes={name: number}")
            ) from None
        return MemoryPlan.of(executable.run.memory_plan(shapes), executable.about.plan)

    def _executable(self, fetches: Any, feeds: Sequence[Value | str] | None) -> Executable:
        if feeds is None:
            wanted = fetching.resolve(self.graph, fetches)
            feeds = _placeholders_of(self.graph, wanted)
        keys = list(feeds)
        key = (fetching.key_of(fetches), *[k if type(k) is str else id(k) for k in keys])
        made = self._cache.get(key) or self._compile(key, fetches, keys)
        if made.is_by_name:
            with self._lock:
                made = self._cache[key] = self._resolved(fetches, keys)
                made.keys = (fetches, tuple(keys))
        return made

    def save_plan(
        self, path: str | os.PathLike[str], entries: Mapping[str, tuple[Sequence[Value | str], Any]] | None = None
    ) -> None:
        """Writes compiled plans, constants and the variables' values to one file, which libpyflow loads without Python.

        entries: by name, (inputs, outputs): values or names to feed, and what to fetch, ops for their effect too.
            Default: ``{"main": (graph.inputs, graph.outputs)}``. They share the variables.
        Raises UnimplementedError listing every step that needs Python, and what ``run`` raises for the graph.
        """
        if entries is None:
            entries = {"main": (self.graph.inputs, self.graph.outputs)}
        save_plan(self.joined_plan(entries), self.graph, self.state, path)

    def joined_plan(self, entries: Mapping[str, tuple[Sequence[Value | str], Any]]) -> Plan:
        """One plan with an entry of each name, which needs no Python; see :meth:`save_plan`."""
        if not entries:
            raise InvalidArgumentError(message("plan", "expected at least one entry, got none", user_origin()))
        made = {}
        for name, (inputs, outputs) in entries.items():
            made[name] = self._executable(tuple(outputs) if isinstance(outputs, list) else outputs, inputs)
            if made[name].fetches.variables:
                variable = made[name].fetches.variables[0]
                what = f"entry {name!r} fetches the variable {variable.name}"
                raise InvalidArgumentError(
                    message("plan", what, user_origin(), "fetch variable.value(), or read it from the state")
                )
        return joined(self.graph, made)

    def close(self) -> None:
        """Forgets plans and gives their memory back; the State stays."""
        with self._lock:
            self._closed = True
            self._cache.clear()

    def __enter__(self) -> Session:
        graphs.enter_session(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        graphs.leave_session()
        self.close()


class InteractiveSession(Session):
    """A Session that ``value.eval()`` uses from its making to its closing."""

    def __init__(
        self, graph: Graph | None = None, config: SessionConfig | None = None, state: State | None = None
    ) -> None:
        super().__init__(graph, config, state)
        graphs.enter_session(self)

    def close(self) -> None:
        graphs.leave_session(self)
        super().close()


def _placeholders_of(graph: Graph, wanted: fetching.Fetches) -> list[Value]:
    """The placeholders that the fetches need, in the order of their declaration."""
    needed = needed_for(graph, wanted.targets)
    return [node.outputs[0] for node in needed if node.op.name == "placeholder"]
