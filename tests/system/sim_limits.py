"""Runs in the simulator: what happens exactly at a limit, and one past it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Aperture, Form, NicControl, Refusal, SendDescriptor, Status
from sw.guest.virtual_nic import MAX_PIECES, SendForm, VirtualNic
from sw.platform import CYCLE_NS, PAGE_SHIFT
from tb.cosim.platform import HostConfig, ReadError, RtlPlatform, WireFrame
from tb.ethernet import without_fcs
from tb.sim.hostile import RING_LOG2, RawEndpoint, descriptor
from tests.system.line import check_line
from tests.system.traffic import MIN_WIRE, payload

WAIT_NS: Final = 5_000_000
SETTLE_NS: Final = 10_000
"""Longer than the NIC needs for any single chain."""
PLAIN: Final = SendDescriptor.CONTROL_NO_TSO_M
BUS_END: Final = 1 << 48
"""First address above the bus space (`myr_authorise`)."""
SLOT: Final = SendDescriptor.BYTES
RING: Final = 1 << RING_LOG2
READ_CYCLES: Final = 140
"""About what a short read takes at the default latency, cycles."""
FAR_CREDIT_CYCLES: Final = 5_000
PROMPT_NS: Final = 1_000 * CYCLE_NS
"""A frame that waits for nobody's credits leaves, and is completed, well within this."""


async def boot(dut: SimHandleBase, **settings: Any) -> tuple[RtlPlatform, Hypervisor]:
    platform = RtlPlatform(dut, HostConfig(seed=int(os.environ["COCOTB_RANDOM_SEED"]), **settings))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    return platform, hypervisor


def bodies(frames: list[WireFrame]) -> list[bytes]:
    """What left, without FCS; the FCS and the line's pace are checked."""
    check_line(frames)
    return [without_fcs(f.data) for f in frames]


async def send(nic: VirtualNic, frames: list[bytes]) -> None:
    for frame in frames:
        while not nic.send(frame):
            await nic.wait_for_room(WAIT_NS)
        nic.kick()
    await nic.drain(WAIT_NS)


async def short_frames(dut: SimHandleBase) -> None:
    """Frames of 1 to 60 bytes leave with 60, zeros behind: nothing of an earlier frame in the same slot."""
    platform, hypervisor = await boot(dut)
    for form in SendForm:
        nic = VirtualNic(hypervisor.create_domain(form.value, 64), form, 64, buffer_pages=8)
        await nic.open()
        # as many as there are frame slots, all ones
        await send(nic, [b"\xff" * 180] * 64)
        bodies(platform.wire_frames())
        frames = [bytes(range(1, length + 1)) for length in range(1, MIN_WIRE + 1)]
        await send(nic, frames)
        assert bodies(platform.wire_frames()) == [frame.ljust(MIN_WIRE, b"\0") for frame in frames]
        await nic.close()


