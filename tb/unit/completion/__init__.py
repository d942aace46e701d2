"""Block bench of the writer of send completions."""
