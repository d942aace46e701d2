"""Block bench of the sums of frames and the editor of their headers."""
