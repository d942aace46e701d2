"""The reference NIC without hypervisor and driver: registers and rings written by hand, machine addresses."""

from __future__ import annotations

import struct
from typing import NamedTuple

from sw.abi.registers import Aperture, Form, Mode, NicControl
from tb.ethernet import with_fcs
from tb.model.platform import ModelPlatform

APERTURES = 0xD000_0000
CONTROL = 0xD100_0000
SEND_CQ, RQ, RQ_BYTES, SMALL_RING, BIG_RING = 0x10_0000, 0x11_0000, 0x4000, 0x18_0000, 0x19_0000
SMALL, BIG, DATA = 0x20_0000, 0x30_0000, 0x60_0000
EACH = 0x80_0000
"""Bytes of memory of an endpoint."""
MSIX_ENABLE = 0x8000


def mac_of(endpoint: int) -> bytes:
    return bytes((2, 0, 0, 0, 0, endpoint))


class Entry(NamedTuple):
    """A receive completion, by its layout."""

    hash: int
    buffer: int
    length: int
    checksum: int
    flags: int

    @property
    def phase(self) -> int:
        return self.flags & 1

    @property
    def big(self) -> bool:
        return bool(self.flags & 4)

    @property
    def local(self) -> bool:
        return bool(self.flags & 8)

    @property
    def kind(self) -> int:
        return self.flags >> 5


