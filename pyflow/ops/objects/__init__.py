"""Text, sequences, Python functions."""
