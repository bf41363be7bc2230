"""Passes: one file each; pipeline.py is the page that lists them."""
