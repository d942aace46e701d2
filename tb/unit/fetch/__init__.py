"""Block bench of the fetch of descriptors."""
