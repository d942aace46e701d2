"""Block bench of the DMA read engine."""
