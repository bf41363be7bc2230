"""Compiled plans in a folder, by content: one file each, written once, mapped by who finds it.

A file is ``PYFLCACH``, u32 version, u32 length of the head, u64 checksum of the head, u64 checksum of the data, the
head (JSON), zeros up to a multiple of 64, then the data: the plan's bytes and the arrays, each at a multiple of 64 from
the file's start. A file of another version, of another key, or that is not whole counts as not there. Files appear by
renaming and are never written to again: many processes may use one folder, and any file may be deleted.
"""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyflow import _core, dtypes
from pyflow.errors import PyflowError
from pyflow.knobs import CACHE_DIR
from pyflow.stored import room

MAGIC = b"PYFLCACH"
VERSION = 1
SUFFIX = ".pfplan"
_HEAD = struct.Struct("<8sIIQQ")
log = logging.getLogger("pyflow")


@dataclass(frozen=True)
class Entry:
    """What a file holds. The arrays are windows on the mapped file, read-only."""

    about: Mapping[str, Any]
    plan: bytes
    arrays: Sequence[np.ndarray]
    path: str


class PlanFolder:
    """A folder of compiled plans. Whatever is wrong with it costs a compile, and a word to the logger ``pyflow``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))

    def file_of(self, key: str) -> str:
        return os.path.join(self.path, key + SUFFIX)

    def get(self, key: str) -> Entry | None:
        """What was put there for ``key``; None if nothing was, or it cannot be used."""
        path = self.file_of(key)
        try:
            with open(path, "rb") as file:
                data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("plan cache: %s cannot be read, the plan is compiled: %s", path, error)
            return None
        try:
            return _read(data, key, path)
        except (ValueError, KeyError, TypeError, struct.error, PyflowError) as error:
            log.warning("plan cache: %s is damaged, the plan is compiled: %s", path, error)
            return None

    def put(self, key: str, about: Mapping[str, Any], plan: bytes, arrays: Sequence[np.ndarray]) -> None:
        """Keeps a plan. A folder that cannot be written to stays as it is."""
        temporary = ""
        try:
            os.makedirs(self.path, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{key[:16]}.")
            with os.fdopen(handle, "wb") as file:
                _write(file, key, about, plan, arrays)
            os.chmod(temporary, 0o444)
            os.replace(temporary, self.file_of(key))
        except OSError as error:
            log.warning("plan cache: nothing was kept in %s: %s", self.path, error)
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)


def _write(file: Any, key: str, about: Mapping[str, Any], plan: bytes, arrays: Sequence[np.ndarray]) -> None:
    rows, at = [], room(len(plan))
    for array in arrays:
        rows.append([dtypes.as_dtype(array.dtype).name, at, array.size])
        at += room(array.nbytes)
    head = json.dumps({"key": key, "about": about, "plan": len(plan), "arrays": rows, "bytes": at}).encode()
    start = room(_HEAD.size + len(head))
    file.write(bytes(_HEAD.size))
    file.write(head)
    file.write(bytes(start - _HEAD.size - len(head)))
    total = 0
    for block in (np.frombuffer(plan, np.uint8), *(_bytes_of(array) for array in arrays)):
        file.write(block.data)
        file.write(bytes(room(len(block)) - len(block)))
        total = _sum(total, block)
    file.seek(0)
    file.write(_HEAD.pack(MAGIC, VERSION, len(head), _core.checksum(head), total))


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _sum(total: int, block: np.ndarray) -> int:
    """The checksum of the checksums so far and of a block's."""
    return int(_core.checksum(struct.pack("<QQ", total, _core.checksum(block))))


def _read(data: mmap.mmap, key: str, path: str) -> Entry:
    """Raises ValueError, KeyError, TypeError or struct.error for what is no whole file of this key."""
    magic, version, length, head_sum, data_sum = _HEAD.unpack(data[: _HEAD.size])
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"it is no file of format version {VERSION}")
    head = data[_HEAD.size : _HEAD.size + length]
    if len(head) != length or _core.checksum(head) != head_sum:
        raise ValueError("its head is not whole")
    table = json.loads(head)
    if table["key"] != key:
        raise ValueError("it is of another key")
    start = room(_HEAD.size + length)
    if len(data) != start + table["bytes"]:
        raise ValueError(f"it has {len(data)} bytes, not {start + table['bytes']}")
    whole = np.frombuffer(data, np.uint8)
    plan = whole[start : start + table["plan"]]
    total = _sum(0, plan)
    arrays = []
    for name, offset, count in table["arrays"]:
        dtype = dtypes.as_dtype(name).numpy
        block = whole[start + offset : start + offset + count * dtype.itemsize]
        total = _sum(total, block)
        arrays.append(block.view(dtype))
    if total != data_sum:
        raise ValueError("its data is not whole")
    return Entry(table["about"], plan.tobytes(), arrays, path)


def folder_of(path: str | os.PathLike[str] | None) -> PlanFolder | None:
    """The folder that a user named, else that of PYFLOW_CACHE_DIR; None if there is none."""
    chosen = CACHE_DIR.get() if path is None else os.fspath(path)
    return PlanFolder(chosen) if chosen else None
