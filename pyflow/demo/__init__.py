"""The main job, end to end: declare a small CNN, train it on digits, test it honestly, draw what happened."""

from pyflow.demo.digits import run_demo

__all__ = ["run_demo"]
