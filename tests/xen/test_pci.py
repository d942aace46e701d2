"""PCI front and back end: layouts, what a guest may read and write, MSI-X by operations, and hostile front ends."""

from __future__ import annotations

import ctypes
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.host import DeviceConfig, Host
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.pciback import PciBackEnd
from hypervisor_model.sharing import Sharing
from sw.abi.registers import Form, Mode, NicControl
from sw.guest.pcifront import PcifrontError
from sw.guest.transmit import NicError, SendForm
from sw.guest.virtual_nic import ReceiveConfig, VirtualNic
from sw.guest.vmyri import VmyriNic
from sw.guest.xenbus import BackendGoneError
from sw.pci import slot
from sw.platform import PlatformTimeoutError
from sw.xen.errno import HypercallError
from sw.xen.io import pciif
from sw.xen.io.xenbus import XenbusState
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS, machine
from tests.xen.cpu_support import raw
from tests.xen.pci_support import (
    DENIED,
    DISABLE_MSI,
    DISABLE_MSIX,
    ENABLE_MSI,
    ENABLE_MSIX,
    FAILED,
    FIRST_VF,
    INVALID_OFFSET,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    READ,
    WRITE,
    Answer,
    MsixEntry,
    PciBench,
    PciGuest,
    PciOpStruct,
    RawFront,
    SharedInfo,
    config_image,
    front_of,
)

MEMORY, MASTER, INTX_DISABLE = 2, 4, 0x400
ENXIO, EACCES, EBUSY, ENODEV, EINVAL, ENOSPC, EALREADY = 6, 13, 16, 19, 22, 28, 114
FIRST_PIRQ = 16


# --- layouts -----------------------------------------------------------------------------------------------------------


def test_layouts_byte_by_byte() -> None:
    names = ("cmd", "err", "domain", "bus", "devfn", "offset", "size", "value", "info")
    values = (0x01020304, -2, 0x11121314, 0x21222324, 0x31323334, -5, 0x41424344, 0x51525354, 0x61626364)
    packed = pciif.OP.pack(*values)
    filled = PciOpStruct(*values)
    assert packed == bytes(filled)[: len(packed)]
    assert PciOpStruct.msix_entries.offset == pciif.VECTORS_AT == len(packed) == 36
    for name in names:
        single = PciOpStruct(**{name: 1})
        (at,) = (n for n, byte in enumerate(bytes(single)) if byte)
        assert pciif.OP.unpack_from(bytes(single))[names.index(name)] == 1 and at == getattr(PciOpStruct, name).offset
    assert pciif.OP_ERR == PciOpStruct.err.offset == 4 and pciif.OP_VALUE == PciOpStruct.value.offset == 28
    assert pciif.VECTOR.pack(0x1122, 0x3344) == bytes(MsixEntry(0x1122, 0x3344)) == bytes.fromhex("22114433")
    assert pciif.OP_BYTES == ctypes.sizeof(PciOpStruct) == 548
    assert pciif.OP_AT == SharedInfo.op.offset == 4 and ctypes.sizeof(SharedInfo) == 572
    assert SharedInfo.flags.size == 4 and 1 << pciif.ACTIVE == 1 and pciif.MAGIC == "7" and pciif.MAX_VECTORS == 128
    assert [op.value for op in pciif.PciOp] == [0, 1, 2, 3, 4, 5]
    assert [err.value for err in pciif.PciErr] == [0, -1, -2, -3, -4, -5]


def test_slots_are_written_as_lspci_does() -> None:
    assert slot(0x0101) == "0000:01:00.1" and slot(0x0140) == "0000:01:08.0" and slot(0x12345A9F) == "1234:5a:13.7"


# --- xenstore ----------------------------------------------------------------------------------------------------------


