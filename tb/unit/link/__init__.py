"""Block bench of the link model."""
