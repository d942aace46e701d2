"""Where every cycle of every packet went: from the hardware's trace to one row per packet and latency tables."""
