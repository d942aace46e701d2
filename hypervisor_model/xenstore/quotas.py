"""What an unprivileged domain may use of the store.

Source: Xen `tools/xenstored/core.c`, defaults of the hard quotas (values restated).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quotas:
    """Limits of each domain; domain 0 has none. All but `queued_bytes` are Xen's, and so are their errors."""

    nodes: int = 1000
    """Nodes owned (ENOSPC)."""
    node_bytes: int = 2048
    """Value, permissions and children's names of a node (ENOSPC)."""
    permissions: int = 5
    """Entries of a node (ENOSPC)."""
    watches: int = 128
    """E2BIG."""
    transactions: int = 10
    """Open at a time (ENOSPC)."""
    transaction_nodes: int = 1024
    """Nodes that one transaction has touched (ENOSPC)."""
    outstanding: int = 20
    """Replies that wait for room in the ring: above it requests are left in theirs."""
    queued_bytes: int = 64 << 10
    """Replies and events that wait for room: above it events are dropped. Xen counts them as part of 2.5 MiB of memory."""
