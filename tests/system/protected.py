"""Endpoints in the modes WINDOWS and VALIDATED, driven by their registers and rings: on the RTL or on the reference NIC.

The physical function makes their requests, and the IOMMU lets it through: what keeps endpoints apart is the NIC.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from hypervisor_model.endpoints import APERTURE_BAR, CONTROL_BAR, PASS_THROUGH_DOMAIN
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.memory import OWNER_XEN
from sw.abi.registers import Aperture, DmaAddress, Form, Mode, NicControl, Refusal, SendDescriptor, Status
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform, PlatformTimeoutError

WAIT_NS: Final = 5_000_000
POLL_NS: Final = 400
FENCE_NS: Final = 200_000
"""Bound of a fence: longer than the completion time-out of every read that it may wait for."""
READY_NS: Final = 8_000
"""From enable or a doorbell of buffers until rings are wiped and fetched."""
CQ_LOG2: Final = 6
RX_LOG2: Final = 6
BIG_BYTES: Final = 4096
SMALL_MAX: Final = 124
PAD: Final = 2
LARGE_PAGES: Final = 512
HEAD: Final = SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M
_DESCRIPTOR = struct.Struct(">QHHI")
_COMPLETION = struct.Struct(">8xHHxxBB")
_RECEIVED = struct.Struct(">8xHHxxBB")


class Line(Platform, Protocol):
    """A platform with a line at its NIC."""

    def wire_send(self, data: bytes) -> None: ...


def chain(pieces: Sequence[tuple[int, int]], flags: int = HEAD) -> list[bytes]:
    """Send descriptors of a plain chain: (address, bytes) each."""
    return [_DESCRIPTOR.pack(address, 0, length,
                             (flags if n == 0 else SendDescriptor.CONTROL_NO_TSO_M)
                             | (len(pieces) if n == 0 else 1) << SendDescriptor.CONTROL_RDMA_COUNT_S)
            for n, (address, length) in enumerate(pieces)]


@dataclass(frozen=True)
class Refused:
    """The record of a refusal."""

    endpoint: int
    write: bool
    reason: Refusal
    address: int
    overflow: bool


class Host:
    """The machine, started, and what the hypervisor does to the NIC."""

    def __init__(self, platform: Line, *, seed: int, max_payload: int = 128, max_read: int = 512) -> None:
        self.platform = platform
        self.hypervisor = Hypervisor(platform, seed=seed, max_payload=max_payload, max_read=max_read)

    async def start(self) -> None:
        """Boot; the physical function's requests pass the IOMMU as they are."""
        await self.hypervisor.boot()
        device = self.hypervisor.device
        self.hypervisor.iommu.attach_pass_through(device.requester, PASS_THROUGH_DOMAIN)
        self.apertures = device.bars[APERTURE_BAR][0]
        self.control = device.bars[CONTROL_BAR][0]

    def write(self, register: int, value: int) -> None:
        self.platform.mmio_write(self.control + register, value.to_bytes(4, "little"))

    async def read(self, register: int) -> int:
        return int.from_bytes(await self.platform.mmio_read(self.control + register, 4), "little")

    def page(self) -> int:
        """Machine address of a page of its own."""
        return self.hypervisor.frames.allocate(OWNER_XEN) << PAGE_SHIFT

    def large_page(self) -> int:
        return self.hypervisor.frames.allocate_run(OWNER_XEN, LARGE_PAGES, LARGE_PAGES) << PAGE_SHIFT

    async def refusal(self) -> Refused | None:
        """Take the record of a refusal, if there is one."""
        word = await self.read(NicControl.REFUSAL)
        if not word & NicControl.REFUSAL_VALID_M:
            assert not word & NicControl.REFUSAL_OVERFLOW_M
            return None
        address = (await self.read(NicControl.REFUSAL_ADDRESS_HI) << 32) | await self.read(NicControl.REFUSAL_ADDRESS_LO)
        self.write(NicControl.REFUSAL, NicControl.REFUSAL_VALID_M | NicControl.REFUSAL_OVERFLOW_M)
        return Refused(
            (word & NicControl.REFUSAL_ENDPOINT_M) >> NicControl.REFUSAL_ENDPOINT_S,
            bool(word & NicControl.REFUSAL_WRITE_M),
            Refusal((word & NicControl.REFUSAL_REASON_M) >> NicControl.REFUSAL_REASON_S),
            address,
            bool(word & NicControl.REFUSAL_OVERFLOW_M),
        )

    async def fence(self) -> int:
        """Start a fence and wait for its end; ns of simulated time that it took. Raises `PlatformTimeoutError`."""
        start = self.platform.now()
        self.write(NicControl.FENCE, NicControl.FENCE_START_M)
        while await self.read(NicControl.FENCE) & NicControl.FENCE_BUSY_M:
            if self.platform.now() - start > FENCE_NS:
                raise PlatformTimeoutError(f"a fence is not over after {FENCE_NS} ns")
        return self.platform.now() - start

    def register(self, endpoint: int, window: int, machine: int, sequence: int, *, writable: bool, large: bool = False,
                 valid: bool = True) -> None:
        """A window: address words, then control."""
        at = (endpoint * NicControl.WINDOW_LIMITS_WINDOWS_VALUE + window) * NicControl.WINDOW_STRIDE
        self.write(NicControl.WINDOW_ADDRESS_LO + at, machine & 0xFFFF_FFFF)
        self.write(NicControl.WINDOW_ADDRESS_HI + at, machine >> 32)
        self.write(NicControl.WINDOW_CONTROL + at,
                   valid | writable << NicControl.WINDOW_CONTROL_WRITABLE_S | large << NicControl.WINDOW_CONTROL_LARGE_S
                   | sequence << NicControl.WINDOW_CONTROL_SEQUENCE_S)

    def revoke(self, endpoint: int, window: int) -> None:
        at = (endpoint * NicControl.WINDOW_LIMITS_WINDOWS_VALUE + window) * NicControl.WINDOW_STRIDE
        self.write(NicControl.WINDOW_CONTROL + at, 0)

    def port(self, endpoint: int) -> bytes:
        """Put the endpoint on the switch; its address."""
        mac = bytes((2, 0, 0, 0, 0, endpoint))
        at = endpoint * NicControl.PORT_STRIDE
        self.write(NicControl.PORT_MAC_HI + at, int.from_bytes(mac[:4], "big"))
        self.write(NicControl.PORT_MAC_LO + at, int.from_bytes(mac[4:], "big"))
        self.write(NicControl.PORT_POLICY + at, NicControl.PORT_POLICY_ENABLE_M | NicControl.PORT_POLICY_BROADCAST_M)
        return mac


