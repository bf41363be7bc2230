"""Builds pyflow._core and libpyflow: core and bindings once, a kernel file once per ISA, only what changed.

PYFLOW_SANITIZE=address,undefined or =thread adds the sanitizers (-O1 -g, and only ISAS_WHEN_SANITIZING);
PYFLOW_BUILD_DEBUG=1 builds with -O1 -g; PYFLOW_ISAS=portable,avx2 leaves the others out; MAX_JOBS sets the
number of compilers that run at once; CXX names the compiler.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
SOURCE = Path("csrc")

ISAS = {
    "portable": ["-march=x86-64-v2"],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}

# All ISAs have the same sources: bounds depend on the width of a vector, races do not.
ISAS_WHEN_SANITIZING = {"thread": ("portable",), "address,undefined": ("portable", "avx2")}

WARNINGS = ["-Wall", "-Wextra", "-Wno-psabi", "-Wno-unused-function", "-Wno-ignored-attributes"]
COMMON = ["-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-pthread", *WARNINGS]
KERNEL = [
    "-std=c++17",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-threadsafe-statics",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fwrapv",
    "-ffunction-sections",
    "-fdata-sections",
]
"""Sections, so that a generated program is linked with no more than it uses."""


@dataclass(frozen=True)
class Unit:
    """One source and the object it becomes."""

    source: Path
    object: Path
    flags: tuple[str, ...]


LOOPS = ("loops", "loops_walk")
"""The kernel files that generated programs have in another's place."""
PLAIN_ISA = "plain"
PLAIN = ("destination", "loops_walk", "matmul_plan", "pack")
"""The kernel files that know no vectors: compiled once, for the least ISA, in a namespace of their own."""


def kernel_sources() -> list[Path]:
    """The files of backends/cpu that are compiled once per ISA or are PLAIN: all but backend*.cpp."""
    return [path for path in sorted((SOURCE / "backends/cpu").glob("*.cpp")) if not path.name.startswith("backend")]


def other_sources() -> list[Path]:
    kernels = set(kernel_sources())
    folders = ("core", "backends/cpu", "backends/null", "python", ".")
    return [path for folder in folders for path in sorted((SOURCE / folder).glob("*.cpp")) if path not in kernels]


def library_sources() -> list[Path]:
    """The C API, which libpyflow has beside what it shares with the extension."""
    return sorted((SOURCE / "capi").glob("*.cpp"))


def aot_sources() -> list[Path]:
    """What generated programs are linked with beside the kernels."""
    return sorted((SOURCE / "aot").glob("*.cpp"))


SMALL = ["-O2", "-fvect-cost-model=dynamic"]
ABREAST = ["-fschedule-insns", "-fsched-pressure"]
"""Long chains of operations on several vectors are interleaved; the register tiles of products must not be."""
SHORT = ["-O2"]
SHORTEST = ["-Os"]
"""Short code, so that generated programs are small. SMALL still makes vectors of loops that the compiler knows little
of, SHORT is for files whose long loops are written in vectors or that plan each task, SHORTEST for what is rare."""
OWN_FLAGS = {
    **dict.fromkeys(("gemm", "matmul"), SMALL),
    **dict.fromkeys(("conv", "destination", "matmul_plan", "pack", "pool", "run"), SHORT),
    **dict.fromkeys(("convolve", "copy_plan", "epilogue", *LOOPS), SHORTEST),
    **dict.fromkeys(("attention", "softmax", "tile_ops"), ABREAST),
}


def sanitizers() -> list[str]:
    names = os.environ.get("PYFLOW_SANITIZE", "")
    return [f"-fsanitize={names}", "-fno-omit-frame-pointer"] if names else []


def optimisation() -> list[str]:
    debug = sanitizers() or os.environ.get("PYFLOW_BUILD_DEBUG", "0") not in ("", "0")
    return ["-O1", "-g"] if debug else ["-O3"]


def isas() -> dict[str, list[str]]:
    names = ISAS_WHEN_SANITIZING.get(os.environ.get("PYFLOW_SANITIZE", ""), tuple(ISAS))
    wanted = os.environ.get("PYFLOW_ISAS", ",".join(names)).split(",")
    return {name: ISAS[name] for name in names if name in wanted}


