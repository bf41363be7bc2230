"""libpyflow over cffi, for tests that hold its results beside others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyflow.dtypes import BY_CODE, as_dtype
from pyflow.runtime.backends import get_include, get_library_dir


def _declarations() -> str:
    text = ""
    for name in ("backend.h", "pyflow.h"):
        header = (Path(get_include()) / "pyflow" / name).read_text()
        header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.DOTALL)
        text += "\n".join(line for line in header.splitlines() if not line.lstrip().startswith("#"))
    return text.replace("PF_MAX_NDIM", "16").replace("PF_MAX_PHASES", "4").replace("PF_API ", "")


class Plan:
    """A saved plan over a state of its own."""

    def __init__(self, path: Path) -> None:
        import cffi

        self.ffi = cffi.FFI()
        self.ffi.cdef(_declarations())
        self.library = self.ffi.dlopen(str(Path(get_library_dir()) / "libpyflow.so.0"))
        self.api = self.library.pf_get_api(1)
        self.status = self.ffi.new("pf_status*")
        model, state = self.ffi.new("pf_model**"), self.ffi.new("pf_state**")
        self._check(self.api.model_load(str(path).encode(), model, self.status))
        self._check(self.api.state_create(model[0], state, self.status))
        self.model, self.state = model[0], state[0]
        self.contexts: dict[tuple[str, int], Any] = {}

    def _check(self, code: int) -> None:
        assert code == 0, self.ffi.string(self.status.message).decode()

    def _context(self, entry: str, threads: int) -> Any:
        if (entry, threads) not in self.contexts:
            options = self.ffi.new("pf_context_options*")
            options.struct_size, options.threads = self.ffi.sizeof("pf_context_options"), threads
            context = self.ffi.new("pf_context**")
            self._check(self.api.context_create(self.state, entry.encode(), options, context, self.status))
            self.contexts[entry, threads] = context[0]
        return self.contexts[entry, threads]

    def run(self, entry: str, arrays: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        context = self._context(entry, threads)
        described = self.api.model_find_entry(self.model, entry.encode())
        feeds = [np.ascontiguousarray(array).reshape(np.shape(array)) for array in arrays]
        inputs = self.ffi.new("pf_tensor[]", max(1, len(feeds)))
        for tensor, array in zip(inputs, feeds, strict=False):
            tensor.struct_size, tensor.dtype = self.ffi.sizeof("pf_tensor"), as_dtype(array.dtype).code
            tensor.ndim, tensor.bytes = array.ndim, array.nbytes
            tensor.data = self.ffi.cast("void*", array.ctypes.data)
            for axis, size in enumerate(array.shape):
                tensor.dims[axis] = size
        outputs = self.ffi.new("pf_tensor[]", max(1, described.noutputs))
        for index in range(described.noutputs):
            outputs[index].struct_size = self.ffi.sizeof("pf_tensor")
        counts = (len(feeds), outputs, described.noutputs)
        self._check(self.api.context_run(context, inputs, *counts, self.ffi.NULL, self.status))
        results = []
        for index in range(described.noutputs):
            tensor = outputs[index]
            array = np.empty([tensor.dims[axis] for axis in range(tensor.ndim)], BY_CODE[tensor.dtype].numpy)
            place = self.ffi.cast("void*", array.ctypes.data)
            self._check(self.api.context_output(context, index, place, array.nbytes, self.status))
            results.append(array)
        return results