async def chain_limits(dut: SimHandleBase) -> None:
    """Counts, addresses and slots one past what is allowed: an error of that chain alone, and the right next index."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("raw", 64)
    for form in (Form.PUSHED, Form.FETCHED):
        raw = await RawEndpoint.allocate(domain, form)
        gfn, own = await raw.map_page(readonly=True)
        await raw.enable()
        frame = bytes(range(1, 121))
        domain.memory.write(gfn << PAGE_SHIFT, frame)

        async def submit(slots: bytes, status: Status, length: int, taken: int, raw: RawEndpoint = raw) -> None:
            start = raw.index
            raw.submit(slots)
            assert await raw.completion() == (start + taken & 0xFFFF, length, status), f"{slots.hex()}"

        # a lap of good frames leaves a good descriptor in every slot
        for _ in range(RING):
            await submit(descriptor(own, 120), Status.OK, 120, 1)
        tail = b"".join(descriptor(own + 10 * n, 10, PLAIN) for n in range(1, MAX_PIECES))
        await submit(descriptor(own, 10, count=MAX_PIECES) + tail, Status.OK, 10 * MAX_PIECES, MAX_PIECES)
        await submit(descriptor(own, 10, count=MAX_PIECES + 1), Status.BAD_DESCRIPTOR, 0, 1)
        # refused as a whole: its first bytes are not asked for either
        await submit(descriptor(BUS_END - 32, 64), Status.NOT_AUTHORISED, 0, 1)
        await submit(descriptor(BUS_END, 64), Status.NOT_AUTHORISED, 0, 1)
        await platform.sleep(SETTLE_NS)
        # on record in the NIC, and nothing has reached the IOMMU
        before = len(hypervisor.faults.device)
        assert await hypervisor.handle_faults() == 1
        assert len(hypervisor.faults.device) == before and hypervisor.faults.nic[-1].reason is Refusal.RANGE
        await submit(descriptor(BUS_END - 64, 64), Status.READ_UR, 0, 1)
        # the pieces' sum does not fit 16 bits
        await submit(descriptor(own, 60, count=2) + descriptor(own, 0xFFFF, PLAIN), Status.BAD_LENGTH, 0, 2)
        if form is Form.PUSHED:
            # its second slot was executed a lap ago, and not written since
            await submit(descriptor(own, 60, count=2), Status.BAD_DESCRIPTOR, 0, 2)
            # flags of zero: not there yet
            raw.submit(bytes(SLOT))
            await platform.sleep(SETTLE_NS)
            await submit(descriptor(own, 120), Status.OK, 120, 1)
        # what failed is not found again a lap later
        for _ in range(RING):
            await submit(descriptor(own, 120), Status.OK, 120, 1)
        await hypervisor.handle_faults()
        await raw.release()
    assert set(bodies(platform.wire_frames())) == {frame}


async def doorbell_limits(dut: SimHandleBase) -> None:
    """A doorbell for the whole ring is obeyed; one for more, or half a doorbell, is dropped and counted."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("raw", 64)
    raw = await RawEndpoint.allocate(domain, Form.FETCHED)
    gfn, own = await raw.map_page(readonly=True)
    await raw.enable()
    frame = bytes(range(1, 81))
    domain.memory.write(gfn << PAGE_SHIFT, frame)
    for start in (0, RING):
        raw.submit(descriptor(own, len(frame)) * RING)
        for n in range(1, RING + 1):
            assert await raw.completion() == (start + n, len(frame), Status.OK)
    assert bodies(platform.wire_frames()) == [frame] * (2 * RING)
    dropped = await hypervisor.endpoints.read(NicControl.MMIO_DROPPED)
    raw.ring(raw.index + RING + 1)
    raw.ring(raw.index - 1)
    domain.mmio_write(raw.grant.aperture + Aperture.SEND_DOORBELL, bytes([raw.index + 1 & 0xFF]))
    await platform.sleep(SETTLE_NS)
    assert await hypervisor.endpoints.read(NicControl.MMIO_DROPPED) == dropped + 3
    assert platform.wire_frames() == []
    raw.submit(descriptor(own, len(frame)))
    assert await raw.completion() == (2 * RING + 1, len(frame), Status.OK)
    await raw.release()


async def ring_of_a_predecessor(dut: SimHandleBase) -> None:
    """Descriptors that were left in any slot of the largest ring are gone when the endpoint starts again."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("guest", 64)
    nic = VirtualNic(domain, SendForm.PUSHED, 1024, buffer_pages=4)
    await nic.open()
    window = aperture(hypervisor, domain, nic.endpoint) + Aperture.SEND_RING
    for slot in range(1, 1024):
        domain.mmio_write(window + slot * SLOT, descriptor(nic.buffers.base, 77))
    await platform.sleep(SETTLE_NS)
    await nic.close()
    await nic.open()
    frames = [payload(random.Random(n), 0, n, 60) for n in range(1030)]
    # the NIC looks at the next slot before it is written
    for first in range(0, len(frames), 50):
        await send(nic, frames[first : first + 50])
    assert bodies(platform.wire_frames()) == frames
    assert nic.completions[Status.OK] == len(frames) == sum(nic.completions)


def aperture(hypervisor: Hypervisor, domain: Domain, endpoint: int) -> int:
    """GPA of the endpoint's aperture."""
    return domain.layout.device + endpoint * hypervisor.endpoints.stride_pages << PAGE_SHIFT


