"""Bench of the switch and the frame buffer."""
