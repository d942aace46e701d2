"""The small sequences, one after the other, on an endpoint that nobody's driver knows."""

from __future__ import annotations

import json
import os
import struct
from typing import Any, Final

import cocotb
import pyuvm
from pyuvm import uvm_sequence

from hypervisor_model.domains import Domain
from sw.abi.registers import Aperture, Form, SendDescriptor
from sw.guest.machine import EndpointGrant, ReceiveSetup
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.ethernet import on_line
from tb.uvm.items import WireItem
from tb.uvm.plan import Plan
from tb.uvm.sequences import pieces
from tb.uvm.tests.plan_test import PlanTest

RING_LOG2: Final = 4
SMALL: Final = 256
PAGES: Final = 64
_HEAD: Final = SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M


def descriptor(address: int, length: int, flags: int = 0, count: int = 1) -> bytes:
    """The first, or only, descriptor of a chain."""
    return struct.pack(">QHHI", address, 0, length, _HEAD | flags | count << SendDescriptor.CONTROL_RDMA_COUNT_S)


class RawGuest:
    """A guest with one endpoint, set up by hypercalls and driven by sequences alone."""

    def __init__(self, domain: Domain, form: Form) -> None:
        self.domain = domain
        self.form = form

    async def start(self) -> EndpointGrant:
        """Map rings and pages, enable."""
        calls = self.domain.kernel.endpoints
        self.grant = await calls.endpoint_allocate(self.form, Form.PUSHED)
        self.pages = self.domain.kernel.device_pages(self.grant)
        self.ring = await self.pages.map_run(1, readonly=True, ring=True)
        queues = [await self.pages.map_run(1, readonly=False, ring=True) for _ in range(2)]
        self.frames = await self.pages.map_run(1, readonly=True)
        self.buffers = await self.pages.map_run(1, readonly=False)
        for gfn in queues:
            self.domain.memory.page(gfn)[:] = bytes(PAGE_SIZE)
        send_cq, receive_cq = (self.pages.addresses[gfn] for gfn in queues)
        await self.domain.kernel.bind_interrupt(self.grant.endpoint, lambda: None)
        setup = ReceiveSetup(RING_LOG2, RING_LOG2, RING_LOG2 + 1, 12, SMALL - 2, 1518, (receive_cq,))
        base = self.pages.addresses[self.ring] if self.form is Form.FETCHED else 0
        await calls.endpoint_enable(self.grant.endpoint, RING_LOG2, RING_LOG2, base, send_cq, setup)
        return self.grant

    def frame(self, to: bytes, length: int) -> tuple[bytes, int]:
        """A frame in its page; its bytes and the page's device address."""
        data = (to + self.grant.mac + b"\x88\xb5" + bytes(range(256)))[:length]
        self.domain.memory.write(self.frames << PAGE_SHIFT, data)
        return data, self.pages.addresses[self.frames]


class PiecesSequence(uvm_sequence):
    """A pushed chain, an inline frame, a fetched chain, buffers, an arming, frames and a pause from the line."""

    def __init__(self, test: PiecesTest) -> None:
        super().__init__("pieces")
        self.test = test

    async def body(self) -> None:
        """Each in turn."""
        environment, ring = self.test.environment, 1 << RING_LOG2
        mmio, line, interrupt = environment.mmio.sequencer, environment.wire_in.sequencer, environment.interrupt.sequencer
        pushed, fetched = self.test.guests
        for guest in self.test.guests:
            grant = guest.grant
            first = guest.pages.addresses[guest.buffers]
            window = grant.aperture + Aperture.RX_SMALL_RING
            addresses = [first + n * SMALL for n in range(8)]
            await pieces.receive_buffers(guest.domain, window, ring, 0, addresses).start(mmio)
            await pieces.arm(guest.domain, grant.aperture, 1, 0).start(interrupt)
        look = pieces.read_word(pushed.grant.aperture, pushed.domain)
        await look.start(mmio)
        assert look.items[0].data == bytes(4)
        data, address = pushed.frame(fetched.grant.mac, 100)
        await pieces.pushed_chain(pushed.domain, pushed.grant.aperture, ring, 0, descriptor(address, len(data))).start(mmio)
        inline = descriptor(0, 70, SendDescriptor.CONTROL_INLINE_M, 6) + data[:70].ljust(80, b"\0")
        await pieces.pushed_chain(pushed.domain, pushed.grant.aperture, ring, 1, inline).start(mmio)
        data, address = fetched.frame(pushed.grant.mac, 120)
        rings = fetched.domain, fetched.grant.aperture, fetched.ring << PAGE_SHIFT, ring
        await pieces.fetched_chain(*rings, 0, descriptor(address, len(data))).start(mmio)
        await pieces.pause(10).start(line)
        for guest in self.test.guests:
            await pieces.wire_frame(WireItem(on_line(guest.grant.mac + bytes(6) + b"\x88\xb5"))).start(line)
            await pieces.wire_frame(WireItem.randomised(self.test.rng, guest.grant.mac, longest=SMALL - 2, bad=0.5)).start(line)


@pyuvm.test()
class PiecesTest(PlanTest):
    """Two raw guests; the scoreboard knows no difference."""

    def make_plan(self) -> Plan:
        """No guests with a driver."""
        return Plan(json.loads(os.environ["MYR_JOB"])["seed"])

    async def traffic(self) -> None:
        """Boot, the sequence, drain, counters."""
        await self.bench.boot()
        create: Any = self.bench.hypervisor.create_domain
        self.guests = [RawGuest(create(f"raw{n}", PAGES), form) for n, form in enumerate((Form.PUSHED, Form.FETCHED))]
        for guest in self.guests:
            await guest.start()
        await PiecesSequence(self).start()
        self.failures += await self.environment.drain()
        await self.environment.check_counters(self.bench.control)
        compared = self.environment.scoreboard.compared
        cocotb.log.info("pieces: %s", dict(compared))
        assert compared["send completions"] == 3 and compared["interrupts"] == 2, dict(compared)
