"""The trace record as numpy sees it."""

from __future__ import annotations

from typing import Final

import numpy as np

from sw.abi.registers import TraceRecord

TRACE_DTYPE: Final = np.dtype(
    {
        "names": ["cycle", "kind", "endpoint", "index", "info"],
        "formats": ["<u8", "u1", "u1", "<u2", "<u4"],
        "offsets": [
            TraceRecord.CYCLE_LO,
            TraceRecord.KIND,
            TraceRecord.KIND + TraceRecord.KIND_ENDPOINT_S // 8,
            TraceRecord.KIND + TraceRecord.KIND_INDEX_S // 8,
            TraceRecord.INFO,
        ],
        "itemsize": TraceRecord.BYTES,
    }
)
"""One `trace_record` of the register source."""
