"""What a compiled plan depends on, as one digest: the graph and its constants, how it is compiled, and by what."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cache

import numpy as np

from pyflow import _core, knobs, plan
from pyflow.graph import Node
from pyflow.opdef import Constant
from pyflow.printer import dump_held
from pyflow.region import Region
from pyflow.runtime import backends
from pyflow.runtime.target import BackendTarget
from pyflow.stored import StoredConstant

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def may_keep(target: BackendTarget) -> bool:
    """Is a plan for ``target`` what it would be in another process? Not where somebody looks at the passes, or plugins
    add kernels."""
    watched = knobs.DEBUG.get() or knobs.CHECK.get() or knobs.DUMP.get() or knobs.STOP_AFTER.get()
    return target.device == "cpu" and not watched and knobs.MAX_REWRITES.get() < 0 and not backends.are_extended()


def key(target: BackendTarget, stop_after: str | None, content: Iterable[str]) -> str:
    """The digest of ``content`` compiled for ``target`` by this pyflow on this CPU."""
    sum = hashlib.sha256()
    flags = (str(target.allow_fallback), str(target.weight_growth))
    settings = (target.device, target.numerics, *flags, stop_after or "")
    for text in (build(), str(plan.VERSION), _core.selected_isa(), *settings, *content):
        data = text.encode()
        sum.update(len(data).to_bytes(8, "little"))
        sum.update(data)
    return sum.hexdigest()


@cache
def build() -> str:
    """This pyflow: the digests of its files that were written down when it was installed, or where it runs from its
    sources the names, sizes and times of the files."""
    record = _record()
    if record is None:
        record = "\n".join(sorted(_files())).encode()
    return hashlib.sha256(record).hexdigest()


def _record() -> bytes | None:
    """The list of files and their digests of an installed package (PEP 376); None if there is none beside it."""
    folder, name = os.path.split(PACKAGE)
    found = [each for each in os.listdir(folder) if each.startswith(f"{name}-") and each.endswith(".dist-info")]
    if len(found) != 1:
        return None
    try:
        with open(os.path.join(folder, found[0], "RECORD"), "rb") as file:
            return file.read() or None
    except OSError:
        return None


def _files() -> Iterable[str]:
    pending = [PACKAGE]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith(("__pycache__", "lib", "include")):
                        pending.append(entry.path)
                elif entry.name.endswith((".py", ".so")):
                    about = entry.stat()
                    yield f"{entry.path[len(PACKAGE) :]} {about.st_size} {about.st_mtime_ns}"


def content_of(region: Region) -> list[str] | None:
    """The text of a captured region and the digests of its constants; None if it has ops that pyflow does not come
    with, which may be others the next time."""
    if not all(node.op.module.startswith("pyflow.") for node in _all_nodes(region)):
        return None
    text, constants = dump_held(region)
    return [text, *(f"{name} {_digest(held)}" for name, held in constants.items())]


def _all_nodes(region: Region) -> list[Node]:
    found = []
    for node in region.nodes():
        found.append(node)
        for body in node.op.bodies(node).values():
            found += _all_nodes(body)
    return found


def _digest(held: Constant) -> str:
    if isinstance(held, StoredConstant):
        return held.digest()
    data = np.ascontiguousarray(held.array)
    return f"{data.dtype} {data.shape} {hashlib.sha256(data.reshape(-1).view(np.uint8).data).hexdigest()}"
