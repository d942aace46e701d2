"""Block bench of the TSO executor."""
