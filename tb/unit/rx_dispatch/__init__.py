"""Block bench of the dispatch of received frames and their counters."""
