"""Block bench of the send rings and their executor."""
