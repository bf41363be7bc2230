"""What lies beside the library: a manifest, CMake and pkg-config packages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pyflow.aot import example
from pyflow.aot.example import Golden
from pyflow.aot.header import ABI
from pyflow.aot.program import Argument, Function, Program, most
from pyflow.aot.weights import Weights

VERSION = 1


def write_package(program: Program, weights: Weights, embedded: bool, folder: Path, emit: str, golden: Golden) -> None:
    name = program.name
    (folder / f"{name}.json").write_text(json.dumps(manifest(program, weights, embedded), indent=2) + "\n")
    (folder / f"{name}_golden.bin").write_bytes(golden.data)
    (folder / f"{name}_example.cpp").write_text(example.text(program, golden, embedded, bool(weights.data)))
    if emit == "cmake":
        (folder / f"{name}Config.cmake").write_text(_CMAKE.replace("@NAME@", name))
        for package, library in ((name, name), (f"{name}_static", f":lib{name}.a")):
            text = _PKG_CONFIG.replace("@PACKAGE@", package).replace("@LIBRARY@", library)
            (folder / f"{package}.pc").write_text(text)


def manifest(program: Program, weights: Weights, embedded: bool) -> dict[str, Any]:
    return {
        "format": VERSION,
        "abi": ABI,
        "name": program.name,
        "weights": {
            "embedded": embedded,
            "bytes": len(weights.data),
            "sha256": hashlib.sha256(weights.data).hexdigest(),
        },
        "plan": hashlib.sha256(program.plan.to_bytes()).hexdigest(),
        "numerics": program.plan.numerics,
        "entries": [_entry(program, function) for function in program.functions],
        "variables": [{"name": v.name, "dtype": str(v.dtype), "dims": list(v.dims)} for v in program.variables],
    }


def _entry(program: Program, function: Function) -> dict[str, Any]:
    return {
        "name": function.entry.name,
        "function": function.name,
        "sizes": [
            {"name": symbol.name, "min": symbol.min, "max": symbol.max if isinstance(symbol.max, int) else None}
            for symbol in function.given
        ],
        "solves": [
            {"size": s.symbol, "input": s.input, "axis": s.axis, "scale": s.scale, "shift": s.shift}
            for s in function.entry.solves
        ],
        "inputs": [_port(program, argument) for argument in function.inputs],
        "outputs": [_port(program, argument) for argument in function.outputs],
    }


def _port(program: Program, argument: Argument) -> dict[str, Any]:
    view = argument.port.view
    row = {
        "name": argument.port.name,
        "dtype": str(view.dtype),
        "dims": [size if isinstance(size, int) else str(size) for size in view.dims],
        "origin": argument.origin,
    }
    if not argument.late:
        return row
    room = [most(size, program.bounds) for size in view.dims]
    return {**row, "late": True, "room": [size if isinstance(size, int) else str(size) for size in room]}


_CMAKE = """\
# find_package(@NAME@ CONFIG): the targets @NAME@::@NAME@ (shared) and @NAME@::@NAME@_static.
get_filename_component(_@NAME@_folder "${CMAKE_CURRENT_LIST_FILE}" PATH)
if(NOT TARGET @NAME@::@NAME@)
  add_library(@NAME@::@NAME@ SHARED IMPORTED)
  set_target_properties(@NAME@::@NAME@ PROPERTIES
    IMPORTED_LOCATION "${_@NAME@_folder}/lib@NAME@.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_@NAME@_folder}")
  add_library(@NAME@::@NAME@_static STATIC IMPORTED)
  set_target_properties(@NAME@::@NAME@_static PROPERTIES
    IMPORTED_LOCATION "${_@NAME@_folder}/lib@NAME@.a"
    INTERFACE_LINK_LIBRARIES "m"
    INTERFACE_INCLUDE_DIRECTORIES "${_@NAME@_folder}")
endif()
"""
_PKG_CONFIG = """\
prefix=${pcfiledir}

Name: @PACKAGE@
Description: a model compiled by pyflow
Version: 1
Cflags: -I${prefix}
Libs: -L${prefix} -l@LIBRARY@ -lm
"""
