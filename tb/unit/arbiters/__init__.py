"""Block benches of arbiters, FIFO and TLP merge."""
