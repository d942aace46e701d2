"""Block bench of the configuration space."""
