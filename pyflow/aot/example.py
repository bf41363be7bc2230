"""Golden vectors, and the example program that runs them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow import dims
from pyflow.aot.header import c_type
from pyflow.aot.program import Argument, Function, Program
from pyflow.dtypes import DType
from pyflow.errors import PyflowError
from pyflow.runtime.session import Session
from pyflow.runtime.state import State

ALIGNMENT = 64
VECTORS = 2


@dataclass(frozen=True)
class Golden:
    """Runs of the session, in order: sizes, inputs and outputs, each aligned to 64 bytes."""

    data: bytes
    functions: tuple[Function, ...]
    """Whose runs they are, ``VECTORS`` each, one after the other."""


def record(program: Program, session: Session, entries: Mapping[str, tuple[Sequence[Any], Any]]) -> Golden:
    """Runs each entry on random inputs, over variables of their own. An entry that refuses such inputs has no run."""
    state = State()
    for variable in program.variables:
        state.declare(variable.name, session.graph.variables[variable.name].type)
        if variable.value is not None:
            state.set(variable.name, variable.value)
    blocks: list[bytes] = []
    kept = []
    with Session(session.graph, session.config, state) as runner:
        for function in program.functions:
            if any(argument.late for argument in function.outputs):
                continue
            inputs, outputs = entries[function.entry.name]
            try:
                runs = [_run(runner, function, inputs, outputs, turn) for turn in range(VECTORS)]
            except (PyflowError, KeyError):
                break
            kept.append(function)
            blocks += [block for run in runs for block in run]
    return Golden(b"".join(block + bytes(-len(block) % ALIGNMENT) for block in blocks), tuple(kept))


def _run(session: Session, function: Function, inputs: Sequence[Any], outputs: Any, turn: int) -> Iterator[bytes]:
    random = np.random.default_rng(turn)
    sizes = {symbol.name: _size(symbol, turn) for symbol in function.given}
    feeds = [_array(random, argument, sizes) for argument in function.inputs]
    fetches = list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]
    results = session.run(fetches, dict(zip(inputs, feeds, strict=True)))
    named = [np.asarray(result) for result in results if result is not None]
    if len(named) != len(function.outputs):
        raise KeyError(function.name)
    blocks = [np.array(list(sizes.values()), np.int64), *feeds, *named]
    return iter([block.tobytes() for block in blocks])


def _size(symbol: dims.Symbol, turn: int) -> int:
    wanted = (symbol.hint or 3) + turn
    high = symbol.max if isinstance(symbol.max, int) else wanted
    return max(symbol.min, min(wanted, high))


def _array(random: np.random.Generator, argument: Argument, sizes: Mapping[str, int]) -> np.ndarray:
    dtype: DType = argument.port.view.dtype
    shape = [dims.evaluate(size, sizes) for size in argument.port.view.dims]
    if dtype.is_inexact:
        return np.asarray(random.standard_normal(shape)).astype(dtype.numpy)
    return np.asarray(random.integers(0, 2, shape)).astype(dtype.numpy)


def text(program: Program, golden: Golden, embedded: bool, weights: bool) -> str:
    """The example program: it compares every golden vector."""
    name = program.name
    lines = _HEAD.replace("@NAME@", name).splitlines()
    for function in golden.functions:
        lines += _function(program, function)
    head = _MAIN_WEIGHTS if weights and not embedded else _MAIN_EMBEDDED
    lines += (_MAIN_OPENING + head + _MAIN_STATE).replace("@NAME@", name).splitlines()
    for function in golden.functions:
        lines.append(f"  for (int turn = 0; turn < {VECTORS}; ++turn) run_{function.name}(state, golden);")
    return "\n".join([*lines, *_MAIN_CLOSING.splitlines()]) + "\n"


def _function(program: Program, function: Function) -> list[str]:
    name = program.name
    fields = [function.sizes.symbol(symbol) for symbol in function.given]
    values = {symbol.name: field for symbol, field in zip(function.given, fields, strict=True)}
    lines = [f"void run_{function.name}({name}_state* state, Golden& golden) {{"]
    lines.append(f"  const int64_t* sizes = golden.take<int64_t>({len(fields)});")
    lines += [] if fields else ["  static_cast<void>(sizes);"]
    lines += [f"  const int64_t {field} = sizes[{index}];" for index, field in enumerate(fields)]
    for kind, arguments in (("const ", function.inputs), ("", function.outputs)):
        for argument in arguments:
            count = _count(argument, values)
            c = c_type(argument.port.view.dtype)
            if kind:
                lines.append(f"  const {c}* {argument.name} = golden.take<{c}>({count});")
            else:
                lines.append(f"  std::vector<{c}> {argument.name}(static_cast<size_t>({count}));")
    call = ", ".join(
        [
            "state",
            "arena.data",
            "arena.bytes",
            *fields,
            *(a.name for a in function.inputs),
            *(f"{a.name}.data()" for a in function.outputs),
            "nullptr",
            "&status",
        ]
    )
    asked = ", ".join([*fields, "1"])
    lines += [
        f"  Memory arena({name}_{function.name}_arena_bytes({asked}));",
        f"  {name}_status status;",
        f"  if ({name}_{function.name}({call}) != 0) stop(status.message);",
    ]
    lines += [f'  golden.compare("{function.name}", "{a.name}", {a.name});' for a in function.outputs]
    return [*lines, "}", ""]


def _count(argument: Argument, values: Mapping[str, str]) -> str:
    """How many numbers an array has, as C++."""
    factors = ["2"] if argument.port.view.dtype.kind == "c" else []
    for size in argument.port.view.dims:
        factors.append(_plain(size, values))
    return " * ".join(factors) or "1"


def _plain(size: dims.Size, values: Mapping[str, str]) -> str:
    if isinstance(size, int):
        return str(size)
    parts = []
    for atoms, factor in size.terms:
        names = [_atom(atom, values) for atom in atoms]
        parts.append("*".join(names if factor == 1 and names else [str(factor), *names]))
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _atom(atom: dims.Atom, values: Mapping[str, str]) -> str:
    if isinstance(atom, dims.Symbol):
        return values[atom.name]
    return f"{atom.function}({', '.join(_plain(arg, values) for arg in atom.args)})"


_HEAD = """\
// Runs @NAME@ on the golden vectors that lie beside it and compares its results with the session's.
//   c++ -std=c++17 @NAME@_example.cpp lib@NAME@.a -lm -o example && ./example @NAME@_golden.bin
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "@NAME@.h"

