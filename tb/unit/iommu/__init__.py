"""Bench of the IOMMU."""