class BareNic:
    """What a test writes takes effect at once; `settle` lets the hardware finish."""

    def __init__(self) -> None:
        self.platform = ModelPlatform()
        self.nic = self.platform.nic
        self.interrupts: list[tuple[int, int, int]] = []
        """Time, address, data."""
        self.platform.on_interrupt(lambda address, data: self.interrupts.append((self.platform.now(), address, data)))
        config = self.nic.config_write
        config(0x100, 0x18, APERTURES.to_bytes(4, "little"))
        config(0x100, 0x20, CONTROL.to_bytes(4, "little"))
        config(0x100, 0x04, b"\x06\x00\x00\x00")
        config(0x100, 0x50, (MSIX_ENABLE << 16).to_bytes(4, "little"))
        self.control(NicControl.CTRL, 1)

    def control(self, register: int, value: int) -> None:
        self.nic.mmio_write(CONTROL + register, value.to_bytes(4, "little"))

    def read(self, register: int) -> int:
        value = self.nic.mmio_read(CONTROL + register)
        assert value is not None
        return value

    def doorbell(self, endpoint: int, offset: int, data: int | bytes) -> None:
        if isinstance(data, int):
            data = data.to_bytes(4, "little")
        self.nic.mmio_write(APERTURES + endpoint * 0x10000 + offset, data)

    def settle(self) -> None:
        self.platform.settle()

    def run(self, ns: int) -> None:
        self.platform.run(self.platform.sleep(ns))

    def port(
        self, endpoint: int, *, vlan: int = 0, flags: int = NicControl.PORT_POLICY_BROADCAST_M, mac: bytes | None = None
    ) -> None:
        at = endpoint * NicControl.PORT_STRIDE
        address = mac if mac is not None else mac_of(endpoint)
        self.control(NicControl.PORT_MAC_HI + at, int.from_bytes(address[:4], "big"))
        self.control(NicControl.PORT_MAC_LO + at, int.from_bytes(address[4:], "big"))
        self.control(NicControl.PORT_POLICY + at, NicControl.PORT_POLICY_ENABLE_M | flags | vlan)

    def group(self, entry: int, address: bytes, members: int) -> None:
        at = entry * NicControl.GROUP_STRIDE
        self.control(NicControl.GROUP_MEMBERS_LO + at, members & 0xFFFF_FFFF)
        self.control(NicControl.GROUP_MEMBERS_HI + at, members >> 32)
        self.control(NicControl.GROUP_MAC_HI + at, int.from_bytes(address[:4], "big"))
        self.control(NicControl.GROUP_MAC_LO + at, int.from_bytes(address[4:], "big") | 1 << 31)

    def open(
        self,
        endpoint: int,
        *,
        form: Form = Form.PUSHED,
        small: int = 0,
        log2: int = 4,
        max_frame: int = 9018,
        buffer_log2: int = 12,
        queues: int = 1,
        rss: bool = False,
        rq_log2: int = 6,
        receives: bool = True,
    ) -> None:
        at = endpoint * NicControl.ENDPOINT_STRIDE
        memory = endpoint * EACH
        self.control(NicControl.ENDPOINT_CQ_BASE_LO + at, memory + SEND_CQ)
        self.control(NicControl.ENDPOINT_RX_SMALL_BASE_LO + at, memory + SMALL_RING)
        self.control(NicControl.ENDPOINT_RX_BIG_BASE_LO + at, memory + BIG_RING)
        for queue in range(4):
            self.control(NicControl.ENDPOINT_RQ0_BASE_LO + 8 * queue + at, memory + RQ + queue * RQ_BYTES)
        self.control(NicControl.ENDPOINT_RX_SIZES + at, small | max_frame << 16)
        control = rss << 2 | queues - 1 << 4 | log2 << 8 | log2 << 12 | buffer_log2 << 16 | rq_log2 << 20
        self.control(NicControl.ENDPOINT_RX_CTRL + at, int(receives) | form << 1 | control)
        self.control(NicControl.ENDPOINT_CTRL + at, 1 | Form.PUSHED << 1 | Mode.NATIVE << 4 | 6 << 8 | 6 << 12)

    def vector(self, endpoint: int, *, cycles: int = 0, count: int = 0) -> None:
        at = endpoint * NicControl.MSIX_STRIDE
        self.control(NicControl.MSIX_ADDRESS_LO + at, 0xFEE0_0000)
        self.control(NicControl.MSIX_DATA + at, 0x40 + endpoint)
        self.control(NicControl.MSIX_CONTROL + at, 0)
        self.control(NicControl.IRQ_MODERATION + endpoint * NicControl.IRQ_STRIDE, cycles | count << 24)

    def arm(self, endpoint: int, ring: int, index: int) -> None:
        self.doorbell(endpoint, Aperture.ARM, ring << 16 | index & 0xFFFF)

    def post(self, endpoint: int, slot: int, address: int, *, big: bool = True) -> None:
        """PUSHED form."""
        window = Aperture.RX_BIG_RING if big else Aperture.RX_SMALL_RING
        self.doorbell(endpoint, window + slot * 8, struct.pack(">Q", address))

    def entry(self, endpoint: int, index: int, *, queue: int = 0, rq_log2: int = 6) -> Entry:
        slot = index % (1 << rq_log2)
        data = self.platform.memory.read(endpoint * EACH + RQ + queue * RQ_BYTES + slot * 16, 16)
        value, _, buffer, length, checksum, zero, flags = struct.unpack(">IIHHHBB", data)
        assert zero == 0
        return Entry(value, buffer, length, checksum, flags)

    def memory(self, address: int, size: int) -> bytes:
        return self.platform.memory.read(address, size)

    def arrive(self, frame: bytes) -> None:
        """A frame without FCS comes from the line now."""
        self.nic.receive(with_fcs(frame))

    def send(self, endpoint: int, slot: int, descriptors: list[bytes]) -> None:
        """A chain into the pushed ring, its head last."""
        for n in reversed(range(len(descriptors))):
            at = (slot + n) % 64
            self.doorbell(endpoint, Aperture.SEND_RING + at * 16, descriptors[n])

    def send_completion(self, endpoint: int, index: int) -> tuple[int, int, int]:
        """Next index, length, status."""
        data = self.platform.memory.read(endpoint * EACH + SEND_CQ + index % 64 * 16, 16)
        following, length, status = struct.unpack(">8xHHxxBx", data)
        return following, length, status