async def completion_rings(dut: SimHandleBase) -> None:
    """Entries that wait for data credits leave in one write, which stays within a page and within its ring."""
    platform, hypervisor = await boot(dut, credit_pd=8, credit_latency=300)
    nics = [VirtualNic(hypervisor.create_domain(f"guest{n}", 128), SendForm.PUSHED, 1024, cq_entries=cq, buffer_pages=32)
            for n, cq in enumerate((1024, 1024, 16, 128))]
    for nic in nics:
        await nic.open()
    frames = [[payload(random.Random(n), guest, n, 60) for n in range(1100)] for guest in range(len(nics))]
    await gather(*(send(nic, mine) for nic, mine in zip(nics, frames, strict=True)))
    seen = bodies(platform.wire_frames())
    for guest, mine in enumerate(frames):
        assert [body for body in seen if body[11] == guest] == mine
        assert nics[guest].completions[Status.OK] == len(mine) == sum(nics[guest].completions)


async def late_completions(dut: SimHandleBase) -> None:
    """A completion after its read's time-out is dropped and counted, and never taken for another read's."""
    platform, hypervisor = await boot(dut)
    log: list[tuple[int, int, int]] = []
    nic = VirtualNic(hypervisor.create_domain("guest", 64), SendForm.PUSHED, 64, buffer_pages=8, completion_log=log)
    await nic.open()
    count = 30
    frames = [bytes([n]) * 16 for n in range(count)]
    await send(nic, frames)
    platform.wire_frames()
    # too short for any read, and longer than half of what the slowest takes
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, 110)
    log.clear()
    await send(nic, frames)
    await platform.sleep(SETTLE_NS)
    assert [status for _, _, status in log] == [Status.READ_TIMEOUT] * count
    assert platform.wire_frames() == []
    read = hypervisor.endpoints.read
    assert await read(NicControl.READ_TIMEOUTS) == count == await read(NicControl.UNEXPECTED_CPL)
    # around the time that a read takes: each one is whole or lost
    good = 0
    rng = random.Random(1)
    for timeout in [cycles for cycles in range(READ_CYCLES - 20, READ_CYCLES + 40) for _ in range(4)]:
        hypervisor.endpoints.write(NicControl.READ_TIMEOUT, timeout)
        log.clear()
        frame = rng.randbytes(rng.randint(60, 64))
        await send(nic, [frame])
        [(_, length, status)] = log
        assert (status, length) in ((Status.OK, len(frame)), (Status.READ_TIMEOUT, 0))
        await platform.sleep(3 * timeout * CYCLE_NS)
        assert bodies(platform.wire_frames()) == [frame] * (status == Status.OK)
        good += status == Status.OK
    assert 0 < good < 240, "the sweep does not reach both outcomes"
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, 12_500)
    lost = await read(NicControl.READ_TIMEOUTS)
    await send(nic, frames)
    assert bodies(platform.wire_frames()) == [frame.ljust(MIN_WIRE, b"\0") for frame in frames]
    assert await read(NicControl.READ_TIMEOUTS) == lost == count + 240 - good
    assert await read(NicControl.UNEXPECTED_CPL) == lost


