"""The trained network as a library: compiled ahead of time, called by a C++ program that CMake builds."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import pyflow as pf
from pyflow.demo.model import CLASSES, SIDE, Digits

NAME = "digits_net"


@dataclass(frozen=True)
class Ahead:
    """What the C++ program did."""

    values: int
    same_bits: bool
    code_bytes: int
    weight_bytes: int
    start_seconds: float
    """From the start of the process to the first result."""
    latency_seconds: float
    """One image, median."""
    seconds: float
    """Compiling and building."""


def find_tool(name: str) -> str | None:
    """A program beside Python's, where pip puts them, or on the path."""
    places = [os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)]
    return shutil.which(name, path=os.pathsep.join(places))


def why_not() -> str | None:
    """What is missing for :func:`run_ahead`, and how to get it."""
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
        return "there is no C++ compiler; install one, or set CXX"
    if find_tool("cmake") is None:
        return "there is no CMake; pip install cmake"
    if find_tool("ninja") is None and find_tool("make") is None:
        return "CMake needs ninja or make; pip install ninja"
    return None


def run_ahead(model: Digits, session: pf.Session, images: np.ndarray, folder: Path) -> Ahead:
    """Compiles, builds and runs it over ``images``. Raises what ``pf.aot.compile`` does, and CalledProcessError."""
    began = time.perf_counter()
    made = pf.aot.compile(session, {"predict": ([model.images], [model.logits])}, folder / "library", NAME)
    (folder / "main.cpp").write_text(_HOST)
    (folder / "CMakeLists.txt").write_text(_CMAKE)
    library = (folder / "library").resolve()
    cmake, ninja = find_tool("cmake") or "cmake", find_tool("ninja")
    shutil.rmtree(folder / "build", ignore_errors=True)
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"] if ninja else []
    options = [f"-D{NAME}_DIR={library}", "-DCMAKE_BUILD_TYPE=Release", *generator]
    _quietly([cmake, "-S", ".", "-B", "build", *options], folder)
    _quietly([cmake, "--build", "build"], folder)
    seconds = time.perf_counter() - began
    images.tofile(folder / "images.bin")
    host = [str((folder / "build" / "host").resolve()), "images.bin", "logits.bin"]
    starts = [_timed([*host, "1", "1"], folder) for _ in range(5)]
    latency = float(_quietly([*host, str(len(images)), "300"], folder))
    logits = np.fromfile(folder / "logits.bin", np.float32).reshape(len(images), CLASSES)
    expected = session.run(model.logits, {model.images: images})
    weights = json.loads(made.manifest.read_text())["weights"]["bytes"]
    size = (folder / "library" / f"lib{NAME}.so").stat().st_size
    same = np.array_equal(logits.view(np.uint32), expected.view(np.uint32))
    return Ahead(logits.size, same, size - weights, weights, statistics.median(starts), latency * 1e-6, seconds)


def _quietly(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def _timed(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    _quietly(command, folder)
    return time.perf_counter() - began


_CMAKE = f"""\
cmake_minimum_required(VERSION 3.16)
project(host CXX)
set(CMAKE_CXX_STANDARD 17)
find_package({NAME} CONFIG REQUIRED)
add_executable(host main.cpp)
target_link_libraries(host {NAME}::{NAME}_static)
"""
_HOST = (
    """\
// host images.bin logits.bin count turns: logits of `count` images; prints the microseconds that one image takes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "NAME.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const long count = std::atol(argv[3]), turns = std::atol(argv[4]);
  std::vector<float> images(static_cast<size_t>(count) * PIXELS), logits(static_cast<size_t>(count) * CLASSES);
  std::FILE* file = std::fopen(argv[1], "rb");
  if (file == nullptr || std::fread(images.data(), sizeof(float), images.size(), file) != images.size()) return 2;
  std::fclose(file);
  NAME_status status;
  NAME_state* state = nullptr;
  const size_t bytes = NAME_state_bytes(), arena_bytes = NAME_predict_arena_bytes(count, 1);
  void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  void* arena = std::aligned_alloc(64, (arena_bytes + 63) / 64 * 64);
  if (NAME_state_init(memory, bytes, nullptr, 0, &state, &status)) return std::puts(status.message);
  auto run = [&](long images_of_it) {
    return NAME_predict(state, arena, arena_bytes, images_of_it, images.data(), logits.data(), nullptr, &status);
  };
  std::vector<double> times;
  for (long turn = 0; turn < turns; ++turn) {
    const auto begin = std::chrono::steady_clock::now();
    if (run(1)) return std::puts(status.message);
    times.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  if (run(count)) return std::puts(status.message);
  file = std::fopen(argv[2], "wb");
  if (file == nullptr || std::fwrite(logits.data(), sizeof(float), logits.size(), file) != logits.size()) return 1;
  std::fclose(file);
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
  std::printf("%g\\n", times[times.size() / 2]);
}
""".replace("NAME", NAME)
    .replace("PIXELS", str(SIDE * SIDE))
    .replace("CLASSES", str(CLASSES))
)
