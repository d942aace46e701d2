"""Bench of the receive side's data path."""
