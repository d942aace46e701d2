"""mmu_update: changes of page tables and of the M2P. Xen keeps both for translated guests, so every request is refused."""

from __future__ import annotations

import struct
from typing import Final

from hypervisor_model.hypercalls.call import Call
from sw.xen.errno import Errno, HypercallError
from sw.xen.xen import DOMID_SELF

_UPDATE: Final = struct.Struct("<QQ")
"""mmu_update_t: ptr, val."""
_TYPES: Final = ("page-table update", "M2P update", "update that keeps A and D", "update without translation")
"""By the low two bits of ptr."""


def mmu_update(call: Call) -> int:
    """ureqs, count, pdone, foreigndom. EINVAL for any request, as Xen gives translated domains; 0 for none."""
    ureqs, count, pdone, foreign = (call.argument(n) for n in range(4))
    call.target(foreign & 0xFFFF or DOMID_SELF)
    if pdone:
        call.write(pdone, bytes(4))
    if not count:
        return 0
    pointer, _ = call.unpack(_UPDATE, ureqs)
    raise HypercallError(Errno.EINVAL, f"{_TYPES[pointer & 3]} by {call.domain.name}, which is translated: Xen keeps its tables")
