"""Runs in the simulator: reads that fail, poisoned data, lost completions, and what becomes of the neighbours."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, NicControl, Status
from sw.guest.virtual_nic import NicHaltedError, SendForm, VirtualNic
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.cosim.platform import HostConfig, ReadError, RtlPlatform
from tb.ethernet import without_fcs
from tests.system.traffic import payload

WAIT_NS: Final = 2_000_000
TIMEOUT_CYCLES: Final = 6_000
"""Longer than a read waits behind all others; shorter than the default, for the test's sake."""
MRRS: Final = 512
EXPECTED: Final = {ReadError.UR: Status.READ_UR, ReadError.CA: Status.READ_CA, ReadError.POISONED: Status.READ_POISONED,
                   ReadError.DROPPED: Status.READ_TIMEOUT}
FRAMES: Final = 40
BAD: Final = range(3, FRAMES, 4)


async def boot(dut: SimHandleBase) -> tuple[RtlPlatform, Hypervisor]:
    platform = RtlPlatform(dut, HostConfig(seed=int(os.environ["COCOTB_RANDOM_SEED"]), read_jitter=50, reorder=True, mrrs=MRRS,
                                           random_split=True))
    hypervisor = Hypervisor(platform, max_read=MRRS)
    await hypervisor.boot()
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, TIMEOUT_CYCLES)
    return platform, hypervisor


def frames_of(guest: int) -> list[bytes]:
    rng = random.Random(guest)
    return [payload(rng, guest, n, 60 + 97 * n) for n in range(FRAMES)]


async def send(nic: VirtualNic, frames: list[bytes]) -> None:
    for frame in frames:
        while not nic.send(frame):
            await nic.wait_for_room(WAIT_NS)
        nic.kick()
    await nic.drain(WAIT_NS)


