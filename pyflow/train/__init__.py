"""Checkpoints."""

from pyflow.train.saver import Saver, latest_checkpoint

__all__ = ["Saver", "latest_checkpoint"]
