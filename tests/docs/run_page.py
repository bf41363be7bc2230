"""Runs the code of a page: python blocks in one namespace, and the compilers that sh blocks call, in order. A C or C++
block that begins with a file's name in a comment is written there first.

    python run_page.py PAGE

An error's traceback names the page and its line. The current folder is the page's to write in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"// (\w+\.(?:c|cpp))\n")
COMPILERS = ("c++", "cc", "g++", "gcc")


def blocks(page: Path) -> Iterator[tuple[str, int, str]]:
    """(language, number of the first line, text) of every block."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        yield found[1], text.count("\n", 0, found.start(2)) + 1, found[2]


def main(page: Path) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for language, line, text in blocks(page):
        if language == "python":
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), namespace)
        elif language in ("c", "cpp") and (named := NAMED.match(text)):
            Path(named[1]).write_text(text)
        elif language == "sh" and text.startswith(COMPILERS):
            subprocess.run(["sh", "-ec", text], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