def units(build: Path, version: str) -> list[Unit]:
    import pybind11

    shared = [*COMMON, *optimisation(), *sanitizers(), f"-I{SOURCE}", f"-I{SOURCE / 'include'}"]
    shared += [f"-DPF_WITHOUT_{name.upper()}" for name in ISAS if name not in isas()]
    python = [f"-isystem{pybind11.get_include()}", f"-isystem{sysconfig.get_paths()['include']}"]
    result = []
    least = ISAS["portable"]
    for source in kernel_sources():
        targets = {PLAIN_ISA: least} if source.stem in PLAIN else isas()
        for isa, march in targets.items():
            flags = (*KERNEL, *shared, *march, f"-DPF_ISA={isa}", *OWN_FLAGS.get(source.stem, []))
            result.append(Unit(source, build / isa / f"{source.stem}.o", flags))
    for source in aot_sources():
        flags = (*KERNEL, *shared, *OWN_FLAGS.get(source.stem, SHORTEST))
        result.append(Unit(source, build / "aot" / f"{source.stem}.o", flags))
    extra = {"python": python, "capi": [f'-DPYFLOW_VERSION="{version}"']}
    for source in (*other_sources(), *library_sources()):
        flags = ("-std=c++20", *shared, *extra.get(source.parent.name, ()))
        result.append(Unit(source, build / "other" / source.relative_to(SOURCE).with_suffix(".o"), flags))
    return result


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX", "g++"))


def is_current(target: Path, command: list[str], sources: list[Path]) -> bool:
    """True if ``target`` was made by this very command and is newer than everything it was made from."""
    record = target.with_suffix(".command")
    if not target.exists() or not record.exists() or record.read_text() != shlex.join(command):
        return False
    made = target.stat().st_mtime_ns
    return all(source.exists() and source.stat().st_mtime_ns < made for source in sources)


def run(target: Path, command: list[str]) -> bool:
    """Makes ``target`` under another name first, so that an interrupted build leaves no half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    if subprocess.run([*command, "-o", str(partial)], cwd=ROOT).returncode != 0:
        partial.unlink(missing_ok=True)
        return False
    target.with_suffix(".command").write_text(shlex.join(command))
    partial.replace(target)
    return True


def dependencies(unit: Unit) -> list[Path]:
    """What the compiler said the object was made from."""
    listing = unit.object.with_suffix(".d")
    if not listing.exists():
        return [unit.source]
    text = listing.read_text().replace("\\\n", " ")
    return [Path(name) for name in text.split(":", 1)[1].split()]


def compile_unit(unit: Unit) -> bool:
    """False if the compiler failed."""
    listing = ["-MMD", "-MF", str(unit.object.with_suffix(".d"))]
    command = [*compiler(), *unit.flags, *listing, "-c", str(unit.source)]
    if is_current(unit.object, command, dependencies(unit)):
        return True
    print("compiling", unit.object, flush=True)
    return run(unit.object, command)


def compile_all(all_units: list[Unit]) -> None:
    """Compiles what is not current, all of it even if one fails."""
    jobs = int(os.environ.get("MAX_JOBS", "0")) or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(jobs) as pool:
        made = list(pool.map(compile_unit, all_units))
    failed = [str(unit.source) for unit, good in zip(all_units, made, strict=True) if not good]
    if failed:
        raise CompileError("cannot compile " + ", ".join(dict.fromkeys(failed)))


def link(library: Path, command: list[str], objects: list[Path]) -> None:
    if not is_current(library, command, objects):
        print("linking", library, flush=True)
        if not run(library, command):
            raise CompileError(f"cannot link {library}")


def linked(all_units: list[Unit], without: str) -> list[Unit]:
    """What a runtime is made of: all but the folder ``without`` and what generated programs alone have."""
    return [u for u in all_units if u.source.parent.name not in (without, "aot") and u.source.stem not in LOOPS]


def link_extension(all_units: list[Unit], library: Path) -> None:
    """The module: everything but the C API and the runtime of generated programs."""
    objects = [unit.object for unit in linked(all_units, "capi")]
    link(library, [*compiler(), "-shared", "-pthread", *sanitizers(), *map(str, objects)], objects)


def link_libpyflow(all_units: list[Unit], folder: Path) -> list[Path]:
    """The shared library, which holds its own C++ runtime and exports one symbol, and the static one."""
    objects = [unit.object for unit in linked(all_units, "python")]
    shared = folder / "libpyflow.so.0"
    exports = SOURCE / "capi/exports.map"
    runtime = [] if sanitizers() else ["-static-libstdc++", "-static-libgcc"]
    options = ["-shared", "-pthread", "-Wl,-soname,libpyflow.so.0", f"-Wl,--version-script={exports}", "-Wl,-z,defs"]
    link(shared, [*compiler(), *options, *sanitizers(), *runtime, *map(str, objects), "-ldl"], [*objects, exports])
    static = folder / "libpyflow.a"
    archive(static, objects)
    return [shared, static]


def archive(target: Path, objects: list[Path]) -> None:
    if not is_current(target, ["ar", *map(str, objects)], objects):
        target.unlink(missing_ok=True)
        subprocess.run(["ar", "qcsD", str(target), *map(str, objects)], cwd=ROOT, check=True)
        target.with_suffix(".command").write_text(shlex.join(["ar", *map(str, objects)]))


def archive_kernels(all_units: list[Unit], folder: Path) -> list[Path]:
    """What generated programs are linked from: a member per kernel file and ISA, and their runtime. The loops' own
    runtime is an archive of its own, because it stands in the place of the program interpreter."""
    members = folder / "members"
    members.mkdir(exist_ok=True)
    named: dict[str, list[Path]] = {"kernels": [], "loops": []}
    for unit in all_units:
        kind = unit.object.parent.name
        if kind in ("aot", PLAIN_ISA) or (kind in ISAS and unit.source.stem != "table"):
            member = members / f"{kind}_{unit.object.name}"
            if not member.exists() or member.stat().st_mtime_ns < unit.object.stat().st_mtime_ns:
                place(unit.object, member)
            named["loops" if unit.source.stem in LOOPS else "kernels"].append(member)
    result = []
    for name, objects in named.items():
        result.append(folder / f"libpyflow_{name}.a")
        archive(result[-1], objects)
    return result


def place(source: Path, target: Path) -> None:
    """Copies under another name first, so that whoever has ``target`` open keeps what it was."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.copy2(source, partial)
    partial.replace(target)


