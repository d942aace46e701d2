"""grant_table_op: the caller's grant table and what it may do with other domains' grants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.grants import GrantError
from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import SETUP_TABLE, GrantOp, GrantStatus
from sw.xen.memory import FRAME


def setup_table(call: Call) -> int:
    """Grow to `nr_frames` shared pages, mapped after the domain's RAM; their frame numbers go to `frame_list`."""
    at = call.argument(1)
    domid, frames, _, frame_list = call.unpack(SETUP_TABLE, at)
    domain = call.target(domid)
    table = call.hv.grants.table(domain.domid)
    have = len(table.frames)
    try:
        fresh = call.hv.grants.grow(domain.domid, frames)
    except GrantError as error:
        raise HypercallError(Errno.ENOMEM, f"grant table of {frames} pages: {error.status.name}") from error
    first = domain.layout.grant_table
    for n, frame in enumerate(fresh, have):
        domain.p2m.add_ram(first + n, frame)
    for n in range(len(table.frames)):
        call.pack(FRAME, frame_list + n * FRAME.size, first + n)
    call.pack(SETUP_TABLE, at, domid, frames, GrantStatus.OKAY, frame_list)
    return 0


OPERATIONS: Final[Mapping[int, Operation]] = {
    GrantOp.SETUP_TABLE: Operation(setup_table),
}
