"""Every compile in the tests is checked after each pass; random examples are the same in every run, unless PYFLOW_FUZZ
asks for more of them."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("PYFLOW_CHECK", "1")

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("more", max_examples=100 * int(os.environ.get("PYFLOW_FUZZ", "1")), deadline=None)
settings.load_profile("more" if "PYFLOW_FUZZ" in os.environ else "same")
