"""Every compile in the tests is checked after each pass."""

from __future__ import annotations

import os

os.environ.setdefault("PYFLOW_CHECK", "1")
