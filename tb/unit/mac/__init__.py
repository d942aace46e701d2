"""Bench of the receiver, the receive buffer and pause."""