async def failed_payload_reads(dut: SimHandleBase, error: ReadError, form: SendForm) -> None:
    """Frames whose page fails get the error's status, in order; every other frame of anybody arrives."""
    platform, hypervisor = await boot(dut)
    victim = VirtualNic(hypervisor.create_domain("victim", 256), SendForm.FETCHED, 64)
    log: list[tuple[int, int, int]] = []
    domain = hypervisor.create_domain("unlucky", 256)
    unlucky = VirtualNic(domain, form, 64, buffer_alignment=PAGE_SIZE, buffer_pages=2 * FRAMES, completion_log=log)
    await victim.open()
    await unlucky.open()
    mine, theirs = frames_of(1), frames_of(0)
    # every frame has pages of its own, in order
    first = unlucky.buffers.base >> PAGE_SHIFT
    for n in BAD:
        machine_frame = domain.p2m.frame(first + n)
        assert machine_frame is not None
        platform.inject_read_error(machine_frame << PAGE_SHIFT, error)
    await gather(send(victim, theirs), send(unlucky, mine))

    assert victim.completions[Status.OK] == FRAMES == sum(victim.completions)
    statuses = [status for _, _, status in log]
    assert statuses == [EXPECTED[error] if n in BAD else Status.OK for n in range(FRAMES)]
    assert [length for _, length, _ in log] == [0 if n in BAD else len(mine[n]) for n in range(FRAMES)]
    bodies = [without_fcs(frame.data) for frame in platform.wire_frames()]
    assert [b for b in bodies if b[11] == 0] == theirs
    assert [b for b in bodies if b[11] == 1] == [frame for n, frame in enumerate(mine) if n not in BAD]
    read = hypervisor.endpoints.read
    assert await read(NicControl.FAILED_CHAINS) == len(BAD)
    # a frame starts a page: one read for each MRRS of it
    lost = sum(-(-len(mine[n]) // MRRS) for n in BAD)
    assert await read(NicControl.READ_TIMEOUTS) == (lost if error is ReadError.DROPPED else 0)
    assert await read(NicControl.UNEXPECTED_CPL) == 0
    # the endpoint is not the worse for it: its pages heal, everything arrives
    for n in BAD:
        machine_frame = domain.p2m.frame(first + n)
        assert machine_frame is not None
        platform.inject_read_error(machine_frame << PAGE_SHIFT, ReadError.NONE)
    await send(unlucky, mine)
    assert [frame.data[:-4] for frame in platform.wire_frames()] == mine


async def failed_descriptor_fetch(dut: SimHandleBase, error: ReadError) -> None:
    """A failed fetch is reported once, halts that endpoint, and a re-opened one works."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("unlucky", 256)
    victim = VirtualNic(hypervisor.create_domain("victim", 256), SendForm.FETCHED, 64)
    unlucky = VirtualNic(domain, SendForm.FETCHED, 64)
    await victim.open()
    await unlucky.open()
    frames = frames_of(0)
    await send(unlucky, frames[:5])
    ring_frame = domain.p2m.frame(unlucky.ring_gfn)
    assert ring_frame is not None
    platform.inject_read_error(ring_frame << PAGE_SHIFT, error)

    async def doomed() -> None:
        try:
            await send(unlucky, frames)
        except NicHaltedError:
            return
        raise AssertionError("the endpoint did not halt")

    await gather(send(victim, frames), doomed())
    assert victim.completions[Status.OK] == FRAMES, f"{victim.completions} {unlucky.completions}"
    assert unlucky.completions[Status.FETCH_ERROR] == 1 and unlucky.completions[Status.OK] == 5
    endpoint = unlucky.endpoint
    status = await hypervisor.endpoints.read(NicControl.ENDPOINT_STATUS + endpoint * NicControl.ENDPOINT_STRIDE)
    assert status & NicControl.ENDPOINT_STATUS_HALTED_M and not status & NicControl.ENDPOINT_STATUS_BUSY_M
    assert status >> NicControl.ENDPOINT_STATUS_ERROR_S & 0xFF == Status.FETCH_ERROR
    platform.inject_read_error(ring_frame << PAGE_SHIFT, ReadError.NONE)
    await unlucky.close()
    platform.wire_frames()
    await unlucky.open()
    await send(unlucky, frames)
    assert [frame.data[:-4] for frame in platform.wire_frames()] == frames


async def registers_outside_and_inside(dut: SimHandleBase) -> None:
    """What a hypervisor finds in the NIC's control page, and what it finds where nothing is."""
    platform, hypervisor = await boot(dut)
    read = hypervisor.endpoints.read
    assert (await read(NicControl.ID)).to_bytes(4, "big") == b"MYRM"
    assert await read(NicControl.CAPS) == 64 | 15 << 8 | 32 << 16 | 16 << 24
    assert await read(NicControl.LIMITS) == 192 | 9018 << 16
    assert await read(0x7FFC) == 0
    bars: dict[int, Any] = dict(hypervisor.device.bars)
    aperture = bars[2][0] if isinstance(bars[2], tuple) else bars[2]
    assert await platform.mmio_read(aperture + 0x4000, 4) == b"\0\0\0\0"
    machine = platform.machine
    assert await platform.mmio_read(machine.ecam + (machine.nic_bus << 20) + (5 << 12), 4) == b"\xff\xff\xff\xff"
    assert await platform.mmio_read(machine.pci_window + machine.pci_window_bytes - 4, 4) == b"\xff\xff\xff\xff"
    # writes where nothing is give their credits back: more of them than there are credits
    for _ in range(100):
        hypervisor.endpoints.write(0x8000, 1)
    before = await read(NicControl.MMIO_DROPPED)
    # a disabled endpoint takes neither doorbells nor descriptors
    platform.mmio_write(aperture, (1).to_bytes(4, "little"))
    platform.mmio_write(aperture + 0x4000, bytes(16))
    platform.mmio_write(aperture + 0x2000, bytes(4))
    assert await read(NicControl.MMIO_DROPPED) == before + 3
    control = NicControl.ENDPOINT_CTRL + 63 * NicControl.ENDPOINT_STRIDE
    value = Form.FETCHED << NicControl.ENDPOINT_CTRL_FORM_S | 15 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S
    hypervisor.endpoints.write(control, value)
    # ring sizes outside 16 to 1024 become the nearest allowed ones
    assert await read(control) == value & ~NicControl.ENDPOINT_CTRL_SEND_LOG2_M | (
        10 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S | 4 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S)


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    name, *arguments = os.environ["MYR_CASE"].split()
    if name == "payload":
        await failed_payload_reads(dut, ReadError[arguments[0]], SendForm[arguments[1]])
    elif name == "fetch":
        await failed_descriptor_fetch(dut, ReadError[arguments[0]])
    else:
        await registers_outside_and_inside(dut)
