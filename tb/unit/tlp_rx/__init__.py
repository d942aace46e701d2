"""Block bench of the receiver of TLPs."""
