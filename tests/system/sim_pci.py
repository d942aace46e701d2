"""Runs in the simulator: guests that find their device on a PCI bus of the control domain's, and timers of their vCPUs."""

from __future__ import annotations

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.host import DeviceConfig, Guest, Host
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.sharing import Sharing
from sw.abi.registers import NicControl
from sw.guest.pcifront import PciFront
from sw.guest.vmyri import VmyriNic
from sw.platform import CYCLE_NS
from sw.xen.vcpu import SET_PERIODIC_TIMER, VcpuOp
from sw.xen.xen import Hypercall, Virq
from tb.cosim.platform import HostConfig, RtlPlatform

PAGES = 640
WAIT_NS = 2_000_000
IDENTITY = bytes.fromhex("c1140800 00001000 00000002")
"""First three words of the header of a function of the card: IDs, command off, a capability list, Ethernet."""


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    platform = RtlPlatform(dut, HostConfig(seed=1))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    host = Host(hypervisor, platform, cocotb.start_soon, Sharing.IOMMU)
    await host.boot()
    guests = [await host.add_guest(hypervisor.create_domain(f"guest{n}", PAGES), DeviceConfig()) for n in range(2)]
    await traffic(platform, guests)
    assert hypervisor.entries.interrupts == 1
    for n, guest in enumerate(guests):
        assert isinstance(guest.device, VmyriNic)
        assert guest.device.endpoint == n and guest.function == platform.machine.nic_bus << 8 | n + 1
    # the driver has gone, its bus is still there for another one: off means off on the hardware as well
    first = guests[0]
    await first.device.close()
    control = await hypervisor.endpoints.read(NicControl.MSIX_CONTROL)
    assert control & NicControl.MSIX_CONTROL_MASK_M
    bus = PciFront(first.domain, first.store)
    await bus.open()
    function = await bus.find(0x14C1, 0x0008)
    words = [(await function.read(at, 4)).to_bytes(4, "little") for at in (0, 4, 8)]
    assert b"".join(words) == IDENTITY
    assert await function.memory_bar(2) == (first.domain.layout.device << 12, 0x1_0000)
    await bus.close()
    await timers(platform, guests[1])
    await guests[1].device.close()
    for guest in guests:
        assert await host.remove_guest(guest)
    await host.shut_down()


async def traffic(platform: RtlPlatform, guests: list[Guest]) -> None:
    """One frame to a guest that sleeps: its interrupt is the one that the bus has given it."""
    sender, receiver = (guest.device for guest in guests)
    frame = receiver.mac + sender.mac + b"\x88\xb5" + bytes(range(200))

    async def send() -> None:
        await platform.sleep(20_000)
        assert sender.send(frame)
        await sender.drain(WAIT_NS)

    async def receive() -> None:
        [got] = await receiver.receive(WAIT_NS)
        assert got.data == frame

    await gather(send(), receive())


async def timers(platform: RtlPlatform, guest: Guest) -> None:
    """Each at its time, to the cycle."""
    dom = guest.domain
    ticks: list[int] = []
    # the kernel has the timer of vCPU 0 already: its own waits are on it
    start = platform.now()
    assert not await dom.kernel.timers.wait_until(lambda: False, dom.signal(), 10_001)
    assert 10_001 <= platform.now() - start <= 10_001 + CYCLE_NS
    signal = dom.signal()
    [port] = [n for n, binding in dom.events.ports.items() if getattr(binding, "virq", None) == Virq.TIMER]
    await dom.kernel.unbind_event(port)
    port = await dom.hypercall.event_bind_virq(Virq.TIMER)

    def tick() -> None:
        ticks.append(platform.now())
        signal.notify()

    await dom.kernel.bind_event(port, tick)
    page = dom.ram.stop - 1 << 12
    dom.memory.write(page, SET_PERIODIC_TIMER.pack(1_000_000))
    start = platform.now()
    assert await dom.vmcall(Hypercall.VCPU_OP, VcpuOp.SET_PERIODIC_TIMER, 0, page) == 0
    assert await dom.vmcall(Hypercall.SET_TIMER_OP, start + 100_000) == 0
    for _ in range(3):
        assert await signal.wait(1_500_000)
    assert await dom.vmcall(Hypercall.VCPU_OP, VcpuOp.STOP_PERIODIC_TIMER, 0) == 0
    assert not await signal.wait(1_500_000)
    assert [time - start for time in ticks] == [100_000, 1_000_000, 2_000_000]