def test_toolstack_and_back_end_write_what_libxl_and_pciback_write() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug(number=8)
        store, domid = bench.daemon.local, guest.dom.domid
        back = f"/local/domain/0/backend/pci/{domid}/0"
        assert {key: store.read(f"{back}/{key}") for key in store.directory(back)} == {
            "frontend": f"/local/domain/{domid}/device/pci/0", "frontend-id": str(domid), "online": "1", "state": "2",
            "domain": f"guest{domid}", "key-0": "0000:01:01.1", "dev-0": "0000:01:01.1", "num_devs": "1", "state-0": "3",
            "opts-0": "msitranslate=0,power_mgmt=0,permissive=0", "vdev-0": "0000:00:00.00", "root_num": "1", "root-0": "0000:00",
        }  # fmt: skip
        front = f"/local/domain/{domid}/device/pci/0"
        assert {key: store.read(f"{front}/{key}") for key in store.directory(front)} == {
            "backend": back, "backend-id": "0", "state": "1",
        }  # fmt: skip
        bus = front_of(guest)
        await bus.open()
        keys = {key: store.read(f"{front}/{key}") for key in ("magic", "state", "event-channel", "pci-op-ref")}
        assert keys["magic"] == "7" and keys["state"] == "4" and int(keys["event-channel"]) and int(keys["pci-op-ref"])
        await bus.close()
        assert store.read(f"{front}/state") == "6" and store.read(f"{back}/state") == "2"
        await bus.open()
        await bus.close()
        assert await bench.tools.pci_detach(domid)
        assert store.directory("/local/domain/0/backend") == []

    bench.run(body)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ({"magic": "6"}, "magic is '6'"),
        ({"magic": "7 "}, "magic is '7 '"),
        ({"pci-op-ref": "999"}, "pci-op-ref 999: mapping it gave"),
        ({"pci-op-ref": "-1"}, "pci-op-ref is '-1'"),
        ({"event-channel": "77"}, "event-channel 77"),
        ({"event-channel": "0"}, "event-channel is '0'"),
        ({"event-channel": "x"}, "event-channel is 'x'"),
    ],
)
def test_keys_that_make_no_sense_close_the_device(keys: dict[str, str], match: str) -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        with pytest.raises(BackendGoneError):
            await bench.raw(guest, **keys)
        error = bench.daemon.local.read(f"/local/domain/0/error/backend/pci/{guest.dom.domid}/0/error")
        assert match in error and bench.foreign.used == 0
        # the next attempt is served, and so is a neighbour
        assert await (await bench.raw(guest)).read(0) == 0x0008_14C1
        assert await (await bench.raw(await bench.plug("other"))).read(0) == 0x0008_14C1

    bench.run(body)


def test_a_function_that_is_not_assigned_is_not_shown() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        bench.hv.deassign_device(guest.dom, guest.requester)
        with pytest.raises(BackendGoneError):
            await bench.raw(guest)
        # nor is a function of another domain's
        other = bench.hv.create_domain("other", 16)
        bench.hv.assign_device(other, guest.requester)
        with pytest.raises(BackendGoneError):
            await bench.raw(guest)

    bench.run(body)


# --- configuration space -----------------------------------------------------------------------------------------------


async def dump(front: RawFront, size: int = 4096) -> bytes:
    return b"".join([(await front.read(at)).to_bytes(4, "little") for at in range(0, size, 4)])


def test_every_byte_a_guest_can_read() -> None:
    bench = PciBench()

    async def body() -> None:
        await bench.plug("first")
        guest = await bench.plug()
        front = await bench.raw(guest)
        image = config_image(guest)
        assert guest.number == 1 and guest.aperture % 0x1_0000 == 0
        assert await dump(front) == image
        for at in range(0x60):
            assert await front.read(at, 1) == image[at]
            if at % 2 == 0:
                assert await front.read(at, 2) == int.from_bytes(image[at : at + 2], "little")

    bench.run(body)


def test_all_writes_but_those_that_are_allowed_are_dropped() -> None:
    """All ones, then all zeros, in every size at every place: only the command register and sizing BARs show it."""
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        before = config_image(guest)
        for size in (1, 2, 4):
            for value in (0xFFFF_FFFF, 0):
                for at in [*range(0, 0x100, size), 0x100, 0xFFC]:
                    answer = await front.op(WRITE, at, size, value)
                    # only MSI-X control says no, and only to a change
                    touches_control = at <= 0x53 and at + size > 0x52
                    assert answer.err == (DENIED if touches_control and value else 0), (at, size)
                    # no bus master yet: the endpoint has no address space
                    command = INTX_DISABLE | MEMORY if value else 0
                    sized = [at] if size == 4 and value and at in (0x18, 0x1C) else []
                    low = command & 0xFF if size == 1 and at == 4 else command if at == 4 else None
                    if low is None and size == 1 and at == 5:
                        low = command & 0xFF00
                    if low is not None:
                        assert await front.read(4, 2) == low
                        await front.write(4, 2, 0)
                    if sized:
                        assert await front.read(at) == (0xFFFF_000C, 0xFFFF_FFFF)[at == 0x1C]
                        await front.write(at, 4, 0xDEAD_BEEF)
                    elif value and at in (0x18, 0x1C):
                        assert await front.read(at) == int.from_bytes(before[at : at + 4], "little")
                await front.write(4, 2, 0)
        assert await dump(front) == before

    bench.run(body)


