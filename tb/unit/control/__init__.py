"""Block bench of the control queue, the registers and the endpoints' table and state."""
