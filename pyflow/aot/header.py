"""The C99 header of a generated program."""

from __future__ import annotations

from collections.abc import Mapping

from pyflow.aot.program import Argument, Function, Program, Variable, room_of
from pyflow.aot.weights import Weights
from pyflow.dtypes import DType

ABI = 1
CODES = (
    "OK",
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "DATA_LOSS",
    "INTERNAL",
)
"""pf_code of pyflow/backend.h, in order."""


def c_type(dtype: DType) -> str:
    """Of one element; complex numbers are pairs, bool is a byte of 0 or 1."""
    if dtype.kind == "c":
        return dtype.c.removesuffix("[2]")
    return "uint8_t" if dtype.kind == "b" else dtype.c


def entry_parameters(program: Program, function: Function) -> list[str]:
    parameters = [f"{program.name}_state* state", "void* arena", "size_t arena_bytes"]
    parameters += [f"int64_t {function.sizes.symbol(symbol)}" for symbol in function.given]
    parameters += [f"const {c_type(a.port.view.dtype)}* {a.name}" for a in function.inputs]
    for argument in function.outputs:
        parameters.append(f"{c_type(argument.port.view.dtype)}* {argument.name}")
        if argument.late:
            parameters.append(f"int64_t* {argument.name}_dims")
    return [*parameters, f"const {program.name}_options* options", f"{program.name}_status* status"]


def header(program: Program, weights: Weights, embedded: bool, bytes_of: Mapping[str, int]) -> str:
    """The text of ``<name>.h``. ``bytes_of``: ``state`` and ``arena`` where they are known."""
    name, upper = program.name, program.name.upper()
    lines = _OPENING.format(name=name, upper=upper, weights=_weights_text(name, weights, embedded)).splitlines()
    lines += [f"#define {upper}_ABI {ABI}"]
    lines += [f"#define {upper}_ARENA_ALIGN 64 /* of the arena, the state's memory and a weights file */"]
    if "state" in bytes_of:
        lines += [f"#define {upper}_STATE_BYTES {bytes_of['state']} /* of memory for a state */"]
    if "arena" in bytes_of:
        lines += [f"#define {upper}_ARENA_BYTES {bytes_of['arena']} /* enough for every entry, on one thread */"]
    if not embedded:
        lines += [f"#define {upper}_WEIGHTS_BYTES {len(weights.data)}"]
    lines += ["", "enum {"]
    lines += [f"  {upper}_{code} = {index}," for index, code in enumerate(CODES[:-1])]
    lines += [f"  {upper}_{CODES[-1]} = {len(CODES) - 1}", "};", ""]
    lines += _TYPES.format(name=name, upper=upper).splitlines()
    lines += _variables(program.variables)
    lines += _STATE.format(name=name, upper=upper).splitlines()
    for function in program.functions:
        lines += _entry(program, function)
    lines += _CLOSING.splitlines()
    return "\n".join(lines) + "\n"


def _weights_text(name: str, weights: Weights, embedded: bool) -> str:
    if not weights.data:
        return " * There are no weights.\n"
    if embedded:
        return " * Weights are inside of the library.\n"
    return f" * Weights are the file {name}.weights (safetensors): map it and pass it to {name}_state_init.\n"


def shown(argument: Argument) -> str:
    """``float32[batch, 4]``."""
    view = argument.port.view
    return f"{view.dtype}[{', '.join(map(str, view.dims))}]"