def test_bars_are_sized_and_never_moved() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        low, high = guest.aperture & 0xFFFF_FFFF | 0xC, guest.aperture >> 32
        for at, base, mask in ((0x18, low, 0xFFFF_000C), (0x1C, high, 0xFFFF_FFFF)):
            for ones in (0xFFFF_FFFF, 0xFFFF_FFF0, 0xFFFF_FFF5):
                await front.write(at, 4, ones)
                # the flags of the lower half do not count, all bits of the upper one do
                assert await front.read(at) == (mask if ones == 0xFFFF_FFFF or at == 0x18 else base)
                await front.write(at, 4, base)
                assert await front.read(at) == base
            await front.write(at, 4, 0xFFFF_FFFF)
            await front.write(at, 4, 0x1234_5000)
            assert await front.read(at) == base, "any other value ends it"
        for at in (0x10, 0x14, 0x20, 0x24, 0x30):
            await front.write(at, 4, 0xFFFF_FFFF)
            assert await front.read(at) == 0, "there is no such BAR"
        assert await front_bar(bench, guest) == (guest.aperture, 0x1_0000)
        above = await bench.plug("above 4 GiB")
        assert above.aperture >> 32 and await front_bar(bench, above) == (above.aperture, 0x1_0000)
        bars = bench.hv.device.bars
        assert bars[2][0] != guest.aperture, "a machine address is nothing to the guest"
        read = bench.platform.mmio_read
        (word,) = struct.unpack("<I", await read(bench.platform.machine.ecam + (0x100 << 12) + 0x18, 4))
        assert word & ~0xF == bars[2][0] & 0xFFFF_FFFF, "the card's own BAR stands where it stood"

    bench.run(body)


async def front_bar(bench: PciBench, guest: PciGuest) -> tuple[int, int]:
    bus = front_of(guest)
    await bus.open()
    function = await bus.find(0x14C1, 8)
    await function.command(on=MEMORY)
    found = await function.memory_bar(2)
    assert await function.read(4, 2) == MEMORY
    assert await function.memory_bar(0) == (0, 0)
    with pytest.raises(PcifrontError, match="no function is 8086:1572"):
        await bus.find(0x8086, 0x1572)
    await bus.close()
    return found


@pytest.mark.parametrize("size", [-1, 0, 1, 2, 3, 4, 5, 8, 1 << 30])
def test_accesses_out_of_range_or_misaligned(size: int) -> None:
    bench = PciBench()

    async def body() -> None:
        front = await bench.raw(await bench.plug())
        for offset in (-(1 << 31), -4, -1, 0, 1, 2, 3, 4, 6, 4092, 4093, 4094, 4095, 4096, 1 << 20, (1 << 31) - 1):
            fits = size in (1, 2, 4) and offset % size == 0 and 0 <= offset < 4096
            for cmd in (READ, WRITE):
                answer = await front.op(cmd, offset, size, 0)
                assert answer.err == (0 if fits else INVALID_OFFSET), (cmd, offset)

    bench.run(body)


def test_operations_and_functions_that_are_not_there() -> None:
    bench = PciBench()

    async def body() -> None:
        guest, other = await bench.plug(), await bench.plug("other")
        front = await bench.raw(guest)
        for where in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 8), (0, 1, 1), (0, 1, 2), (0, 0, 0x102), (0xFFFF_FFFF,) * 3):
            for cmd in (READ, WRITE, ENABLE_MSIX, 99):
                assert (await front.op(cmd, 4, 2, 0x406, where=where)).err == NOT_FOUND
        for cmd in (6, 7, 8, 9, 10, 99, 0xFFFF_FFFF):
            assert (await front.op(cmd)).err == NOT_IMPLEMENTED
        # the function has no MSI capability
        assert await front.op(ENABLE_MSI) == Answer(FAILED, 0, [])
        assert await front.op(DISABLE_MSI, value=7) == Answer(0, 0, [])
        assert await dump(await bench.raw(other)) == config_image(other)

    bench.run(body)


# --- bus master --------------------------------------------------------------------------------------------------------


def test_bus_master_is_granted_with_an_address_space_and_gates_the_endpoint() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        await front.write(4, 2, MASTER | MEMORY)
        assert await front.read(4, 2) == MEMORY
        nic = VirtualNic(guest.dom, SendForm.FETCHED, 16, buffer_pages=4)
        with pytest.raises(HypercallError, match="not bus master") as refused:
            await nic.open()
        assert refused.value.errno == EACCES
        await front.write(4, 2, MASTER)
        assert await front.read(4, 2) == MASTER and nic.endpoint == guest.number
        endpoint = bench.hv.endpoints.owned(guest.number, guest.dom.domid)
        enable = bench.hv.endpoints.enable
        await enable(endpoint, 4, 8, guest.dom.ram.start << 12, guest.dom.ram.start << 12, None)
        assert endpoint.enabled
        await front.write(4, 1, MEMORY)
        assert not endpoint.enabled, "without bus master nothing of it is in flight"
        status = NicControl.ENDPOINT_CTRL + guest.number * NicControl.ENDPOINT_STRIDE
        assert not await bench.hv.endpoints.read(status) & NicControl.ENDPOINT_CTRL_ENABLE_M
        with pytest.raises(HypercallError, match="not bus master"):
            await enable(endpoint, 4, 8, 0, 0, None)

    bench.run(body)


