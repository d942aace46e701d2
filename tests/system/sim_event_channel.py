"""Runs in the simulator: the NIC's interrupt becomes an event of the guest, by the hypervisor or past it."""

from __future__ import annotations

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Aperture, NicControl
from sw.guest.virtual_nic import SendForm, VirtualNic
from tb.cosim.platform import HostConfig, RtlPlatform

ROUNDS = 20
WAIT_NS = 50_000
FRAME = bytes(60)


@cocotb.test
async def armed_completions_wake_the_guest(dut: SimHandleBase) -> None:
    """Three guests arm their send queues and sleep; each is woken once for each frame, at its own event channel."""
    platform = RtlPlatform(dut, HostConfig(seed=1))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    modes = [(False, True), (True, True), (True, False)]
    domains = [hypervisor.create_domain(f"guest{n}", 128, posted=posted) for n, (posted, _) in enumerate(modes)]
    woken = [0] * len(domains)

    async def guest(number: int) -> None:
        domain = domains[number]
        domain.vcpu.halts = not modes[number][1]
        nic = VirtualNic(domain, SendForm.PUSHED, 64, buffer_pages=4)
        await nic.open()
        assert nic._endpoint is not None
        arm = nic._endpoint.aperture + Aperture.ARM
        signal = domain.signal()
        port = await domain.kernel.bind_interrupt(nic.endpoint, signal.notify)
        for n in range(ROUNDS):
            domain.mmio_write(arm, (n & Aperture.ARM_INDEX_M).to_bytes(4, "little"))
            if n % 4 == 3:
                # nothing is sent: nobody wakes it, and time passes
                before = platform.now()
                assert not await signal.wait(1_000)
                assert 1_000 <= platform.now() - before < 1_100
            assert nic.send(FRAME)
            assert await signal.wait(WAIT_NS), f"guest {number}: no event for frame {n} in {WAIT_NS} ns"
            woken[number] += 1
            assert nic.reap() == 1
        await domain.kernel.unbind_interrupt(port)
        assert not await signal.wait(5_000)
        await nic.close()

    await gather(*(guest(number) for number in range(len(domains))))
    assert woken == [ROUNDS] * len(domains)
    assert hypervisor.entries.interrupts == 2 * ROUNDS and hypervisor.entries.posted == ROUNDS
    assert await hypervisor.endpoints.read(NicControl.INTERRUPTS) == 3 * ROUNDS
    assert hypervisor.interrupts.spurious == 0
    assert all(domain.kernel.unhandled_events == 0 and domain.events.ports == {} for domain in domains)