def _entry(program: Program, function: Function) -> list[str]:
    full = f"{program.name}_{function.name}"
    lines = ["", f"/* {function.entry.name}"]
    for symbol in function.given:
        high = symbol.max if isinstance(symbol.max, int) else None
        reach = f"{symbol.min} to {high}" if high is not None else f"{symbol.min} or more"
        lines.append(f" *   {function.sizes.symbol(symbol)}: a size, {reach}")
    for kind, arguments in (("in ", function.inputs), ("out", function.outputs)):
        for argument in arguments:
            origin = f"   {argument.origin}" if argument.origin else ""
            known = f" ({argument.port.name})" if argument.name != argument.port.name else ""
            lines.append(f" *   {kind} {argument.name}{known}: {shown(argument)}{origin}".replace("*/", "* /"))
    for argument in function.outputs:
        if argument.late:
            room = room_of(argument, program.bounds)
            lines.append(f" *   {argument.name} has room for {room} elements; {argument.name}_dims gets its dims")
    if function.entry.commits:
        written = sorted({program.plan.buffers[c.variable].name for c in function.entry.commits})
        lines.append(f" *   writes {', '.join(written)}".replace("*/", "* /"))
    lines[-1] += " */"
    lines += _declaration(f"int32_t {full}", entry_parameters(program, function))
    sizes = [f"int64_t {function.sizes.symbol(symbol)}" for symbol in function.given]
    lines += ["/* Bytes of arena that it needs; 0 for sizes that are none. */"]
    lines += _declaration(f"size_t {full}_arena_bytes", [*sizes, "int32_t threads"])
    return lines


def _declaration(head: str, parameters: list[str]) -> list[str]:
    lines, line = [], f"{head}("
    indent = " " * min(len(line), 40)
    for index, parameter in enumerate(parameters):
        text = parameter + (");" if index == len(parameters) - 1 else ", ")
        if len(line) + len(text) > 118:
            lines.append(line.rstrip())
            line = indent
        line += text
    return [*lines, line]


def _variables(variables: list[Variable]) -> list[str]:
    if not variables:
        return ["/* There are no variables. */"]
    rows = [f" *   {v.name}: {v.dtype}[{', '.join(map(str, v.dims))}]".replace("*/", "* /") for v in variables]
    return ["/* Variables:", *rows[:-1], f"{rows[-1]} */"]


_OPENING = """\
/* {name}: a model compiled by pyflow. C99 and C++.
 *
 * Threads: a state is one writer's: entries that write variables, {name}_state_set and {name}_state_reset have it to
 * themselves. Any number of threads may run the others over one state, each with an arena of its own, once a first run
 * has prepared what depends on the variables since they were written. There are no hidden threads and no global state.
 * Memory: the caller owns all of it. Nothing is allocated, locked or thrown. The state must not be moved.
 * Arrays are row-major, without gaps, aligned to their elements. Outputs overlap nothing.
 * Errors: every function that can fail returns 0 or a code and fills the status, which may be NULL. A call that is
 * refused has touched nothing; after an error in a step outputs hold anything, variables are as they were.
{weights} */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#pragma GCC visibility push(default)

"""
_TYPES = """\
typedef struct {name}_state {name}_state;

typedef struct {name}_status {{
  int32_t code;
  char message[508]; /* what came, what was expected, where */
}} {name}_status;

/* The host's threads, and a wish to stop; or NULL for none. */
typedef struct {name}_options {{
  uint32_t struct_size; /* sizeof({name}_options) */
  int32_t threads;      /* how many parallel_for runs, at most; 0 and 1: the caller's alone */
  void* pool;           /* for parallel_for */
  /* Calls task(argument, index, thread) for each index in [0, ntasks) and returns when all are done. */
  void (*parallel_for)(void* pool, int64_t ntasks, void (*task)(void* argument, int64_t index, int32_t thread),
                       void* argument);
  const volatile int32_t* cancel; /* non-zero: the run stops between steps with {upper}_CANCELLED; or NULL */
}} {name}_options;
"""
_STATE = """\

/* Bytes that a state takes; 0 on a CPU that is not supported. */
size_t {name}_state_bytes(void);
/* Makes a state in memory of that many bytes, aligned to {upper}_ARENA_ALIGN, with the variables' first values.
 * weights: the contents of the weights file, kept as long as the state; NULL and 0 where they are inside. */
int32_t {name}_state_init(void* memory, size_t bytes, const void* weights, size_t weights_bytes, {name}_state** state,
                          {name}_status* status);
/* Back to the first values. */
int32_t {name}_state_reset({name}_state* state, {name}_status* status);
/* Copies a variable out or in; bytes is its size. */
int32_t {name}_state_get(const {name}_state* state, const char* variable, void* data, size_t bytes,
                         {name}_status* status);
int32_t {name}_state_set({name}_state* state, const char* variable, const void* data, size_t bytes,
                         {name}_status* status);
"""
_CLOSING = """\

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
"""
