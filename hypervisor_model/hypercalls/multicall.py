"""multicall: several hypercalls by one entry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from hypervisor_model.hypercalls.call import Call
from sw.xen.errno import Errno, HypercallError
from sw.xen.xen import MULTICALL_ENTRY, Hypercall

MAX_CALLS: Final = 512
_SIGNED: Final = 1 << 64


async def multicall(inside: Callable[[Call, int, tuple[int, ...]], Awaitable[int]], call: Call) -> int:
    """Carry out each entry by `inside` and write its result; one that fails does not stop the others."""
    at, count = call.argument(0), call.argument(1)
    if count > MAX_CALLS:
        raise HypercallError(Errno.EINVAL, f"multicall of {count}: at most {MAX_CALLS}")
    for n in range(count):
        entry = at + n * MULTICALL_ENTRY.size
        number, _, *arguments = call.unpack(MULTICALL_ENTRY, entry)
        if number == Hypercall.MULTICALL:
            result = -int(Errno.EINVAL)
        else:
            result = await inside(call, number, tuple(arguments))
        call.pack(MULTICALL_ENTRY, entry, number, result % _SIGNED, *arguments)
        if call.domain.stopped:
            break
    return 0