def window_address(window: int, sequence: int, offset: int = 0, *, large: bool = False) -> int:
    """What an endpoint calls a byte of a window."""
    if large:
        return (DmaAddress.LARGE_LARGE_M | sequence << DmaAddress.LARGE_SEQUENCE_S
                | window << DmaAddress.LARGE_INDEX_S) + offset
    return (sequence << DmaAddress.WINDOW_SEQUENCE_S | window << DmaAddress.WINDOW_INDEX_S) + offset


@dataclass
class Area:
    """Memory of an endpoint: how it calls the first byte, and where its pages are."""

    name: int
    pages: list[int]
    page_bytes: int = PAGE_SIZE

    def machine(self, offset: int) -> int:
        return self.pages[offset // self.page_bytes] + offset % self.page_bytes


@dataclass
class Port:
    """One endpoint with its rings and buffers, all of them in areas of their own.

    WINDOWS: an area is consecutive windows of scattered pages. VALIDATED: consecutive machine pages; the test is the
    hypervisor and writes the sequence numbers.
    """

    host: Host
    number: int
    mode: Mode
    form: Form = Form.FETCHED
    send_log2: int = 6
    sequence: int = 0x1234
    large: bool = False
    """Buffers lie in a window of 2 MiB."""
    send_index: int = 0
    cq_index: int = 0
    rq_index: int = 0
    posted: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    """Receive buffers so far, by big."""
    next_window: int = 0

    def __post_init__(self) -> None:
        self.ring = self.area(max(1, (SendDescriptor.BYTES << self.send_log2) // PAGE_SIZE))
        self.cq = self.area(1, writable=True)
        self.rings = {False: self.area(1), True: self.area(1)}
        self.rq = self.area(1, writable=True)
        self.data = self.area(64, large=self.large)
        self.buffers = self.area(64, writable=True, large=self.large)
        """Big buffers, a page each."""
        self.small = self.area(4, writable=True)
        self.mac = self.host.port(self.number)

    def area(self, pages: int, *, writable: bool = False, large: bool = False) -> Area:
        """New memory; in mode WINDOWS registered."""
        host = self.host
        if large:
            window, self.next_window = self.next_window, self.next_window + 1
            machine = host.large_page()
            host.register(self.number, window, machine, self.sequence, writable=writable, large=True)
            return Area(window_address(window, self.sequence, large=True), [machine], LARGE_PAGES * PAGE_SIZE)
        if self.mode is not Mode.WINDOWS:
            first = host.hypervisor.frames.allocate_run(OWNER_XEN, pages) << PAGE_SHIFT
            return Area(first, [first + n * PAGE_SIZE for n in range(pages)])
        first, self.next_window = self.next_window, self.next_window + pages
        found = [host.page() for _ in range(pages)]
        for n, machine in enumerate(found):
            host.register(self.number, first + n, machine, self.sequence, writable=writable)
        return Area(window_address(first, self.sequence), found)

    def window_of(self, area: Area, offset: int = 0) -> int:
        """Number of the window."""
        shift = DmaAddress.LARGE_INDEX_S if area.page_bytes > PAGE_SIZE else DmaAddress.WINDOW_INDEX_S
        return area.name + offset >> shift & 0xFF

    async def enable(self) -> None:
        """Program the registers, enable, and wait until the rings are wiped; they start at 0."""
        at = self.number * NicControl.ENDPOINT_STRIDE
        write = self.host.write
        write(NicControl.ENDPOINT_CTRL + at, 0)
        for register, area in ((NicControl.ENDPOINT_SEND_BASE_LO, self.ring), (NicControl.ENDPOINT_CQ_BASE_LO, self.cq),
                               (NicControl.ENDPOINT_RX_SMALL_BASE_LO, self.rings[False]),
                               (NicControl.ENDPOINT_RX_BIG_BASE_LO, self.rings[True]),
                               (NicControl.ENDPOINT_RQ0_BASE_LO, self.rq)):
            write(register + at, area.name & 0xFFFF_FFFF)
            write(register + at + 4, area.name >> 32)
        for area in (self.cq, self.rq):
            self.store(area, 0, bytes(PAGE_SIZE))
        write(NicControl.ENDPOINT_RX_SIZES + at, SMALL_MAX | 9018 << NicControl.ENDPOINT_RX_SIZES_MAX_FRAME_S)
        write(NicControl.ENDPOINT_RX_CTRL + at,
              1 | self.form << NicControl.ENDPOINT_RX_CTRL_FORM_S | RX_LOG2 << NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_S
              | RX_LOG2 << NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_S | 12 << NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_S
              | RX_LOG2 << NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_S)
        write(NicControl.ENDPOINT_CTRL + at,
              1 | self.form << NicControl.ENDPOINT_CTRL_FORM_S | self.mode << NicControl.ENDPOINT_CTRL_MODE_S
              | self.send_log2 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S | CQ_LOG2 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S)
        self.send_index = self.cq_index = self.rq_index = 0
        self.posted = {False: 0, True: 0}
        start = self.host.platform.now()
        while await self.status() & NicControl.ENDPOINT_STATUS_BUSY_M:
            if self.host.platform.now() - start > WAIT_NS:
                raise PlatformTimeoutError(f"endpoint {self.number} is not ready {WAIT_NS} ns after its enable")

    # --- memory ----------------------------------------------------------------------------------

    def store(self, area: Area, offset: int, data: bytes) -> None:
        for at in range(0, len(data), 1 << 8):
            piece = data[at : at + (1 << 8)]
            room = area.page_bytes - (offset + at) % area.page_bytes
            self.host.platform.memory.write(area.machine(offset + at), piece[:room])
            if len(piece) > room:
                self.host.platform.memory.write(area.machine(offset + at + room), piece[room:])

    def load(self, area: Area, offset: int, size: int) -> bytes:
        found = b""
        while size:
            piece = min(size, area.page_bytes - offset % area.page_bytes)
            found += self.host.platform.memory.read(area.machine(offset), piece)
            offset, size = offset + piece, size - piece
        return found

    def _doorbell(self, offset: int, data: bytes) -> None:
        self.host.platform.mmio_write(self.host.apertures + (self.number << 16) + offset, data)

    def _named(self, address: int, index: int) -> int:
        """With its sequence number, in mode VALIDATED."""
        return address | (index + 1 & 0xFFFF) << 48 if self.mode is Mode.VALIDATED else address

    # --- send ------------------------------------------------------------------------------------

    def queue(self, descriptors: Sequence[bytes], *, fresh: bool = True, ring: bool = True) -> None:
        """Descriptors into the ring, and the doorbell; `fresh`: with the sequence numbers of their indices."""
        mask = (1 << self.send_log2) - 1
        for n in reversed(range(len(descriptors))):
            index = self.send_index + n
            descriptor = descriptors[n]
            if fresh and self.mode is Mode.VALIDATED:
                (address,) = struct.unpack_from(">Q", descriptor)
                descriptor = struct.pack(">Q", self._named(address, index)) + descriptor[8:]
            if self.form is Form.PUSHED:
                self._doorbell(Aperture.SEND_RING + (index & mask) * SendDescriptor.BYTES, descriptor)
            else:
                self.store(self.ring, (index & mask) * SendDescriptor.BYTES, descriptor)
        self.send_index += len(descriptors)
        if ring and self.form is Form.FETCHED:
            self.ring_send(self.send_index)

    def ring_send(self, producer: int) -> None:
        self._doorbell(Aperture.SEND_DOORBELL, (producer & 0xFFFF).to_bytes(4, "little"))

    def send(self, data: bytes, offset: int, cuts: Sequence[int] = ()) -> None:
        """A frame from `offset` of the data area on, in pieces that end at `cuts`."""
        self.store(self.data, offset, data)
        ends = [*cuts, len(data)]
        self.queue(chain([(self.data.name + offset + start, end - start)
                          for start, end in zip([0, *ends], ends, strict=False)]))

    async def completions(self, count: int) -> list[tuple[int, int, Status]]:
        """The next ones: index after the chain, length, status. Raises `PlatformTimeoutError`."""
        found = []
        for _ in range(count):
            entry = await self._entry(self.cq, self.cq_index, "completion")
            self.cq_index += 1
            after, length, status, _ = _COMPLETION.unpack(entry)
            found.append((after, length, Status(status)))
        return found

    async def _entry(self, area: Area, index: int, what: str) -> bytes:
        at = (index & (1 << CQ_LOG2) - 1) * 16
        phase = bytes((~(index >> CQ_LOG2) & 1,))
        place = area.machine(at)
        if not await self.host.platform.monitor(place + 15, phase, b"\x01", WAIT_NS):
            raise PlatformTimeoutError(f"endpoint {self.number}: {what} {index} did not come in {WAIT_NS} ns")
        return self.host.platform.memory.read(place, 16)

    # --- receive ---------------------------------------------------------------------------------

    def buffer(self, index: int, *, big: bool) -> tuple[Area, int]:
        """Area and offset of a buffer."""
        return (self.buffers, index % 64 * BIG_BYTES) if big else (self.small, index % 64 * 256)

    def post(self, count: int, *, big: bool, address: int | None = None, fresh: bool = True, ring: bool = True) -> None:
        """Buffers into a receive ring, and the doorbell."""
        for _ in range(count):
            index = self.posted[big]
            area, offset = self.buffer(index, big=big)
            name = area.name + offset if address is None else address
            entry = struct.pack(">Q", self._named(name, index) if fresh else name)
            slot = (index & (1 << RX_LOG2) - 1) * 8
            if self.form is Form.PUSHED:
                self._doorbell((Aperture.RX_BIG_RING if big else Aperture.RX_SMALL_RING) + slot, entry)
            else:
                self.store(self.rings[big], slot, entry)
            self.posted[big] += 1
        if ring and self.form is Form.FETCHED:
            self.ring_receive(self.posted[big], big=big)

    def ring_receive(self, producer: int, *, big: bool) -> None:
        self._doorbell(Aperture.RX_BIG_DOORBELL if big else Aperture.RX_SMALL_DOORBELL,
                       (producer & 0xFFFF).to_bytes(4, "little"))

    async def received(self, count: int, *, repost: bool = True) -> list[bytes]:
        """The next frames. Raises `PlatformTimeoutError`."""
        found = []
        for _ in range(count):
            entry = await self._entry(self.rq, self.rq_index, "receive completion")
            self.rq_index += 1
            first, length, _, flags = _RECEIVED.unpack(entry)
            big = bool(flags & 4)
            data = b""
            buffers = -(-(length + PAD) // BIG_BYTES) if big else 1
            for n in range(buffers):
                area, offset = self.buffer(first + n, big=big)
                skip = PAD if n == 0 else 0
                data += self.load(area, offset + skip, min(length - len(data), BIG_BYTES - skip))
            found.append(data)
            if repost:
                self.post(buffers, big=big)
        return found

    async def status(self) -> int:
        return await self.host.read(NicControl.ENDPOINT_STATUS + self.number * NicControl.ENDPOINT_STRIDE)

    async def index(self) -> int:
        """Next receive buffers: small, big << 16."""
        return await self.host.read(NicControl.ENDPOINT_RX_INDEX + self.number * NicControl.ENDPOINT_STRIDE)
