"""Ops that sum up along axes."""