namespace {

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "%s\\n", why.c_str());
  std::exit(1);
}

// Aligned as arenas, states and weights are.
struct Memory {
  explicit Memory(size_t size) : bytes((size + 63) / 64 * 64), data(std::aligned_alloc(64, bytes + 64)) {}
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }
  size_t bytes;
  void* data;
};

[[maybe_unused]] int64_t floordiv(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
}
[[maybe_unused]] int64_t mod(int64_t a, int64_t b) { return a - floordiv(a, b) * b; }
[[maybe_unused]] int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }
[[maybe_unused]] int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
[[maybe_unused]] int64_t broadcast(int64_t a, int64_t b) { return a == 1 ? b : a; }

size_t size_of(const char* path) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) stop(std::string("cannot open ") + path);
  std::fseek(file, 0, SEEK_END);
  const long size = std::ftell(file);
  std::fclose(file);
  return static_cast<size_t>(size);
}

void read(const char* path, Memory& memory, size_t size) {
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr || std::fread(memory.data, 1, size, file) != size) stop(std::string("cannot read ") + path);
  std::fclose(file);
}

class Golden {
 public:
  explicit Golden(const char* path) : size_(size_of(path)), memory_(size_) { read(path, memory_, size_); }

  template <typename T>
  const T* take(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    if (at_ + bytes > size_) stop("the golden vectors are too short");
    const auto* data = static_cast<const unsigned char*>(memory_.data) + at_;
    at_ += bytes;
    return reinterpret_cast<const T*>(data);
  }

  // Equal to the last bit on the machine that recorded them, close on others.
  template <typename T>
  void compare(const char* entry, const char* output, const std::vector<T>& got) {
    const T* expected = take<T>(static_cast<int64_t>(got.size()));
    size_t other_bits = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      if (std::memcmp(&got[i], &expected[i], sizeof(T)) == 0) continue;
      ++other_bits;
      if constexpr (std::is_floating_point_v<T>) {
        if (std::fabs(got[i] - expected[i]) <= T(1e-3) * (1 + std::fabs(expected[i]))) continue;
      }
      stop(std::string(entry) + ": " + output + "[" + std::to_string(i) + "] is not what it was");
    }
    std::printf("%s: %s: %zu values, %zu with other bits\\n", entry, output, got.size(), other_bits);
  }

 private:
  size_t size_, at_ = 0;
  Memory memory_;
};

"""
_MAIN_OPENING = """\
}  // namespace

int main(int argc, char** argv) {
  Golden golden(argc > 1 ? argv[1] : "@NAME@_golden.bin");
"""
_MAIN_WEIGHTS = """\
  const char* path = argc > 2 ? argv[2] : "@NAME@.weights";
  const size_t weights_bytes = size_of(path);
  Memory weights(weights_bytes);
  read(path, weights, weights_bytes);
  const void* weights_data = weights.data;
"""
_MAIN_EMBEDDED = """\
  const size_t weights_bytes = 0;
  const void* weights_data = nullptr;
"""
_MAIN_STATE = """\
  Memory memory(@NAME@_state_bytes());
  @NAME@_state* state = nullptr;
  @NAME@_status status;
  if (@NAME@_state_init(memory.data, memory.bytes, weights_data, weights_bytes, &state, &status) != 0)
    stop(status.message);
"""
_MAIN_CLOSING = """\
  std::puts("all as recorded");
  return 0;
}
"""
