"""Ops that make, move, pick and sort elements."""
