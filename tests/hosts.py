"""C and C++ programs that tests build and run. CXXFLAGS is added to what compiles them, as `pf.aot.compile` does."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples" / "cpp"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
FLAGS = tuple(shlex.split(os.environ.get("CXXFLAGS", "")))
SANITIZED = any(flag.startswith("-fsanitize") for flag in FLAGS)
not_sanitized = pytest.mark.skipif(SANITIZED, reason="a sanitizer brings symbols and an allocator of its own")


def need(*tools: str) -> None:
    """Skips where a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")


def run(*command: Any, folder: Path | None = None, **environment: str) -> list[str]:
    """What a program printed. LD_PRELOAD is Python's, not its."""
    known = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    known["ASAN_OPTIONS"] = known.get("ASAN_OPTIONS", "").replace("detect_leaks=0", "detect_leaks=1")
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=folder, env={**known, **environment})
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout.splitlines()


def build(source: Path | str, *options: Any, out: str, folder: Path, compiler: str | None = None) -> Path:
    """``folder/out`` from a C99 or C++17 source; any warning is an error."""
    language = ("cc", "-std=c99") if str(source).endswith(".c") else ("c++", "-std=c++17")
    command = (compiler or language[0], language[1], *WARNINGS, "-O1", *FLAGS, source, *options, "-o", out)
    run(*command, folder=folder)
    return folder / out