# --- MSI-X -------------------------------------------------------------------------------------------------------------


def test_msix_is_switched_by_operations() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug(number=5)
        front = await bench.raw(guest)
        one: dict[str, Any] = {"value": 1, "entries": [0]}
        assert (await front.op(ENABLE_MSIX, **one)).err == -ENXIO, "memory is off"
        await front.write(4, 2, MEMORY)
        assert (await front.op(ENABLE_MSIX, **one)).err == -ENODEV, "its endpoint is not allocated"
        assert await guest.allocate() == 5
        for value, entries, errno in (
            (129, [], EINVAL), (0xFFFF_FFFF, [], EINVAL), (128, range(128), ENOSPC), (2, [0, 1], ENOSPC), (0, [], EINVAL),
            (1, [1], EINVAL), (1, [0xFFFF], EINVAL),
        ):  # fmt: skip
            answer = await front.op(ENABLE_MSIX, value=value, entries=list(entries))
            assert answer.err == -errno and set(answer.vectors) <= {0xFFFF}, (value, entries)
        assert await dump(front) == config_image(guest, command=MEMORY)
        assert await front.op(DISABLE_MSIX) == Answer(0, 0, []), "it is off already"
        assert await front.op(ENABLE_MSIX, **one) == Answer(0, 0, [FIRST_PIRQ + 5])
        assert bench.hv.pirqs_of(guest.dom.domid) == [FIRST_PIRQ + 5]
        assert await dump(front) == config_image(guest, command=MEMORY, msix=True)
        assert (await front.op(ENABLE_MSIX, **one)).err == -EALREADY
        # the control word says what is, and cannot be changed: enable, function mask, table size
        for value in (0, 0x4000, 0xC000, 0x8001):
            assert (await front.op(WRITE, 0x52, 2, value)).err == DENIED
        await front.write(0x52, 2, 0x8000)
        assert await front.read(0x52, 2) == 0x8000
        # the vector is unmasked while the guest has it bound, and written by the hypervisor alone
        control = NicControl.MSIX_CONTROL + 5 * NicControl.MSIX_STRIDE
        port = await guest.dom.hypercall.bind_pirq(FIRST_PIRQ + 5)
        assert not await bench.hv.endpoints.read(control) & NicControl.MSIX_CONTROL_MASK_M
        assert await bench.hv.endpoints.read(NicControl.MSIX_ADDRESS_LO + 5 * NicControl.MSIX_STRIDE) & 0xFFF0_0000 == 0xFEE0_0000
        assert await front.op(DISABLE_MSIX) == Answer(0, 0, [])
        assert await bench.hv.endpoints.read(control) & NicControl.MSIX_CONTROL_MASK_M
        assert bench.hv.pirqs_of(guest.dom.domid) == [] and port not in guest.dom.events.ports
        # what the guest gives back behind the back end's back costs nobody
        assert (await front.op(ENABLE_MSIX, **one)).err == 0
        await guest.dom.hypercall.unmap_pirq(FIRST_PIRQ + 5)
        assert await front.op(DISABLE_MSIX) == Answer(0, 0, [])
        # and what it has taken that way the back end does not take again
        assert await guest.dom.hypercall.map_pirq(5) == FIRST_PIRQ + 5
        assert (await front.op(ENABLE_MSIX, **one)).err == -EINVAL
        await guest.dom.hypercall.unmap_pirq(FIRST_PIRQ + 5)

    bench.run(body)


def test_a_new_front_end_finds_the_function_reset() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        await guest.allocate()
        await front.write(4, 2, MEMORY | MASTER | INTX_DISABLE)
        await front.write(0x18, 4, 0xFFFF_FFFF)
        assert (await front.op(ENABLE_MSIX, value=1, entries=[0])).err == 0
        # the kernel has crashed: another one connects without a word
        again = await bench.raw(guest)
        assert await dump(again) == config_image(guest)
        assert bench.hv.pirqs_of(guest.dom.domid) == []
        with pytest.raises(HypercallError, match="not bus master"):
            endpoint = bench.hv.endpoints.owned(guest.number, guest.dom.domid)
            await bench.hv.endpoints.enable(endpoint, 4, 8, 0, 0, None)
        # the old page and port are nobody's any more
        front.put(READ, 0, 4)
        await guest.dom.hypercall.event_send(front.port)
        await guest.dom.sleep(100_000)
        assert front.info.flags & 1 and guest.dom.kernel.end_access(front.reference)

    bench.run(body)


