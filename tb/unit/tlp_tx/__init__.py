"""Block bench of the sender of TLPs."""
