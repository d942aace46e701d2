"""Sequences: one request, one frame, one interrupt; and whole traffic between guests."""
