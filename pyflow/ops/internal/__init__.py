"""Ops that only passes make."""