# --- hostile front ends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["cmd", "domain", "bus", "devfn", "offset", "size", "value", "info", "entries"])
def test_an_operation_is_fetched_once(field: str) -> None:
    """The front end rewrites the operation while it is served; what was there first is carried out, and answered alone."""
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        await guest.allocate()
        await front.write(4, 2, MEMORY)
        served = bench.control.hypercall.map_pirq
        after = bytearray()

        async def meanwhile(endpoint: int, *, domid: int = 0) -> int:
            pirq = await served(endpoint, domid=domid)
            if field == "entries":
                for entry in front.info.op.msix_entries:
                    entry.entry, entry.vector = 0x7777, 0x6666
            else:
                setattr(front.info.op, field, 5 if field in ("cmd", "value") else 0x77)
            after[:] = bytes(front.page)
            return pirq

        bench.control.hypercall.map_pirq = meanwhile  # type: ignore[method-assign]
        answer = await front.op(ENABLE_MSIX, value=1, entries=[0])
        assert answer == Answer(0, 0, [FIRST_PIRQ]) and bench.hv.pirqs_of(guest.dom.domid) == [FIRST_PIRQ]
        # of the whole page only flags, err, value and the one vector are the back end's
        expected = SharedInfo.from_buffer(after)
        expected.flags, expected.op.err, expected.op.value, expected.op.msix_entries[0].vector = 0, 0, 0, FIRST_PIRQ
        assert bytes(front.page) == bytes(after)

    bench.run(body)


def test_a_flood_of_operations_costs_its_guest_only() -> None:
    """The next operation is there before the answer to the last is looked at; neighbours are served beside it."""
    bench = PciBench()

    async def body() -> None:
        hostile, guest = await bench.plug("hostile"), await bench.plug()
        flood, front = await bench.raw(hostile), await bench.raw(guest)
        answered = 0

        def again() -> None:
            nonlocal answered
            answered += 1
            flood.put(READ, 0, 4)
            # no need to send: the back end looks again, and an event may come from a handler, too
            hostile.dom.hypercall.event_send_now(flood.port)

        flood._event = again  # type: ignore[method-assign]
        await hostile.dom.kernel.unbind_event(flood.port)
        flood = await bench.raw(hostile)
        flood._event = again  # type: ignore[method-assign]
        await hostile.dom.kernel.bind_event(flood.port, again)
        start = bench.platform.now()
        again()
        for _ in range(20):
            assert await front.read(0) == 0x0008_14C1
        elapsed = bench.platform.now() - start
        assert elapsed <= 20 * 10_000, "each of the neighbour's took what it takes alone, within its own poll"
        assert 10 <= answered <= elapsed // 1_000 + 2, "at the back end's pace"

    bench.run(body)


def test_a_page_of_noise() -> None:
    bench = PciBench()

    async def body() -> None:
        guest, other = await bench.plug(), await bench.plug("other")
        front, calm = await bench.raw(guest), await bench.raw(other)
        rng = random.Random(1)
        for _ in range(300):
            front.page[:] = rng.randbytes(4096)
            front.info.flags |= 1
            await guest.dom.hypercall.event_send(front.port)
            assert (await front.wait()).err in (NOT_FOUND, INVALID_OFFSET, DENIED, NOT_IMPLEMENTED, 0)
        assert await front.read(0) == 0x0008_14C1
        assert await dump(calm) == config_image(other)

    bench.run(body)


def test_a_guest_that_vanishes_in_the_middle() -> None:
    """It is destroyed while its operation is served; the function is free for the next one."""
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        await guest.allocate()
        await front.write(4, 2, MEMORY | MASTER)
        front.put(ENABLE_MSIX, value=1, entries=[0])
        await guest.dom.hypercall.event_send(front.port)
        await bench.tools.destroy_domain(guest.dom.domid)
        await bench.hv.destroy_domain(guest.dom.domid)
        assert bench.hv.leaks(guest.dom.domid) == [] and bench.foreign.used == 0
        # in the other order as well: the hypervisor has forgotten it before the back end does
        guest = await bench.plug("second")
        front = await bench.raw(guest)
        await guest.allocate()
        await front.write(4, 2, MEMORY | MASTER)
        assert (await front.op(ENABLE_MSIX, value=1, entries=[0])).err == 0
        await bench.hv.destroy_domain(guest.dom.domid)
        await bench.tools.destroy_domain(guest.dom.domid)
        assert bench.foreign.used == 0 and bench.hv.endpoints.assignable()[0] == 0

    bench.run(body)


