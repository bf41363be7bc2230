"""Ops on pictures and boxes in them."""
