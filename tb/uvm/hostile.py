"""A hostile guest beside the others: requests, buffers and rings that it has no right to, and what comes of them.

Nothing is expected here: the scoreboard knows what each of them must lead to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.interrupts import MESSAGE_BASE
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Aperture, Form, Mode, ReceiveBuffer, SendDescriptor, Status
from sw.guest.machine import ReceiveSetup
from sw.platform import PAGE_SIZE
from tb.sim.hostile import UNMAPPED, BadRequest, RawEndpoint, bad_requests, descriptor
from tb.uvm.reference import CONTROL_BAR

PAGES: Final = 64
WAIT_NS: Final = 400_000
"""Bound of the wait for one completion."""
_ENTRIES_LOG2: Final = 4
_QUEUE_LOG2: Final = 8
"""A page of completions: those that it never reads."""
_BIG_LOG2: Final = 12
SMALL_BYTES: Final = 126
"""Longest frame of its buffers: all that it posts are small ones."""
_MAX_FRAME: Final = 1518

REQUESTS: Final = ("read an unmapped page", "read a victim's page by machine address", "run from an own page into an unmapped one",
                   "address beyond the bus", "length 0", "longest length", "one byte above the limit", "count 0",
                   "count 255", "no FIRST", "reserved flag", "checksum of nothing", "inline frame above the limit",
                   "foreign source address", "inline, foreign source address", "inline, reserved flag",
                   "inline, checksum of nothing", "inline, a slot too few")
"""Of `tb.sim.hostile.bad_requests` and `more_requests`, by name."""
RING: Final = "send ring in an unmapped page"
DOORBELL: Final = "doorbell for what nobody has written"
BUFFERS: Final = ("buffer in an unmapped page", "buffer in a victim's page by machine address", "buffer in a page that is read-only",
                  "buffer from an own page into an unmapped one", "buffer beyond the bus", "buffer where interrupts are made")
ATTACKS: Final = (*REQUESTS, RING, DOORBELL, *BUFFERS)


def more_requests(own: int) -> list[BadRequest]:
    """Bad chains beside `tb.sim.hostile.bad_requests`; the page at device address `own` is all zeros."""
    size = 64
    head = SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M
    inline = head | SendDescriptor.CONTROL_INLINE_M
    checksum = SendDescriptor.CONTROL_CKSUM_M | size << SendDescriptor.CONTROL_CKSUM_OFFSET_S
    slots = size // SendDescriptor.BYTES
    zeros = bytes(size)
    return [
        BadRequest("foreign source address", descriptor(own, size), (Status.SPOOFED,)),
        BadRequest("inline, foreign source address", descriptor(0, size, inline, 1 + slots) + zeros, (Status.SPOOFED,)),
        BadRequest("inline, reserved flag", descriptor(0, size, inline | SendDescriptor.CONTROL_RESERVED_M, 1 + slots) + zeros,
                   (Status.UNSUPPORTED,)),
        BadRequest("inline, checksum of nothing", descriptor(0, size, inline | checksum, 1 + slots) + zeros, (Status.BAD_OFFLOAD,)),
        BadRequest("inline, a slot too few", descriptor(0, size, inline, slots) + zeros[SendDescriptor.BYTES :], (Status.BAD_DESCRIPTOR,)),
    ]


class Hostile:
    """A guest beside the others that asks for what it has no right to."""

    def __init__(self, hypervisor: Hypervisor, mode: Mode) -> None:
        self._hypervisor = hypervisor
        validated = mode is Mode.VALIDATED
        # rings of VALIDATED are the hypervisor's: there is but the doorbell
        own_mode = Mode.IOMMU if validated else mode
        # without a policy, endpoints that only send may use any source address
        self.domain = hypervisor.create_domain("hostile", PAGES, mode=own_mode, port_policy=PortPolicy())
        self._ringer = hypervisor.create_domain("ringer", PAGES, mode=mode) if validated else self.domain
        self._endpoints: dict[Form, RawEndpoint] = {}
        self._requests: dict[Form, dict[str, BadRequest]] = {}
        self._buffers: Mapping[str, int] = {}
        self._posted = 0

    async def start(self) -> None:
        """Take an endpoint of each form, with one page of its own to send from; the first one receives as well."""
        foreign = self._hypervisor.device.bars[CONTROL_BAR][0]
        for form in Form:
            receives = form is Form.PUSHED
            endpoint = self._endpoints[form] = await RawEndpoint.allocate(self.domain, form, Form.PUSHED if receives else None)
            _, own = await endpoint.map_page(readonly=True)
            await endpoint.enable(receive=await self._receive(endpoint, own, foreign) if receives else None)
            grant = endpoint.grant
            bad = [*bad_requests(own, foreign, grant.inline_max, grant.max_frame), *more_requests(own)]
            self._requests[form] = {request.name: request for request in bad}

    @property
    def mac(self) -> bytes:
        """Address of its endpoint that receives."""
        return self._endpoints[Form.PUSHED].grant.mac

    async def attack(self, name: str, form: Form) -> None:
        """One bad request, and what comes of it."""
        endpoint = self._endpoints[form]
        endpoint.submit(self._requests[form][name].slots)
        await endpoint.completion(WAIT_NS)
        await self._hypervisor.handle_faults()

    async def ring(self, name: str) -> None:
        """Ring for a descriptor that cannot be fetched, or that nobody has written, on an endpoint for this alone."""
        mapped = name == DOORBELL
        endpoint = await RawEndpoint.allocate(self._ringer if mapped else self.domain, Form.FETCHED)
        await endpoint.enable(send_base=None if mapped else UNMAPPED)
        endpoint.ring(1)
        await endpoint.completion(WAIT_NS)
        await self._hypervisor.handle_faults()
        await endpoint.release()

    async def post(self, name: str) -> None:
        """Offer a bad buffer; the NIC has it when this returns."""
        aperture = self._endpoints[Form.PUSHED].grant.aperture
        slot = self._posted % (1 << _ENTRIES_LOG2)
        self._posted += 1
        address = self._buffers[name].to_bytes(ReceiveBuffer.BYTES, "big")
        self.domain.mmio_write(aperture + Aperture.RX_SMALL_RING + slot * ReceiveBuffer.BYTES, address)
        # a read pushes it
        await self.domain.mmio_read(aperture, 4)

    async def _receive(self, endpoint: RawEndpoint, readonly: int, foreign: int) -> ReceiveSetup:
        """Receive side with a completion queue of its own, and the bad buffers by name."""
        _, queue = await endpoint.map_page(readonly=False)
        _, own = await endpoint.map_page(readonly=False)
        addresses = UNMAPPED, foreign, readonly, own + PAGE_SIZE - SMALL_BYTES // 2, 1 << 63, MESSAGE_BASE
        self._buffers = dict(zip(BUFFERS, addresses, strict=True))
        return ReceiveSetup(_ENTRIES_LOG2, _ENTRIES_LOG2, _QUEUE_LOG2, _BIG_LOG2, SMALL_BYTES, _MAX_FRAME, (queue,))
