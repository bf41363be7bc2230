"""One file of named arrays and text: safetensors, written atomically, with a digest over everything in it.

Checkpoints and saved graphs are both such files. Data only: nothing in them is executed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from pyflow import dtypes
from pyflow.errors import DataLossError, FailedPreconditionError, NotFoundError, message

VERSION = 2
_STORED = {dtype.name for dtype in dtypes.ALL if not dtype.storage_only} - {"complex128"}
"""What safetensors has a name for."""
_DIGEST = "pyflow.digest"
_NO_DIGEST = "0" * 64
_DTYPE = "pyflow.dtype:"
"""And an array's name: its dtype, where safetensors has none; such an array is stored as its bytes."""


def _digest(data: bytes, digest: str) -> str:
    """SHA-256 of a whole file, with the digest's own digits as zeros."""
    at = data.find(digest.encode())
    sum = hashlib.sha256(data[:at])
    sum.update(_NO_DIGEST.encode())
    sum.update(memoryview(data)[at + len(digest) :])
    return sum.hexdigest()


def write(path: str | os.PathLike[str], kind: str, arrays: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> None:
    """Writes to a temporary file beside ``path`` and renames it, so that ``path`` is whole or as it was."""
    path = Path(path)
    full = {**texts, "pyflow.kind": kind, "pyflow.version": str(VERSION), _DIGEST: _NO_DIGEST}
    stored = {}
    for name, array in arrays.items():
        stored[name] = np.ascontiguousarray(array).reshape(array.shape)
        if array.dtype.name not in _STORED:
            full[_DTYPE + name] = dtypes.as_dtype(array.dtype).name
            stored[name] = _as_bytes(stored[name])
    data = save(stored, full)
    digest = _digest(data, _NO_DIGEST)
    data = data.replace(_NO_DIGEST.encode(), digest.encode(), 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _as_bytes(array: np.ndarray) -> np.ndarray:
    """uint8, with one axis more where an element has several bytes."""
    size = array.dtype.itemsize
    flat = array.reshape(-1).view(np.uint8)
    return flat.reshape(array.shape if size == 1 else (*array.shape, size))


def _from_bytes(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    shape = array.shape if dtype.itemsize == 1 else array.shape[:-1]
    return np.ascontiguousarray(array).reshape(-1).view(dtype).reshape(shape)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def arrays_of(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of any safetensors file. NotFoundError if there is none, DataLossError if it is not whole."""
    arrays, texts = _content(path, "safetensors")
    return _typed(arrays, texts)


def _content(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if not Path(path).is_file():
        raise NotFoundError(message(kind, f"there is no file {os.fspath(path)!r}"))
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, dict(file.metadata() or {})
    except (SafetensorError, ValueError, TypeError, OverflowError, UnicodeDecodeError) as error:
        what = f"{os.fspath(path)!r} is truncated or altered: {error}"
        raise DataLossError(message(kind, what, None, "take another copy of the file")) from None


def _typed(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> dict[str, np.ndarray]:
    for name in arrays:
        if _DTYPE + name in texts:
            arrays[name] = _from_bytes(arrays[name], dtypes.as_dtype(texts.pop(_DTYPE + name)).numpy)
    return arrays


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, texts). NotFoundError if there is no file, DataLossError if it is not whole, or of another kind;
    FailedPreconditionError if a newer pyflow wrote it."""
    arrays, texts = _content(path, kind)
    data = Path(path).read_bytes()
    if texts.get("pyflow.kind") != kind:
        found = texts.get("pyflow.kind", "no pyflow file")
        raise DataLossError(message(kind, f"{os.fspath(path)!r} is {found}, not a {kind}"))
    version = texts.get("pyflow.version", "")
    if version.isdigit() and int(version) > VERSION:
        raise FailedPreconditionError(
            message(
                kind,
                f"{os.fspath(path)!r} has format version {version}; this pyflow reads up to {VERSION}",
                None,
                "update pyflow",
            )
        )
    digest = texts.pop(_DIGEST, "")
    if len(digest) != len(_NO_DIGEST) or digest != _digest(data, digest):
        raise DataLossError(
            message(
                kind,
                f"{os.fspath(path)!r} was altered: its digest does not match",
                None,
                "take another copy of the file",
            )
        )
    return _typed(arrays, texts), texts
