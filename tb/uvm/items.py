"""What agents send and monitors publish. One line each when printed: no payload."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from pyuvm import uvm_sequence_item

from sw.abi.registers import Form, Mode, RxDrop, Status, TraceKind
from tb.cosim.platform import ReadError
from tb.ethernet import on_line, with_fcs

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain

LENGTH_EDGES: Final = (60, 61, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1513, 1514, 1518)
PAUSE_ADDRESS: Final = bytes.fromhex("0180c2000001")


@dataclass(eq=False)
class Item(uvm_sequence_item):
    """Base: equality of all fields that count."""

    def __post_init__(self) -> None:
        uvm_sequence_item.__init__(self, type(self).__name__)

    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self) if f.compare)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Item) and type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return id(self)


@dataclass(eq=False)
class MmioItem(Item):
    """One access by a processor. `data` of a read is what was read; 4 bytes."""

    address: int
    data: bytes = b""
    write: bool = True
    guest: Domain | None = field(default=None, compare=False)
    """Who makes it, at guest-physical `address`; None: the hypervisor, at a machine address."""
    landed: int = field(default=0, compare=False)
    """Of a read: so many writes have landed."""

    def __str__(self) -> str:
        who = self.guest.name if self.guest is not None else "hypervisor"
        if not self.write:
            return f"{who} read {self.address:#x}: {self.data[::-1].hex()}"
        return f"{who} write {self.address:#x}: {len(self.data)} bytes"


@dataclass(eq=False)
class HostItem(Item):
    """What memory sees of the NIC: a trace record of `kind`; or, by the root complex, an error for reads of a page."""

    kind: TraceKind | ReadError
    endpoint: int = 0
    index: int = 0
    info: int = 0
    cycle: int = field(default=0, compare=False)
    address: int = 0
    """Of the page, for a `ReadError`."""

    def __str__(self) -> str:
        if isinstance(self.kind, ReadError):
            return f"reads of page {self.address:#x}: {self.kind.name}"
        return f"cycle {self.cycle}: {self.kind.name} endpoint {self.endpoint} index {self.index} info {self.info:#x}"


class Direction(Enum):
    """Of a frame, seen from the NIC."""

    IN = "in"
    OUT = "out"


@dataclass(eq=False)
class WireItem(Item):
    """One frame on the line, with FCS."""

    data: bytes
    direction: Direction = Direction.IN
    error: bool = False
    """The line signals an error in it."""
    endpoint: int | None = field(default=None, compare=False)
    """OUT: who sent it; None: the NIC itself (a pause frame)."""
    head: int = field(default=0, compare=False)
    """OUT: its chain."""
    cycle: int = field(default=0, compare=False)

    def __str__(self) -> str:
        source = "" if self.endpoint is None else f" of endpoint {self.endpoint} chain {self.head}"
        return f"{self.direction.value} {len(self.data)} bytes{source}{' with an error' if self.error else ''}"

    @classmethod
    def randomised(cls, rng: random.Random, to: bytes, *, longest: int = 1518, bad: float = 0.0) -> WireItem:
        """A frame to `to` of a random length, edges frequent; with probability `bad` broken in one of four ways."""
        length = rng.choice([rng.choice(LENGTH_EDGES), rng.randint(60, longest)])
        frame = (to + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + rng.randbytes(length))[: min(length, longest)]
        if rng.random() >= bad:
            return cls(on_line(frame))
        match rng.randrange(4):
            case 0:
                return cls(on_line(frame)[:-1] + b"\xa5")
            case 1:
                return cls(with_fcs(frame[: rng.randint(1, 59)]))
            case 2:
                return cls(on_line(frame.ljust(9019, b"\0")))
        return cls(on_line(frame), error=True)

    @classmethod
    def pause(cls, quanta: int, source: bytes = b"\x02\0\0\0\0\x01") -> WireItem:
        """A pause frame (IEEE 802.3 annex 31B): stop for `quanta` times 512 bit times."""
        return cls(on_line(PAUSE_ADDRESS + source + b"\x88\x08\0\x01" + quanta.to_bytes(2, "big")))


@dataclass(eq=False)
class InterruptItem(Item):
    """A message at the interrupt controller; or, for the driver, an arming by a guest."""

    address: int = 0
    data: int = 0
    vector: int = 0
    """The endpoint."""
    guest: Domain | None = field(default=None, compare=False)
    """Arming: who does it, in the aperture at guest-physical `address`."""
    ring: int = 0
    """Arming: 0 send completions, 1 to 4 receive queues."""
    index: int = 0
    """Arming: first entry not seen."""

    def __str__(self) -> str:
        if self.guest is not None:
            return f"{self.guest.name} arms ring {self.ring} from entry {self.index}"
        return f"interrupt {self.vector}: {self.data:#x} to {self.address:#x}"


@dataclass(eq=False)
class SentItem(Item):
    """A request that has ended, as the scoreboard knows it."""

    endpoint: int
    form: Form
    descriptor: bytes
    """The chain's first."""
    status: Status
    lengths: tuple[int, ...]
    """Bytes of each frame."""
    on_wire: bool
    inside: bool
    mode: Mode
    """Of its endpoint."""
    injected: bool
    """It failed by a read error that the root complex was told to make."""

    def __str__(self) -> str:
        return f"endpoint {self.endpoint} sent {len(self.lengths)} frames: {self.status.name}"


@dataclass(eq=False)
class ReceivedItem(Item):
    """A copy of a frame that has arrived, or was dropped, as the scoreboard knows it."""

    endpoint: int | None
    """None: dropped altogether."""
    length: int
    local: bool
    buffers: int
    """Big ones; 0: a small one, or none."""
    mode: Mode | None
    """Of the endpoint; None: dropped altogether."""
    drop: RxDrop | None = None

    def __str__(self) -> str:
        what = "received" if self.drop is None else self.drop.name
        return f"endpoint {self.endpoint} {self.length} bytes: {what}"
