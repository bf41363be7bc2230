"""From text to libraries: drives the system's compiler and binutils."""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyflow.aot.header import header
from pyflow.aot.loops import has_loops
from pyflow.aot.program import Program
from pyflow.aot.weights import Weights
from pyflow.errors import FailedPreconditionError, NotFoundError, message
from pyflow.runtime.backends import built_isas, get_include, get_library_dir

FLAGS = (
    "-std=c++17",
    "-Os",
    "-Wall",
    "-Wextra",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fno-asynchronous-unwind-tables",
    "-ffp-contract=off",
)


ISA_FLAGS = {
    "portable": ("-march=x86-64-v2",),
    "avx2": ("-march=x86-64-v3",),
    "avx512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
LOOP_FLAGS = (
    *FLAGS,
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fwrapv",
    "-Wno-psabi",
    "-Wno-unused-function",
    "-Wno-ignored-attributes",
)
"""What kernels are compiled with (setup.py)."""


def archives() -> list[Path]:
    """What programs are linked from: the runtime of loops goes before the kernels, which have one of their own."""
    paths = [Path(get_library_dir()) / f"libpyflow_{name}.a" for name in ("loops", "kernels")]
    for path in paths:
        if not path.is_file():
            raise NotFoundError(message("aot", f"there is no {path.name}", None, "install pyflow with its libraries"))
    return paths


def kernel_include() -> Path:
    """The folder that holds ``kernels/scalar_ops.h``."""
    include = Path(get_include())
    return next(folder for folder in (include, include.parent) if (folder / "kernels/scalar_ops.h").is_file())


def compiler() -> list[str]:
    command = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(command[0]) is None:
        raise NotFoundError(
            message("aot", f"there is no compiler {command[0]!r}", None, "install one, set CXX, or use emit='source'")
        )
    return command


def extra_flags() -> list[str]:
    """CXXFLAGS: what is added to each command that compiles or links C++."""
    return shlex.split(os.environ.get("CXXFLAGS", ""))


def alone() -> list[str]:
    """What links a library to nothing but what is named, and to a sanitizer's library where CXXFLAGS ask for one."""
    extra = extra_flags()
    return extra if any(flag.startswith("-fsanitize") for flag in extra) else [*extra, "-nostdlib"]


def run(command: Sequence[str], folder: Path) -> None:
    """Runs a tool in ``folder``; its words are the error's."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    if shutil.which(command[0]) is None:
        raise NotFoundError(message("aot", f"there is no {command[0]!r}", None, "install binutils"))
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        what = f"{command[0]} failed:\n{(done.stderr or done.stdout).strip()[-2000:]}"
        raise FailedPreconditionError(message("aot", what, None, "use emit='source' to look at the text"))


def exported(program: Program) -> list[str]:
    """The symbols of the header."""
    names = ["state_bytes", "state_init", "state_reset", "state_get", "state_set"]
    for function in program.functions:
        names += [function.name, f"{function.name}_arena_bytes"]
    return [f"{program.name}_{name}" for name in names]


def compile_object(program: Program, folder: Path, embedded: bool) -> Path:
    """One relocatable object with the kernels that the program uses, where only the header's symbols are global."""
    name = program.name
    includes = [f"-I{get_include()}", f"-I{kernel_include()}"]
    commands = {f"{name}.part.o": [*compiler(), *FLAGS, *extra_flags(), *includes, "-c", f"{name}.cpp"]}
    if embedded:
        commands[f"{name}_weights.part.o"] = [*compiler(), "-c", f"{name}_weights.S"]
    if has_loops(program):
        for isa in built_isas():
            options = [*LOOP_FLAGS, *ISA_FLAGS[isa], *extra_flags(), f"-DPF_ISA={isa}"]
            commands[f"{name}_loops_{isa}.part.o"] = [*compiler(), *options, *includes, "-c", f"{name}_loops.cpp"]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in [pool.submit(run, [*command, "-o", part], folder) for part, command in commands.items()]:
            done.result()
    parts = list(commands)
    roots = [f"--undefined={symbol}" for symbol in _roots(program)]
    link = ["ld", "-r", "--force-group-allocation", "--gc-sections", *roots, "-o", f"{name}.whole.o"]
    run([*link, *parts, *map(str, archives())], folder)
    for part in parts:
        (folder / part).unlink()
    return folder / f"{name}.whole.o"


def _roots(program: Program) -> list[str]:
    return [*exported(program), *(f"{program.name}_{f.name}_arena_bytes_on" for f in program.functions)]


def keep_exported(program: Program, whole: Path) -> Path:
    """The same object, where nothing but what the header has can be seen."""
    kept = [f"--keep-global-symbol={symbol}" for symbol in exported(program)]
    target = whole.with_name(f"{program.name}.o")
    run(
        [
            "objcopy",
            *kept,
            "--strip-unneeded",
            "--remove-section=.comment",
            "--remove-section=.eh_frame",
            whole.name,
            target.name,
        ],
        whole.parent,
    )
    return target


def link_static(program: Program, folder: Path) -> Path:
    target = folder / f"lib{program.name}.a"
    target.unlink(missing_ok=True)
    run(["ar", "qcsD", target.name, f"{program.name}.o"], folder)
    return target


def link_shared(program: Program, folder: Path) -> Path:
    target = folder / f"lib{program.name}.so"
    options = ["-shared", "-Wl,-z,defs", "-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-s"]
    options += ["-Wl,-z,noseparate-code", *alone()]
    run(
        [*compiler(), *options, f"-Wl,-soname,{target.name}", f"{program.name}.o", "-o", target.name, "-lm", "-lc"],
        folder,
    )
    return target


def measure(program: Program, whole: Path) -> dict[str, int]:
    """Bytes of the state and, where no size is open, of the arena, on any ISA: what the header's macros say."""
    with tempfile.TemporaryDirectory() as scratch:
        probe = Path(scratch) / "probe.so"
        run(
            [*compiler(), "-shared", *alone(), whole.name, "-o", str(probe), "-lm", "-lc"],
            whole.parent,
        )
        try:
            library = ctypes.CDLL(str(probe))
        except OSError as error:
            hint = "set TMPDIR to a folder that libraries may be loaded from"
            what = f"what was built cannot be loaded: {error}"
            raise FailedPreconditionError(message("aot", what, None, hint)) from None
        state_bytes = getattr(library, f"{program.name}_state_bytes")
        state_bytes.restype = ctypes.c_size_t
        found = {"state": state_bytes()}
        if not any(function.given for function in program.functions):
            found["arena"] = max(_arena(library, program, function.name) for function in program.functions)
    return found


def _arena(library: ctypes.CDLL, program: Program, name: str) -> int:
    """Twice what the least ISA needs, which every machine can tell: wider vectors take wider scratch."""
    bytes_on = getattr(library, f"{program.name}_{name}_arena_bytes_on")
    bytes_on.restype = ctypes.c_size_t
    return 2 * int(bytes_on(0, 1))


def write_header(program: Program, weights: Weights, embedded: bool, folder: Path, bytes_of: dict[str, int]) -> None:
    (folder / f"{program.name}.h").write_text(header(program, weights, embedded, bytes_of))