async def reads_without_credits(dut: SimHandleBase) -> None:
    """Reads that wait for credits hold no completion entry."""
    platform, hypervisor = await boot(dut, credit_nph=1, credit_latency=FAR_CREDIT_CYCLES)
    reader = VirtualNic(hypervisor.create_domain("reader", 64), SendForm.PUSHED, 64, buffer_pages=8)
    inline = VirtualNic(hypervisor.create_domain("inline", 64), SendForm.INLINE, 64, buffer_pages=8)
    await reader.open()
    await inline.open()
    await send(inline, [bytes(60)])
    # one takes the only credit, the other waits for it
    for _ in range(2):
        assert reader.send(bytes(60))
    await platform.sleep(SETTLE_NS)
    for _ in range(8):
        before = platform.now()
        await send(inline, [bytes(60)])
        assert platform.now() - before < PROMPT_NS
    await reader.drain(WAIT_NS)


async def completions_without_credits(dut: SimHandleBase) -> None:
    """Completion entries that wait for credits hold no read."""
    platform, hypervisor = await boot(dut, credit_ph=1, credit_latency=FAR_CREDIT_CYCLES)
    nics = [VirtualNic(hypervisor.create_domain(f"guest{n}", 64), form, 64, buffer_pages=8)
            for n, form in enumerate((SendForm.INLINE, SendForm.PUSHED))]
    for nic in nics:
        await nic.open()
        await send(nic, [bytes(60)])
    await platform.sleep(2 * FAR_CREDIT_CYCLES * CYCLE_NS)
    platform.wire_frames()
    # the first entry takes the only credit, the second waits
    assert nics[0].send(bytes(60))
    await platform.sleep(PROMPT_NS)
    assert nics[0].send(bytes(60))
    await platform.sleep(PROMPT_NS)
    assert len(platform.wire_frames()) == 2
    assert nics[1].send(bytes(60))
    await platform.sleep(PROMPT_NS)
    assert len(platform.wire_frames()) == 1
    assert nics[0].in_flight and nics[1].in_flight
    await gather(*(nic.drain(WAIT_NS) for nic in nics))


async def second_doorbell(dut: SimHandleBase) -> None:
    """A doorbell is obeyed in whatever cycle of the fetch before it arrives."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("raw", 64)
    raw = await RawEndpoint.allocate(domain, Form.FETCHED)
    _, own = await raw.map_page(readonly=True)
    await raw.enable()
    for cycles in range(2 * READ_CYCLES):
        start = raw.index
        raw.submit(descriptor(own, 60))
        raw.index += 1
        await platform.sleep(cycles * CYCLE_NS)
        raw.submit(descriptor(own, 60))
        for n in (1, 2):
            assert await raw.completion() == (start + n & 0xFFFF, 60, Status.OK), f"{cycles} cycles between the doorbells"
    assert len(bodies(platform.wire_frames())) == 4 * READ_CYCLES


async def first_error(dut: SimHandleBase) -> None:
    """A frame of which several reads fail tells the first failure."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("guest", 64)
    log: list[tuple[int, int, int]] = []
    nic = VirtualNic(domain, SendForm.PUSHED, 64, buffer_pages=4, completion_log=log)
    await nic.open()
    base = nic.buffers.base
    for page, error in enumerate((ReadError.UR, ReadError.CA)):
        frame = domain.p2m.frame((base >> PAGE_SHIFT) + page)
        assert frame is not None
        platform.inject_read_error(frame << PAGE_SHIFT, error)
    second = base + (1 << PAGE_SHIFT)
    for pieces in ([(base, 100), (second, 100)], [(second, 100), (base, 100)]):
        assert nic.xmit(pieces)
        await nic.drain(WAIT_NS)
    assert [status for _, _, status in log] == [Status.READ_UR, Status.READ_CA]


CASES: Final[dict[str, Callable[[SimHandleBase], Coroutine[Any, Any, None]]]] = {
    case.__name__: case
    for case in (short_frames, chain_limits, doorbell_limits, ring_of_a_predecessor, completion_rings, late_completions,
                 reads_without_credits, completions_without_credits, second_doorbell, first_error)}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    await CASES[os.environ["MYR_CASE"]](dut)
