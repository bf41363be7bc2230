"""Control flow: branches and loops whose bodies are Python functions, traced once when they are declared."""

from pyflow.flow import definitions as definitions
from pyflow.flow.branches import cond, switch_case
from pyflow.flow.loops import map, scan, while_loop
from pyflow.flow.sequences import sequence_map

__all__ = ["cond", "map", "scan", "sequence_map", "switch_case", "while_loop"]
