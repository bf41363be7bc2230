"""``python -m pyflow`` is the ``pyflow`` command."""

from pyflow.cli import main

main(prog_name="pyflow")