class BuildExtension(build_ext):
    def build_extension(self, extension: Extension) -> None:
        os.chdir(ROOT)
        build = Path("build") / "-".join(["objects", *os.environ.get("PYFLOW_SANITIZE", "").split(",")]).rstrip("-")
        all_units = units(build, self.distribution.get_version())
        compile_all(all_units)
        library = build / "_core.so"
        link_extension(all_units, library)
        target = Path(self.get_ext_fullpath(extension.name))
        place(library, target)
        for made in (*link_libpyflow(all_units, build), *archive_kernels(all_units, build)):
            place(made, target.parent / "lib" / made.name)
        # What -lpyflow finds: a linker script, since a wheel holds no links.
        (target.parent / "lib" / "libpyflow.so").write_text("INPUT(libpyflow.so.0)\n")
        self.describe(target.parent / "lib", "${prefix}/include")

    def describe(self, folder: Path, include: str) -> None:
        """What CMake and pkg-config read."""
        for source in sorted((SOURCE / "cmake").iterdir()):
            text = source.read_text().replace("@VERSION@", self.distribution.get_version())
            target = (
                folder / ("pkgconfig" if ".pc" in source.suffixes else "cmake/pyflow") / source.name.removesuffix(".in")
            )
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text.replace("@INCLUDE@", include))

    def copy_extensions_to_source(self) -> None:
        super().copy_extensions_to_source()
        for made in sorted((Path(self.build_lib) / "pyflow/lib").glob("libpyflow*")):
            place(made, ROOT / "pyflow/lib" / made.name)
        self.describe(ROOT / "pyflow/lib", "${prefix}/../csrc/include")


class BuildPython(build_py):
    """Puts the C headers into the package, where plugins and ahead-of-time builds look for them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "pyflow" / "include" / "pyflow"
            target.mkdir(parents=True, exist_ok=True)
            for header in sorted((ROOT / SOURCE / "include/pyflow").glob("*.h*")):
                shutil.copy2(header, target)
            kernels = Path(self.build_lib) / "pyflow" / "include" / "kernels"
            kernels.mkdir(parents=True, exist_ok=True)
            for header in sorted((ROOT / SOURCE / "kernels").iterdir()):
                shutil.copy2(header, kernels)


if __name__ == "__main__":
    setup(
        ext_modules=[Extension("pyflow._core", [str(path) for path in (*kernel_sources(), *other_sources())])],
        cmdclass={"build_ext": BuildExtension, "build_py": BuildPython},
    )