# --- any operations ----------------------------------------------------------------------------------------------------


class Oracle:
    """The same function by plain rules: an image of its space, and what changes it."""

    def __init__(self, guest: PciGuest) -> None:
        self._guest = guest
        self._command = 0
        self._sized: set[int] = set()
        self._msix = False

    def image(self) -> bytes:
        return config_image(self._guest, command=self._command, msix=self._msix, sized=sorted(self._sized))

    def answer(self, cmd: int, where: tuple[int, int, int], offset: int, size: int, value: int, entries: list[int]) -> Answer:
        untouched = [0xFFFF] * len(entries)
        if where != (0, 0, 0):
            return Answer(NOT_FOUND, 0, untouched)
        if cmd in (READ, WRITE):
            if size not in (1, 2, 4) or offset % size or not 0 <= offset < 4096:
                return Answer(INVALID_OFFSET, 0, untouched)
            image = bytearray(self.image())
            if cmd == READ:
                return Answer(0, int.from_bytes(image[offset : offset + size], "little"), untouched)
            image[offset : offset + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            words = {at: int.from_bytes(image[at : at + 4], "little") for at in (4, 0x18, 0x1C, 0x50)}
            if words[0x50] >> 16 != 0x8000 * self._msix:
                return Answer(DENIED, 0, untouched)
            self._command = words[4] & (MEMORY | MASTER | INTX_DISABLE)
            if offset & ~3 in (0x18, 0x1C):
                ones = words[offset & ~3] | (0xF if offset < 0x1C else 0) == 0xFFFF_FFFF
                (self._sized.add if ones else self._sized.discard)(offset & ~3)
            return Answer(0, value, untouched)
        if cmd == ENABLE_MSI:
            return Answer(FAILED, 0, untouched)
        if cmd == ENABLE_MSIX:
            for wrong, errno in (
                (value > 128, EINVAL), (self._msix, EALREADY), (not self._command & MEMORY, ENXIO), (value > 1, ENOSPC),
                (value != 1 or entries[:1] != [0], EINVAL),
            ):  # fmt: skip
                if wrong:
                    return Answer(-errno, 0, untouched)
            self._msix = True
            return Answer(0, 0, [FIRST_PIRQ, *untouched[1:]])
        if cmd in (DISABLE_MSI, DISABLE_MSIX):
            self._msix &= cmd == DISABLE_MSI
            return Answer(0, 0, untouched)
        return Answer(NOT_IMPLEMENTED, 0, untouched)


OFFSETS = st.sampled_from([0, 2, 4, 5, 6, 0x18, 0x1A, 0x1C, 0x34, 0x50, 0x52, 0x53]) | st.integers(-8, 4100)
VALUES = st.sampled_from([0, 1, 2, 4, 6, 0x406, 0xFFFF, 0x8000, 0xFFFF_FFFF, 0xFFFF_FFF0]) | st.integers(0, 0xFFFF_FFFF)
WHERE = st.sampled_from([(0, 0, 0)] * 9 + [(0, 0, 8), (0, 1, 0), (1, 0, 0)])
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from([READ, WRITE, WRITE, WRITE, ENABLE_MSIX, ENABLE_MSIX, DISABLE_MSIX, ENABLE_MSI, DISABLE_MSI, 6, 1 << 31]),
        WHERE,
        OFFSETS,
        st.sampled_from([1, 2, 4, 4, 3, 0, -1]),
        VALUES,
        st.sampled_from([[0], [0], [1], [0, 1]]),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_any_operations_are_answered_as_the_rules_say(operations: list[tuple[Any, ...]]) -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        front = await bench.raw(guest)
        await guest.allocate()
        oracle = Oracle(guest)
        for cmd, where, offset, size, value, entries in operations:
            expected = oracle.answer(cmd, where, offset, size, value, entries)
            got = await front.op(cmd, offset, size, value, where=where, entries=entries)
            assert got == expected, (cmd, where, offset, size, value, entries)
        assert await dump(front, 0x60) == oracle.image()[:0x60]

    bench.run(body)


# --- the front end -----------------------------------------------------------------------------------------------------


def test_operations_of_two_coroutines_do_not_mix() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        bus = front_of(guest)
        await bus.open()
        function = await bus.find(0x14C1, 8)

        async def reader(offset: int, expected: int) -> None:
            for _ in range(10):
                assert await function.read(offset, 4) == expected

        await bench.platform.gather([reader(0, 0x0008_14C1), reader(8, 0x0200_0000), reader(0x54, 0xF002)])
        await bus.close()

    bench.run(body)


def test_a_back_end_that_does_not_answer_is_given_up_by_the_vcpus_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = PciBench()
    answer = PciBackEnd._answer

    async def later(back_end: PciBackEnd, link: Any) -> None:
        await bench.platform.sleep(3_000_000_000)
        await answer(back_end, link)

    async def body() -> None:
        guest = await bench.plug()
        bus = front_of(guest)
        await bus.open()
        function = await bus.find(0x14C1, 8)
        monkeypatch.setattr(PciBackEnd, "_answer", later)
        before = bench.hv.entries.hypercalls[guest.dom.domid, "vcpu_op.set_singleshot_timer"]
        start = bench.platform.now()
        with pytest.raises(PlatformTimeoutError, match=r"device/pci/0: no answer to CONF_READ of 0x00 in 2000000000 ns"):
            await function.read(0, 4)
        assert bench.platform.now() - start == 2_000_000_000
        assert bench.hv.entries.hypercalls[guest.dom.domid, "vcpu_op.set_singleshot_timer"] == before + 1
        monkeypatch.undo()
        # it has come to itself: what is asked now is answered
        assert await function.read(8, 4) == 0x0200_0000
        await bus.close()

    bench.run(body)


def test_a_back_end_that_lies_is_not_believed() -> None:
    bench = PciBench()

    async def body() -> None:
        guest = await bench.plug()
        bus = front_of(guest)
        await bus.open()
        function = await bus.find(0x14C1, 8)
        await guest.allocate()
        await function.command(on=MEMORY)

        async def nothing(endpoint: int, *, domid: int = 0) -> int:
            return 0

        bench.control.hypercall.map_pirq = nothing  # type: ignore[method-assign]
        with pytest.raises(PcifrontError, match="MSI-X gave"):
            await function.enable_msix([0])
        with pytest.raises(PcifrontError, match="ENABLE_MSIX of 0x00, offset 0x0 gave -114") as refused:
            await function.enable_msix([0])
        assert refused.value.err == -EALREADY
        await bus.close()

    bench.run(body)


# --- assignment --------------------------------------------------------------------------------------------------------


def test_virtual_functions_are_assigned_by_domctl() -> None:
    platform, hv = machine()
    dom0, guest, other = hv.create_control_domain(16), hv.create_domain("guest", 64), hv.create_domain("other", 64)

    def device(cmd: int, domid: int, sbdf: int) -> int:
        at = raw(dom0, struct.pack("<IIH6xIII", cmd, 0x17, domid, 0, 0, sbdf).ljust(144, b"\0"))
        return int(platform.run(dom0.vmcall(36, at))[0])

    assign, test, deassign = 37, 45, 47
    assert device(test, 1, FIRST_VF - 1) == 0 and device(test, 1, FIRST_VF + 64) == -ENODEV and device(test, 1, 0x10101) == -ENODEV
    assert device(test, 1, FIRST_VF + 2) == 0 and device(assign, 1, FIRST_VF + 2) == 0
    for domid in (1, 2):
        assert device(test, domid, FIRST_VF + 2) == device(assign, domid, FIRST_VF + 2) == -EBUSY
    assert device(deassign, 2, FIRST_VF + 2) == -ENODEV
    assert device(assign, 1, FIRST_VF - 1) == -EBUSY, "the card is shared"
    # others go round it, its domain gets it first, and then what nobody has
    grants = [platform.run(dom.hypercall.endpoint_allocate(Form.FETCHED))[0].endpoint for dom in (other, guest, other, guest, other)]
    assert grants == [0, 2, 1, 3, 4]
    assert device(test, 1, FIRST_VF + 3) == -EBUSY and device(deassign, 1, FIRST_VF + 2) == -EBUSY
    platform.run(guest.hypercall.endpoint_release(2))
    assert platform.run(other.hypercall.endpoint_allocate(Form.FETCHED))[0].endpoint == 5
    assert device(deassign, 1, FIRST_VF + 2) == 0
    assert platform.run(other.hypercall.endpoint_allocate(Form.FETCHED))[0].endpoint == 2
    windows = hv.create_domain("windows", 64, mode=Mode.WINDOWS)
    assert device(assign, windows.domid, FIRST_VF + 9) == -EINVAL
    assert device(assign, 1, FIRST_VF + 9) == 0
    assert "function 9 is assigned" in hv.leaks(1)
    platform.run(hv.destroy_domain(1))
    assert hv.leaks(1) == [] and device(test, 2, FIRST_VF + 9) == 0


# --- the driver --------------------------------------------------------------------------------------------------------


def test_the_driver_finds_its_device_through_the_bus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode iommu: the operations that the back end sees are those of a PCI driver, in their order."""
    seen: list[tuple[int, int, int]] = []
    carry_out = PciBackEnd._carry_out

    async def noting(back_end: PciBackEnd, space: Any, op: bytes) -> tuple[int, list[int]]:
        cmd, _, _, _, _, offset, _, value = struct.unpack_from("<IiIIIiiI", op)
        seen.append((cmd, offset, value))
        return await carry_out(back_end, space, op)

    monkeypatch.setattr(PciBackEnd, "_carry_out", noting)
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    host = Host(hv, platform, platform.start, Sharing.IOMMU)

    async def body() -> None:
        await host.boot()
        guests = [await host.add_guest(hv.create_domain("guest0", 600), DeviceConfig())]
        on, ones = MEMORY | INTX_DISABLE, 0xFFFF_FFFF
        low, high = guests[0].domain.layout.device << 12 | 0xC, 0
        assert seen == [
            (READ, 0, 0),
            (READ, 4, 0), (WRITE, 4, on), (READ, 4, 0),
            (READ, 4, 0), (WRITE, 4, INTX_DISABLE), (READ, 0x18, 0), (READ, 0x1C, 0),
            (WRITE, 0x18, ones), (READ, 0x18, 0), (WRITE, 0x18, low), (WRITE, 0x1C, ones), (READ, 0x1C, 0), (WRITE, 0x1C, high),
            (WRITE, 4, on),
            (READ, 4, 0), (WRITE, 4, on | MASTER), (READ, 4, 0), (ENABLE_MSIX, 0, 1),
        ]  # fmt: skip
        guests.append(await host.add_guest(hv.create_domain("guest1", 600), DeviceConfig()))
        for n, guest in enumerate(guests):
            assert guest.function == FIRST_VF + n and isinstance(guest.device, VmyriNic)
            assert guest.device.endpoint == n and hv.pirqs_of(guest.domain.domid) == [FIRST_PIRQ + n]
            state = host.daemon.local.read(f"/local/domain/0/backend/pci/{guest.domain.domid}/0/state")
            assert state == str(XenbusState.CONNECTED.value)
        first, second = (guest.device for guest in guests)
        frame = second.mac + first.mac + b"\x88\xb5" + bytes(80)

        async def send() -> None:
            await platform.sleep(100_000)
            assert first.send(frame)
            await first.drain(WAIT_NS)

        _, [got] = await platform.gather([send(), second.receive(WAIT_NS)])
        assert got.data == frame and hv.entries.interrupts == 1
        for guest in guests:
            seen.clear()
            await guest.device.close()
            assert seen == [(DISABLE_MSIX, 0, 0), (READ, 4, 0), (WRITE, 4, INTX_DISABLE), (READ, 4, 0)]
            assert hv.pirqs_of(guest.domain.domid) == []
            assert await host.remove_guest(guest)
        assert hv.endpoints.functions.in_use == 0
        await host.shut_down()

    platform.run(body())


def test_the_driver_refuses_a_bar_that_is_not_its_aperture() -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    host = Host(hv, platform, platform.start, Sharing.IOMMU)

    async def body() -> None:
        await host.boot()
        domain = hv.create_domain("guest", 600)
        # somebody in the guest has taken the function's endpoint: the driver gets another one
        choose = hv.endpoints.functions.choose
        hv.endpoints.functions.choose = lambda free, domid, mode: 7  # type: ignore[method-assign]
        with pytest.raises(NicError, match="BAR is at 0x.*, the endpoint's aperture at 0x"):
            await host.add_guest(domain, DeviceConfig())
        hv.endpoints.functions.choose = choose  # type: ignore[method-assign]
        await host.tools.destroy_domain(domain.domid)
        await host.shut_down()

    platform.run(body())


@pytest.mark.parametrize("sharing", [Sharing.WINDOWS, Sharing.VALIDATED, Sharing.SPLIT])
def test_other_modes_have_no_function(sharing: Sharing) -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    host = Host(hv, platform, platform.start, sharing)

    async def body() -> None:
        await host.boot()
        guest = await host.add_guest(hv.create_domain("guest", 1500, mode=sharing.mode), DeviceConfig())
        await platform.sleep(50_000)
        assert guest.function is None and host.daemon.local.directory("/local/domain/0/backend/pci") == []
        await guest.device.close()
        assert await host.remove_guest(guest)
        await host.shut_down()

    platform.run(body())


def test_a_receiving_driver_without_a_bus_uses_the_hypercall() -> None:
    """A driver that nobody gave a bus, on a function that nobody assigned, as user-level endpoints are."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 256)
    nic = VirtualNic(dom, SendForm.FETCHED, 16, buffer_pages=4, receive=ReceiveConfig())

    async def body() -> None:
        await nic.open()
        assert hv.pirqs_of(dom.domid) == [FIRST_PIRQ]
        await nic.close()

    platform.run(body())
